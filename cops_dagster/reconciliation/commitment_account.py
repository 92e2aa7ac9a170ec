"""The account of each reservation and savings plan: bought, used by whom, left unused, borne by whom. Pure.

Belongs here: the arithmetic on atto-dollars and the reported ratios. Does not belong here: reading lines and
entries (`exports/commitment_use.py`).

    bought       = used + unused, amortised: the ledger's own figures, difference 0
    utilisation  = used ÷ bought
    coverage     = what the covered usage would cost on demand ÷ that and uncovered instances of its services
    savings rate = (on demand − bought) ÷ on demand: what is unused counts against it

The ratios are those of the FinOps Foundation's framework and of AWS's reports of utilisation and coverage, by
cost; percent, six places, half-even.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from cops_dagster.money import amount
from cops_dagster.money.split import split
from cops_dagster.words import UNALLOCATED


@dataclass(frozen=True)
class Use:
    """What a commitment's lines of one service and tenant come to, in atto-dollars.

    Attributes:
        is_fee: its fee, whose amortised cost is what nobody used; else usage that it covered.
        billed: what the fee line says that the commitment costs in the month; 0 of usage.
        on_demand: what covered usage would have cost without; 0 of a fee.
    """

    commitment: str
    is_fee: bool
    service: str
    tenant_id: str | None
    amortized: int
    billed: int
    on_demand: int


@dataclass
class Account:
    """A commitment's month in atto-dollars; tenants by name, '' for lines without one (rules split them)."""

    commitment: str
    used: int = 0
    unused: int = 0
    billed: int = 0
    on_demand: int = 0
    uncovered: int = 0
    used_by: dict[str, int] = field(default_factory=dict)
    borne_by: dict[str, int] = field(default_factory=dict)

    @property
    def is_plan(self) -> bool:
        """A savings plan; else a reservation."""
        return ":savingsplans:" in self.commitment or ":savingsplan/" in self.commitment

    @property
    def bought(self) -> int:
        """What the month costs, amortised."""
        return self.used + self.unused

    @property
    def residual(self) -> int:
        """What the fee line says beyond it: AWS's own rounding, or usage in a report that is not here."""
        return self.billed - self.bought

    @property
    def saved(self) -> int:
        """What covered usage would have cost on demand, less what was bought."""
        return self.on_demand - self.bought

    @property
    def utilisation_pct(self) -> Decimal | None:
        """Percent used of what was bought; `None` when nothing was."""
        return amount.percent(self.used, self.bought)

    @property
    def coverage_pct(self) -> Decimal | None:
        """Percent covered of what its services' instances would cost on demand."""
        return amount.percent(self.on_demand, self.on_demand + self.uncovered)

    @property
    def savings_rate_pct(self) -> Decimal | None:
        """Percent saved of what covered usage would have cost; `None` where nothing was covered."""
        return amount.percent(self.saved, self.on_demand)


def accounts(
    uses: Iterable[Use], bearers: Mapping[str, Mapping[str, int]], uncovered: Mapping[str, int]
) -> list[Account]:
    """An account for each commitment, by name.

    Args:
        bearers: service → who bears fees of its commitments, and how much; unused parts are split by it.
        uncovered: service → what its instances cost that nothing covered.
    """
    found: dict[str, Account] = {}
    services: defaultdict[str, set[str]] = defaultdict(set)
    for use in uses:
        one = found.setdefault(use.commitment, Account(use.commitment))
        if use.is_fee:
            one.unused += use.amortized
            one.billed += use.billed
            borne = _borne(use, bearers.get(use.service, {}))
            for name, part in borne.items():
                one.borne_by[name] = one.borne_by.get(name, 0) + part
        else:
            one.used += use.amortized
            one.on_demand += use.on_demand
            name = use.tenant_id or ""
            one.used_by[name] = one.used_by.get(name, 0) + use.amortized
            services[use.commitment].add(use.service)
    for name, of in services.items():
        found[name].uncovered = sum(uncovered.get(service, 0) for service in of)
    return [found[name] for name in sorted(found)]


def _borne(use: Use, weights: Mapping[str, int]) -> dict[str, int]:
    if use.tenant_id is not None:
        return {use.tenant_id: use.amortized}
    if not any(weights.values()):
        return {UNALLOCATED: use.amortized}
    return {name: part for name, part in split(use.amortized, weights).items() if part}


def total(found: Iterable[Account], uncovered: int) -> Account:
    """All of them as one; of coverage, all instances that nothing covered.

    Args:
        uncovered: what instances of every service cost that nothing covered.
    """
    whole = Account("total", uncovered=uncovered)
    for one in found:
        whole.used += one.used
        whole.unused += one.unused
        whole.billed += one.billed
        whole.on_demand += one.on_demand
    return whole
