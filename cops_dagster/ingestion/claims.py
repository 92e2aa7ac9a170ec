"""What each source's delivery of a month bills, as pairs of payer and usage account; and who is retired.

Belongs here: reads of recorded deliveries and of `source_event`. Does not belong here: who gives way
(`ingestion/source_rules.py`), what people decide (`ingestion/source_decisions.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ingestion import source_rules
from cops_dagster.ingestion.source_rules import Claim, Clash, Pair, Span
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t

CODE = "E-SOURCE-TWICE"
PAIRS = "payer_account"
"""Dimension of `cur_delivery_breakdown` whose values are `payer/account`."""


def pairs_of(con: sa.Connection, delivery_ids: Iterable[str]) -> dict[str, frozenset[Pair]]:
    """The pairs of recorded deliveries.

    Of a delivery recorded before pairs were, payers and accounts are known apart: with one payer, as all but
    merged reports have, that is the same; with several it is every combination, which can only hold too much.
    """
    breakdown = t.cur_delivery_breakdown
    found: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in con.execute(
        sa.select(breakdown.c.delivery_id, breakdown.c.dimension, breakdown.c.value).where(
            breakdown.c.delivery_id.in_(list(delivery_ids)),
            breakdown.c.dimension.in_((PAIRS, "payer", "account")),
            breakdown.c.row_count > 0,
        )
    ):
        found[row.delivery_id][row.dimension].append(row.value)
    made = {}
    for delivery_id, by in found.items():
        if by[PAIRS]:
            split = (value.partition("/") for value in by[PAIRS])
            made[delivery_id] = frozenset((payer, account) for payer, _, account in split)
        else:
            made[delivery_id] = frozenset(
                (payer, account) for payer in by["payer"] or [""] for account in by["account"]
            )
    return made


def of(con: sa.Connection, deliveries: dict[str, str]) -> list[Claim]:
    """The claims of deliveries given by source."""
    pairs = pairs_of(con, deliveries.values())
    return [
        Claim(source, delivery_id, pairs.get(delivery_id, frozenset()))
        for source, delivery_id in sorted(deliveries.items())
    ]


def shown(con: sa.Connection, period: Period) -> dict[str, Claim]:
    """The claims of what readers see of a month, by source; a sealed month's retired sources included."""
    cur_billing_head = t.cur_billing_head
    heads = {
        row.source_id: row.delivery_id
        for row in con.execute(
            sa.select(cur_billing_head.c.source_id, cur_billing_head.c.delivery_id).where(
                cur_billing_head.c.period_start == period.start
            )
        )
    }
    return {claim.source_id: claim for claim in of(con, heads)}


def standing(con: sa.Connection, source_id: str, period: Period) -> source_rules.Standing:
    """What a source has in the books, seen from one month."""
    shown = t.cur_billing_head
    starts = (
        con.execute(sa.select(shown.c.period_start).where(shown.c.source_id == source_id)).scalars().all()
    )
    if period.start in starts:
        return source_rules.Standing.BOOKED
    return source_rules.Standing.KNOWN if starts else source_rules.Standing.NEW


def booked_twice(con: sa.Connection, period: Period) -> list[Clash]:
    """Sources of a month whose shown deliveries bill the same cost."""
    return source_rules.clashes(list(shown(con, period).values()))


def require_one(books: Books, period: Period) -> None:
    """Refuses to publish over an open month that two sources bill.

    Raises:
        CopsError: `E-SOURCE-TWICE`.
    """
    with books.admin.read() as con:
        found = [] if lock.is_sealed(con, period) else booked_twice(con, period)
    if found:
        raise refusal(period, found[0].one, found[:1])


def refusal(period: Period, source_id: str, found: Sequence[Clash]) -> CopsError:
    """Why a source's delivery is not taken, and how a person chooses."""
    first = found[0]
    other = first.other if first.other != source_id else first.one
    more = sum(len(clash.pairs) for clash in found) - 1
    return CopsError(
        CODE,
        f"source {source_id} of {period}",
        expected="each payer's usage account and month from one source only",
        found=f"{pair_text(first.pairs[0])}{f' and {more} more' if more else ''} come from {other} too",
        next_step=f"choose one: `cops source retire {source_id} --reason …` or `cops source retire {other}"
        f" --reason …` (what was handed over: `cops deliver --withdraw`), then `cops materialize {period}`;"
        " what is booked stays until then",
    )


def pair_text(pair: Pair) -> str:
    """A pair for people."""
    payer, account = pair
    return f"payer {payer or '(none named)'} account {account or '(none named)'}"


# --- retired sources ------------------------------------------------------------------------------------


def retired(con: sa.Connection) -> dict[str, list[Span]]:
    """The months in which each source no longer counts."""
    events = t.source_event
    spans: dict[str, list[Span]] = {}
    for row in con.execute(
        sa.select(events).where(events.c.event != "withdrawn").order_by(events.c.event_seq)
    ):
        if row.event == "restored":
            spans.pop(row.source_id, None)
        else:
            spans.setdefault(row.source_id, []).append(Span(row.first_period, row.last_period))
    return spans


def retired_in(con: sa.Connection, period: Period) -> set[str]:
    """The sources that do not count in a month."""
    return {
        source for source, spans in retired(con).items() if any(span.holds(period.start) for span in spans)
    }


def withdrawals(con: sa.Connection, period: Period) -> dict[str, datetime]:
    """Sources of a month whose delivery was taken out again, with the newest time of it."""
    events = t.source_event
    rows = con.execute(
        sa.select(events.c.source_id, sa.func.max(events.c.occurred_at))
        .where(events.c.event == "withdrawn", events.c.first_period == period.start)
        .group_by(events.c.source_id)
    )
    return {str(source): at for source, at in rows}


def withdrawn_in(con: sa.Connection, period: Period) -> bool:
    """Whether a delivery of a month was ever taken out again."""
    events = t.source_event
    return bool(
        con.execute(
            sa.select(events.c.event_seq)
            .where(events.c.event == "withdrawn", events.c.first_period == period.start)
            .limit(1)
        ).first()
    )
