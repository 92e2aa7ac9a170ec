"""Adjustments of closed months: proposed with every line as evidence, approved, booked in the open month.

Belongs here: storing proposals, what the books hold about a month, booking. Does not belong here: where the
lines come from (`adjustments/late.py`, `adjustments/one_time.py`), who may approve (`closing/approve.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.adjustments import changes
from cops_dagster.adjustments.changes import ChangeClass, Line
from cops_dagster.adjustments.verdicts import adjustment_equals_proposal
from cops_dagster.alerts.publish import publish
from cops_dagster.allocation.rules import Costs
from cops_dagster.errors import CopsError
from cops_dagster.evidence import certificate, chain, consent, documents, signatures, signed_decisions
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.evidence.chain import Piece
from cops_dagster.evidence.consent import Asked
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.tables import FACT_COST_ADJUSTMENT
from cops_dagster.lake.views import over_files, view
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.ledger.publish import Publication, Staged
from cops_dagster.ledger.run import Run, attempt, settle
from cops_dagster.ledger.states import WRITABLE
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.verdict import Verdict

TABLE = "fact_cost_adjustment"
STATEMENT = "stage_fact_cost_adjustment"

_LINE_COLUMNS = (
    ("line_number", "BIGINT"), ("change_class", "VARCHAR"), ("service", "VARCHAR"),
    ("service_component", "VARCHAR"), ("charge_class", "VARCHAR"), ("tenant_id", "VARCHAR"),
    ("plan_id", "VARCHAR"), ("allocation_method", "VARCHAR"), ("rule_id", "VARCHAR"),
    ("rule_version", "BIGINT"), ("unblended_usd", "DECIMAL(38,18)"), ("amortized_usd", "DECIMAL(38,18)"),
    ("net_amortized_usd", "DECIMAL(38,18)"), ("delivery_id", "VARCHAR"),
)  # fmt: skip


@dataclass(frozen=True)
class Proposal:
    """One proposed adjustment. `booked_in` is the month that took it, once it was approved."""

    adjustment_id: str
    usage_period: Period
    kind: str
    line_count: int
    unblended_usd: Decimal
    reason: str
    requested_by: str
    booked_in: Period | None
    effects: list[dict[str, Any]]


def base_of(con: sa.Connection, period: Period) -> str:
    """The digest of what the books hold about a month: a proposal is only good over what it was made on."""
    journal, adjustments, bookings = t.publish_journal, t.adjustment, t.adjustment_booking
    entries = con.execute(
        sa.select(journal.c.journal_seq, journal.c.run_id)
        .where(journal.c.table_name == "fact_cost_allocated", journal.c.period_start == period.start)
        .order_by(journal.c.journal_seq)
    ).all()
    booked = con.execute(
        sa.select(bookings.c.adjustment_id)
        .join(adjustments, adjustments.c.adjustment_id == bookings.c.adjustment_id)
        .where(adjustments.c.usage_period_start == period.start)
        .order_by(bookings.c.adjustment_id)
    ).scalars()
    return digest(str(period), [tuple(row) for row in entries], list(booked))


def propose(
    books: Books,
    period: Period,
    kind: str,
    lines: Sequence[Line],
    classes: Sequence[ChangeClass],
    *,
    base_digest: str,
    reason: str,
    delivery_id: str | None = None,
    evidence_links: str | None = None,
) -> str:
    """Stores a proposal with its lines as evidence; the same proposal again is the same one.

    Args:
        base_digest: `base_of` the month when the lines were computed.

    Raises:
        CopsError: `E-PERIOD-OPEN` when the month is not closed: it takes runs, not adjustments.
    """
    require_policy(books)
    document = documents.document(
        {
            "usage_period": str(period),
            "kind": kind,
            "delivery_id": delivery_id,
            "base_digest": base_digest,
            "reason": reason,
            "lines": [
                _as_json(number, line, change)
                for number, (line, change) in enumerate(zip(lines, classes, strict=True), start=1)
            ],
        }
    )
    adjustment_id = digest("adjustment-1", document.decode())
    total = Costs()
    for line in lines:
        total = total.plus(line.costs)
    kept = chain.store(
        books, [Piece("adjustment", "adjustment", adjustment_id, certificate.JSON, data=document)]
    )
    adjustments = t.adjustment
    with books.admin.write() as con:
        require_closed(con, period)
        if con.execute(
            sa.select(adjustments.c.adjustment_id).where(adjustments.c.adjustment_id == adjustment_id)
        ).first():
            return adjustment_id
        proof = chain.index(con, books, kept)[0]
        for (change, tenant), (count, costs) in changes.effects(lines, classes).items():
            con.execute(
                sa.insert(t.adjustment_effect).values(
                    adjustment_id=adjustment_id,
                    change_class=change,
                    tenant_id=tenant,
                    line_count=count,
                    **_money(costs),
                )
            )
        # the proposal last: the database takes no effect of one that is there (ADR 35)
        con.execute(
            sa.insert(adjustments).values(
                adjustment_id=adjustment_id,
                usage_period_start=period.start,
                kind=kind,
                delivery_id=delivery_id,
                base_digest=base_digest,
                document_sha256=kept[0].sha256,
                evidence_id=str(proof),
                line_count=len(lines),
                **_money(total),
                reason=reason,
                evidence_links=evidence_links,
                requested_by=books.actor,
                proposed_at=now(),
            )
        )
        if kind == signed_decisions.ONE_TIME:  # late changes are proposed by runs
            signatures.require(
                books,
                con,
                "propose",
                ("adjustment", adjustment_id),
                kept[0].sha256,
                period_start=period.start,
            )
    return adjustment_id


def require_closed(con: sa.Connection, period: Period) -> None:
    """Refuses a month that still takes runs."""
    here = lock.state_of(con, period)
    if here != "closed":
        raise CopsError(
            "E-PERIOD-OPEN",
            f"period {period}",
            expected="a closed period",
            found=f"period is {here}",
            next_step=f"an open month is corrected by inputs and `cops materialize {period}`",
        )


def proposals(con: sa.Connection, period: Period | None = None) -> list[Proposal]:
    """Every proposal, about one month or all, the oldest first; those without a line need nothing."""
    adjustments, bookings, adjustment_effect = t.adjustment, t.adjustment_booking, t.adjustment_effect
    query = (
        sa.select(adjustments, bookings.c.period_start)
        .outerjoin(bookings, bookings.c.adjustment_id == adjustments.c.adjustment_id)
        .order_by(adjustments.c.proposed_at, adjustments.c.adjustment_id)
    )
    if period is not None:
        query = query.where(adjustments.c.usage_period_start == period.start)
    found = []
    for row in con.execute(query).all():
        effects = con.execute(
            sa.select(adjustment_effect)
            .where(adjustment_effect.c.adjustment_id == row.adjustment_id)
            .order_by(*adjustment_effect.primary_key.columns)
        ).mappings()
        found.append(
            Proposal(
                row.adjustment_id,
                Period.of(row.usage_period_start),
                row.kind,
                row.line_count,
                row.unblended_usd,
                row.reason,
                row.requested_by,
                Period.of(row.period_start) if row.period_start else None,
                [dict(effect) for effect in effects],
            )
        )
    return found


@dataclass(frozen=True)
class Booked:
    """Outcome: the month that took an adjustment, who approved it, and whether this call booked it."""

    period: Period
    approval: Any
    wrote: bool


def asked_of(row: Any) -> Asked:
    """What a second person is asked about a proposal."""
    what = f"adjustment {row.adjustment_id[:16]} of {Period.of(row.usage_period_start)}"
    return Asked(
        consent.ADJUSTMENT,
        row.adjustment_id,
        row.document_sha256,
        row.requested_by,
        row.requested_login,
        what,
        row.usage_period_start,
    )


def book(books: Books, adjustment_id: str, *, reason: str) -> Booked:
    """Books a proposal in the oldest open month, as a second person who says why; once and for all.

    Raises:
        CopsError: `E-APPROVER`; `E-ADJUSTMENT-STALE` when the books about the month changed since it was
            proposed, `E-EVIDENCE-…` when its document is not the approved one.
    """
    require_policy(books)
    return settle(f"adjustment {adjustment_id[:16]}", _planned, books, adjustment_id, reason)


def _planned(books: Books, adjustment_id: str, reason: str) -> Booked:
    with attempt(books) as trying, books.admin.read() as con:
        row = con.execute(sa.select(t.adjustment).where(t.adjustment.c.adjustment_id == adjustment_id)).one()
        bookings, asked = t.adjustment_booking, asked_of(row)
        done = con.execute(
            sa.select(bookings.c.period_start).where(bookings.c.adjustment_id == adjustment_id)
        ).scalar_one_or_none()
        if done is not None:
            before = consent.given(con, asked.kind, asked.subject_id)
            return Booked(Period.of(done), before, wrote=False)
        consent.require_another(con, books, asked)
        usage = Period.of(row.usage_period_start)
        _require_base(con, usage, row)
        posting = open_period(con, usage)
        replaced = head(con, TABLE, posting)
        predecessor = replaced.run_id if replaced else None
        # a prefix of its own: adjustments were booked under it before runs had one way to their id
        made_of = ("adjustment-run-1", adjustment_id, predecessor)
        run = Run(TABLE, posting, "", adjustment_id, predecessor, made_of)
        target = trying.target(TABLE, posting, run.id)
        with books.engine() as engine:
            write(books, engine, target, row, run.id, posting)
            view(engine, TABLE, over_files(FACT_COST_ADJUSTMENT, [target]))
            figures = engine.fetch("measure_fact_cost_adjustment", {"run_id": run.id}).one()
        staged = Staged(
            target,
            row.delivery_id,
            figures["entry_count"],
            figures["unblended_usd"],
            tuple(name for name, _ in FACT_COST_ADJUSTMENT),
        )

        approvals: list[Any] = []

        def with_it(writing: sa.Connection) -> None:
            _require_base(writing, usage, row)
            approval, _ = consent.give(writing, books, asked, reason=reason)
            approvals.append(approval)
            writing.execute(
                sa.insert(bookings).values(
                    adjustment_id=adjustment_id,
                    run_id=run.id,
                    period_start=posting.start,
                    booked_by=approval.approved_by,
                    booked_at=now(),
                )
            )

        publish(books, Publication(run, [staged], [_equals(row, figures)]), also=with_it)
    return Booked(posting, approvals[-1], wrote=True)


def write(books: Books, engine: Engine, target: Path, adjustment: Any, run_id: str, posting: Period) -> None:
    """Writes an adjustment's entries from its document alone. Raises `E-EVIDENCE-…`."""
    document = json.loads(chain.read(books, int(adjustment.evidence_id)))
    engine.table("adjustment_lines", _LINE_COLUMNS, [_row(line, document) for line in document["lines"]])
    engine.stage(
        STATEMENT,
        target,
        {
            "run_id": run_id,
            "period_start": posting.start,
            "usage_period_start": adjustment.usage_period_start,
            "reason": adjustment.reason,
            "evidence_id": adjustment.evidence_id,
        },
    )


