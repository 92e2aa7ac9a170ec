"""Whether a set of rules fits together: every problem of it on one day, not the first. Pure.

Belongs here: what is wrong, or likely not meant, between rules, keys and tenants. Does not belong
here: what one cell may hold (`inputs/cells.py`), what a rule does with a pool (`allocation/rules.py`).

An error makes the set unusable; a warning is something that a person may well have meant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from itertools import chain, combinations, pairwise
from typing import Any, Literal

from cops_dagster.allocation import chain_set
from cops_dagster.allocation.chain import RULE, SERVICES, goes_on
from cops_dagster.allocation.rules import Pool, Rule, in_force
from cops_dagster.errors import CopsError
from cops_dagster.money import amount
from cops_dagster.words import CHARGE_CLASSES, METHODS, OPERATOR

_ALL = 100 * amount.ATTO  # per cent


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, or likely not meant. `rule_ids` is empty where a rule is missing."""

    code: str
    severity: Literal["error", "warning"]
    rule_ids: tuple[str, ...]
    expected: str
    found: str

    @property
    def rank(self) -> tuple[bool, str, tuple[str, ...], str, str]:
        """Errors first, then by code and rules: the order of every list of problems."""
        return self.severity != "error", self.code, self.rule_ids, self.found, self.expected


def problems(
    rules: Iterable[Rule],
    keys: Collection[str],
    tenants: Collection[str],
    day: date,
    pools: Iterable[Pool] | None = None,
) -> list[Problem]:
    """Everything that is wrong with the rules in force on `day`, and with the dates of all versions.

    Args:
        rules: every version of every rule.
        keys: names that `allocation_keys` has.
        tenants: ids that are registered.
        day: first of a month; rules are asked for on no other day.
        pools: cost without a tenant of a month. With it, only its charge classes need a rule.
    """
    versions = list(rules)
    standing = in_force(versions, day)
    ids = {rule.rule_id for rule in versions}
    found = chain(
        _dates(versions),
        _shared_priorities(standing),
        _shadows(standing),
        *(_of_one(rule, keys, tenants) for rule in standing),
        _fallbacks(standing, ids, day),
        _cycles(standing),
        _gaps(standing, pools),
        (Problem(*one) for one in chain_set.problems(standing, tenants)),
    )
    return sorted(set(found), key=lambda problem: problem.rank)


def require(found: Sequence[Problem]) -> None:
    """Refuses a set that has an error; warnings pass.

    Raises:
        CopsError: the code of the first error; `details["problems"]` has them all.
    """
    errors = [problem for problem in found if problem.severity == "error"]
    if errors:
        first = errors[0]
        more = f" ({len(errors)} errors in this rule set)" if errors[1:] else ""
        raise CopsError(
            first.code,
            _named(first.rule_ids),
            expected=first.expected,
            found=first.found + more,
            next_step="load new versions that put it right; `cops rules check` lists every problem",
            details={"problems": [as_json(problem) for problem in errors]},
        )


def as_json(problem: Problem) -> dict[str, Any]:
    """A problem's fields, as `--json` and the details of a refusal show them."""
    return asdict(problem) | {"rule_ids": list(problem.rule_ids)}


def changes(rules: Iterable[Rule], since: date) -> list[date]:
    """`since`, and each later day on which another set of versions is in force than the day before."""
    versions = list(rules)
    ends = (rule.effective_to for rule in versions if rule.effective_to)
    days = sorted({day for day in (*ends, *(rule.effective_from for rule in versions)) if day > since})
    return [since, *(day for day in days if _set_on(versions, day) != _set_on(versions, _before(day)))]


def fallback(rule: Rule) -> str | None:
    """The rule that takes over when this one's key is empty."""
    named = rule.on_zero_key
    return named.removeprefix("rule:") if named.startswith("rule:") else None


def _set_on(rules: Sequence[Rule], day: date) -> set[tuple[str, int]]:
    return {(rule.rule_id, rule.version) for rule in in_force(rules, day)}


def _before(day: date) -> date:
    return day - timedelta(days=1) if day > date.min else day


def _named(rule_ids: Sequence[str]) -> str:
    return f"rule{'s' if rule_ids[1:] else ''} {', '.join(rule_ids)}"


