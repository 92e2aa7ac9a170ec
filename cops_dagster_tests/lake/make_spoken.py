"""Writes `sql/` in Trino's words, which `test_translation.py` holds; a person reads the difference."""

from __future__ import annotations

from pathlib import Path

from cops_dagster.lake import statements, trino

SQL = Path(__file__).parents[2] / "sql"
FILE = Path(__file__).parent / "outside" / "statements.sql"


def text() -> str:
    """Every statement of `sql/`, one behind the other."""
    made = []
    for path in sorted(SQL.rglob("*.sql")):
        name = path.relative_to(SQL).with_suffix("").as_posix()
        spoken = trino.expanded(statements.parsed(name), "trino").sql(
            dialect="trino", pretty=True, comments=False
        )
        made.append(f"-- {name}\n{spoken};\n")
    return "\n".join(made)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
