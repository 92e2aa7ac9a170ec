"""The commitment account of a month as rows: a commitment, who used it, who bears what was left.

Belongs here: reading lines and entries, columns. Does not belong here: the arithmetic
(`reconciliation/commitment_account.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from cops_dagster.errors import unknown_month
from cops_dagster.lake import line_owners, tag_columns
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.reconciliation import commitment_account
from cops_dagster.reconciliation.commitment_account import Account, Use
from cops_dagster.tagging import tag

COLUMNS = (
    "period_start", "commitment", "kind", "by", "tenant_id", "bought_usd", "used_usd", "unused_usd",
    "on_demand_usd", "saved_usd", "residual_usd", "utilisation_pct", "coverage_pct", "savings_rate_pct",
)  # fmt: skip
"""A row `by` commitment, then one for each tenant that used it or bears what was left, and one by total."""


def rows(books: Books, period: Period) -> list[dict[str, Any]]:
    """The account of each commitment of a tagged month, and their total; exact amounts, reported ratios.

    Who used a reservation or plan is told by the line's own tags, of an instance too whose cost goes to its
    pods (docs/adr/0058).

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when nothing is tagged; what reading lines raises.
    """
    start: dict[str, Any] = {"period_start": period.start}
    with books.admin.read() as con, books.lines(period) as engine, books.engine() as own:
        if head(con, tag.TABLE, period) is None:
            raise unknown_month(period, expected="a tagged month", found="nothing tagged")
        names = books.namespace(engine, con, period)
        tag.group(books, con, names, period)
        line_owners.provide(engine, tag.parameters(books, con, period))
        names.provide(["fact_cost_raw"])
        tags, days = books.policy.tags, tag.boundaries(con, period)
        tag_columns.provide_cost_lines(
            engine, tags, days, inherit=tags.inherit, name="single_cost_lines", of="fact_cost_raw"
        )
        used = engine.fetch("fetch_commitment_use", start).dicts()
        uncovered = engine.fetch("fetch_on_demand_instances", start).dicts()
        books.namespace(own, con, period).provide(["fact_cost_allocated"])
        borne = own.fetch("fetch_fee_bearers", start).dicts()
    bearers: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in borne:
        bearers[row["service"]][row["tenant_id"]] = amount.from_decimal(row["borne_usd"])
    by_service = {row["service"]: amount.from_decimal(row["on_demand_usd"]) for row in uncovered}
    found = commitment_account.accounts([_use(row) for row in used], bearers, by_service)
    whole = commitment_account.total(found, sum(by_service.values()))
    return [row for one in found for row in _rows(period, one)] + [_row(period, whole, "total")]


def digest_of(account: Sequence[dict[str, Any]]) -> str:
    """Equal accounts have equal digests."""
    return digest("commitments-1", [[str(value) for value in row.values()] for row in account])


def _use(row: dict[str, Any]) -> Use:
    usd = [amount.from_decimal(row[name]) for name in ("amortized_usd", "billed_usd", "on_demand_usd")]
    return Use(row["commitment"], row["is_fee"], row["service"], row["tenant_id"], *usd)


def _rows(period: Period, one: Account) -> list[dict[str, Any]]:
    parts = [
        _row(
            period,
            Account(one.commitment, one.used_by.get(name, 0), one.borne_by.get(name, 0)),
            "tenant",
            name,
        )
        for name in sorted({*one.used_by, *one.borne_by})
    ]
    return [_row(period, one, "commitment"), *parts]


def _row(period: Period, one: Account, by: str, tenant: str | None = None) -> dict[str, Any]:
    kind = None if by == "total" else "savings_plan" if one.is_plan else "reservation"
    shares = (one.bought, one.used, one.unused)
    whole = (one.on_demand, one.saved, one.residual) if tenant is None else (None, None, None)
    ratios = (one.utilisation_pct, one.coverage_pct, one.savings_rate_pct) if tenant is None else (None,) * 3
    usd = [None if atto is None else amount.to_decimal(atto) for atto in (*shares, *whole)]
    named = (period.start, one.commitment, kind, by, tenant or None)
    return dict(zip(COLUMNS, (*named, *usd, *ratios), strict=True))
