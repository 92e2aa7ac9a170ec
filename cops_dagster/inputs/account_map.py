"""The account map: by which account of the finance system each purpose of the journal is booked. Pure.

Belongs here: the purposes, which row of the map counts, and what is wrong with a map: a hole, a cycle. Does
not belong here: loading it (`inputs/load.py`), reading it and the map that is shipped
(`exports/accounts.py`), entries (`exports/entries.py`).

A row names an account, or a purpose whose account it follows. Of the rows in force on a day the one for the
tenant comes before the one for the service, and that before the one for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

PURPOSES: Mapping[str, str] = {
    "aws_payable": "what AWS has invoiced and is owed",
    "aws_accrual": "what AWS has delivered and not yet invoiced for good",
    "recharge_cost": "cost that tenants are charged for",
    "own_cost": "cost that we bear ourselves",
    "suspense": "cost that nobody bears yet",
    "correction_cost": "cost of closed months that was found later",
    "prepaid": "commitments: what AWS billed less what the month is charged with",
    "receivable": "what tenants were invoiced and owe",
    "income_accrual": "what tenants are charged and were not yet invoiced for good",
    "recharge_income": "cost charged on to tenants",
    "markup_income": "what is charged above cost",
    "correction_income": "corrections of closed months charged to tenants",
    "billing_difference": "invoiced to tenants beyond what is expected, or less",
    "aws_difference": "invoiced by AWS beyond what its report says, or less",
    "rounding": "what amounts that end in cents differ from exact ones",
    "fx": "the other side of amounts in another currency",
    "fx_difference": "documents booked at another rate than the month's",
}
"""What a line of the journal is for, and in words."""
KINDS = ("asset", "liability", "equity", "income", "expense")


@dataclass(frozen=True)
class Mapped:
    """One row of the map. `tenant_id` and `service` are empty for all; `follows` stands for no account."""

    purpose: str
    tenant_id: str
    service: str
    version: int
    effective_from: date
    effective_to: date | None
    account: str
    name: str
    kind: str
    follows: str

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Mapped:
        """A row of `gl_accounts`."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})

    def __str__(self) -> str:
        narrowed = "".join(f", {one}" for one in (self.tenant_id, self.service) if one)
        return f"{self.purpose}{narrowed}, version {self.version}"


@dataclass(frozen=True)
class Account:
    """An account of the finance system."""

    code: str
    name: str
    kind: str


@dataclass(frozen=True)
class Fault:
    """What is wrong with a map on a day. `row` is one that has a part in it, if there is one."""

    code: str
    day: date
    expected: str
    found: str
    row: Mapped | None = None


class NoAccount(LookupError):
    """A purpose has no account: `way` is what was followed, the asked purpose first."""

    def __init__(self, way: Sequence[str], row: Mapped | None) -> None:
        super().__init__(" → ".join(way))
        self.way, self.row = tuple(way), row

    @property
    def is_cycle(self) -> bool:
        """The purposes follow each other."""
        return self.way[-1] in self.way[:-1]


class AccountMap:
    """The rows in force on one day."""

    def __init__(self, rows: Iterable[Mapped], day: date) -> None:
        self.day = day
        newest: dict[tuple[str, str, str], Mapped] = {}
        for row in sorted(rows, key=lambda row: row.effective_from):
            if row.effective_from <= day:  # a later version takes over from an open one
                newest[row.purpose, row.tenant_id, row.service] = row
        self.rows = {
            key: row for key, row in newest.items() if row.effective_to is None or day < row.effective_to
        }

    def account(self, purpose: str, tenant_id: str = "", service: str = "") -> Account:
        """The account of a purpose.

        Raises:
            NoAccount: no row in force names one, or they follow each other.
        """
        way, row = [purpose], None
        while True:
            found = next((one for one in self._rows_of(way[-1], tenant_id, service)), None)
            if found is None:
                raise NoAccount(way, row)
            row = found
            if row.account:
                return Account(row.account, row.name, row.kind)
            way.append(row.follows)
            if row.follows in way[:-1]:
                raise NoAccount(way, row)

    def _rows_of(self, purpose: str, tenant_id: str, service: str) -> Iterator[Mapped]:
        for tenant, of in ((tenant_id, service), (tenant_id, ""), ("", service), ("", "")):
            if row := self.rows.get((purpose, tenant, of)):
                yield row


def faults(rows: Sequence[Mapped]) -> list[Fault]:
    """Holes and cycles of a map, on each day from its first on that something changes."""
    days = {row.effective_from for row in rows} | {row.effective_to for row in rows if row.effective_to}
    found: dict[tuple[str, ...], Fault] = {}
    for day in sorted(days):
        there = AccountMap(rows, day)
        asked = [("", "", purpose) for purpose in PURPOSES]
        asked += [(row.tenant_id, row.service, row.purpose) for row in there.rows.values()]
        for tenant, service, purpose in asked:
            try:
                there.account(purpose, tenant, service)
            except NoAccount as problem:
                found.setdefault(problem.way, _fault(problem, day))
    return list(found.values())


def _fault(problem: NoAccount, day: date) -> Fault:
    if problem.is_cycle:
        return Fault(
            "E-GL-CYCLE", day, "purposes that lead to an account", " → ".join(problem.way), problem.row
        )
    return Fault(
        "E-GL-HOLE",
        day,
        f"an account for {problem.way[-1]} ({PURPOSES[problem.way[-1]]}) from the map's first day on",
        f"none on {day}" + (f" for {' → '.join(problem.way)}" if len(problem.way) > 1 else ""),
        problem.row,
    )