def open_period(con: sa.Connection, after: Period) -> Period:
    """The oldest month after a closed one that takes entries: where its corrections are booked."""
    at = after.next()
    while lock.state_of(con, at) not in WRITABLE:
        at = at.next()
    return at


def _require_base(con: sa.Connection, usage: Period, row: Any) -> None:
    if base_of(con, usage) != row.base_digest:
        raise CopsError(
            "E-ADJUSTMENT-STALE",
            f"adjustment {row.adjustment_id[:16]} of {usage}",
            expected="the books about that month as they were when it was proposed",
            found="another adjustment of it was booked since",
            next_step=f"`cops materialize {usage}` proposes what is left; approve that one",
        )


def _equals(row: Any, figures: dict[str, Any]) -> Verdict:
    return adjustment_equals_proposal(
        {name: getattr(row, name) for name in _COSTS}, figures, row.line_count, figures["entry_count"]
    )


def _money(costs: Costs) -> dict[str, Decimal]:
    return {
        "unblended_usd": amount.to_decimal(costs.unblended),
        "amortized_usd": amount.to_decimal(costs.amortized),
        "net_amortized_usd": amount.to_decimal(costs.net_amortized),
    }


def _as_json(number: int, line: Line, change: ChangeClass) -> dict[str, Any]:
    return {
        "line_number": number, "change_class": change, "service": line.service,
        "service_component": line.service_component, "charge_class": line.charge_class,
        "tenant_id": line.tenant_id, "plan_id": line.plan_id, "allocation_method": line.allocation_method,
        "rule_id": line.rule_id, "rule_version": line.rule_version,
        **{name: amount.to_text(cost) for name, cost in zip(_COSTS, line.costs, strict=True)},
    }  # fmt: skip


_COSTS = ("unblended_usd", "amortized_usd", "net_amortized_usd")


def _row(line: dict[str, Any], document: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(
        document["delivery_id"] if name == "delivery_id" else line[name] for name, _ in _LINE_COLUMNS
    )
