"""What one line of the demo's CUR says about itself, and how COPS must read it.

Belongs here: the descriptive columns of a line, its service, charge class and tenant. They are stated
again here, from the design, so that a fault in the pipeline cannot hide in its own mirror. Does not
belong here: amounts, dates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cops_dagster.demo import catalogue

Invoice = Literal["anniversary", "marketplace", "purchase", "refund"]
BILL_TYPES: dict[Invoice, str] = {
    "anniversary": "Anniversary",
    "marketplace": "Anniversary",
    "purchase": "Purchase",
    "refund": "Refund",
}
MARKETPLACE = "AWS Marketplace"
_COMMITMENT_FEES = ("RIFee", "SavingsPlanRecurringFee", "SavingsPlanUpfrontFee")
_TENANTS = {tenant.tenant_id for tenant in catalogue.TENANTS}


@dataclass(frozen=True)
class Line:
    """Descriptive columns. A tag is `None` (NULL in the file), '' (delivered empty) or a value."""

    line_type: str
    product_code: str
    servicecode: str = ""
    product_name: str = ""
    account: str = catalogue.PRODUCTION
    invoice: Invoice = "anniversary"
    family: str = ""
    usage_type: str = ""
    operation: str = ""
    zone: str = ""
    instance_type: str = ""
    operating_system: str = ""
    region: str = ""
    term: str = ""
    unit: str = ""
    description: str = ""
    tax_type: str = ""
    reservation_arn: str = ""
    savings_plan_arn: str = ""
    tenant_tag: str | None = None
    plan_tag: str | None = None
    component_tag: str | None = None
    name_tag: str | None = None
    environment: str | None = None
    cost_center: str | None = None

    @property
    def billing_entity(self) -> str:
        """AWS or AWS Marketplace: who sells."""
        return MARKETPLACE if self.invoice == "marketplace" else "AWS"

    @property
    def service(self) -> str:
        """Marketplace → product name, else servicecode, else product code (design section 4)."""
        if self.billing_entity == MARKETPLACE:
            return self.product_name
        return self.servicecode or self.product_code

    @property
    def charge_class(self) -> str:
        """The first class that fits (design 5.3)."""
        if self.billing_entity == MARKETPLACE:
            return "marketplace"
        if self.line_type in ("Tax", "Credit", "Refund"):
            return self.line_type.lower()
        if self.product_code.startswith("AWSSupport"):
            return "support"
        if self.line_type in _COMMITMENT_FEES or (self.line_type == "Fee" and self.reservation_arn):
            return "commitment_fee"
        return "usage"

    @property
    def tenant(self) -> str | None:
        """The tenant that the line names: by tag, by alias, else by its account."""
        tag = catalogue.ALIASES.get(self.tenant_tag or "", self.tenant_tag)
        if tag in _TENANTS:
            return tag
        return catalogue.DEDICATED_TENANT if self.account == catalogue.DEDICATED else None

    @property
    def is_covered(self) -> bool:
        """Both required tags came delivered, the tenant's being one we know."""
        tag = catalogue.ALIASES.get(self.tenant_tag or "", self.tenant_tag)
        return tag in _TENANTS and bool(self.plan_tag)
