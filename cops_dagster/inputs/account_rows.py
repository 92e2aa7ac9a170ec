"""The account map of a load: each row says one thing, and the whole leaves no hole and no cycle.

Does not belong here: what a map is (`inputs/account_map.py`), versions in time (`inputs/versions.py`).
"""

from __future__ import annotations

from cops_dagster.errors import CopsError
from cops_dagster.inputs import account_map
from cops_dagster.inputs.account_map import Fault, Mapped
from cops_dagster.inputs.files import Row
from cops_dagster.inputs.references import Rows, shown


def check(rows: Rows) -> None:
    """The map as the table would hold it after the load.

    Raises:
        CopsError: `E-GL-ROW` for a row with an account and a purpose to follow, or with neither; `E-GL-HOLE`
            for a purpose that has no account on some day; `E-GL-CYCLE` where purposes follow each other.
    """
    for row in rows.values():
        account, name, kind, follows = (row.values[one] for one in ("account", "name", "kind", "follows"))
        if bool(account) == bool(follows) or bool(account) != bool(kind) or bool(account) != bool(name):
            raise CopsError(
                "E-GL-ROW",
                f"{row.where('account')} ({shown(row.table, row.values)})",
                expected="an account with its name and kind, or else the purpose that it follows",
                found=f"account {account or 'empty'}, name {name or 'empty'}, kind {kind or 'empty'},"
                f" follows {follows or 'empty'}",
                next_step="correct the row",
            )
    by_map = {Mapped.from_row(row.values): row for row in rows.values()}
    for fault in account_map.faults(list(by_map)):
        raise _refused(fault, by_map[fault.row] if fault.row else next(iter(rows.values())))


def _refused(fault: Fault, row: Row) -> CopsError:
    where = f"{row.where('follows')} ({shown(row.table, row.values)})" if fault.row else "gl_accounts"
    return CopsError(
        fault.code,
        where,
        expected=fault.expected,
        found=fault.found,
        next_step="give one of them an account; nothing was loaded"
        if fault.code == "E-GL-CYCLE"
        else "load a row with it in the same load, or take the rest from `cops journal accounts --default`",
    )
