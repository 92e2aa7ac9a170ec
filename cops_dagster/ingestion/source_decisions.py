"""What people decide about sources: which no longer count, which count again, what is taken out.

Belongs here: `cops source` and `cops deliver --withdraw`. A decision takes the pointer of open months away;
the next run takes the lines back (`ingestion/ingest.py`). Closed months never change. Does not belong here:
who gives way by itself (`ingestion/source_rules.py`), handing files over (`ingestion/deliver.py`), how
sources stand (`ingestion/sources.py`).
"""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import certificate, chain, documents, signatures
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.evidence.chain import Piece
from cops_dagster.ingestion import claims, shown, sources
from cops_dagster.ingestion.source_rules import Span
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.states import SOURCE_DECIDED, WRITABLE
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


@dataclass(frozen=True)
class Decided:
    """Outcome: the open months whose lines the next run takes back or books, and the months that stay."""

    source_id: str
    open_months: list[Period]
    closed_months: list[Period]
    was_new: bool


def retire(
    books: Books, source_id: str, *, reason: str, first: Period | None = None, last: Period | None = None
) -> Decided:
    """Lets a source no longer count, in every month or from `first` to `last`.

    Raises:
        CopsError: `E-PARAM` without a reason or for months in the wrong order, `E-SOURCE-NAME`.
    """
    require_policy(books)
    _require_reason(reason)
    if first and last and last < first:
        raise CopsError(
            "E-PARAM",
            f"months {first} to {last}",
            expected="a beginning that is not after the end",
            found=f"{last} before {first}",
            next_step="turn --from and --until round",
        )
    _require_known(books, source_id)
    span = Span(first.start if first else None, last.start if last else None)
    with books.admin.read() as con:
        if span in claims.retired(con).get(source_id, []):
            return Decided(source_id, [], [], was_new=False)
    return _decide(books, source_id, "retired", span, reason)


def restore(books: Books, source_id: str, *, reason: str) -> Decided:
    """Lets a retired source count again in every month; the next look takes what lies there.

    Raises:
        CopsError: `E-PARAM` without a reason, `E-SOURCE-NAME` for one that is not retired.
    """
    require_policy(books)
    _require_reason(reason)
    with books.admin.read() as con:
        away = claims.retired(con)
    if source_id not in away:
        raise _unnamed(source_id, sorted(away), "a retired source")
    return _decide(books, source_id, "restored", Span(), reason)


def withdraw(books: Books, source_id: str, period: Period, *, reason: str) -> Decided:
    """Takes a delivery that was handed over (`cops deliver`) out of an open month again.

    Its files are moved below `withdrawn/` in the home and kept. The same or others may be handed over anew.

    Raises:
        CopsError: `E-PARAM` without a reason; `E-PERIOD-CLOSED`; `E-DELIVERY-UNKNOWN` where nothing of that
            source and month was handed over.
    """
    require_policy(books)
    _require_reason(reason)
    own = books.settings.deliveries_root
    folder = own / source_id / f"{period.start:%Y%m%d}-{period.end:%Y%m%d}"
    booked_from = shown.place_of(books, source_id, period)
    with books.admin.read() as con:
        _require_open(con, period)
        signatures.identity(books, con)  # asked before a file is moved
    if not folder.is_dir() and not (booked_from and booked_from.is_relative_to(own)):
        raise CopsError(
            "E-DELIVERY-UNKNOWN",
            f"source {source_id} of {period}",
            expected="files handed over with `cops deliver`",
            found=", ".join(_handed_over(own)) or "none",
            next_step="name one of these with --source and --period; what AWS delivers is retired instead:"
            " `cops source retire NAME --reason …`",
        )
    if folder.is_dir():
        # moved first: a crash in between leaves a source without a place, never one that returns
        kept = books.settings.home / "withdrawn" / source_id / folder.name
        kept.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, kept / f"{now():%Y%m%dT%H%M%S%f}")
    return _decide(books, source_id, "withdrawn", Span(period.start, period.start), reason)


