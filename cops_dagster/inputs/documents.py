"""What a new document must be by itself: amounts that its currencies can have, the sign of its type.

Belongs here: the refusals of one row of `invoice_detail`, `aws_invoices` or `disputes`, before it is stored.
Does not belong here: its links and exchange rate (`inputs/dollars.py`), its cells (`inputs/cells.py`).
"""

from __future__ import annotations

from cops_dagster.errors import CopsError
from cops_dagster.inputs import references
from cops_dagster.inputs.files import Row
from cops_dagster.money import amount, currency
from cops_dagster.reconciliation import aws_documents

_AMOUNTS_OF = {
    "invoice_detail": (("amount", "currency"),),
    "aws_invoices": (
        ("amount_before_tax", "base_currency"),
        ("tax", "base_currency"),
        ("payment_amount", "payment_currency"),
    ),
    "disputes": (("amount", "currency"),),
}
"""Amounts of a document, each with the column of its currency."""


def check(row: Row) -> None:
    """A new document carries amounts that its currencies can have, with the sign of its type.

    Raises:
        CopsError: `E-CCY-SCALE` for 1459.85 JPY, `E-INV-LINK` for a credit memo of AWS above 0.
    """
    for column, code_column in _AMOUNTS_OF[row.table]:
        value, code = row.values[column], row.values[code_column]
        if value is None or code is None:
            continue
        places = currency.places(code)
        if amount.from_decimal(value) % currency.unit(code):
            raise CopsError(
                "E-CCY-SCALE",
                row.where(column),
                expected=f"{code} with {places or 'no'} decimals, as ISO 4217 has it",
                found=references.plain(value),
                next_step="write the amount as it stands on the document; a document cannot carry a part of"
                " the smallest unit",
            )
    if row.table == "aws_invoices" and aws_documents.is_credit(row.values["invoice_type"]):
        for column in ("amount_before_tax", "tax"):
            if row.values[column] > 0:
                raise CopsError(
                    "E-INV-LINK",
                    row.where(column),
                    expected="an amount of 0 or less on a credit memo",
                    found=references.plain(row.values[column]),
                    next_step="write what a credit memo gives back with a minus, or correct invoice_type",
                )