def _error(code: str, rule_ids: Sequence[str], expected: str, found: str) -> Problem:
    return Problem(code, "error", tuple(rule_ids), expected, found)


def _warning(code: str, rule_ids: Sequence[str], expected: str, found: str) -> Problem:
    return Problem(code, "warning", tuple(rule_ids), expected, found)


# --- dates --------------------------------------------------------------------------------------------


def _dates(versions: Sequence[Rule]) -> Iterator[Problem]:
    by_id: defaultdict[str, list[Rule]] = defaultdict(list)
    for rule in versions:
        by_id[rule.rule_id].append(rule)
    for rule_id, own in by_id.items():
        own.sort(key=lambda rule: rule.since)
        for rule in own:
            if rule.effective_to and rule.effective_to <= rule.effective_from:
                expected = "effective_to after effective_from; the last day is exclusive"
                yield _error("E-RULE-DATES", [rule_id], expected, f"{_days(rule)}")
        for one, following in pairwise(own):
            yield from _between(one, following)


def _between(one: Rule, following: Rule) -> Iterator[Problem]:
    """An open version lasts until the next one; a dated one ends before it or on its first day."""
    end, takeover = one.effective_to, following.effective_from
    found = f"{_days(one)}, then {_days(following)}"
    if one.effective_from == takeover or (end and end > takeover):
        yield _error("E-RULE-DATES", [one.rule_id], "one version on any day", found)
    elif end and one.effective_from < end < takeover:
        expected = "no day between two versions, unless the rule was to pause"
        yield _warning("E-RULE-DATES", [one.rule_id], expected, found)


def _days(rule: Rule) -> str:
    return f"version {rule.version} from {rule.effective_from} to {rule.effective_to or 'open'}"


# --- between rules ------------------------------------------------------------------------------------


def _shared_priorities(standing: Sequence[Rule]) -> Iterator[Problem]:
    by_priority: defaultdict[int, list[str]] = defaultdict(list)
    for rule in standing:
        by_priority[rule.priority].append(rule.rule_id)
    for priority, rule_ids in by_priority.items():
        if rule_ids[1:]:
            expected = "strict priorities among the rules in force"
            yield _error("E-RULE-OVERLAP", rule_ids, expected, f"each has priority {priority}")


def _shadows(standing: Sequence[Rule]) -> Iterator[Problem]:
    """A rule whose every pool an earlier rule claims. What several together hide is not looked for."""
    wanted = {fallback(rule) for rule in standing if fallback(rule) != rule.rule_id}
    wanted |= {
        name.removeprefix(RULE) for rule in standing for name, _ in rule.shares if name != rule.rule_id
    }
    first: dict[frozenset[tuple[str, str]], Rule] = {}
    for rule in standing:  # by priority
        earlier = [first[part] for part in _parts(rule.matches) if part in first]
        hiding = [other for other in earlier if other.priority < rule.priority]
        # what another one falls back to earns its place without claiming a pool itself
        if hiding and rule.rule_id not in wanted:
            other = min(hiding, key=lambda one: one.priority)
            yield _warning(
                "E-RULE-OVERLAP",
                [other.rule_id, rule.rule_id],
                f"a pool that {rule.rule_id} claims",
                f"{other.rule_id} (priority {other.priority}, matches {matching(other)}) claims every pool"
                f" that {rule.rule_id} (priority {rule.priority}, matches {matching(rule)}) matches",
            )
        first.setdefault(frozenset(rule.matches), rule)


def _parts(matches: Sequence[tuple[str, str]]) -> Iterator[frozenset[tuple[str, str]]]:
    """Every subset of what a rule constrains: 32 at most, whatever the number of rules."""
    for size in range(len(matches) + 1):
        yield from map(frozenset, combinations(matches, size))


def matching(rule: Rule) -> str:
    """What a rule matches, for people."""
    return ", ".join(f"{name} {value}" for name, value in rule.matches) or "everything"


def _fallbacks(standing: Sequence[Rule], ids: Collection[str], day: date) -> Iterator[Problem]:
    here = {rule.rule_id for rule in standing}
    for rule in standing:
        named = fallback(rule)
        if named is not None and named not in here:
            found = f"{rule.on_zero_key}, " + (f"not in force on {day}" if named in ids else "which is none")
            yield _error("E-RULE-METHOD", [rule.rule_id], "a fallback to a rule in force", found)


