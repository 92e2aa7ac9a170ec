"""One cost, one source: which deliveries of a month would book the same cost twice, and who gives way. Pure.

Belongs here: the comparison of what sources deliver. Does not belong here: reading what they deliver
(`ingestion/claims.py`), retiring a source (`ingestion/source_decisions.py`).

A payer's usage account is billed once a month. Two sources that deliver the same pair deliver the same
cost, whatever their formats and places. Per-account reports of one payer share no pair; nor do two payers
of one account that moved between them within the month.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import IntEnum

Pair = tuple[str, str]
"""Payer account and usage account; '' where a line names none (a payer's own fees and taxes)."""


class Standing(IntEnum):
    """What a candidate's source has in the books; the lower, the earlier it is served."""

    BOOKED = 1  # another delivery of this month is booked
    KNOWN = 2  # only other months are
    NEW = 3


@dataclass(frozen=True)
class Claim:
    """What one source's delivery of a month bills: its pairs of payer and usage account."""

    source_id: str
    delivery_id: str
    pairs: frozenset[Pair]


@dataclass(frozen=True)
class Clash:
    """Two sources that deliver the same pairs."""

    one: str
    other: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Span:
    """Billing months from `first` to `last`, both inclusive, as their first days; `None` is without end."""

    first: date | None = None
    last: date | None = None

    def holds(self, start: date) -> bool:
        """Whether the month that begins on `start` lies in it."""
        return (self.first is None or self.first <= start) and (self.last is None or start <= self.last)


def shared(one: Iterable[Pair], other: Iterable[Pair]) -> list[Pair]:
    """The pairs that both bill, in order.

    An account whose payer one of them does not name may be the same account's: it counts as shared. Ids are
    compared as numbers are written, since some tools drop leading zeros.
    """
    payers: dict[str, set[str]] = {}
    for payer, account in other:
        payers.setdefault(_plain(account), set()).add(_plain(payer))
    found = set()
    for payer, account in one:
        there = payers.get(_plain(account))
        if there is None:
            continue
        unnamed = bool(_plain(account)) and (not _plain(payer) or "" in there)
        if unnamed or _plain(payer) in there:
            found.add((payer, account))
    return sorted(found)


def _plain(account: str) -> str:
    text = account.strip()
    return text.lstrip("0") or text


def clashes(claims: Sequence[Claim]) -> list[Clash]:
    """Every two of these that bill the same pair."""
    return [
        Clash(one.source_id, other.source_id, tuple(pairs))
        for at, one in enumerate(claims)
        for other in claims[at + 1 :]
        if (pairs := shared(one.pairs, other.pairs))
    ]


def held(
    shown: Mapping[str, Claim], candidates: Sequence[tuple[Standing, Claim]]
) -> dict[str, tuple[Clash, ...]]:
    """The candidates that give way, by source, with whom they would bill the same cost.

    What is booked stays. Of candidates the source that is known longer is served first; of two that nobody
    knows neither is, for a person must choose.

    Args:
        shown: what readers see of each source now.
    """
    standing = dict(shown)
    away: dict[str, tuple[Clash, ...]] = {}
    for rank in Standing:
        group = [claim for here, claim in candidates if here is rank]
        taken = []
        for claim in group:
            others = [one for one in (*standing.values(), *group) if one.source_id != claim.source_id]
            found = [
                Clash(claim.source_id, one.source_id, tuple(pairs))
                for one in others
                if (pairs := shared(claim.pairs, one.pairs))
            ]
            if found:
                away[claim.source_id] = tuple({clash.other: clash for clash in found}.values())
            else:
                taken.append(claim)
        standing |= {claim.source_id: claim for claim in taken}
    return away
