"""From an answer to the figures of a day: exact, each tenant once, as the contract wants it, or refused.

Belongs here: what a value may be, names, units, the contract. Does not belong here: asking
(`usage/sources.py`), keeping (`usage/record.py`). Figures are integers of 10⁻¹⁸ of the key's unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from cops_dagster.errors import CopsError
from cops_dagster.inputs import cells
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.usage import samples
from cops_dagster.usage.answer import Answer, Seen, refused, subject
from cops_dagster.usage.declared import ACTIVE, Measure
from cops_dagster.usage.names import Names
from cops_dagster.words import near


@dataclass(frozen=True)
class Figures:
    """What a day is: the figure of every tenant, and of every name that is held."""

    taken: Mapping[str, int]
    held: Mapping[str, int]

    @property
    def digest(self) -> str:
        """Two days with the same digest say the same."""
        return digest("usage-day-1", sorted(self.taken.items()), sorted(self.held.items()))


NAME_MAX = 1000
Told = tuple[date, int]
"""A figure, and the day that said it."""


def judge(measure: Measure, day: date, answer: Answer, names: Names) -> Figures:
    """The figures of an answer.

    Raises:
        CopsError: `E-USAGE-EMPTY`, `E-USAGE-VALUE`, `E-KEY-NEG`, `E-USAGE-TWICE`, `E-TENANT-UNKNOWN`,
            `E-USAGE-MISSING`, `E-USAGE-RANGE`, `E-KEY-RANGE`, `E-USAGE-GAP`.
    """
    if not answer.rows:
        raise refused(
            "E-USAGE-EMPTY", measure.name, day, "a figure for each tenant", "no row",
            "does the source have the day? A day without usage has rows of 0",
        )  # fmt: skip
    by_name: dict[str, int] = {}
    for given, value in answer.rows:
        name = _name(measure, day, given)
        if name in by_name and not answer.may_repeat:
            raise refused(
                "E-USAGE-TWICE", measure.name, day, "each name once", f"{name!r} again",
                "does a join multiply rows? Else add up: GROUP BY the name, or sum by the label",
            )  # fmt: skip
        by_name[name] = by_name.get(name, 0) + _value(measure, day, name, value)
    figures = _named(measure, day, by_name, names)
    require_room(subject(measure.name, day), [*figures.taken.items(), *figures.held.items()])
    _hold_the_contract(measure, day, figures, names)
    if answer.seen and measure.contract.whole_day:
        _require_whole_day(measure, day, answer.seen, names)
    return figures


def _name(measure: Measure, day: date, given: Any) -> str:
    name = f"{given:012d}" if measure.names == "account" and isinstance(given, int) else given
    if not isinstance(name, str) or not name.strip() or cells.CONTROL.search(name) or len(name) > NAME_MAX:
        raise refused(
            "E-USAGE-VALUE", measure.name, day, "a name in every row", repr(given)[:80],
            "leave out or name what belongs to nobody: WHERE … IS NOT NULL, or COALESCE(…, 'nobody')",
        )  # fmt: skip
    try:
        name.encode()
    except UnicodeEncodeError:  # JSON may hold half of a sign
        raise refused(
            "E-USAGE-VALUE", measure.name, day, "a name of whole signs", repr(name)[:80], "correct the label"
        ) from None
    return name


def _value(measure: Measure, day: date, name: str, given: Any) -> int:
    """The value in the key's unit."""

    def bad(found: str, next_step: str = "correct the value at its source") -> CopsError:
        expected = f"an exact {measure.source_unit} of {name!r}"
        return refused("E-USAGE-VALUE", measure.name, day, expected, found, next_step)

    if given is None or (isinstance(given, str) and not given.strip()):
        raise bad("a blank", "a tenant without usage has 0: COALESCE(SUM(…), 0)")
    if isinstance(given, bool) or not isinstance(given, (int, Decimal, str)):
        kind = type(given).__name__
        raise bad(
            f"{kind} {given}"[:60], "write CAST(SUM(…) AS DECIMAL(38,6)): a float adds up otherwise each time"
        )
    try:
        value = samples.number(given) if isinstance(given, str) else Decimal(given)
    except InvalidOperation:
        raise bad(repr(given)[:60]) from None
    if not value.is_finite():
        raise bad(str(given))
    sign, digits, exponent = value.as_tuple()
    try:
        atto = amount.from_decimal(Decimal((sign, digits, int(exponent) + measure.power)), subject=name)
    except CopsError as problem:
        raise bad(problem.found, f"{problem.expected}: CAST to fewer decimals, or a bigger unit") from None
    if atto < 0:
        raise refused(
            "E-KEY-NEG", measure.name, day, "a usage of 0 or more", f"{given} of {name!r}",
            "correct the value at its source",
        )  # fmt: skip
    return atto