def _cycles(standing: Sequence[Rule]) -> Iterator[Problem]:
    after = {rule.rule_id: fallback(rule) for rule in standing}
    walked: set[str] = set()
    for start in after:
        path: list[str] = []
        at: str | None = start
        while at in after and at not in walked:
            walked.add(at)
            path.append(at)
            at = after[at]
        if at in path:
            cycle = path[path.index(at) :]
            begin = cycle.index(min(cycle))  # one cycle is one problem, wherever the walk began
            cycle = cycle[begin:] + cycle[:begin]
            found = " → ".join([*cycle, cycle[0]])
            yield _error("E-RULE-CYCLE", cycle, "fallbacks that end", found)


def _gaps(standing: Sequence[Rule], pools: Iterable[Pool] | None) -> Iterator[Problem]:
    held: defaultdict[str, list[Pool]] = defaultdict(list)
    for pool in pools or ():
        held[str(pool.offered("charge_class"))].append(pool)
    for name in CHARGE_CLASSES if pools is None else held:
        if any(set(rule.matches) <= {("charge_class", name)} for rule in standing):
            continue
        found = "none"
        if pools is not None:
            missed = sum(not any(rule.claims(pool) for rule in standing) for pool in held[name])
            found = f"none; {missed} of the month's {len(held[name])} pools of this class have no rule"
        expected = f"a rule that claims whatever is left of charge class {name}"
        yield _warning("E-RULE-GAP", [], expected, found)


# --- within one rule ----------------------------------------------------------------------------------


def _of_one(rule: Rule, keys: Collection[str], tenants: Collection[str]) -> Iterator[Problem]:
    for expected, found in _misfits(rule):
        yield _error("E-RULE-METHOD", [rule.rule_id], expected, found)
    if rule.method == "usage_key" and rule.key_name and rule.key_name not in keys:
        expected, found = "a key of allocation_keys", f"key_name {rule.key_name}"
        yield _error("E-KEY-UNKNOWN", [rule.rule_id], expected, found)
    if rule.method == "fixed":
        yield from _shares(rule, tenants)


def _misfits(rule: Rule) -> Iterator[tuple[str, str]]:
    """Method, key, shares and policy that do not go together: what was expected, what was found."""
    if rule.method not in METHODS:
        yield f"one of {', '.join(METHODS)}", f"method {rule.method}"
    elif rule.method == "usage_key" and not rule.key_name:
        yield "a key_name for usage_key", "none"
    elif rule.method != "usage_key" and rule.key_name not in _KEYS.get(rule.method, (None,)):
        yield f"{_KEYS_SAID.get(rule.method, 'no key_name')} for {rule.method}", f"key_name {rule.key_name}"
    if rule.shares and rule.method != "fixed":
        yield "shares for the method fixed only", f"shares for {rule.method}"
    if rule.on_zero_key not in ("fail", "hold", "even") and not fallback(rule):
        yield "on_zero_key fail, hold, even or rule:ID", f"on_zero_key {rule.on_zero_key}"


_KEYS: Mapping[str, tuple[str | None, ...]] = {"proportional_cost": (None, "service", SERVICES)}
_KEYS_SAID = {"proportional_cost": "key_name service, services or none"}


def _shares(rule: Rule, tenants: Collection[str]) -> Iterator[Problem]:
    negative = [name for name, share in rule.shares if share < 0]
    if negative:
        yield _error("E-RULE-SUM", [rule.rule_id], "shares of 0 or more", f"less for {', '.join(negative)}")
    total = sum(share for _, share in rule.shares)
    if total != _ALL:
        found = f"a sum of {amount.to_decimal(total).normalize():f}"
        yield _error("E-RULE-SUM", [rule.rule_id], "shares that sum to exactly 100", found)
    for name, _ in rule.shares:
        if name != OPERATOR and name not in tenants and not goes_on(name, tenants):
            yield _error("E-TENANT-UNKNOWN", [rule.rule_id], "shares of tenants that are registered", name)
