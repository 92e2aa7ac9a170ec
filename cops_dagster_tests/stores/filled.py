"""A database that is filled until something gives."""

from __future__ import annotations

from cops_dagster.stores.admin import Admin


def fill(admin: Admin) -> None:
    """Writes until something gives."""
    with admin.write() as con:
        con.exec_driver_sql("CREATE TABLE filler (x)")
        for _ in range(4000):
            con.exec_driver_sql("INSERT INTO filler VALUES (zeroblob(100000))")
