"""The checks of budgets, and when each holds. Pure.

Belongs here: a check as a constant, and as a function of what is known of budgets. Does not belong here:
reading them (`operations/checks.py`).
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
