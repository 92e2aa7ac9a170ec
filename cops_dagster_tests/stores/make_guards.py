"""Writes the lists of guards that the package ships, by running the migrations. From the checkout's top:

    .venv/bin/python -m cops_dagster_tests.stores.make_guards

To be run, and its result committed, with every new migration; `test_guards.py` says when that was forgotten.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from cops_dagster.stores import guards
from cops_dagster.stores.admin import open_admin
from cops_dagster_tests import postgres


def made(dialect: str) -> dict[str, str]:
    """What stands in a database that the migrations have just made."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/admin.db" if dialect == "sqlite" else postgres.database()
        admin = open_admin(url)
        try:
            with admin.read() as con:
                return guards.standing(con)
        finally:
            admin.close()


def main() -> int:
    """Writes both lists beside the code that reads them."""
    for dialect in ("sqlite", "postgresql"):
        path = Path(guards.__file__).with_name(f"guards_{dialect}.json")
        path.write_text(json.dumps(made(dialect), indent=0, sort_keys=True) + "\n", encoding="utf-8")
        sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
