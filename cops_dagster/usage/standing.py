"""How usage keys stand, in a list and one by one: which pipeline starves which rule, and what hangs on it.

Belongs here: putting together what people and programs read of them. Does not belong here: asking
(`usage/refresh.py`), checks (`usage/checks.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import sqlalchemy as sa

from cops_dagster.allocation import allocate, inputs, key_versions
from cops_dagster.allocation.rules import Plan, Shared
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import ALLOCATED, head
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.usage import declared, record, roll_up
from cops_dagster.usage.declared import Measure


@dataclass(frozen=True)
class Standing:
    """One measure in one month.

    Attributes:
        state: `fresh`; `waiting` for its first day; `late`, `refused`, `gap`; `by hand`: other figures than
            those of its days are loaded; `behind`: those of earlier versions; `closed`; of a CSV `loaded` or
            `missing`.
        last_day, version: the newest day with a version. Of a CSV: none.
        why: of what is not fresh.
        usage_id: of the figures that are loaded, if days made them.
    """

    measure: str
    asset: str
    source: str
    unit: str
    state: str
    last_day: date | None
    version: int | None
    days: int
    due: int
    usage_id: str | None
    refreshed_at: datetime | None
    why: str

    @property
    def starves(self) -> bool:
        """Its pipeline does not give what is due."""
        return self.state in ("late", "refused", "gap", "behind", "missing")


@dataclass(frozen=True)
class Hanging:
    """What a rule splits by a key: `pool_usd` of a service and charge class."""

    rule_id: str
    rule_version: int
    key_name: str
    service: str
    charge_class: str
    pool_usd: Decimal
    on_zero_key: str


@dataclass(frozen=True)
class Explained:
    """A measure, the keys that are made of it, and the money that its rules split; `None` while untagged.

    Attributes:
        frozen: version of the figures that the month's run is made of, by key; '' for figures without one.
        days: every version of every day.
    """

    standing: Standing
    query: str
    keys: Sequence[str]
    rules: Sequence[Hanging]
    hanging_usd: Decimal | None
    frozen: dict[str, str]
    days: Sequence[record.Version]


def standings(books: Books, period: Period, *, at: datetime | None = None) -> list[Standing]:
    """Every declared measure in a month. Raises as `declared.measures`."""
    moment = at or now()
    measures = declared.measures(books.settings)
    with books.admin.read() as con:
        return [_standing(con, one, period, moment) for one in measures.values()]


def explain(books: Books, measure: Measure, period: Period, *, at: datetime | None = None) -> Explained:
    """One measure: how it stands, which rules it feeds, how much they split by it."""
    with books.admin.read() as con:
        standing = _standing(con, measure, period, at or now())
        allocation_keys, snapshots = t.allocation_keys, t.key_usage_version
        keys = list(
            con.execute(
                sa.select(allocation_keys.c.key_name)
                .where(allocation_keys.c.measure == measure.name)
                .order_by(allocation_keys.c.key_name)
            ).scalars()
        )
        run = head(con, ALLOCATED, period)
        named = dict(
            con.execute(
                sa.select(snapshots.c.key_name, snapshots.c.usage_id).where(
                    snapshots.c.inputs_id == (run.inputs_id if run else "")
                )
            ).all()
        )
        days = [
            version
            for day in record.newest(con, measure.name, period)
            for version in record.versions_of(con, measure.name, day)
        ]
        is_tagged = head(con, "fact_cost_tagged", period) is not None
        rules = _hanging(books, con, period, keys) if is_tagged and keys else []
    total = sum((one.pool_usd for one in rules), Decimal(0)) if is_tagged else None
    frozen = {key: str(named.get(key, "")) for key in keys} if run else {}
    return Explained(standing, measure.query, keys, rules, total, frozen, days)


def _standing(con: sa.Connection, measure: Measure, period: Period, at: datetime) -> Standing:
    usage = t.tenant_usage
    rows = con.execute(
        sa.select(usage).where(usage.c.measure == measure.name, usage.c.period_start == period.start)
    ).all()
    loaded = {row.tenant_id: amount.from_decimal(row.value) for row in rows}
    refreshed = max((row.refreshed_at for row in rows), default=None)
    found = record.counting(con, measure, period)
    newest = found[max(found)] if found else None
    usage_id = key_versions.of_figures(con, measure.name, period, loaded) if loaded else None
    due = measure.days(period, at, in_time=True) if measure.asks else []
    state, why = _state(con, measure, period, list(found), due, loaded, usage_id)
    return Standing(
        measure.name,
        measure.asset,
        measure.source.kind,
        measure.unit,
        state,
        newest.day if newest else None,
        newest.version if newest else None,
        len(found),
        len(due),
        usage_id,
        refreshed,
        why,
    )


def _state(
    con: sa.Connection,
    measure: Measure,
    period: Period,
    days: Sequence[date],
    due: Sequence[date],
    loaded: dict[str, int],
    usage_id: str | None,
) -> tuple[str, str]:
    if not measure.asks:
        return ("loaded", "") if loaded else ("missing", f"cops admin load {measure.asset}.csv")
    if lock.is_sealed(con, period):
        return "closed", ""
    for one in key_versions.stalled(con, period):
        if one.measure == measure.name:
            return "refused", f"{one.day}: {one.code}: {one.detail}"
    if missing := [day for day in due if day not in days]:
        return "late", f"{missing[0]} has no version, and {len(missing) - 1} later day(s)"
    if gaps := roll_up.missing(measure, period, days):
        return "gap", f"{gaps[0]} has no version, and {len(gaps) - 1} later day(s)"
    if not days:
        return "waiting", "no day is complete yet"
    if usage_id is None:
        return "by hand", "tenant_usage holds other figures than its days make"
    if usage_id != roll_up.identity(measure, period, record.counting(con, measure, period)):
        return "behind", f"a newer version of a day is not loaded: cops keys refresh {measure.name} --day …"
    return "fresh", ""


def _hanging(books: Books, con: sa.Connection, period: Period, keys: Sequence[str]) -> list[Hanging]:
    with books.engine() as engine:
        given = inputs.gather(con, books.policy, period)
        books.namespace(engine, con, period).provide(["fact_cost_tagged"])
        made = allocate.compute(engine, given, period)
    wanted = {rule.rule_id: rule for rule in given.rules if rule.key_name in keys}
    sums: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for rule_id, service, charge_class, cost in _claims(made):
        if rule_id in wanted:
            sums[rule_id, service, charge_class] += cost
    return [
        Hanging(
            rule_id,
            wanted[rule_id].version,
            str(wanted[rule_id].key_name),
            service,
            charge_class,
            amount.to_decimal(cost),
            wanted[rule_id].on_zero_key,
        )
        for (rule_id, service, charge_class), cost in sorted(
            sums.items(), key=lambda one: (-abs(one[1]), one[0])
        )
    ]


def _claims(made: Plan) -> Sequence[tuple[str, str, str, int]]:
    """Rule, service, class and cost of every pool that a rule claimed, split or not."""
    return [
        (one.rule.rule_id, one.head[0], one.head[2], one.costs.unblended)
        if isinstance(one, Shared)
        else (one.rule_id or "", one.service, one.charge_class, one.costs.unblended)
        for one in made.claimed
    ]


def newest_month(books: Books) -> Period:
    """The newest month that is not closed, or the one that it is now where none is known."""
    from cops_dagster.ledger.month import known

    with books.admin.read() as con:
        open_ = [period for period in known(con) if not lock.is_sealed(con, period)]
    return max(open_, default=Period.of(now().date()))
