"""Who decided what about a month, what held at its close and what proves it: tables of the close report.

Belongs here: the sign-off, moves, exceptions, controls, runs, proof. The same books give the same rows; no
clock stands in them, and of a closed month they are as of its close. Does not belong here: money
(`reports/close_tables.py`), how a table foots (`reports/sheet.py`), the page (`reports/close_report.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cops_dagster.clocks import APART
from cops_dagster.closing import close_request
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, consent, signatures
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.operations import controls
from cops_dagster.period import Period
from cops_dagster.reconciliation import exceptions
from cops_dagster.reports.close_tables import VARIANCE, rates
from cops_dagster.reports.sheet import Table
from cops_dagster.stores import tables as t


@dataclass(frozen=True)
class SignOff:
    """Whose page this is and who stands behind it; `seal` is empty until the month is closed.

    Attributes:
        lines: what is said of it, in the order of the page: name and text.
    """

    seal: str
    closed_at: datetime | None
    lines: list[tuple[str, str]]


def sign_off(con: sa.Connection, books: Books, recon: Any, period: Period) -> SignOff:
    """Legal entity, payer, rates; who prepared, asked, approved and closed, as far as somebody did."""
    lock = con.execute(
        sa.select(t.period_lock).where(
            t.period_lock.c.period_start == period.start, t.period_lock.c.state == "closed"
        )
    ).one_or_none()
    lines = [
        ("Legal entity", books.settings.exports.issuer),
        ("Payer account", ", ".join(_payers(con, period))),
        *((f"Rate {pair}", rate) for pair, rate in rates(con, period)),
        ("Charge basis", recon.charge_basis.replace("_", " ")),
        ("Prepared by", f"{recon.actor}, {_at(recon.reconciled_at)}"),
    ]
    asked = close_request.newest(con, period)
    if asked is not None and (lock or close_request.stands(con, asked)):
        lines.append(("Close asked for by", f"{asked.requested_by}, {_at(asked.requested_at)}"))
        said = consent.given(con, consent.CLOSE, asked.subject_id)
        if said is not None:
            lines.append(("Approved by", f"{said.approved_by}, {_at(said.approved_at)}: {said.reason}"))
    if lock is None:
        return SignOff("", None, [line for line in lines if line[1]])
    moves = t.period_lock_event
    event = con.execute(
        sa.select(moves)
        .where(moves.c.period_start == period.start, moves.c.to_state == "closed")
        .order_by(moves.c.state_seq.desc())
        .limit(1)
    ).one()
    identity = signatures.told(con, "seal", ("period", str(period)))
    lines.append(("Closed by", f"{event.actor} ({identity}), {_at(event.changed_at)}"))
    lines.append(("Seal", lock.seal_digest))
    return SignOff(lock.seal_digest, event.changed_at, [line for line in lines if line[1]])


def tables(con: sa.Connection, books: Books, period: Period, closed_at: datetime | None) -> list[Table]:
    """Every table of decisions and proof, in the order of the page."""
    return [
        _exceptions(con, period),
        _moves(con, period),
        _reconciliations(con, period),
        _readiness(con, books, period),
        _controls(con, closed_at),
        _runs(con, period),
        _proof(con, period),
    ]


def _payers(con: sa.Connection, period: Period) -> list[str]:
    shown, breakdown = month.shown(con, period), t.cur_delivery_breakdown
    found = con.execute(
        sa.select(breakdown.c.value)
        .where(breakdown.c.delivery_id.in_([row.delivery_id for row in shown]))
        .where(breakdown.c.dimension == "payer", breakdown.c.value != "")
        .distinct()
    ).scalars()
    return sorted(found)


def _exceptions(con: sa.Connection, period: Period) -> Table:
    rows = [
        (
            one.exception_id[:16],
            one.status,
            one.stage,
            one.subject_id or one.tenant_id,
            one.kind.replace("_", " "),
            one.amount_usd,
            one.owner,
            one.note,
            one.decision,
            one.evidence,
            one.decided_by,
            one.resolved_by,
        )
        for one in exceptions.current(con, period)
        if one.kind != "rounding"
    ]
    return Table(
        "exceptions", "Exceptions: what was found and what was decided",
        ("id", "status", "stage", "subject", "class", "amount_usd", "owner", "what", "decision", "evidence",
         "decided_by", "approved_by"),
        rows, "rounding of cents is left out here",
        page=(
            ("exception", ("status", "class", "id")), ("about", ("subject", "what")),
            ("amount_usd", ("amount_usd",)), ("owner", ("owner",)),
            ("decision_and_evidence", ("decision", "evidence")), ("decided_by", ("decided_by",)),
            ("approved_by", ("approved_by",)),
        ),
    )  # fmt: skip


def _moves(con: sa.Connection, period: Period) -> Table:
    moves = t.period_lock_event
    rows = con.execute(
        sa.select(moves).where(moves.c.period_start == period.start).order_by(moves.c.state_seq)
    )
    return Table(
        "moves", "Moves of the month, oldest first", ("to", "at_utc", "by", "why", "evidence"),
        [
            (row.to_state, f"{row.changed_at:%Y-%m-%d %H:%M}", row.actor, row.reason, row.evidence_id)
            for row in rows
        ],
        "evidence is a link that somebody gave, or the number of an entry in the chain of evidence",
    )  # fmt: skip


def _reconciliations(con: sa.Connection, period: Period) -> Table:
    recons = t.recon_run
    rows = con.execute(
        sa.select(recons).where(recons.c.period_start == period.start).order_by(recons.c.recon_seq)
    ).all()
    return Table(
        "reconciliations", "Reconciliations of this month, oldest first",
        ("number", "at_utc", "by", "expected_usd", "invoiced_usd", "variance_usd", "status", "worst_tenant",
         "note"),
        [
            (
                row.recon_seq, f"{row.reconciled_at:%Y-%m-%d %H:%M}", row.actor, row.expected_usd,
                row.invoiced_total_usd, row.variance_usd, row.status, row.worst_tenant_id, row.note,
            )
            for row in rows
        ],
        foots=VARIANCE,
    )  # fmt: skip


def _readiness(con: sa.Connection, books: Books, period: Period) -> Table:
    """The list that the newest request to close was made on, out of its evidence."""
    asked = close_request.newest(con, period)
    rows, note = [], f"nobody asked to close it yet: `cops close {period} --dry-run` lists what is missing"
    if asked is not None:
        note = f"judged {_at(asked.requested_at)}, evidence entry {asked.evidence_id}"
        try:
            document = json.loads(chain.read(books, int(asked.evidence_id)))
            rows = [
                (
                    one["name"].replace("_", " "), "ok" if one["holds"] else "failed",
                    one["found"].replace("0.000000000000000000", "0.00"), one["owner"],
                )
                for one in document["readiness"]
            ]  # fmt: skip
        except CopsError as refusal:
            note = f"not shown: {refusal.code}, {refusal.found}"
    return Table(
        "readiness", "What held when the close was asked for",
        ("must_hold", "status", "measured", "owner"), rows, note,
    )  # fmt: skip


def _controls(con: sa.Connection, closed_at: datetime | None) -> Table:
    """The preventive controls as of the close; of an open month, as last judged."""
    # judged within APART behind the close is behind it all the same: a page never changes with the next hour
    found = controls.newest(con, closed_at and closed_at - APART)
    if closed_at is not None:
        found = [row for row in found if row.evaluated_at <= closed_at]
    note = f"judged {_at(found[0].evaluated_at)}; ages are counted from then" if found else ""
    if not found:
        note = "none was judged before the close: what held stands above" if closed_at else "not judged yet"
    return Table(
        "controls", f"Preventive controls, {'as of the close' if closed_at else 'as last judged'}",
        ("control", "status", "target", "measured", "owner"),
        [
            (row.control.replace("_", " "), row.status, row.target, row.measured, row.owner)
            for row in found
        ],
        note,
    )  # fmt: skip


def _runs(con: sa.Connection, period: Period) -> Table:
    runs = sorted(month.runs(con, period), key=lambda run: run.journal_seq)
    return Table(
        "runs", "Runs that this month consists of",
        ("table", "source", "run_id", "rows", "cost_usd", "journal"),
        [
            (run.table_name, run.source_id, run.run_id, run.row_count, run.cost_usd, run.journal_seq)
            for run in runs
        ],
    )  # fmt: skip


def _proof(con: sa.Connection, period: Period) -> Table:
    """Deliveries, the certificate of the head run, the seal: with the digests that evidence is found by."""
    entries, stands = t.evidence_index, month.read(con, period)
    rows: list[tuple[object, ...]] = [
        ("delivery", f"{row.source_id}, delivered {_at(row.delivered_at)}", row.delivery_id)
        for row in stands.shown
    ]
    heads = [run.run_id for run in stands.runs]
    subjects = sa.or_(
        sa.and_(entries.c.subject_type == "run", entries.c.subject_id.in_(heads)),
        sa.and_(
            entries.c.subject_type == "period", entries.c.subject_id == str(period), entries.c.kind == "seal"
        ),
    )
    rows += [
        (row.kind.replace("_", " "), f"entry {row.evidence_seq}", row.sha256)
        for row in con.execute(sa.select(entries).where(subjects).order_by(entries.c.evidence_seq))
    ]
    return Table(
        "proof", "Proof", ("what", "of", "sha256"), rows,
        "the run certificate holds pool, posted and difference 0 per service and charge class",
    )  # fmt: skip


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
