"""Writes `docs/checks.md` from the checks themselves: `python -m cops_dagster_tests.docs.make_checks`."""

from __future__ import annotations

from collections.abc import Sequence

from cops_dagster.operations.all_checks import CHECKS
from cops_dagster.verdict import Check
from cops_dagster_tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "checks.md"

_HEAD = """# Every check

What is asked of a month, by the table that it is about, in the order of the month. A check that *blocks* lets
nothing be published while it is an error. `{P}` is the month, such as `2025-09`. When a check is red and what
that means stands in the page of its step; who is told when in [budgets-alerts.md](budgets-alerts.md).

This page is written from the checks: `python -m cops_dagster_tests.docs.make_checks`.
"""

_COLUMNS = """| what holds | check | to look | to mend | whose |
| --- | --- | --- | --- | --- |
"""


def row(check: Check) -> str:
    """A check as a line of the table: what holds, its name, how to look, how to mend, whose it is."""
    name = f"`{check.name}`{', blocks' if check.blocks else ''}"
    look = check.look.replace("|", "\\|")
    return f"| {check.sentence} | {name} | `{look}` | {check.mend} | {', '.join(check.whose)} |"


def written(checks: Sequence[Check]) -> str:
    """The whole page."""
    text = _HEAD
    for table in dict.fromkeys(check.table for check in checks):
        text += f"\n## {table}\n\n{_COLUMNS}"
        text += "".join(f"{row(check)}\n" for check in checks if check.table == table)
    return text


if __name__ == "__main__":
    PAGE.write_text(written(CHECKS), encoding="utf-8")
