"""The invoices of a load in dollars: their links, their signs, the rate that is frozen with their month.

Belongs here: `amount_usd` of every row, and the refusals on the way to it. Does not belong here: what a
document must be by itself (`inputs/documents.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.inputs.files import Row
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.stores import csv_cells
from cops_dagster.stores import tables as t

_IDS_PER_QUERY = 500


def in_dollars(con: sa.Connection, given: Mapping[str, Sequence[Row]]) -> list[Row]:
    """The invoices with `amount_usd`, once their links, signs and exchange rates are good."""
    rows = given["invoice_detail"]
    documents = _documents_named(con, rows)
    rows = [_as_stored(row, documents) for row in rows]
    rates = {
        (row["base"], row["period_start"]): row["rate"]
        for row in con.execute(sa.select(t.fx_rates).where(t.fx_rates.c.quote == "USD")).mappings()
    }
    for row in given.get("fx_rates", ()):
        if row.values["quote"] == "USD":  # a stored rate wins; a differing one is a conflict later
            rates.setdefault((row.values["base"], row.values["period_start"]), row.values["rate"])
    return [_with_dollars(row, documents, rates) for row in rows]


def _documents_named(
    con: sa.Connection, rows: Sequence[Row]
) -> Mapping[tuple[str, str], set[tuple[date, str]]]:
    """Documents that `rows` say they correct: (invoice, tenant) → {(month, document type)}."""
    table = t.invoice_detail
    named = sorted({row.values["corrects_invoice_id"] for row in rows} - {None})
    named += sorted({csv_cells.text_of(name) for name in named} - {*named})
    found: defaultdict[tuple[str, str], set[tuple[date, str]]] = defaultdict(set)
    for begin in range(0, len(named), _IDS_PER_QUERY):
        batch = named[begin : begin + _IDS_PER_QUERY]
        columns = (table.c.invoice_id, table.c.tenant_id, table.c.period_start, table.c.document_type)
        for invoice, tenant, month, kind in con.execute(
            sa.select(*columns).where(table.c.invoice_id.in_(batch))
        ):
            found[invoice, tenant].add((month, kind))
    for row in rows:
        values = row.values
        found[values["invoice_id"], values["tenant_id"]].add(
            (values["period_start"], values["document_type"])
        )
    return found


def _as_stored(row: Row, documents: Mapping[tuple[str, str], set[tuple[date, str]]]) -> Row:
    """A row that names its invoice as a draft of COPS does: behind the guard of a cell that is a formula."""
    named, tenant = row.values["corrects_invoice_id"], row.values["tenant_id"]
    bare = None if named is None else csv_cells.text_of(named)
    if bare == named or (named, tenant) in documents or (bare, tenant) not in documents:
        return row
    return Row(row.table, {**row.values, "corrects_invoice_id": bare}, row.file, row.line)


def _with_dollars(
    row: Row,
    documents: Mapping[tuple[str, str], set[tuple[date, str]]],
    rates: Mapping[tuple[str, date], Decimal],
) -> Row:
    values = row.values
    is_credit = values["document_type"] == "credit_note"
    if values["amount"] != 0 and (values["amount"] < 0) != is_credit:
        raise CopsError(
            "E-INV-LINK",
            row.where("amount"),
            expected="an amount of 0 or less on a credit note, of 0 or more on an invoice",
            found=f"{values['amount'].normalize():f} on a {values['document_type']}",
            next_step="correct the sign or the document type",
        )
    month = _corrected_month(row, documents) if is_credit else values["period_start"]
    if not is_credit and values["corrects_invoice_id"] is not None:
        _require_corrected(row, documents)
    dollars = values["amount"]
    if values["currency"] != "USD":
        rate = rates.get((values["currency"], month))
        if rate is None:
            raise CopsError(
                "E-FX",
                row.where("currency"),
                expected=f"a rate {values['currency']} to USD for {Period.of(month)} in fx_rates",
                found="none",
                next_step="load fx_rates.csv with it; rates are never guessed",
            )
        rounded = amount.converted(dollars, rate)
        dollars = amount.to_decimal(amount.from_decimal(rounded, subject=row.where("amount_usd")))
    if values["amount_usd"] not in (None, dollars):
        raise CopsError(
            "E-FX",
            row.where("amount_usd"),
            expected=f"{dollars.normalize():f}, the amount at the frozen rate",
            found=f"{values['amount_usd'].normalize():f}",
            next_step="leave the column out, or correct the amount or the rate",
        )
    return Row(row.table, {**values, "amount_usd": dollars}, row.file, row.line)


def _require_corrected(row: Row, documents: Mapping[tuple[str, str], set[tuple[date, str]]]) -> set[date]:
    """Months of the invoice that this document corrects, for the same tenant."""
    named, tenant = row.values["corrects_invoice_id"], row.values["tenant_id"]
    months = {month for month, kind in documents.get((named, tenant), ()) if kind == "invoice"}
    if named is None or named == row.values["invoice_id"] or not months:
        raise CopsError(
            "E-INV-LINK",
            row.where("corrects_invoice_id"),
            expected=f"another invoice of tenant {tenant}, stored or in this load",
            found="an empty cell" if named is None else repr(named),
            next_step="name the invoice that this document corrects, and load it first or with it",
        )
    return months


def _corrected_month(row: Row, documents: Mapping[tuple[str, str], set[tuple[date, str]]]) -> date:
    """The month whose exchange rate a credit note uses: that of the invoice it corrects."""
    months = _require_corrected(row, documents)
    own: date = row.values["period_start"]
    if len(months) == 1:
        return next(iter(months))
    if own in months:
        return own
    raise CopsError(
        "E-INV-LINK",
        row.where("corrects_invoice_id"),
        expected="an invoice of one month, or one that has a line in the credit note's own month",
        found=f"{row.values['corrects_invoice_id']!r} covers "
        + ", ".join(str(Period.of(month)) for month in sorted(months)),
        next_step="split the credit note by month",
    )
