"""The account map of the books, and the one that is shipped for people to begin with.

Does not belong here: what a map is and what is wrong with one (`inputs/account_map.py`), loading it
(`inputs/load.py`).
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.inputs.account_map import PURPOSES, AccountMap, Mapped
from cops_dagster.period import Period
from cops_dagster.stores import csv_cells
from cops_dagster.stores import tables as t

_SHIPPED = Path(__file__).with_name("gl_accounts.csv")


def default(actor: str) -> str:
    """The shipped map as a CSV file that `cops admin load` takes, approved by who loads it."""
    with _SHIPPED.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    made = io.StringIO()
    csv_cells.write(made, header, [[cell.replace("{actor}", actor) for cell in row] for row in rows])
    return made.getvalue()


def of(con: sa.Connection, period: Period) -> AccountMap:
    """The map by which a month is booked: the versions in force on its first day.

    Raises:
        CopsError: `E-GL-UNMAPPED` when no map was ever loaded.
    """
    found = con.execute(sa.select(t.gl_accounts)).mappings()
    rows = [Mapped.from_row(dict(row)) for row in found]
    if not rows:
        raise CopsError(
            "E-GL-UNMAPPED",
            "account map",
            expected="accounts for every purpose of the journal in gl_accounts",
            found="no row",
            next_step="`cops journal accounts --default > gl_accounts.csv`, look through it, then"
            " `cops admin load gl_accounts.csv`",
        )
    return AccountMap(rows, period.start)


def shown(con: sa.Connection, period: Period) -> list[dict[str, str]]:
    """The rows in force for a month, in the order of the purposes. Raises as `of`."""
    there = of(con, period).rows.values()
    return [
        {
            "purpose": row.purpose,
            "tenant": row.tenant_id,
            "service": row.service,
            "account": row.account or f"as {row.follows}",
            "name": row.name,
            "kind": row.kind,
            "what": PURPOSES[row.purpose],
        }
        for row in sorted(
            there, key=lambda row: (list(PURPOSES).index(row.purpose), row.tenant_id, row.service)
        )
    ]
