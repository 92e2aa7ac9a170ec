"""The columns of FOCUS datasets by version, as COPS fills them. Pure.

Belongs here: names, kinds and order; what a column means is the specification's. Does not belong here: the
values (`sql/focus_lines.sql`, `exports/focus_entries.py`). A column that COPS can only leave empty stands
there too, so that published queries run; 1.2 lacks the status of capacity reservations, which its official
rules take for wrong where it is there and empty, and so those of commitments in a file without any.
"""

from __future__ import annotations

import re
from typing import Literal

Version = Literal["1.2", "1.4"]
Column = tuple[str, str]

_COMMON = """
AvailabilityZone BilledCost:money BillingAccountId BillingAccountName BillingAccountType BillingCurrency
BillingPeriodEnd:time BillingPeriodStart:time CapacityReservationId ChargeCategory ChargeClass
ChargeDescription ChargeFrequency ChargePeriodEnd:time ChargePeriodStart:time ConsumedQuantity:money
ConsumedUnit ContractedCost:money ContractedUnitPrice:money EffectiveCost:money InvoiceId InvoiceIssuerName
ListCost:money ListUnitPrice:money PricingCategory PricingCurrency PricingCurrencyContractedUnitPrice:money
PricingCurrencyEffectiveCost:money PricingCurrencyListUnitPrice:money PricingQuantity:money PricingUnit
RegionId RegionName ResourceId ResourceName ResourceType ServiceCategory ServiceName ServiceSubcategory
SkuId SkuMeter SkuPriceDetails SkuPriceId SubAccountId SubAccountName SubAccountType Tags
"""
_COMMITMENT = """
CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName CommitmentDiscountQuantity:money
CommitmentDiscountStatus CommitmentDiscountType CommitmentDiscountUnit
"""
_ONLY_1_2 = "ProviderName PublisherName"
_ONLY_1_4 = """
AllocatedMethodDetails AllocatedMethodId AllocatedResourceId AllocatedResourceName AllocatedTags
CapacityReservationStatus CommitmentProgramEligibilityDetails ContractApplied HostProviderName
InvoiceDetailId ServiceProviderName
"""
_SOURCE_1_4 = {"PricingQuantity": "nothing", "PricingUnit": "nothing"}
"""In 1.4 a charge without a price in a price list has no quantity that is priced; in 1.2 it must have one."""
_OWN = """
x_ChargeKey x_CorrectionOf x_CostClass x_Draft x_EntryId x_Grain x_LineType x_NetCharge:money
x_NetEffectiveCost:money x_Operation x_PlanId x_Reason x_RunId x_ServiceCode x_ServiceComponent
x_SplitOriginCost:money x_SplitOriginId x_TenantId x_UsageQuantity:money x_UsageType x_UsageUnit
"""


def _columns(text: str) -> list[Column]:
    pairs = [word.partition(":") for word in text.split()]
    return [(name, kind or "text") for name, _, kind in pairs]


def cost_and_usage(version: Version, *, has_commitments: bool) -> list[tuple[str, str, str]]:
    """Name, the name in `sql/focus_lines.sql`, kind: FOCUS columns by name, then those of COPS.

    Args:
        has_commitments: some row names a commitment; in 1.2 their columns are not there otherwise.
    """
    if version == "1.2":
        more = _columns(_ONLY_1_2) + (_columns(_COMMITMENT) if has_commitments else [])
    else:
        more = [*_columns(_COMMITMENT), *_columns(_ONLY_1_4)]
    found = sorted([*_columns(_COMMON), *more])
    source = {} if version == "1.2" else _SOURCE_1_4
    return [(name, source.get(name, snake(name)), kind) for name, kind in (*found, *_columns(_OWN))]


def snake(name: str) -> str:
    """`x_ChargeKey` as `x_charge_key`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("__", "_")


INVOICE_DETAIL = tuple(
    _columns("""
BilledCost:money BillingAccountId BillingCurrency BillingPeriodEnd:time BillingPeriodStart:time ChargeCategory
InvoiceDetailCreated:time InvoiceDetailDescription InvoiceDetailGrain InvoiceDetailId
InvoiceDetailLastUpdated:time InvoiceId InvoiceIssueDate:time InvoiceIssueStatus InvoiceIssuerName
PaymentCurrency PaymentCurrencyBilledCost:money PaymentCurrencyInvoiceDetailId PaymentDueDate:time
PaymentTerms PurchaseOrderNumber ReferenceInvoiceId x_Draft
""")
)
BILLING_PERIOD = tuple(
    _columns("""
BillingPeriodCreated:time BillingPeriodEnd:time BillingPeriodLastUpdated:time BillingPeriodStart:time
BillingPeriodStatus InvoiceIssuerName x_Draft
""")
)
CONTRACT_COMMITMENT = tuple(
    _columns("""
BillingCurrency ContractCommitmentApplicability ContractCommitmentBenefitCategory ContractCommitmentCategory
ContractCommitmentCost:money ContractCommitmentCreated:time ContractCommitmentDescription
ContractCommitmentDiscountPercentage:money ContractCommitmentDurationType
ContractCommitmentFulfillmentInterval ContractCommitmentId ContractCommitmentLastUpdated:time
ContractCommitmentLifecycleStatus ContractCommitmentModel ContractCommitmentOfferCategory
ContractCommitmentPaymentInterval ContractCommitmentPaymentModel ContractCommitmentPeriodEnd:time
ContractCommitmentPeriodStart:time ContractCommitmentQuantity:money ContractCommitmentType
ContractCommitmentUnit ContractId ContractPeriodEnd:time ContractPeriodStart:time InvoiceIssuerName
ServiceProviderName x_Draft
""")
)
