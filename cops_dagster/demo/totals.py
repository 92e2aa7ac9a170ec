"""What a generated month holds, to the last digit, known without the pipeline.

Belongs here: the totals and how they read as text. Does not belong here: how they are computed
(`demo/cur.py`: from the generator's integers, by profile, never from the written doubles).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cops_dagster.period import Period

ServiceClass = tuple[str, str]
"""(service, charge class), as design sections 4 and 5.3 define them."""


@dataclass(frozen=True)
class AwsInvoice:
    """One AWS invoice of the month, exact USD before any rounding."""

    billing_entity: str
    bill_type: str
    before_tax: Decimal
    tax: Decimal


@dataclass(frozen=True)
class MonthTotals:
    """Exact USD of one generated month. Where no view is named, amounts are unblended.

    Attributes:
        by_service_class: every line, tagged or not.
        direct: (tenant, service, charge class) of lines that name a tenant by tag, alias or account.
        pools: lines that name none.
        covered: positive usage-class cost whose tenant and plan tags are of known tenants.
        coverable: all positive usage-class cost.
        invoices: invoice id → amounts; the id is '' while a month is not final.
    """

    period: Period
    rows: int
    unblended: Decimal
    amortized: Decimal
    net_amortized: Decimal
    true_up: Decimal
    upfront: Decimal
    by_service_class: dict[ServiceClass, Decimal]
    amortized_by_service_class: dict[ServiceClass, Decimal]
    direct: dict[tuple[str, str, str], Decimal]
    pools: dict[ServiceClass, Decimal]
    covered: Decimal
    coverable: Decimal
    invoices: dict[str, AwsInvoice]

    @property
    def direct_by_tenant(self) -> dict[str, Decimal]:
        """Unblended cost that names its tenant, by tenant."""
        found: dict[str, Decimal] = {}
        for (tenant, _, _), cost in sorted(self.direct.items()):
            found[tenant] = found.get(tenant, Decimal(0)) + cost
        return found

    def as_dict(self) -> dict[str, Any]:
        """The totals as JSON fields; amounts are exact decimal text."""
        return {
            "rows": self.rows,
            "unblended_usd": _text(self.unblended),
            "amortized_usd": _text(self.amortized),
            "net_amortized_usd": _text(self.net_amortized),
            "true_up_usd": _text(self.true_up),
            "upfront_usd": _text(self.upfront),
            "covered_usd": _text(self.covered),
            "coverable_usd": _text(self.coverable),
            "by_service_class": [
                {
                    "service": service,
                    "charge_class": charge_class,
                    "unblended_usd": _text(cost),
                    "amortized_usd": _text(self.amortized_by_service_class[service, charge_class]),
                }
                for (service, charge_class), cost in sorted(self.by_service_class.items())
            ],
            "pools": [
                {"service": service, "charge_class": charge_class, "unblended_usd": _text(cost)}
                for (service, charge_class), cost in sorted(self.pools.items())
            ],
            "direct_by_tenant": {name: _text(cost) for name, cost in self.direct_by_tenant.items()},
            "aws_invoices": {
                name: {"before_tax_usd": _text(invoice.before_tax), "tax_usd": _text(invoice.tax)}
                for name, invoice in sorted(self.invoices.items())
            },
        }


def _text(value: Decimal) -> str:
    return f"{value:.10f}"
