"""The days of usage keys: in time, named, steady, and before their month is closed. Pure.

Belongs here: when the checks of days hold. Does not belong here: reading days (`usage/checks.py`),
keys of whole months (`allocation/key_shares.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise

from cops_dagster.allocation import verdicts
from cops_dagster.money import amount
from cops_dagster.verdict import Figure, Verdict

_SHOWN = 50


@dataclass(frozen=True)
class Days:
    """The days of one measure in one month.

    Attributes:
        due: days that should have been taken by now.
        taken: by day, the figures of its newest version by tenant.
        held: by day, names that are nobody's, with their figures.
        refused: by day, why it was not taken.
        late: days that came after the month was closed.
        share_points: how many points of a share may move from day to day.
    """

    measure: str
    due: Sequence[date]
    taken: Mapping[date, Mapping[str, int]]
    held: Mapping[date, Mapping[str, int]] = field(default_factory=dict)
    refused: Mapping[date, str] = field(default_factory=dict)
    late: Sequence[date] = ()
    share_points: int = 20


def of(measures: Sequence[Days], *, is_closed: bool = False) -> list[Verdict]:
    """What is said of the days; of a closed month, that nothing came late, and nothing else."""
    late = [{"measure": one.measure, "usage_day": f"{day}"} for one in measures for day in one.late]
    before = Verdict(
        verdicts.USAGE_DAYS_BEFORE_CLOSE, not late if is_closed or measures else None, "WARN",
        {"late": late[:_SHOWN], "measures": len(measures)},
    )  # fmt: skip
    return [before] if is_closed else [_in_time(measures), _named(measures), _steady(measures), before]


def _in_time(measures: Sequence[Days]) -> Verdict:
    missing = [
        {"measure": one.measure, "usage_day": f"{day}", "why": one.refused.get(day, "not asked yet")}
        for one in measures
        for day in one.due
        if day not in one.taken
    ]
    due = sum(len(one.due) for one in measures)
    return Verdict(
        verdicts.USAGE_DAYS_COME_IN_TIME, not missing if due else None, "WARN",
        {"missing": missing[:_SHOWN], "days_due": due, "measures": len(measures)},
    )  # fmt: skip


def _named(measures: Sequence[Days]) -> Verdict:
    names: list[dict[str, object]] = [
        {
            "measure": one.measure, "usage_day": f"{day}", "name": name, "what": "nobody's, held",
            "share": _share(atto, sum(held.values()) + sum(one.taken.get(day, {}).values())),
        }
        for one in measures
        for day, held in sorted(one.held.items())
        for name, atto in sorted(held.items())
    ]  # fmt: skip
    for one in measures:
        for before, day in _pairs(one):
            was = one.taken[before]
            names += [
                {
                    "measure": one.measure, "usage_day": f"{day}", "name": tenant, "what": "dropped out",
                    "share": _share(was[tenant], sum(was.values())),
                }
                for tenant in sorted(set(was) - set(one.taken[day]))
                if was[tenant]
            ]  # fmt: skip
    days = sum(len(one.taken) for one in measures)
    figures: dict[str, Figure] = {"names": names[:_SHOWN], "days": days}
    return Verdict(verdicts.USAGE_DAYS_NAME_TENANTS, not names if days else None, "WARN", figures)


def _steady(measures: Sequence[Days]) -> Verdict:
    moved: list[dict[str, object]] = []
    compared = 0
    for one in measures:
        for before, day in _pairs(one):
            was, now = one.taken[before], one.taken[day]
            whole, total = sum(was.values()), sum(now.values())
            if not whole or not total:
                continue
            compared += 1
            for tenant in sorted({*was, *now}):
                part = now.get(tenant, 0) * whole - was.get(tenant, 0) * total
                if 100 * abs(part) > one.share_points * whole * total:
                    moved.append(
                        {
                            "measure": one.measure, "usage_day": f"{day}", "tenant_id": tenant,
                            "previous": _share(was.get(tenant, 0), whole),
                            "now": _share(now.get(tenant, 0), total),
                        }
                    )  # fmt: skip
    figures: dict[str, Figure] = {"moved": moved[:_SHOWN], "days_compared": compared}
    return Verdict(verdicts.USAGE_DAY_SHARES_STEADY, not moved if compared else None, "WARN", figures)


def _pairs(one: Days) -> list[tuple[date, date]]:
    """Days that follow one another, without a day between them."""
    days = sorted(one.taken)
    return [(a, b) for a, b in pairwise(days) if (b - a).days == 1]


def _share(part: int, whole: int) -> str:
    return f"{amount.percent(part, whole, 2)} %" if whole else "0 %"
