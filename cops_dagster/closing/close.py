"""Closing a period: the readiness list, the second person, the seal, and no way back.

Belongs here: `cops close`, and what follows a second person's yes to it. What one person wants closed is a
request (`closing/close_request.py`). The steps after the yes are closing (nothing more is published) → every
published run projected → entries digested twice → delivered bytes and seal in the evidence store → closed →
anchored. Each is harmless when repeated, so a close that a crash cut short is finished by the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from cops_dagster.alerts import board
from cops_dagster.allocation import allocate
from cops_dagster.allocation import checks as judge
from cops_dagster.closing import close_request, periods, proof
from cops_dagster.closing import current as work
from cops_dagster.closing import readiness as rules
from cops_dagster.errors import CopsError
from cops_dagster.evidence import (
    binding,
    certificate,
    chain,
    consent,
    documents,
    seal,
    signatures,
    signing,
    sweep,
    verify,
)
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.evidence.chain import Kept, Piece
from cops_dagster.ingestion import claims, sources
from cops_dagster.lake import live
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.ledger import lock, states
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.reconciliation import checks as judge_recon
from cops_dagster.reconciliation import freeze
from cops_dagster.stores import tables as t
from cops_dagster.stores.objects import key_of
from cops_dagster.tagging import checks

ROUNDS = 3
"""How often a seal is made anew because rows that it binds were written meanwhile."""


@dataclass(frozen=True)
class Closed:
    """Outcome: the seal of the period, whether this call made it, who closed it when, and what proves who."""

    period: Period
    seal_digest: str
    journal_seq: int
    wrote: bool
    closed_by: str
    closed_at: datetime
    identity: str


def readiness(books: Books, period: Period) -> list[rules.Requirement]:
    """The readiness list of a period; nothing is written.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` for a month without a delivery or without an allocation.
    """
    with books.admin.read() as con:
        if head(con, allocate.TABLE, period) is None:
            raise CopsError(
                "E-PERIOD-UNKNOWN",
                f"period {period}",
                expected="an allocated month",
                found="nothing allocated",
                next_step=f"run `cops materialize {period}`",
            )
        facts = periods.facts_of(books, con, period)
        exceptions, table, approvals = t.recon_exceptions, t.period_lock, t.approval
        closed = con.execute(sa.select(table.c.period_start).where(table.c.state == "closed")).scalars().all()
        known = con.execute(sa.select(t.cur_billing_head.c.period_start).distinct()).scalars().all()
        explained = con.execute(
            sa.select(exceptions.c.tenant_id, exceptions.c.amount_usd).where(
                exceptions.c.period_start == period.start,
                exceptions.c.resolved_at.is_not(None),
                exceptions.c.withdrawn_at.is_(None),
                exceptions.c.stage == "tenant_invoice",
                # a second person's yes explains a difference, not a mark on the row
                sa.exists().where(
                    approvals.c.subject_type == consent.EXCEPTION,
                    approvals.c.subject_id == exceptions.c.exception_id,
                ),
            )
        ).all()
        tenants = _off_tolerance(con, period)
        frozen = _frozen(con, period)
        twice = claims.booked_twice(con, period)
    verified = verify.verify(books, period)  # the chain whole; of the objects those of this month
    unproven = proof.beside_the_chain(books)
    verdicts = [
        *judge.allocated(books, period),
        *checks.named(books, period),
        *judge.keys(books, period),
    ]
    if facts.reconciled:
        verdicts += judge_recon.reconciled(books, period)
    current = work.nothing_to_do(books, period) and _head_is_plain(books, period)
    return rules.readiness(
        facts,
        rules.ClosingFacts(
            is_current=current,
            earlier_open=rules.open_before(period, closed, known),
            verdicts=verdicts,
            unexplained=_unexplained(tenants, explained),
            frozen_by=frozen,
            evidence=verified.status,
            booked_twice=[f"{one.one} and {one.other}" for one in twice],
            placeless=[one.source_id for one in sources.placeless(books, period)],
            unproven=[f"{one.what}: expected {one.expected}, found {one.found}" for one in unproven],
        ),
    )


def _off_tolerance(con: sa.Connection, period: Period) -> Sequence[Any]:
    recons, tenants = t.recon_run, t.recon_run_tenant
    newest = (
        sa.select(sa.func.max(recons.c.recon_seq))
        .where(recons.c.period_start == period.start)
        .scalar_subquery()
    )
    return con.execute(
        sa.select(tenants)
        .where(tenants.c.recon_seq == newest, tenants.c.status.not_in(("ok",)))
        .order_by(tenants.c.tenant_id)
    ).all()


def _unexplained(tenants: Sequence[Any], explained: Sequence[Any]) -> list[str]:
    """Tenants off tolerance whose decided exceptions leave more than the tolerance open."""
    found = []
    for row in tenants:
        decided = sum((one.amount_usd for one in explained if one.tenant_id == row.tenant_id), Decimal(0))
        left = row.variance_usd - decided
        if abs(left) > row.warning_tolerance_usd:
            found.append(f"{row.tenant_id} {amount.shown(left)} USD")
    return found


def _frozen(con: sa.Connection, period: Period) -> str | None:
    found = freeze.in_force(con, period)
    return (
        f"{consent.name_of(found[0])} since {found[0].set_at:%Y-%m-%d}: {found[0].reason}" if found else None
    )


def _head_is_plain(books: Books, period: Period) -> bool:
    """The head was computed from today's inputs; a run that took one back is no answer to close on."""
    with books.admin.read() as con:
        found = head(con, allocate.TABLE, period)
        gathered = allocate.gather(con, books.policy, period)
    return found is not None and found.inputs_id == gathered.inputs_id


def close(books: Books, period: Period) -> Closed:
    """Closes a period that two people want closed, or asks for the second one; finishes what was cut short.

    Closed already is an answer, not an error.

    Raises:
        CopsError: `E-NOT-READY` naming what blocks (`details` holds the whole list); `E-SECOND-PERSON` while
            nobody else agreed to the state as it is: the request is recorded, nothing else changed; `E-SEAL`
            when the two digests differ: the period is final again and nothing is sealed; `E-DIGEST`; in
            signed books what `signatures.require` raises, and the period is final again.
    """
    require_policy(books)
    here = _here(books, period)
    if here == "closed":
        return _anchored_again(books, period)
    if here != "closing":
        _begin(books, period)
    return _complete(books, period)


def close_approved(books: Books, period: Period, *, reason: str) -> bool:
    """A second person's yes to the newest request, and the close; whether the yes is news.

    Raises:
        CopsError: `E-APPROVER`, `E-CLOSE-STALE` when something was published or reconciled since it was asked
            for, and what `close` raises but `E-SECOND-PERSON`.
    """
    require_policy(books)
    here = _here(books, period)
    if here in ("closing", "closed"):
        close(books, period)
        return False
    is_new = _begin(books, period, agreed=reason)
    _complete(books, period)
    return is_new


def _here(books: Books, period: Period) -> str:
    """The period's state. A close that began before a second person was asked is taken back first."""
    with books.admin.read() as con:
        here = lock.state_of(con, period)
        if here != "closing" or close_request.approved(con, period) is not None:
            return here
    _step_back(books, period, "nobody approved this close")
    return "final"


def _complete(books: Books, period: Period) -> Closed:
    sweep.project(books)
    try:
        entries = _digested_twice(books, period)
        return _sealed(books, period, entries)
    except CopsError as problem:
        if problem.code == "E-SEAL" or problem.code in signing.REFUSALS:
            _step_back(books, period, str(problem))
        raise


def _sealed(books: Books, period: Period, entries: seal.Digests) -> Closed:
    """Seals what stands, and again while rows about the month are written meanwhile."""
    for _ in range(ROUNDS):
        document, kept = _seal(books, period, entries)
        done = _finish(books, period, document, kept)
        if done != "moved":
            return _anchored(books, period, wrote=done == "sealed")
    raise CopsError(
        "E-CONTENTION",
        f"period {period}",
        expected="books that hold still while they are sealed",
        found="rows about the month were written meanwhile",
        next_step="run `cops close` again",
    )


def _begin(books: Books, period: Period, *, agreed: str | None = None) -> bool:
    """Moves a ready period to closing once two people want it; whether the yes `agreed` is news."""
    with books.admin.read() as con:
        seen = _seen(con, period)
        asked = close_request.newest(con, period)
        stands = asked is not None and close_request.stands(con, asked)
        if agreed is not None:
            close_request.require_standing(con, asked)
            consent.require_another(con, books, close_request.asked_of(asked))
    requirements = readiness(books, period)
    blocking = rules.unmet(requirements)
    if blocking:
        raise CopsError(
            "E-NOT-READY",
            f"period {period}",
            expected=", ".join(one.name.replace("_", " ") for one in blocking),
            found="; ".join(one.found for one in blocking),
            next_step=blocking[0].next_step,
            details={"readiness": [one.__dict__ for one in requirements]},
        )
    kept = [] if stands else _kept_readiness(books, period, requirements)
    with books.admin.write() as con:
        if states.order(lock.hold(con, books, period)) >= states.order("closing"):
            return False  # another process began; this one helps it to the end
        # what was judged must still be what closes: nobody published between the list and the lock
        if _seen(con, period) != seen:
            raise CopsError(
                "E-CONTENTION",
                f"period {period}",
                expected="no other run while it closes",
                found="a run was published after the readiness list was made",
                next_step="run `cops close` again",
            )
        row = close_request.newest(con, period)
        if kept and (row is None or not close_request.stands(con, row)):
            proof = str(chain.index(con, books, kept)[0])
            row = close_request.ask(con, books, period, readiness_sha256=kept[0].sha256, evidence_id=proof)
        request, is_new = close_request.asked_of(row), False
        approval = consent.given(con, request.kind, request.subject_id)
        if agreed is not None:
            approval, is_new = consent.give(con, books, request, reason=agreed)
        if approval is not None:
            _move_to_closing(con, books, period, row, approval)
            return is_new
    raise close_request.unanswered(row)


def _move_to_closing(con: sa.Connection, books: Books, period: Period, request: Any, approval: Any) -> None:
    consent.require_closer(con, period)
    for there in ("provisional", "final", "closing"):
        if states.order(lock.state_of(con, period)) < states.order(there):
            lock.move(
                con,
                books,
                period,
                there,
                evidence_id=request.evidence_id,
                reason=f"the readiness list holds, and {approval.approved_by} agreed",
            )


def _kept_readiness(books: Books, period: Period, requirements: Sequence[rules.Requirement]) -> list[Kept]:
    document = documents.document({"readiness": [one.__dict__ for one in requirements]})
    return chain.store(books, [Piece("readiness", "period", str(period), certificate.JSON, data=document)])


def _seen(con: sa.Connection, period: Period) -> Any:
    """What the readiness list was made over."""
    return close_request.state_of(con, period), lock.state_of(con, period)


def _digested_twice(books: Books, period: Period) -> seal.Digests:
    with books.admin.read() as con:
        run = head(con, allocate.TABLE, period)
        assert run is not None
        first = seal.of_period(books, con, period, run.run_id)
        second, rows = seal.elsewhere(books, con, period)
        if (first.entries, first.row_count) != (second, rows):
            raise CopsError(
                "E-SEAL",
                f"period {period}",
                expected=f"one digest by two ways: {first.entries[:16]}… over {first.row_count} entries",
                found=f"{second[:16]}… over {rows}",
                next_step="the period is final again; keep everything as it is and find out why",
            )
        return first


def _seal(books: Books, period: Period, entries: seal.Digests) -> tuple[bytes, list[Kept]]:
    """Puts delivered bytes, bound rows and seal into the evidence store; nothing is indexed yet."""
    with books.admin.read() as con:
        run = head(con, allocate.TABLE, period)
        assert run is not None
        delivered = _delivered(con, books, period)
        digests = [sha256 for one in delivered for sha256 in _digests(con, one.delivery_id)]
        journal = t.publish_journal
        journal_seq = con.execute(
            sa.select(sa.func.max(journal.c.journal_seq)).where(journal.c.period_start == period.start)
        ).scalar_one()
        recon = con.execute(
            sa.select(t.recon_run.c.recon_id)
            .where(t.recon_run.c.period_start == period.start)
            .order_by(t.recon_run.c.recon_seq.desc())
            .limit(1)
        ).scalar_one()
        before = con.execute(
            sa.select(t.period_lock.c.seal_digest).where(
                t.period_lock.c.period_start == period.previous().start
            )
        ).scalar_one_or_none()
        rows = binding.everything(con, period)
        bound = documents.document({"period": str(period), "tables": rows})
        document = documents.document(
            {
                "seal_version": seal.VERSION,
                "period": str(period),
                "entries_digest": entries.entries,
                "entry_count": entries.row_count,
                "result_digest": entries.result,
                "totals": entries.totals,
                "head_run_id": run.run_id,
                "head_inputs_key": chain.find(con, "run_inputs", "run", run.run_id).object_key,
                "journal_seq": journal_seq,
                "recon_id": recon,
                "charge": books.policy.charge.model_dump(mode="json"),
                "deliveries": certificate.deliveries_of(con, [one.delivery_id for one in delivered]),
                "previous_seal": before,
                "bound": binding.said(rows),
                "bound_rows_key": key_of(hashlib.sha256(bound).hexdigest()),
                "logs": binding.logs(con),
            }
        )
    pieces = [
        Piece("delivered_file", "delivery", one.delivery_id, "application/octet-stream", path=path)
        for one in delivered
        for path in one.paths
    ]
    pieces.append(Piece("bound_rows", "period", str(period), certificate.JSON, data=bound))
    pieces.append(Piece("seal", "period", str(period), certificate.JSON, data=document))
    kept = chain.store(books, pieces)
    for one, sha256 in zip(kept, digests, strict=False):  # the seal stands behind the files
        if one.sha256 != sha256:  # exchanged between its digest and its copy
            raise CopsError(
                "E-DIGEST",
                f"{one.piece.path} of {period}",
                expected=f"the delivered bytes, sha256 {sha256[:12]}…",
                found=f"sha256 {one.sha256[:12]}…",
                next_step="restore the delivered file, then close again",
            )
    return document, kept


def _digests(con: sa.Connection, delivery_id: str) -> list[str]:
    delivered = t.cur_delivery_file
    query = (
        sa.select(delivered.c.sha256)
        .where(delivered.c.delivery_id == delivery_id)
        .order_by(delivered.c.position)
    )
    return list(con.execute(query).scalars())


def _delivered(con: sa.Connection, books: Books, period: Period) -> list[DeliveredFiles]:
    """The deliveries that readers see, their bytes those of first sight: the lake's, or AWS's own."""
    shown, deliveries = t.cur_billing_head, t.cur_delivery
    kept = live.kept(con, books.lake, period.start)
    found = []
    for row in con.execute(
        sa.select(shown.c.location_json, deliveries)
        .join(deliveries, deliveries.c.delivery_id == shown.c.delivery_id)
        .where(shown.c.period_start == period.start)
        .order_by(shown.c.source_id)
    ):
        files = DeliveredFiles.recorded(row, books.settings.home)
        held = kept.get(row.delivery_id, [])
        if [file.sha256 for file in held] == _digests(con, row.delivery_id):  # else it was converted
            files = live.lying_at(files, held)
        live.verify(live.delivered_files(con, books.settings.home, files), digests=True)
        found.append(files)
    return found


def _finish(
    books: Books, period: Period, document: bytes, kept: list[Kept]
) -> Literal["sealed", "before", "moved"]:
    """Closes the period with its seal, unless another did or a row that it binds was written since."""
    sealed = json.loads(document)
    with books.admin.write() as con:
        if lock.state_of(con, period) == "closed":
            return "before"
        if binding.said(binding.everything(con, period)) != sealed["bound"]:
            return "moved"
        numbers = chain.index(con, books, kept)
        _show_from_evidence(con, books, period, kept)
        board.end_period(con, period, because="the period is closed", actor=books.actor)
        lock.move(
            con,
            books,
            period,
            "closed",
            reason="sealed",
            evidence_id=str(numbers[-1]),
            at=chain.recorded_at(con, numbers[-1]),
            seal_digest=kept[-1].sha256,
            seal_journal_seq=sealed["journal_seq"],
        )
        signatures.require(
            books, con, "seal", ("period", str(period)), kept[-1].sha256, period_start=period.start
        )
    return "sealed"


def _show_from_evidence(con: sa.Connection, books: Books, period: Period, kept: list[Kept]) -> None:
    """`cur_billing_master` of a closed month reads the kept bytes: AWS may overwrite its own."""
    objects = chain.objects(books)
    places = {one.sha256: objects.path(one.key) for one in kept if one.piece.kind == "delivered_file"}
    shown, delivered = t.cur_billing_head, t.cur_delivery_file
    for row in con.execute(sa.select(shown).where(shown.c.period_start == period.start)).all():
        files = con.execute(
            sa.select(delivered)
            .where(delivered.c.delivery_id == row.delivery_id)
            .order_by(delivered.c.position)
        ).all()
        held = [places.get(file.sha256) for file in files]
        if not all(held):
            continue  # an evidence store that is no folder: the files are read where AWS keeps their versions
        location = [json.loads(row.location_json)[0], *(_place(books, path) for path in held if path)]
        con.execute(
            sa.update(shown)
            .where(shown.c.source_id == row.source_id, shown.c.period_start == period.start)
            .values(location_json=json.dumps(location))
        )


def _place(books: Books, path: Path) -> list[str | int]:
    home, info = books.settings.home, path.stat()
    named = path.relative_to(home) if path.is_relative_to(home) else path
    return [str(named), info.st_size, info.st_mtime_ns]


def _step_back(books: Books, period: Period, reason: str) -> None:
    with books.admin.write() as con:
        if lock.state_of(con, period) == "closing":
            lock.move(con, books, period, "final", reason=reason)


def _anchored_again(books: Books, period: Period) -> Closed:
    """What is left of a close that a crash cut short between seal and anchor; of any other nothing.

    Raises:
        CopsError: `E-EVIDENCE-MISSING`, `E-EVIDENCE-TAMPERED`: an anchor is written only behind a chain of
            which everything earlier is there and right.
    """
    chain.require_store(books)
    found = verify.verify(books)
    others = [one for one in found.findings if one.what != f"anchor of {period}"]
    if others:
        worst = next((one for one in others if one.status == "mismatch"), others[0])
        raise CopsError(
            "E-EVIDENCE-TAMPERED" if found.status == "mismatch" else "E-EVIDENCE-MISSING",
            f"evidence of {period}, which is closed",
            expected=f"{worst.what}: {worst.expected}",
            found=worst.found,
            next_step=found.next_step,
        )
    return _anchored(books, period, wrote=False)


def _anchored(books: Books, period: Period, *, wrote: bool) -> Closed:
    """The seal gets its name in the evidence store, and the head of the chain is written down there."""
    with books.admin.read() as con:
        row = con.execute(sa.select(t.period_lock).where(t.period_lock.c.period_start == period.start)).one()
        moves = t.period_lock_event
        event = con.execute(
            sa.select(moves.c.actor, moves.c.changed_at)
            .where(moves.c.period_start == period.start, moves.c.to_state == "closed")
            .order_by(moves.c.state_seq.desc())
            .limit(1)
        ).one()
        identity = signatures.told(con, "seal", ("period", str(period)))
    chain.anchor(books)
    # the name comes last: a seal that has one was anchored, whatever the store says later
    chain.objects(books).name(seal.name_of(period), key_of(row.seal_digest))
    return Closed(
        period, row.seal_digest, row.seal_journal_seq, wrote, event.actor, event.changed_at, identity
    )
