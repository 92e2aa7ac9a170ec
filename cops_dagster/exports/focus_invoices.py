"""A pool that stands on several invoices, by invoice: every part and every invoice to difference 0. Pure.

Belongs here: dividing the entries of a pool over the invoices of its lines. Does not belong here: what the
lines of a pool cost (`sql/pool_invoices.sql`), charges (`exports/focus_entries.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from cops_dagster.money import amount
from cops_dagster.money.split import split

COSTS = (
    ("allocated_cost_usd", "billed_usd"), ("allocated_amortized_cost_usd", "effective_usd"),
    ("allocated_net_amortized_cost_usd", "net_effective_usd"),
)  # fmt: skip
Entry = Mapping[str, Any]


def by_invoice(
    entries: Sequence[Entry], invoices: Sequence[Mapping[str, Any]]
) -> list[tuple[str | None, list[Entry]]]:
    """The entries of one pool for each invoice of its lines; all of them as they are where the sums differ.

    Each part is divided by what the invoices cost; the last part takes what is left of each invoice. So the
    entries of an invoice add up to it, and those of a bearer to what it bears, in every cost.
    """
    whole = {
        ours: [amount.from_decimal(one[theirs]) for one in invoices] for ours, theirs in COSTS
    }  # fmt: skip
    told = {ours: sum(amount.from_decimal(entry[ours]) for entry in entries) for ours, _ in COSTS}
    if not invoices or any(sum(whole[ours]) != told[ours] for ours, _ in COSTS):
        return [(None, list(entries))]
    left = {ours: list(sums) for ours, sums in whole.items()}
    made: list[list[Entry]] = [[] for _ in invoices]
    for number, entry in enumerate(entries):
        is_last = number == len(entries) - 1
        shares = {
            ours: left[ours] if is_last else _divided(amount.from_decimal(entry[ours]), whole[ours])
            for ours, _ in COSTS
        }
        for at in range(len(invoices)):
            costs: dict[str, Any] = {ours: amount.to_decimal(shares[ours][at]) for ours, _ in COSTS}
            made[at].append({**entry, **costs, "pool_cost_usd": _usd(whole["allocated_cost_usd"][at])})
        if not is_last:
            left = {ours: [a - b for a, b in zip(left[ours], shares[ours], strict=True)] for ours in left}
    return [(one["invoice_id"], found) for one, found in zip(invoices, made, strict=True)]


def _divided(cost: int, sums: Sequence[int]) -> list[int]:
    weights = {f"{at:06d}": abs(one) for at, one in enumerate(sums)}
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    return list(split(cost, weights).values())


def _usd(atto: int) -> Decimal:
    return amount.to_decimal(atto)
