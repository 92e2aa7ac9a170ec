"""The margin of months as files: every view of it, what all of them are sums of, the record of them.

Belongs here: the CSV files of a folder. Does not belong here: their rows (`exports/margin.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cops_dagster.exports import files, margin, record
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.money.digest import digest

CELL_COLUMNS = (
    "period_start", "tenant_id", "plan_id", "service", "usage_period_start", "unblended_usd", "basis_usd",
    "direct_usd", "unused_commitments_usd", "markup_usd",
)  # fmt: skip
_ALGORITHM = "margin-csv-1"


def write(books: Books, made: margin.Margins, folder: Path) -> None:
    """Writes every view of it as CSV, and the cells that all of them are sums of.

    Of each reconciled month it is recorded which bytes its margin is.

    Raises:
        CopsError: `E-OUT` for a folder that is something else; `E-EXPORT-DIFFERS` when the same books gave
            other bytes before.
    """
    with files.swapped(folder, "margin") as target:
        for name, content in contents(made).items():
            (target / name).write_bytes(content)
        for one in made.months:
            if one.recon_id:
                own = contents(margin.Margins([one], []))
                sha256 = digest("margin", [(name, content.decode()) for name, content in own.items()])
                record.record(
                    books, "margin", one.period, digest(_ALGORITHM, one.recon_id, one.is_closed), sha256
                )


def contents(made: margin.Margins) -> dict[str, bytes]:
    """The files of a folder, by name."""
    tables: dict[str, tuple[Sequence[str], list[dict[str, Any]]]] = {
        f"margin_by_{by}.csv": (margin.COLUMNS, margin.rows(made, by)) for by in margin.BYS
    }
    tables["margin_by_month.csv"] = margin.COLUMNS, margin.totals(made)
    tables["margin_cells.csv"] = CELL_COLUMNS, _cells(made)
    tables["unit_costs.csv"] = (
        margin.UNIT_COLUMNS,
        [row for by in margin.BYS for row in margin.units(made, by)],
    )
    return {
        name: files.csv_bytes(columns, [list(row.values()) for row in found])
        for name, (columns, found) in tables.items()
    }


def _cells(made: margin.Margins) -> list[dict[str, Any]]:
    found = []
    for month in made.months:
        for cell in month.cells:
            amounts = (cell.unblended, cell.basis, cell.direct, cell.unused, cell.markup)
            usd = [None if one is None else amount.to_decimal(one) for one in amounts]
            about = (cell.tenant_id, cell.plan_id, cell.service, cell.usage)
            found.append(dict(zip(CELL_COLUMNS, (month.period.start, *about, *usd), strict=True)))
    return found
