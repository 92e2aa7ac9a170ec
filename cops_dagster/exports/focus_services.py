"""Which FOCUS service category each service of a month has: the reviewed map, and what users add to it.

Belongs here: reading `focus_services.csv` and the file of `[exports] focus_services`, whose lines come first,
the pairs that FOCUS allows (`focus_categories.csv`), and refusing what has no category, with its money. Does
not belong here: any other column.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from cops_dagster.errors import CopsError
from cops_dagster.money import amount
from cops_dagster.words import CHARGE_CLASSES, near

COLUMNS = ("service", "service_name", "service_category", "service_subcategory")
OTHER = ("Other", "Other (Other)")
_SHIPPED = Path(__file__).with_name("focus_services.csv")
_PAIRS = Path(__file__).with_name("focus_categories.csv")
_OF_CLASS = "class:"
"""A line `class:marketplace` is for every service of that charge class that has no line of its own."""


@dataclass(frozen=True)
class Service:
    """What FOCUS calls a service, and where it belongs."""

    name: str
    category: str
    subcategory: str


@dataclass(frozen=True)
class Services:
    """The map, and the digest of the files that it was read from."""

    by_code: Mapping[str, Service]
    digest: str

    def of(self, service: str, charge_class: str) -> Service | None:
        """The service by its code, else by its charge class."""
        found = self.by_code.get(service)
        if found is None and (found := self.by_code.get(f"{_OF_CLASS}{charge_class}")):
            found = Service(service, found.category, found.subcategory)
        return found


def read(own: Path | None) -> Services:
    """The shipped map under the user's own.

    Raises:
        CopsError: `E-FOCUS-MAP` for a file that is none.
    """
    shipped = _read(_SHIPPED)
    added = _read(own) if own else {}
    for code, one in added.items():
        _require_legal(own, code, one)
    state = hashlib.sha256(_SHIPPED.read_bytes())
    if own:
        state.update(own.read_bytes())
    return Services({**shipped, **added}, state.hexdigest())


def pairs() -> set[tuple[str, str]]:
    """Every category with each of its subcategories: 1.2 and 1.4 have the same ones."""
    with _PAIRS.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return {(category, subcategory) for category, subcategory in rows}


def _require_legal(own: Path | None, code: str, one: Service) -> None:
    if code.startswith(_OF_CLASS) and code.removeprefix(_OF_CLASS) not in CHARGE_CLASSES:
        classes = [f"{_OF_CLASS}{name}" for name in CHARGE_CLASSES]
        likely = near(code, classes)
        raise _no_map(
            own,
            repr(code),
            expected=f"one of {', '.join(classes)}",
            next_step=f"did you mean {likely!r}?" if likely else "take one of these",
        )
    known = pairs()
    if (one.category, one.subcategory) in known:
        return
    parents = {subcategory: category for category, subcategory in known}
    found = f"{one.category!r} with {one.subcategory!r} for {code}"
    likely = near(one.subcategory, parents)
    if likely:
        step = f"did you mean {parents[likely]!r} with {likely!r}?"
    else:
        category = near(one.category, set(parents.values()))
        children = [name for name, parent in parents.items() if parent == category]
        whose = f"{category} has" if category else "its categories are"
        step = f"{whose} {', '.join(sorted(children or set(parents.values())))}"
    raise _no_map(own, found, expected="a category and subcategory of FOCUS that go together", next_step=step)


def require(services: Services, costs: Mapping[tuple[str, str], Decimal], *, draft: bool) -> list[list[str]]:
    """A row of service, charge class, name, category and subcategory for everything that costs.

    Args:
        costs: cost by service and charge class; what has no category is told with it.
        draft: what has no category is `Other`.

    Raises:
        CopsError: `E-FOCUS-UNMAPPED` naming each service with its cost.
    """
    rows, unmapped = [], []
    for (service, charge_class), cost in sorted(costs.items()):
        found = services.of(service, charge_class)
        if found is None and not draft:
            unmapped.append((service, cost))
            continue
        found = found or Service(service, *OTHER)
        rows.append([service, charge_class, found.name or service, found.category, found.subcategory])
    if unmapped:
        told = ", ".join(f"{service} ({amount.shown(cost)} USD)" for service, cost in unmapped[:10])
        raise CopsError(
            "E-FOCUS-UNMAPPED",
            "FOCUS service categories",
            expected="a category for every service that costs something",
            found=f"none for {told}" + (f" and {len(unmapped) - 10} more" if len(unmapped) > 10 else ""),
            next_step="add a line for each to the file that [exports] focus_services names"
            f" ({','.join(COLUMNS)}), or add --draft to see them under Other",
            details={"unmapped": [[service, amount.plain(cost)] for service, cost in unmapped]},
        )
    return rows


def _read(path: Path) -> dict[str, Service]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            header, rows = next(reader, []), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise _no_map(path, str(problem), expected="a CSV file in UTF-8") from None
    if tuple(header) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise _no_map(path, ",".join(header), expected=f"lines of {','.join(COLUMNS)}")
    found: dict[str, Service] = {}
    for code, *rest in rows:
        if code in found:
            raise _no_map(path, f"{code} twice", expected="one line for a service")
        found[code] = Service(*rest)
    return found


def _no_map(
    path: Path | None, found: str, *, expected: str, next_step: str = "correct the file, then export again"
) -> CopsError:
    return CopsError(
        "E-FOCUS-MAP", f"service categories in {path}", expected=expected, found=found, next_step=next_step
    )
