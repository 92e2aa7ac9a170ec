"""Which FOCUS service category each service of a month has: the reviewed map, and what users add to it.

Belongs here: reading `focus_services.csv` and the file of `[exports] focus_services`, whose lines come first,
and refusing what has no category, with its money. Does not belong here: any other column.
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
from cops_dagster.words import near

COLUMNS = ("service", "service_name", "service_category", "service_subcategory")
OTHER = ("Other", "Other (Other)")
_SHIPPED = Path(__file__).with_name("focus_services.csv")
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
    allowed = {(one.category, one.subcategory) for one in shipped.values()} | {OTHER}
    allowed |= {(category, f"Other ({category})") for category, _ in allowed}
    added = _read(own) if own else {}
    for code, one in added.items():
        if (one.category, one.subcategory) not in allowed:
            likely = near(one.subcategory, {subcategory for _, subcategory in allowed})
            raise _no_map(
                own,
                f"{one.category!r} with {one.subcategory!r} for {code}",
                expected="a category and subcategory of FOCUS that go together",
                next_step=f"did you mean {likely!r}?" if likely else "take one of `cops docs exports`",
            )
    state = hashlib.sha256(_SHIPPED.read_bytes())
    if own:
        state.update(own.read_bytes())
    return Services({**shipped, **added}, state.hexdigest())


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
