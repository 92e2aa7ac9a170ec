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


def default(actor: str, con: sa.Connection | None = None) -> str:
    """The shipped map as a CSV file that `cops admin load` takes, approved by who loads it.

    Args:
        con: the books, where there are any: a row that they hold stands as they hold it, since what is loaded
            is never overwritten.
    """
    held: dict[tuple[str, ...], list[object]] = {}
    for row in con.execute(sa.select(t.gl_accounts)).mappings() if con is not None else ():
        held[tuple(str(row[name]) for name in _KEY)] = [_as_loaded(value) for value in row.values()]
    with _SHIPPED.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    at = [header.index(name) for name in _KEY]
    made = io.StringIO()
    csv_cells.write(
        made,
        header,
        [
            held.get(tuple(row[one] for one in at)) or [cell.replace("{actor}", actor) for cell in row]
            for row in rows
        ],
    )
    return made.getvalue()


_KEY = ("purpose", "tenant_id", "service", "version")


def _as_loaded(value: object) -> object:
    """What is written so that a load reads the stored value: a guard that is stored is not guarded again."""
    return csv_cells.text_of(value) if isinstance(value, str) else value


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
