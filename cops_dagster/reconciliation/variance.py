"""The reconciliation of rule 5.6: expected against invoiced, per tenant, every term kept. Pure.

Belongs here: the arithmetic on atto-dollars, tolerances and the status.

    expected = allocated − operator − unallocated + adjustments + (charge basis − unblended) + markup
    variance = invoiced − expected          (positive = tenants over-billed)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from cops_dagster.money import amount, currency
from cops_dagster.words import OPERATOR, UNALLOCATED

Status = Literal["ok", "warning", "failed", "provisional", "incomplete"]
_RANK = {"ok": 0, "warning": 1, "failed": 2}
HALF_CENT = currency.unit("USD") // 2
"""Rounding bound of one rounded amount in dollars; in another currency it is half of its minor unit."""


class Invoiced(NamedTuple):
    """One amount on a tenant's document: in USD, and how far its rounding may have moved it there."""

    tenant_id: str
    usd: int
    rounding: int = HALF_CENT


def half_unit(code: str, rate: int) -> int:
    """Half a minor unit of a currency in atto-USD, at `rate` atto-USD for one unit; never rounded down."""
    return -(-currency.unit(code) * rate // (2 * amount.ATTO))


@dataclass(frozen=True)
class Tolerance:
    """max(absolute, basis points of |expected|, what rounding can do), for each verdict."""

    warning_abs: int
    warning_bps: int
    failure_abs: int
    failure_bps: int

    def of(self, expected: int, rounding: int) -> tuple[int, int]:
        """Warning and failure tolerance of one tenant, whose documents' rounding may add up to `rounding`."""
        return (
            max(self.warning_abs, amount.basis_points(abs(expected), self.warning_bps), rounding),
            max(self.failure_abs, amount.basis_points(abs(expected), self.failure_bps), rounding),
        )


@dataclass(frozen=True)
class TenantCost:
    """What the ledger holds for a tenant and plan, with the plan's markup in basis points.

    `direct` is the part of `basis` whose lines named the tenant; the rest came by rules. A markup of `None`
    is not 0: the plan has none in force, and nobody can say what the tenant owes.
    """

    tenant_id: str
    unblended: int
    basis: int
    markup_bps: int | None = 0
    adjustments: int = 0
    amortized: int = 0
    direct: int = 0


@dataclass
class TenantLine:
    """One tenant's reconciliation; `__operator__` and `__unallocated__` have their own lines.

    `rounding` is half a minor unit for each amount on the tenant's documents, in USD; `half_unit` is that
    of the tenant's own currency.
    """

    tenant_id: str
    allocated: int = 0
    amortized: int = 0
    direct: int = 0
    shared: int = 0
    operator: int = 0
    unallocated: int = 0
    adjustments: int = 0
    basis_difference: int = 0
    markup: int = 0
    invoiced: int = 0
    invoice_lines: int = 0
    rounding: int = 0
    half_unit: int = HALF_CENT
    warning_tolerance: int = 0
    failure_tolerance: int = 0
    is_priced: bool = True

    @property
    def expected(self) -> int:
        """What the tenant's invoices should add up to."""
        return (
            self.allocated
            - self.operator
            - self.unallocated
            + self.adjustments
            + self.basis_difference
            + self.markup
        )

    @property
    def variance(self) -> int:
        """Invoiced − expected."""
        return self.invoiced - self.expected

    @property
    def status(self) -> Status:
        """At the tolerance is within it; one atto-dollar above is not."""
        if abs(self.variance) > self.failure_tolerance:
            return "failed"
        return "warning" if abs(self.variance) > self.warning_tolerance else "ok"


@dataclass
class Reconciliation:
    """All tenants of a period and the period's own status."""

    lines: list[TenantLine] = field(default_factory=list)
    status: Status = "incomplete"
    worst: TenantLine | None = None

    def total(self, term: str) -> int:
        """Sum of one term over the tenants."""
        return sum(int(getattr(line, term)) for line in self.lines)


def reconcile(
    costs: Sequence[TenantCost],
    invoices: Sequence[Invoiced],
    tolerance: Tolerance,
    *,
    is_final: bool,
    half_units: Mapping[str, int] | None = None,
    conflicts: int = 0,
    missing_entities: int = 0,
) -> Reconciliation:
    """Reconciles a period.

    Args:
        costs: per tenant and plan; the two reserved names are recognised.
        invoices: every amount on an issued document, credit notes negative.
        half_units: of tenants with another currency than USD, half a minor unit of it in atto-USD.
        is_final: every AWS invoice of the month is issued; before that the result is provisional.
        conflicts: documents of the month that came twice with other content and wait for a decision.
        missing_entities: AWS entities that invoiced the month before and not this one.

    The period's status is that of the worst tenant, never of the netted total; `failed` while a document
    is in conflict; `incomplete` when an AWS entity has not invoiced, when a tenant's plan has no markup in
    force, or when nothing is invoiced or nothing allocated, but not both: a month of nothing matches no
    invoice.
    """
    lines: dict[str, TenantLine] = {}
    for cost in costs:
        line = lines.setdefault(cost.tenant_id, TenantLine(cost.tenant_id))
        line.allocated += cost.unblended
        line.amortized += cost.amortized
        line.direct += cost.direct
        line.shared += cost.basis - cost.direct
        if cost.tenant_id == OPERATOR:
            line.operator += cost.unblended
        elif cost.tenant_id == UNALLOCATED:
            line.unallocated += cost.unblended
        else:
            line.adjustments += cost.adjustments
            line.basis_difference += cost.basis - cost.unblended
            charged = cost.basis + cost.adjustments
            line.markup += amount.basis_points(charged, cost.markup_bps or 0)
            line.is_priced &= cost.markup_bps is not None or charged == 0
    for one in invoices:
        line = lines.setdefault(one.tenant_id, TenantLine(one.tenant_id))
        line.invoiced += one.usd
        line.rounding += one.rounding
        line.invoice_lines += 1
    made = Reconciliation([lines[name] for name in sorted(lines)])
    for line in made.lines:
        line.half_unit = (half_units or {}).get(line.tenant_id, HALF_CENT)
        line.warning_tolerance, line.failure_tolerance = tolerance.of(line.expected, line.rounding)
    made.worst = max(made.lines, key=lambda line: (_RANK[line.status], abs(line.variance)), default=None)
    worst = made.worst.status if made.worst else "ok"
    if bool(costs) != bool(invoices):
        made.status = "incomplete"
    elif not is_final:
        made.status = "provisional"
    elif conflicts or worst == "failed":
        made.status = "failed"
    else:
        priced = all(line.is_priced for line in made.lines)
        made.status = "incomplete" if missing_entities or not priced else worst
    return made