def _handed_over(own: Path) -> list[str]:
    return sorted(f"{month.parent.name} {month.name}" for month in own.glob("*/*")) if own.is_dir() else []


def _require_open(con: sa.Connection, period: Period) -> None:
    here = lock.state_of(con, period)
    if here not in (*WRITABLE, "final"):
        raise CopsError(
            "E-PERIOD-CLOSED",
            f"period {period}",
            expected="an open period",
            found=f"period is {here}",
            next_step="book the change as an adjustment in an open period",
        )


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise CopsError(
            "E-PARAM",
            "reason",
            expected="why, in words",
            found="nothing",
            next_step="add --reason '…'; it stands beside the decision for ever",
        )


def _decide(books: Books, source_id: str, event: str, span: Span, reason: str) -> Decided:
    """The decision, its proof and the pointers it takes away, in one transaction."""
    at, pointers = now(), t.cur_billing_head
    with books.admin.read() as con:
        heads = [row for row in month.shown(con) if row.source_id == source_id]
    told = [row for row in heads if span.holds(row.period_start)]
    document = documents.document(
        {
            "event": event,
            "source_id": source_id,
            "first_period": str(span.first or ""),
            "last_period": str(span.last or ""),
            "reason": reason.strip(),
            "actor": books.actor,
            "occurred_at": at.isoformat(),
            "deliveries": [
                {
                    "period": f"{row.period_start:%Y-%m}",
                    "delivery_id": row.delivery_id,
                    "row_count": row.row_count,
                    "cost_usd": f"{row.cost_usd:f}",
                }
                for row in told
            ],
        }
    )
    kept = chain.store(
        books, [Piece("source_decision", "source", source_id, certificate.JSON, data=document)]
    )
    taken, closed = [], []
    with books.admin.write() as con:
        number = chain.index(con, books, kept)[0]
        for start in _concerned(con, source_id, event, span):
            period = Period.of(start)
            if lock.is_sealed(con, period):
                closed.append(period)
                continue
            taken.append(period)
            if event != "restored":
                con.execute(
                    sa.delete(pointers).where(
                        pointers.c.source_id == source_id, pointers.c.period_start == start
                    )
                )
            if lock.state_of(con, period) == "final":
                lock.move(con, books, period, "provisional", reason=SOURCE_DECIDED)
        con.execute(
            sa.insert(t.source_event).values(
                source_id=source_id,
                event=event,
                first_period=span.first,
                last_period=span.last,
                delivery_id=told[0].delivery_id if event == "withdrawn" and told else None,
                reason=reason.strip(),
                evidence_id=str(number),
                actor=books.actor,
                occurred_at=at,
            )
        )
        signatures.require(books, con, "source", ("source", source_id), kept[0].sha256)
    return Decided(source_id, taken, closed, was_new=True)


def _concerned(con: sa.Connection, source_id: str, event: str, span: Span) -> list[date]:
    """The months that a decision moves: those shown of the source; at its return those it was away from."""
    deliveries, spans = t.cur_billing_head, [span]
    if event == "restored":
        deliveries, spans = t.cur_delivery, claims.retired(con).get(source_id, [])
    starts = con.execute(
        sa.select(deliveries.c.period_start).where(deliveries.c.source_id == source_id).distinct()
    ).scalars()
    return sorted(start for start in starts if any(one.holds(start) for one in spans))


def _require_known(books: Books, source_id: str) -> None:
    names = [one.source_id for one in sources.sources(books)]
    if source_id not in names:
        raise _unnamed(source_id, names, "a source of these books")


def _unnamed(source_id: str, names: Sequence[str], expected: str) -> CopsError:
    near = difflib.get_close_matches(source_id, names, n=1)
    return CopsError(
        "E-SOURCE-NAME",
        f"source {source_id!r}",
        expected=expected,
        found=f"none of that name; nearest is {near[0]}" if near else f"{', '.join(names) or 'none at all'}",
        next_step="take a name from `cops source list`",
    )
