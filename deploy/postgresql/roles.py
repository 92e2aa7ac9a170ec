"""Applies roles.sql as the owner that COPS_ADMIN_DB names, where there is no psql, as in COPS's image."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg2


def main() -> None:
    """All of the file, or nothing of it."""
    url = os.environ["COPS_ADMIN_DB"].replace("postgresql+psycopg2://", "postgresql://", 1)
    con = psycopg2.connect(url)
    with con, con.cursor() as cursor:
        cursor.execute(Path(__file__).with_name("roles.sql").read_text(encoding="utf-8"))
    con.close()


if __name__ == "__main__":
    main()