def _named(measure: Measure, day: date, by_name: Mapping[str, int], names: Names) -> Figures:
    taken: dict[str, int] = {}
    held: dict[str, int] = {}
    for name, atto in sorted(by_name.items()):
        tenant = names.tenant(name)
        if tenant is not None and not names.is_bearer(tenant):
            likely = near(tenant, names.registered)
            raise refused(
                "E-TENANT-UNKNOWN", measure.name, day, f"a registered tenant as what {name!r} means",
                f"{tenant!r}" + (f"; did you mean {likely}?" if likely else ""),
                "register it (cops admin load tenants.csv), or correct the alias",
            )  # fmt: skip
        if tenant is not None:
            taken[tenant] = taken.get(tenant, 0) + atto
        elif measure.contract.unknown == "hold":
            held[name] = atto
        else:
            known = {*names.tenants, *names.others}
            likely = near(name, known)
            raise refused(
                "E-TENANT-UNKNOWN", measure.name, day, "names of tenants, or aliases of them",
                f"{name!r}" + (f"; did you mean {likely}?" if likely else ""),
                f"register the tenant, or add {name!r} to [measures.{measure.name}.aliases];"
                ' contract.unknown = "hold" keeps such figures out of the split',
            )  # fmt: skip
    return Figures(taken, held)


def require_room(what: str, figures: Iterable[tuple[str, int]]) -> None:
    """Every figure is one that a key may be: a sum of right ones may not be. Raises `E-KEY-RANGE`."""
    most = amount.from_decimal(cells.USAGE_MAX)
    if found := next((one for one in figures if one[1] > most), None):
        raise CopsError(
            "E-KEY-RANGE",
            what,
            expected="a usage of 10^12 at most",
            found=f"{_shown(found[1])} of {found[0]!r}"[:300],
            next_step="declare a bigger unit (GB, not bytes): its days are asked again",
        )


def require_no_fall(
    measure: Measure,
    day: date,
    figures: Figures,
    earlier: Mapping[str, Told],
    later: Mapping[str, Told],
) -> None:
    """No tenant has less than before, nor, once a day is corrected, more than a later day says.

    Args:
        earlier, later: of each tenant, the figure next to this day on either side, within the month.

    Raises:
        CopsError: `E-USAGE-FELL`.
    """
    for tenant, atto in sorted(figures.taken.items()):
        since, was = earlier.get(tenant, (day, atto))
        if atto < was:
            raise refused(
                "E-USAGE-FELL", measure.name, day, f"{_shown(was)} or more of {tenant}, as on {since}",
                _shown(atto), "did its counter begin anew? Correct the source, or set monotone = false",
            )  # fmt: skip
        then, becomes = later.get(tenant, (day, atto))
        if atto > becomes:
            raise refused(
                "E-USAGE-FELL", measure.name, day, f"{_shown(becomes)} or less of {tenant}, as on {then}",
                _shown(atto), f"is {then} wrong too? Then first: cops keys refresh {measure.name}"
                f" --day {then}; else correct the source, or set monotone = false",
            )  # fmt: skip


def _hold_the_contract(measure: Measure, day: date, figures: Figures, names: Names) -> None:
    contract = measure.contract
    wanted = _wanted(measure, names)
    if missing := sorted(wanted - set(figures.taken)):
        raise refused(
            "E-USAGE-MISSING", measure.name, day, f"a figure of {', '.join(sorted(wanted))[:120]}",
            f"none of {', '.join(missing)}", "a tenant without usage has 0; else mend the pipeline",
        )  # fmt: skip
    least = amount.from_decimal(contract.min)
    most = None if contract.max is None else amount.from_decimal(contract.max)
    for tenant, atto in sorted(figures.taken.items()):
        if atto < least or (most is not None and atto > most):
            raise refused(
                "E-USAGE-RANGE", measure.name, day,
                f"{contract.min} to {contract.max or 'any'} {measure.unit} of a tenant",
                f"{_shown(atto)} of {tenant}", "is the unit right? Else widen contract.min or max",
            )  # fmt: skip


def _require_whole_day(measure: Measure, day: date, seen: Seen, names: Names) -> None:
    """Whom the contract names is there from begin to end: a series that ends at noon is half a day."""
    for tenant in sorted(_wanted(measure, names) - set(names.part_day)):
        own = [one for name, found in seen.stretches.items() if names.tenant(name) == tenant for one in found]
        if gap := samples.silence(own, seen.start, seen.end, seen.longest):
            since, until = (datetime.fromtimestamp(one, UTC).strftime("%H:%M") for one in gap)
            raise refused(
                "E-USAGE-GAP", measure.name, day, f"samples of {tenant} all day: contract.tenants names it",
                f"none from {since} to {until} UTC",
                "mend what is scraped, and refresh; or set contract.whole_day = false, if it may come and go",
            )  # fmt: skip


def _wanted(measure: Measure, names: Names) -> set[str]:
    return set(names.active if measure.contract.tenants == ACTIVE else measure.contract.tenants)


def _shown(atto: int) -> str:
    return f"{amount.to_decimal(atto).normalize():f}"
