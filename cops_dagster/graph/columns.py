"""What each column is, in plain words, as `docs/columns.md` says it, and what it is made of.

Belongs here: reading that page. Does not belong here: the words (the page), the lineage (`graph/lineage.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from cops_dagster import shipped
from cops_dagster.graph.lineage import made_of

_ROW = re.compile(r"\| `([a-z_0-9]+)` \| (.+) \|")
_HEADING = re.compile(r"## `([a-z_]+)`")
_USAGE = re.compile(r"tenant_[a-z][a-z0-9_]*_usage")
_EVERYWHERE = ""


def described(table: str, column: str) -> str | None:
    """A column in plain words, then what it is made of; `None` for one that the page does not know."""
    said, made = words(table, column), made_of(table, column)
    if said and made:
        return f"{said} ({made})"
    return said or made


def words(table: str, column: str) -> str | None:
    """A column in plain words: what the table's own section says goes before the others."""
    page = _page()
    own = "tenant_usage" if _USAGE.fullmatch(table) else table
    return page.get(own, {}).get(column) or page[_EVERYWHERE].get(column) or _carried(page, column)


def _carried(page: Mapping[str, Mapping[str, str]], column: str) -> str | None:
    """The same column keeps its meaning from `fact_cost_raw` to the tables that sum it."""
    return page["fact_cost_raw"].get(column) or page["fact_cost_allocated"].get(column)


@cache
def _page() -> dict[str, dict[str, str]]:
    """Table → column → words, in Markdown; sections without a table's name speak of every table."""
    found: dict[str, dict[str, str]] = {_EVERYWHERE: {}}
    table = _EVERYWHERE
    for line in (shipped.find("docs") / "columns.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = _HEADING.fullmatch(line)
            table = heading[1] if heading else _EVERYWHERE
        elif row := _ROW.fullmatch(line):
            found.setdefault(table, {})[row[1]] = row[2]
    return found
