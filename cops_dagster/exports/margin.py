"""The margin of months as rows: by tenant, plan or service, with unit costs.

Belongs here: columns, months that are left out. Does not belong here: the arithmetic
(`reconciliation/margin.py`), reading a month (`exports/earned.py`), files (`margin_files.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError, unknown_month
from cops_dagster.exports import earned
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.reconciliation import margin, record
from cops_dagster.reconciliation.margin import By, MarginLine
from cops_dagster.reconciliation.margin_cells import Earned
from cops_dagster.stores import tables as t
from cops_dagster.words import near

COLUMNS = (
    "period_start", "by", "name", "charged_usd", "invoiced_usd", "direct_usd", "shared_usd",
    "adjustments_usd", "markup_usd", "own_cost_usd", "unallocated_usd", "own_adjustments_usd", "cost_usd",
    "margin_usd", "margin_pct", "unused_commitments_usd", "status",
)  # fmt: skip
"""Of a line: charged = direct + shared + adjustments + markup; cost = direct + shared + adjustments + own
cost + unallocated + own adjustments; margin = charged − cost. Unused commitments are part of the cost."""
UNIT_COLUMNS = (
    "period_start", "by", "name", "key_name", "units", "cost_usd", "unit_cost_usd", "unit_charge_usd",
)  # fmt: skip
BYS: tuple[By, ...] = ("tenant", "plan", "service")


@dataclass(frozen=True)
class Margins:
    """Months with their margin, the oldest first; `left_out` were never reconciled as they stand."""

    months: Sequence[Earned]
    left_out: Sequence[Period]

    @property
    def is_draft(self) -> bool:
        """No reconciliation stands behind it."""
        return any(not one.recon_id for one in self.months)


def newest_month(books: Books) -> Period:
    """The newest month that was reconciled.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when none was.
    """
    with books.admin.read() as con:
        newest = con.execute(sa.select(sa.func.max(t.recon_run.c.period_start))).scalar()
    if newest is None:
        raise unknown_month(
            "", subject="margin", expected="a reconciled month", found="none",
            next_step="run `cops materialize PERIOD`",
        )  # fmt: skip
    return Period.of(newest)


def margins(books: Books, period: Period, months: int = 1, *, draft: bool = False) -> Margins:
    """The margin of a month and of those before it. A month before it that was never reconciled is left out.

    Raises:
        CopsError: `E-NOT-RECONCILED` for a month that changed since its reconciliation, and for the named one
            without any.
    """
    found: list[Earned] = []
    left_out: list[Period] = []
    one = period
    with books.admin.read() as con:
        for _ in range(months):
            if one == period or record.newest(con, one) is not None:
                found.append(earned.read(books, con, one, draft=draft))
            else:
                left_out.append(one)
            one = one.previous()
    return Margins(found[::-1], left_out[::-1])


def rows(made: Margins, by: By) -> list[dict[str, Any]]:
    """A row for each line of each month, exact."""
    return [_row(one, by, line) for one in made.months for line in one.lines(by)]


def totals(made: Margins) -> list[dict[str, Any]]:
    """A row for each month."""
    return [_row(one, "month", one.total) for one in made.months]


def units(made: Margins, by: By, *, per: int = 1, service: str | None = None) -> list[dict[str, Any]]:
    """What a unit of each usage key costs and is charged, a row for each line and key.

    Args:
        per: so many units, such as a million tokens.
        service: the cost of this service alone. A tenant without units has no row, and none is 0.

    Raises:
        CopsError: `E-PARAM` when none of the months has cost of the service, with the near name.
    """
    if service is not None:
        _require_service(made, service)
    found = []
    for month in made.months:
        cells = [cell for cell in month.cells if service in (None, cell.service)]
        for one in margin.unit_costs(cells, month.keys, by, per=per):
            used = amount.to_decimal(one.units)
            usd = (one.cost_usd, one.unit_cost_usd, one.unit_charge_usd)
            values = (month.period.start, by, one.name, one.key_name, used, *usd)
            found.append(dict(zip(UNIT_COLUMNS, values, strict=True)))
    return found


def _require_service(made: Margins, service: str) -> None:
    known = {cell.service for month in made.months for cell in month.cells}
    if service not in known:
        raise CopsError(
            "E-PARAM",
            f"service {service!r}",
            expected="one that has cost in the month",
            found="none" + (f"; {meant} has" if (meant := near(service, known)) else ""),
            next_step="take its name from `cops margin --by service`",
        )


def _row(month: Earned, by: str, line: MarginLine) -> dict[str, Any]:
    own = line.adjustments - line.charged_adjustments
    known = line.is_priced
    usd = (
        line.charged if known else None, line.invoiced, line.direct, line.shared, line.charged_adjustments,
        line.markup if known else None, line.own_cost, line.unallocated, own, line.cost,
        line.margin if known else None,
    )  # fmt: skip
    shown = [None if one is None else amount.to_decimal(one) for one in usd]
    unused, status = amount.to_decimal(line.unused), "reconciled" if month.recon_id else "DRAFT"
    values = (month.period.start, by, line.name, *shown, line.margin_pct, unused, status)
    return dict(zip(COLUMNS, values, strict=True))
