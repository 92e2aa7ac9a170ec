"""Rule sets as they are stored, or would be after a load, checked whole.

Belongs here: reading a set with what it refers to, the day it is asked for, and a rehearsed load. What
is wrong with a set is in `rules/rule_set.py`, what a set does to a month in `ledger/rule_effects.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger import load as loading
from cops_dagster.ledger import rule_date
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.frames import Row
from cops_dagster.ledger.month import head
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.rules import allocation, rule_set
from cops_dagster.rules.allocation import Costs, Pool, Rule
from cops_dagster.rules.rule_set import Problem
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import Admin, now


@dataclass(frozen=True)
class RuleSet:
    """Every version of every rule, and the names that rules may use."""

    rules: tuple[Rule, ...]
    keys: Collection[str]
    tenants: Collection[str]


@dataclass(frozen=True)
class Checked:
    """A set's problems, each with the days it was found on."""

    days: tuple[date, ...]
    problems: Mapping[Problem, tuple[date, ...]]

    @property
    def errors(self) -> int:
        """How many make the set unusable."""
        return sum(problem.severity == "error" for problem in self.problems)

    def as_json(self) -> list[dict[str, Any]]:
        """The problems as `--json` shows them."""
        return [
            rule_set.as_json(problem) | {"days": [str(day) for day in days]}
            for problem, days in self.problems.items()
        ]


def read(con: sa.Connection) -> RuleSet:
    """The stored set."""
    rows = con.execute(sa.select(t.allocation_rules)).mappings()
    return RuleSet(
        tuple(Rule.from_row(dict(row)) for row in rows),
        frozenset(con.execute(sa.select(t.allocation_keys.c.key_name)).scalars()),
        frozenset(con.execute(sa.select(t.tenants.c.tenant_id)).scalars()),
    )


def in_force(con: sa.Connection, day: date) -> list[Rule]:
    """The rules in force on a day, by priority, of a set that has no error then.

    Raises:
        CopsError: the code of the first error of the whole set; `details["problems"]` has them all.
    """
    held = read(con)
    rule_set.require(rule_set.problems(held.rules, held.keys, held.tenants, day, pools=()))
    return allocation.in_force(held.rules, day)


@contextmanager
def rehearsal(admin: Admin) -> Iterator[sa.Connection]:
    """A transaction in which rows may be stored to see what they would do; it is rolled back always."""
    with admin.write() as con:
        try:
            yield con
        finally:
            con.rollback()


def check(books: Books, paths: Sequence[Path] = (), period: Period | None = None) -> Checked:
    """Problems of the stored set, or of CSV files over it, in one month or from the newest open one on.

    Args:
        paths: files or folders as for `load`, which are loaded and rolled back.
        period: ask for its day alone: the first, or the one that people decided on.

    Raises:
        CopsError: what `load` raises for these files. Where the fault is in the rules,
            `details["problems"]` has every problem of the set that they would make.
    """
    given = loading.read_files(paths) if paths else {}
    with rehearsal(books.admin) if given else books.admin.read() as con:
        month = period or newest_open(con)
        decided = rule_date.newest(con, month)
        since = decided.rules_as_of if decided else month.start
        before = read(con)
        try:
            loading.store(con, given, tags=books.policy.tags)
        except CopsError as refusal:
            if given.get("allocation_rules"):
                whole = _checked(_over(before, given), since, period is not None, None)
                refusal.details["problems"] = whole.as_json()
            raise
        after = read(con)
    pools = pools_of(books, month) if after.rules else None
    return _checked(after, since, period is not None, pools)


def newest_open(con: sa.Connection) -> Period:
    """The newest month that runs may still change; the present one while there is none."""
    lock = t.period_lock
    newest: date | None = con.execute(
        sa.select(sa.func.max(lock.c.period_start)).where(
            lock.c.state.in_(("open", "delayed", "provisional"))
        )
    ).scalar_one_or_none()
    return Period.of(newest or now().date())


def pools_of(books: Books, period: Period) -> list[Pool] | None:
    """What the tagged month has for rules to split; `None` while nothing is tagged."""
    with books.admin.read() as con:
        if head(con, "fact_cost_tagged", period) is None:
            return None
        with books.engine() as engine:
            books.namespace(engine, con, period).provide(["fact_cost_tagged"])
            rows = engine.fetch("fetch_pools", {"period_start": period.start}).dicts()
    return [pool(row) for row in rows]


def pool(row: Mapping[str, Any]) -> Pool:
    """A row of `fetch_pools`."""
    return Pool(
        row["service"], row["service_component"], row["charge_class"], row["usage_account_id"],
        row["plan_id"], row["delivery_id"],
        Costs(*(amount.from_decimal(row[f"{name}_usd"]) for name in Costs._fields)),
        row["matched_class"], row["tenant_tag"],
    )  # fmt: skip


def _checked(held: RuleSet, since: date, one_day: bool, pools: Sequence[Pool] | None) -> Checked:
    days = [since] if one_day else rule_set.changes(held.rules, since)
    found: dict[Problem, list[date]] = {}
    for day in days:
        for problem in rule_set.problems(held.rules, held.keys, held.tenants, day, pools):
            found.setdefault(problem, []).append(day)
    ordered = sorted(found.items(), key=lambda item: item[0].rank)
    return Checked(tuple(days), {problem: tuple(on) for problem, on in ordered})


def _over(held: RuleSet, given: Mapping[str, Sequence[Row]]) -> RuleSet:
    """The stored set with what files give over it, whether or not a load would take it."""
    rules = {(rule.rule_id, rule.version): rule for rule in held.rules}
    for row in given.get("allocation_rules", ()):
        rule = Rule.from_row(row.values)
        rules[rule.rule_id, rule.version] = rule
    return RuleSet(
        tuple(rules.values()),
        {*held.keys, *(row.values["key_name"] for row in given.get("allocation_keys", ()))},
        {*held.tenants, *(row.values["tenant_id"] for row in given.get("tenants", ()))},
    )
