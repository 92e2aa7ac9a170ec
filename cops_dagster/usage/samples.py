"""From the samples of a series to the figure of its day: exactly, with gaps and resets told. Pure.

Belongs here: folding samples that are decimal text, and where they are silent. Does not belong here: asking a
server (`usage/prometheus.py`). Figures are integers of 10⁻¹⁸, as money is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise

from cops_dagster.errors import CopsError
from cops_dagster.money import amount

Sample = tuple[int, str]
"""Second since 1970, UTC, and the value as the server writes it."""


@dataclass(frozen=True)
class Folded:
    """The figure of a series, and how often its counter began anew."""

    atto: int
    resets: int = 0


def fold(samples: Sequence[Sample], how: str) -> Folded:
    """One figure of a series.

    `rises` adds up what a counter rose from sample to sample; where it fell it began anew at 0, so the value
    after the fall is a rise. Nothing is extrapolated: what happened before the first sample was not seen.

    Raises:
        CopsError: `E-COST-…` for NaN, infinity and what 18 decimals cannot hold.
    """
    values = [exact(text) for _, text in samples]
    if how == "rises":
        falls = sum(after < before for before, after in pairwise(values))
        return Folded(
            sum(after - before if after >= before else after for before, after in pairwise(values)), falls
        )
    return Folded({"sum": sum, "max": max, "last": lambda all_: all_[-1]}[how](values))  # type: ignore[operator]


def exact(text: str) -> int:
    """Decimal text, also with an exponent, as an integer of 10⁻¹⁸."""
    try:
        return amount.from_decimal(number(text), subject="sample")
    except InvalidOperation:
        raise CopsError(
            "E-COST-PARSE",
            "sample",
            expected="a number",
            found=repr(text)[:60],
            next_step="correct the query",
        ) from None


def silence(
    stretches: Iterable[tuple[int, int]], start: int, end: int, longest: int
) -> tuple[int, int] | None:
    """The first part of [start, end] that is longer than `longest` seconds, and in no stretch."""
    at = start
    for begin, until in [*sorted(stretches), (end, end)]:
        if begin - at > longest:
            return at, begin
        at = max(at, until)
    return None


def number(text: str) -> Decimal:
    """Decimal text as a machine writes it: `Decimal` takes `1_000` and the digits of every script besides.

    Raises:
        InvalidOperation: for any other text.
    """
    if not text.isascii() or "_" in text:
        raise InvalidOperation(text)
    return Decimal(text)
