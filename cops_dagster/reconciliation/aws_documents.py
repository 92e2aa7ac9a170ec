"""What kind of document AWS wrote: only some of them say what is owed. Pure.

Belongs here: the types that AWS's interfaces and invoices name, and which of them count as an invoice. Does
not belong here: comparing invoices with the CUR (`reconciliation/differences.py`).

Sources: InvoiceType and BillType of the Invoicing API (ListInvoiceSummaries), the document types of its
e-invoice delivery and of supplemental documents, `bill_bill_type` of the CUR.
"""

from __future__ import annotations

import re

COUNTED = (
    "INVOICE", "CREDIT_MEMO", "DEBIT_MEMO", "AWS_CLOUD_INVOICE", "AWS_CLOUD_CREDIT_MEMO",
    "AWS_MARKETPLACE_INVOICE", "AWS_MARKETPLACE_CREDIT_MEMO",
)  # fmt: skip
"""Documents that say what AWS is owed. Each counts once, credit memos negative."""

TOLD_AGAIN = (
    "PAYMENT_RECEIPT", "RECEIPT", "PAYMENT_CONFIRMATION", "PRO_FORMA", "PROFORMA", "PRO_FORMA_INVOICE",
    "PROFORMA_INVOICE", "TAX_INVOICE", "TAX_E_INVOICE", "GOVERNMENT_INVOICE", "REQUEST_FOR_PAYMENT",
    "AWS_REQUEST_FOR_PAYMENT", "STATEMENT", "SUPPLEMENT",
)  # fmt: skip
"""Documents about what an invoice says already, or that claim nothing: they are no invoices."""

BILL_TYPES = ("ANNIVERSARY", "PURCHASE", "REFUND")


def spelled(text: str) -> str:
    """A type as the tables above spell it: `Credit memo` and `credit-memo` are CREDIT_MEMO."""
    return re.sub(r"[\s-]+", "_", text.strip()).upper()


def is_invoice(invoice_type: str) -> bool:
    """Whether a document counts. A type that older versions took and nobody knows counts, and is seen."""
    return spelled(invoice_type) not in TOLD_AGAIN


def is_credit(invoice_type: str) -> bool:
    """Whether a document takes back: its amounts are 0 or less."""
    return spelled(invoice_type).endswith("CREDIT_MEMO")
