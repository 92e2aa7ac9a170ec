"""The demo's allocation rules and usage figures.

Belongs here: which rule claims which pool and how it splits it, and what each tenant used. Does not
belong here: the arithmetic of a split (`demo/expected.py`), files (`demo/inputs.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from cops_dagster.demo import catalogue
from cops_dagster.period import Period

OPERATOR = "__operator__"
UNALLOCATED = "__unallocated__"
MEASURES = ("network", "compute", "storage")


@dataclass(frozen=True)
class Rule:
    """One rule, in force from 2025-01-01. Empty match = any. `shares`: tenant → percent."""

    rule_id: str
    priority: int
    method: str
    note: str
    service: str = ""
    charge_class: str = ""
    key_name: str = ""
    shares: tuple[tuple[str, str], ...] = ()
    on_zero_key: str = "hold"

    def matches(self, service: str, charge_class: str) -> bool:
        """Whether the rule claims a pool of this service and class."""
        return self.service in ("", service) and self.charge_class in ("", charge_class)


RULES: tuple[Rule, ...] = (
    Rule("support", 10, "proportional_cost", "support follows what each tenant spends", "", "support"),
    Rule("unused-commitments", 20, "fixed", "we bought the commitments, we bear them", "",
         "commitment_fee", shares=((OPERATOR, "100"),)),
    Rule("credits", 30, "fixed", "promotional credits are ours", "", "credit", shares=((OPERATOR, "100"),)),
    Rule("refunds", 40, "proportional_cost", "a refund follows its service", "", "refund", "service",
         on_zero_key="even"),
    Rule("data-transfer", 50, "usage_key", "by bytes moved", "AWSDataTransfer", "usage", "network"),
    Rule("clusters", 60, "usage_key", "by pod hours", "AmazonEKS", "usage", "compute"),
    Rule("buckets", 70, "usage_key", "by bytes stored", "AmazonS3", "usage", "storage"),
    Rule("domains", 80, "even", "one domain serves all", "AmazonRegistrar", "usage"),
    Rule("market-data-trial", 90, "hold", "parked until finance decides who uses it",
         "Market Data Feed", "marketplace"),
    Rule("marketplace", 100, "proportional_cost", "shared software", "", "marketplace"),
    Rule("other-usage", 110, "proportional_cost", "usage that names no tenant", "", "usage"),
)  # fmt: skip
"""By priority. Tax has none: whether it can be recovered is for the customer to say (design 5.4)."""


def usage(period: Period, measure: str) -> dict[str, Decimal]:
    """What each tenant used of a measure in a month, three decimals (GB, pod hours, GB-months).

    Sizes follow the tenants' spend, bent so that no two measures split alike.
    """
    position = MEASURES.index(measure)
    found = {}
    for number, tenant in enumerate(catalogue.TENANTS):
        bend = 80 + (number * (17 + 10 * position) + 19 * position + period.month * 3) % 41
        found[tenant.tenant_id] = Decimal(tenant.weight * bend * 37 + number).scaleb(-3)
    return found
