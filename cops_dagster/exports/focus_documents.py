"""The datasets beside Cost and Usage: Invoice Detail, Billing Period, Contract Commitment.

Belongs here: their rows, from the written charges, the documents that people loaded and the bill's own fees.
Does not belong here: the charges, the files. What the books do not know stays empty; where a column must not
be, it says so in words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

from cops_dagster.exports.ready import Ready

Row = dict[str, Any]
UNKNOWN = "Not known to COPS"


def periods(ready: Ready, issuer: str, changed_at: datetime) -> list[Row]:
    """Billing Period: whether the month may still change."""
    return [
        {
            "BillingPeriodCreated": at(ready.period.start),
            "BillingPeriodEnd": at(ready.period.end),
            "BillingPeriodLastUpdated": max(changed_at, at(ready.period.start)),
            "BillingPeriodStart": at(ready.period.start),
            "BillingPeriodStatus": "Closed" if ready.state == "closed" else "Open",
            "InvoiceIssuerName": issuer,
            "x_Draft": draft(ready),
        }
    ]


def invoice_lines(
    ready: Ready,
    issuer: str,
    sums: Sequence[Mapping[str, Any]],
    corrects: Mapping[str, str | None],
    changed_at: datetime,
) -> list[Row]:
    """Invoice Detail: the lines of each invoice that charges stand on, as the charges add up.

    Args:
        sums: InvoiceDetailId, InvoiceId, BillingAccountId, BillingCurrency, ChargeCategory, BilledCost.
        corrects: invoice → the invoice that it corrects, of those that people loaded.
    """
    return [
        {
            **line,
            "BillingPeriodEnd": at(ready.period.end),
            "BillingPeriodStart": at(ready.period.start),
            "InvoiceDetailCreated": changed_at,
            "InvoiceDetailDescription": f"{line['ChargeCategory']} of {ready.period}",
            "InvoiceDetailGrain": json.dumps({"x_ChargeCategory": line["ChargeCategory"]}),
            "InvoiceDetailLastUpdated": changed_at,
            "InvoiceIssueStatus": "Open" if ready.is_draft else "Issued",
            "InvoiceIssuerName": issuer,
            "PaymentCurrency": line["BillingCurrency"],
            "PaymentCurrencyBilledCost": line["BilledCost"],
            "PaymentCurrencyInvoiceDetailId": line["InvoiceDetailId"],
            "PaymentTerms": UNKNOWN,
            "ReferenceInvoiceId": corrects.get(line["InvoiceId"]) or line["InvoiceId"],
            "x_Draft": draft(ready),
        }
        for line in sums
    ]


def commitments(
    ready: Ready, issuer: str, found: Sequence[Mapping[str, Any]], changed_at: datetime
) -> tuple[list[Row], list[str]]:
    """Contract Commitment for what the bill says begin, end, term and payment of; and the others by name."""
    rows, unknown = [], []
    for one in found:
        begins, ends = _instant(one["begins"]), _instant(one["ends"])
        term, payment = _term(one["term"]), _PAYMENT.get(one["payment"] or "")
        if begins is None or ends is None or term is None or payment is None:
            unknown.append(one["arn"])
            continue
        kind = f"{one['offering'] or ''} Savings Plan".strip() if one["is_plan"] else "Reservation"
        rows.append(
            {
                "BillingCurrency": "USD",
                "ContractCommitmentApplicability": '{"IsComplexScope":true}',
                "ContractCommitmentBenefitCategory": "Discount",
                "ContractCommitmentCategory": "Spend" if one["is_plan"] else "Usage",
                "ContractCommitmentCreated": begins,
                "ContractCommitmentDurationType": term,
                "ContractCommitmentFulfillmentInterval": "Hourly",
                "ContractCommitmentId": one["arn"],
                "ContractCommitmentLastUpdated": max(changed_at, begins),
                "ContractCommitmentLifecycleStatus": "Active" if ends >= at(ready.period.end) else "Expired",
                "ContractCommitmentModel": "Continuous",
                "ContractCommitmentOfferCategory": "Public",
                "ContractCommitmentPaymentInterval": "One-Time" if payment == "All Upfront" else "Monthly",
                "ContractCommitmentPaymentModel": payment,
                "ContractCommitmentPeriodEnd": ends,
                "ContractCommitmentPeriodStart": begins,
                "ContractCommitmentType": kind,
                "ContractId": one["arn"],
                "ContractPeriodEnd": ends,
                "ContractPeriodStart": begins,
                "InvoiceIssuerName": issuer,
                "ServiceProviderName": issuer,
                "x_Draft": draft(ready),
            }
        )
    return rows, unknown


_PAYMENT = {name: name for name in ("No Upfront", "Partial Upfront", "All Upfront")}


def draft(ready: Ready) -> str | None:
    """What marks each row of a draft."""
    return "draft" if ready.is_draft else None


def at(day: date) -> datetime:
    """The first moment of a day."""
    return datetime.combine(day, time())


def _instant(text: str | None) -> datetime | None:
    """A time as the bill writes it: `2022-10-01T00:00:00.000Z`."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text or ""):
        return None
    return datetime.fromisoformat(str(text)[:19])


def _term(text: str | None) -> str | None:
    found = re.fullmatch(r"(\d+) ?yr", text or "")
    return f"{found[1]} Year{'s' if found[1] != '1' else ''}" if found else None
