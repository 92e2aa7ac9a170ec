"""The margin of a month: what tenants are charged less what their cost, and ours, come to. Pure.

Belongs here: the arithmetic on atto-dollars: markups of single services, lines by tenant, plan or service,
unit costs, and holding the lines against a reconciliation. Does not belong here: reading entries and
documents (`reconciliation/margin_cells.py`).

    charged = direct + shared + adjustments + markup         (what the bridge calls expected)
    cost    = direct + shared + adjustments + own cost + unallocated, on the charge basis
    margin  = charged − cost

Σ lines = bridge, to difference 0. Unused commitments are told beside: they are in the cost of who bears them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from cops_dagster.money import amount, footing
from cops_dagster.words import OPERATOR, UNALLOCATED

By = Literal["tenant", "plan", "service"]
_BPS = 10_000


@dataclass(frozen=True)
class Cell:
    """Cost of one tenant, plan and service, in atto-dollars; the two reserved names among the tenants.

    Attributes:
        usage: first day of the closed month that a correction is about; `None` for the month's own cost.
        basis: on the charge basis; `direct` is the part of it whose lines named the tenant.
        unused: the part of reservations and savings plans that nothing used, at amortised cost.
        markup: what the tenant's plan adds; `None` when its plan has none in force.
    """

    tenant_id: str
    plan_id: str | None
    service: str
    usage: date | None = None
    unblended: int = 0
    basis: int = 0
    direct: int = 0
    unused: int = 0
    markup: int | None = 0

    @property
    def is_tenants(self) -> bool:
        """Somebody is charged for it."""
        return self.tenant_id not in (OPERATOR, UNALLOCATED)


def priced(cells: Iterable[Cell], bps_of: Callable[[str, str | None], int | None]) -> list[Cell]:
    """The cells with their markups: of a tenant and plan in all what a reconciliation adds, to the atto.

    Args:
        bps_of: tenant, plan → basis points, or `None` where nobody can say.
    """
    groups: defaultdict[tuple[str, str | None], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.tenant_id, cell.plan_id].append(cell)
    made = []
    for (tenant, plan), group in groups.items():
        if not group[0].is_tenants:
            made += group
            continue
        charged, bps = sum(cell.basis for cell in group), bps_of(tenant, plan)
        if bps is None:
            made += [replace(cell, markup=None if charged and cell.basis else 0) for cell in group]
            continue
        total = amount.basis_points(charged, bps)
        shares = footing.parts([cell.basis * bps for cell in group], _BPS, total)
        made += [replace(cell, markup=share) for cell, share in zip(group, shares, strict=True)]
    return made


@dataclass
class MarginLine:
    """What one tenant, plan or service comes to, in atto-dollars.

    Attributes:
        invoiced: `None` where documents say nothing of it: they name tenants, no plan and no service.
        is_priced: every plan in it has a markup; else charged and margin are unknown, not smaller.
    """

    name: str
    direct: int = 0
    shared: int = 0
    adjustments: int = 0
    markup: int = 0
    own_cost: int = 0
    unallocated: int = 0
    unused: int = 0
    invoiced: int | None = None
    is_priced: bool = True
    _own_adjustments: int = field(default=0, repr=False)

    @property
    def charged(self) -> int:
        """What tenants owe for it."""
        return self.direct + self.shared + self.adjustments - self._own_adjustments + self.markup

    @property
    def cost(self) -> int:
        """What it costs, whoever bears it."""
        return self.direct + self.shared + self.adjustments + self.own_cost + self.unallocated

    @property
    def margin(self) -> int:
        """Charged − cost."""
        return self.charged - self.cost

    @property
    def margin_pct(self) -> Decimal | None:
        """The margin in percent of what is charged; `None` where nothing is, or nobody can say what."""
        return amount.percent(self.margin, self.charged) if self.is_priced and self.charged else None

    def is_below(self, floor: Decimal) -> bool:
        """The exact margin is below so many percent of what is charged.

        Where nothing is, or tenants get something back, no percent says so: a loss is below every floor.
        """
        if not self.is_priced:
            return False
        if self.charged <= 0:
            return self.margin < 0
        return 100 * self.margin < Fraction(floor) * self.charged

    @property
    def charged_adjustments(self) -> int:
        """Corrections of closed months that tenants are charged for."""
        return self.adjustments - self._own_adjustments

    def add(self, cell: Cell) -> None:
        """Takes a cell in."""
        if cell.usage is not None:
            self.adjustments += cell.basis
            self._own_adjustments += 0 if cell.is_tenants else cell.basis
        elif cell.tenant_id == OPERATOR:
            self.own_cost += cell.basis
        elif cell.tenant_id == UNALLOCATED:
            self.unallocated += cell.basis
        else:
            self.direct += cell.direct
            self.shared += cell.basis - cell.direct
        self.unused += cell.unused
        self.markup += cell.markup or 0
        self.is_priced &= cell.markup is not None


def lines(cells: Iterable[Cell], invoiced: Mapping[str, int], by: By) -> list[MarginLine]:
    """The lines of a month, by name.

    By plan, what has none stands under `''`, and what nobody is charged for under its reserved name.

    Args:
        invoiced: tenant → Σ of its documents in USD.
    """
    made: dict[str, MarginLine] = {}
    for cell in cells:
        name = _name(cell, by)
        made.setdefault(name, MarginLine(name)).add(cell)
    if by == "tenant":
        for name in {*made, *invoiced}:
            made.setdefault(name, MarginLine(name)).invoiced = invoiced.get(name, 0)
    return [made[name] for name in sorted(made)]


def _name(cell: Cell, by: By) -> str:
    if by == "service":
        return cell.service
    return cell.tenant_id if by == "tenant" or not cell.is_tenants else cell.plan_id or ""


def total(cells: Iterable[Cell], invoiced: Mapping[str, int]) -> MarginLine:
    """The month in one line."""
    whole = MarginLine("total", invoiced=sum(invoiced.values()))
    for cell in cells:
        whole.add(cell)
    return whole


@dataclass(frozen=True)
class Recorded:
    """What a reconciliation recorded of a tenant, in atto-dollars."""

    direct: int
    shared: int
    adjustments: int
    markup: int
    invoiced: int
    own_cost: int = 0
    unallocated: int = 0


def differing(made: Sequence[MarginLine], recorded: Mapping[str, Recorded]) -> list[tuple[str, str, int]]:
    """Where lines by tenant are not what a reconciliation says: tenant, amount, by how much."""
    found, there = [], {line.name: line for line in made}
    for name in sorted({*recorded, *there}):
        line = there.get(name, MarginLine(name, invoiced=0))
        said = recorded.get(name, Recorded(0, 0, 0, 0, 0))
        pairs = {
            "direct": (line.direct, said.direct),
            "shared": (line.shared, said.shared),
            "adjustments": (line.charged_adjustments, said.adjustments),
            "markup": (line.markup, said.markup),
            "own cost": (line.own_cost, said.own_cost),
            "unallocated": (line.unallocated, said.unallocated),
            "invoiced": (line.invoiced or 0, said.invoiced),
        }
        found += [(name, what, one - other) for what, (one, other) in pairs.items() if one != other]
    return found


@dataclass(frozen=True)
class UnitCost:
    """What one unit of a usage key costs. `units` in atto-units of its measure; USD rounded to 18 places."""

    name: str
    key_name: str
    units: int
    cost_usd: Decimal
    unit_cost_usd: Decimal
    unit_charge_usd: Decimal | None


def unit_costs(
    cells: Sequence[Cell], keys: Mapping[str, Mapping[str, int]], by: By, *, per: int = 1
) -> list[UnitCost]:
    """Cost and charge per unit of every key, by line; what has no units has no unit cost.

    A plan's units are those of the tenants that have no other plan: of the others nobody knows which part
    was used under which. A service's are those of all tenants.

    Args:
        keys: key name → tenant → units used, as the month was split by.
        per: of so many units, such as a million tokens; rounded once, half even, to 18 places.
    """
    mine = [cell for cell in cells if cell.is_tenants]
    plans: defaultdict[str, set[str]] = defaultdict(set)
    for cell in mine:
        plans[cell.tenant_id].add(cell.plan_id or "")
    found = []
    for line in lines(mine, {}, by):
        for key in sorted(keys):
            units = sum(
                used
                for tenant, used in keys[key].items()
                if by == "service" or line.name in ({tenant} if by == "tenant" else plans[tenant])
            )
            split = by == "plan" and any(
                len(plans[tenant]) > 1 and line.name in plans[tenant] for tenant in keys[key]
            )
            if units <= 0 or split:
                continue
            charge = _per_unit(per * line.charged, units) if line.is_priced else None
            cost = amount.to_decimal(line.cost)
            found.append(UnitCost(line.name, key, units, cost, _per_unit(per * line.cost, units), charge))
    return found


def _per_unit(usd: int, units: int) -> Decimal:
    exact = amount.ROUNDING.divide(Decimal(usd), Decimal(units))
    return exact.quantize(Decimal(1).scaleb(-amount.SCALE), context=amount.ROUNDING)
