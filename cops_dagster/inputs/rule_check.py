"""A rule set checked whole, as it is stored or as files would leave it; nothing is kept.

Does not belong here: what is wrong with a set (`allocation/rule_set.py`), what it does to a month
(`inputs/rule_effects.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.allocation import rule_date, rule_set
from cops_dagster.allocation.in_force import RuleSet, newest_open, pools_of, read
from cops_dagster.allocation.rule_set import Problem
from cops_dagster.allocation.rules import Pool, Rule
from cops_dagster.errors import CopsError
from cops_dagster.inputs import load
from cops_dagster.inputs.files import Row
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores.admin import Admin


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
    given = load.read_files(paths) if paths else {}
    with rehearsal(books.admin) if given else books.admin.read() as con:
        month = period or newest_open(con)
        decided = rule_date.newest(con, month)
        since = decided.rules_as_of if decided else month.start
        before = read(con)
        try:
            load.store(con, given, tags=books.policy.tags)
        except CopsError as refusal:
            if given.get("allocation_rules"):
                whole = _checked(_over(before, given), since, period is not None, None)
                refusal.details["problems"] = whole.as_json()
            raise
        after = read(con)
    pools = pools_of(books, month) if after.rules else None
    return _checked(after, since, period is not None, pools)


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
