"""Usage keys of two months beside one another: a figure that jumps moves money from tenant to tenant. Pure.

Belongs here: when a key's total or a tenant's share of it moved too far, and how much money went with it.
Does not belong here: splitting by a key (`allocation/rules.py`), whether a key is fresh or empty.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cops_dagster.allocation.verdicts import KEY_SHARES_STEADY
from cops_dagster.money import amount
from cops_dagster.verdict import Verdict

SHARE_POINTS = {"WARN": 10, "ERROR": 20}
"""Percentage points that a tenant's share may move."""
TOTAL_TIMES = {"WARN": 2, "ERROR": 3}
"""How many times last month's total a key may be, or the other way round."""


@dataclass(frozen=True)
class KeyMonths:
    """One usage key: tenant → figure of last month and of this one, and the cost it splits (atto-USD)."""

    key_name: str
    before: Mapping[str, int]
    now: Mapping[str, int]
    pool: int


def key_shares_steady(
    keys: Collection[KeyMonths], come: Collection[str] = (), gone: Collection[str] = ()
) -> Verdict:
    """Totals and shares of usage keys stay near last month's, among the tenants of both months.

    A warning above 10 points or twice the total, an error above 20 points or three times. A tenant that
    began or ended explains itself: it is left out of both months, and named.

    Args:
        keys: those that both months split by; without any there is nothing to judge.
        come, gone: tenants that are active in this month alone, in last month alone.
    """
    moved: list[Mapping[str, object]] = []
    errors = 0
    for key in sorted(keys, key=lambda one: one.key_name):
        before, now = (
            {name: value for name, value in figures.items() if name not in come and name not in gone}
            for figures in (key.before, key.now)
        )
        was, is_now = sum(before.values()), sum(now.values())
        if not key.pool or was <= 0 or is_now <= 0:
            continue  # nothing is split by it, or an empty key, which is refused or shown elsewhere
        fresh, whole_key = sum(key.now.get(name, 0) for name in come), sum(key.now.values())
        if 100 * fresh > SHARE_POINTS["WARN"] * whole_key:
            moved.append(_newcomers(key, sorted(set(come) & set(key.now)), fresh, whole_key))
        least, most = min(was, is_now), max(was, is_now)
        if most > TOTAL_TIMES["WARN"] * least:
            moved.append(_total(key, was, is_now))
            errors += most > TOTAL_TIMES["ERROR"] * least
        for tenant in sorted({*before, *now}):
            one, other = before.get(tenant, 0), now.get(tenant, 0)  # no figure weighs nothing in a split
            part, whole = other * was - one * is_now, was * is_now  # the share moved by part ÷ whole
            if 100 * abs(part) > SHARE_POINTS["WARN"] * whole:
                moved.append(_share(key, tenant, one, other, was, is_now))
                errors += 100 * abs(part) > SHARE_POINTS["ERROR"] * whole
    return Verdict(
        KEY_SHARES_STEADY,
        not moved if keys else None,
        "ERROR" if errors else "WARN",
        {
            "keys": len(keys),
            "moved": moved[:50],
            "new_tenants": ", ".join(sorted(come)),
            "ended_tenants": ", ".join(sorted(gone)),
        },
    )


def _newcomers(key: KeyMonths, names: Sequence[str], fresh: int, whole: int) -> Mapping[str, object]:
    """What new tenants take at once: nobody knows their usual share, so it is a person's to look at."""
    part = abs(key.pool) * fresh // whole
    return {
        "key_name": key.key_name, "tenant_id": ", ".join(names), "previous": "new",
        "now": f"{amount.percent(fresh, whole, 2)} %",
        "moved_usd": amount.to_decimal(part if key.pool >= 0 else -part),
    }  # fmt: skip


def _total(key: KeyMonths, was: int, now: int) -> Mapping[str, object]:
    return {
        "key_name": key.key_name, "tenant_id": "(total)",
        "previous": amount.to_decimal(was), "now": amount.to_decimal(now),
        "moved_usd": amount.to_decimal(0),
    }  # fmt: skip


def _share(key: KeyMonths, tenant: str, before: int, now: int, was: int, is_now: int) -> Mapping[str, object]:
    part = now * was - before * is_now
    units = abs(key.pool * part) // (was * is_now)  # towards zero, in atto-USD
    return {
        "key_name": key.key_name, "tenant_id": tenant,
        "previous": f"{amount.percent(before, was, 2)} %", "now": f"{amount.percent(now, is_now, 2)} %",
        "moved_usd": amount.to_decimal(units if part * key.pool >= 0 else -units),
    }  # fmt: skip
