"""The checks of budgets and exports, and when each holds. Pure.

Belongs here: a check as a constant, and as a function of what is known of them. Does not belong here:
reading it (`operations/checks.py`, `operations/handed_out.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from cops_dagster.verdict import OF_FINANCE, Check, Verdict
from cops_dagster.words import near

_BUDGETS = "budget_master"

# fmt: off
BUDGETS_REFRESHED_TODAY = Check(
    "budgets_refreshed_today", "Budgets were refreshed since 04:00 UTC.", _BUDGETS, look="cops budgets list",
    mend="cops budgets refresh",
)
BUDGET_SCOPES_ARE_KNOWN = Check(
    "budget_scopes_are_known", "Every budget is about something that exists.", _BUDGETS,
    look="cops budgets list",
    mend="cops admin load budgets.csv with a new version about something that exists", whose=OF_FINANCE,
    headline="about_nothing",
)
EXPORTS_ARE_CURRENT = Check(
    "exports_are_current", "What left COPS of the month is what the books say now.", "focus_export",
    look="cops sql -q 'SELECT * FROM export_record'",
    mend="cops focus export {P} --out FOLDER, as each that is named was made", whose=OF_FINANCE,
    headline="stale",
)
# fmt: on


def budgets_refreshed_today(budgets: int, oldest: datetime | None, *, is_in_time: bool) -> Verdict:
    """Every budget was refreshed since 04:00 UTC, and none in the future.

    Args:
        oldest: when the first of them was; without budgets there is nothing to judge.
    """
    return Verdict(
        BUDGETS_REFRESHED_TODAY,
        is_in_time if oldest else None,
        "WARN",
        {"budgets": budgets, "oldest_refresh_utc": f"{oldest:%Y-%m-%d %H:%M}" if oldest else "never"},
    )


def budget_scopes_are_known(
    silent: Sequence[tuple[str, str, str | None]], known: Mapping[str, Collection[str]], budgets: int
) -> Verdict:
    """Every budget is about something that exists; one about nothing would stay at 0 and never warn.

    Args:
        silent: budgets whose actual is 0: id, scope type and value.
        known: by scope type, the values that are registered or have cost in the month.
        budgets: how many there are.
    """
    wrong: list[Mapping[str, object]] = [
        {
            "budget_id": budget,
            "scope_type": kind,
            "scope_value": value or "none",
            "near": near(value or "", known[kind]) or "none",
        }
        for budget, kind, value in silent
        if kind in known and value not in known[kind]
    ]
    return Verdict(
        BUDGET_SCOPES_ARE_KNOWN,
        not wrong if budgets else None,
        "WARN",
        {"budgets": budgets, "about_nothing": wrong[:20]},
    )


def exports_are_current(made: Sequence[str], stale: Sequence[str]) -> Verdict:
    """No export is older than the newest change of its month; of a month that never left there is none.

    Args:
        made: names of the exports that were made of the month.
        stale: those of them that are older than the books.
    """
    figures = {"stale": ", ".join(stale) or "none", "exports": ", ".join(made) or "none"}
    return Verdict(EXPORTS_ARE_CURRENT, not stale if made else None, "WARN", figures)
