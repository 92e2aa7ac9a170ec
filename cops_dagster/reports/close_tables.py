"""The money tables of the close report: what a month consists of, row by row.

Belongs here: which rows and columns, and which of them add up. The same books give the same rows; no clock
stands in them. Does not belong here: who decided and what proves it (`reports/close_record.py`), how a table
foots (`reports/sheet.py`), the page (`reports/close_report.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount, currency, footing
from cops_dagster.money.footing import Kind
from cops_dagster.period import Period
from cops_dagster.reconciliation import documents, margin_cells, reconcile, record, statement
from cops_dagster.reconciliation.bridge import WHOLE_MONTH
from cops_dagster.reports.sheet import Table
from cops_dagster.stores import tables as t
from cops_dagster.words import OPERATOR, UNALLOCATED

TREND_MONTHS = 12


MOVERS = 10


VARIANCE: Sequence[tuple[Kind, str]] = (
    ("level", "expected_usd"),
    ("change", "variance_usd"),
    ("level", "invoiced_usd"),
)
"""How what is billable, what was billed too much, and what was invoiced add up along a row."""
_NOBODYS = (OPERATOR, UNALLOCATED)


def tables(con: sa.Connection, books: Books, recon: Any, period: Period) -> list[Table]:
    """Every table of a period's money, in the order of the page."""
    steps = steps_of(con, recon.recon_seq)
    return [
        Table(
            "bridge",
            "From AWS's bill to our invoices",
            ("step", "kind", "amount_usd"),
            [(name, kind, usd) for name, kind, usd, _ in steps],
        ),
        _tenants(con, recon, period, bridge_told(steps)),
        _statement(con, period),
        _documents(con, period, recon),
        _aws_invoices(con, period),
        _margin(con, books, period),
        _movers(con, recon, period),
    ]


def steps_of(con: sa.Connection, seq: int) -> list[tuple[str, Kind, Decimal, Decimal]]:
    """The steps from AWS's bill to our invoices, as one reconciliation saw them."""
    steps = t.recon_run_bridge
    rows = con.execute(
        sa.select(steps)
        .where(steps.c.recon_seq == seq, steps.c.tenant_id == WHOLE_MONTH)
        .order_by(steps.c.position)
    )
    return [(row.step, row.kind, row.amount_usd, row.cumulative_usd) for row in rows]


def bridge_told(steps: Sequence[tuple[str, Kind, Decimal, Decimal]]) -> Mapping[str, str]:
    """Step → its amount as displayed: cards, totals and the bridge itself show these."""
    told = footing.told([(kind, usd) for _, kind, usd, _ in steps])
    return {step[0]: usd for step, usd in zip(steps, told, strict=True)}


def coverage(con: sa.Connection, period: Period) -> list[tuple[str, Decimal | None]]:
    """Tag coverage of the months up to this one, the oldest first."""
    measured = t.tag_coverage
    rows = con.execute(
        sa.select(measured.c.period_start, measured.c.tag_coverage_pct)
        .where(measured.c.period_start <= period.start)
        .order_by(measured.c.period_start.desc())
        .limit(TREND_MONTHS)
    ).all()
    return [(f"{row.period_start:%Y-%m}", row.tag_coverage_pct) for row in reversed(rows)]


def rates(con: sa.Connection, period: Period) -> list[tuple[str, str]]:
    """The month's exchange rates: `EUR→USD` and what one unit is worth, of currencies that are used."""
    used = {row.currency for row in documents.invoices(con, period)}
    used |= set(con.execute(sa.select(t.tenants.c.currency).distinct()).scalars())
    found = documents.fx_rates(con, period)
    return [
        (f"{code}→USD", f"{amount.to_decimal(found[code]).normalize():f}")
        for code in sorted(used - {"USD", None})
        if code in found
    ]


def _tenants(con: sa.Connection, recon: Any, period: Period, told: Mapping[str, str]) -> Table:
    """What tenants owe. Own cost and cost that nobody bears stand in the bridge, and here if corrected."""
    tenants, statements = t.recon_run_tenant, t.recon_run_statement
    stated = {
        row.tenant_id: row
        for row in con.execute(sa.select(statements).where(statements.c.recon_seq == recon.recon_seq))
    }
    off = reconcile.months_off(con, period)
    rows = []
    for row in con.execute(
        sa.select(tenants).where(tenants.c.recon_seq == recon.recon_seq).order_by(tenants.c.tenant_id)
    ):
        one = stated.get(row.tenant_id)
        if row.tenant_id in _NOBODYS and not (row.adjustments_usd or row.expected_usd or row.invoiced_usd):
            continue
        rows.append(
            (
                row.tenant_id,
                one.direct_usd if one else None,
                one.shared_usd if one else None,
                row.adjustments_usd,
                row.markup_usd,
                row.expected_usd,
                row.invoiced_usd,
                row.variance_usd,
                row.status,
                off.get(row.tenant_id, 0) or None,
            )
        )
    steps = ("direct", "shared", "adjustments", "markup", "expected", "invoiced", "variance")
    return Table(
        "tenants", "Tenants: what is billable and what was invoiced",
        ("tenant", "direct_usd", "shared_usd", "adjustments_usd", "markup_usd", "expected_usd",
         "invoiced_usd", "variance_usd", "status", "months_off"),
        rows,
        "direct + shared + prior-period adjustments + markup = billable; invoiced − billable = over-billed,"
        " with a minus under-billed. Months off tolerance: in a row, this one included",
        (("change", "direct_usd"), ("change", "shared_usd"), ("change", "adjustments_usd"),
         ("change", "markup_usd"), *VARIANCE),
        total=("total", *(told.get(step, "") for step in steps), "", None),
    )  # fmt: skip


def _statement(con: sa.Connection, period: Period) -> Table:
    try:
        found, note = statement.stated(con, period).rows, ""
    except CopsError as refusal:  # a rate or a markup is missing: nothing is shown in part
        found, note = [], f"not shown: {refusal.found}; {refusal.next_step}"
    return stated(found, note)


def stated(rows: Sequence[Mapping[str, Any]], note: str = "") -> Table:
    """What tenants owe, in USD and in whole units of their currencies, with a total of each currency."""
    currencies = sorted({row["currency"] for row in rows})
    sums = [
        currency.told(sum((row["total"] for row in rows if row["currency"] == code), Decimal(0)), code)
        + f" {code}"
        for code in currencies
    ]
    return Table(
        "statement", "Statement: what tenants owe, in their currencies",
        ("tenant", "total_usd", "rate", "total", "currency"),
        [
            (row["tenant_id"], row["total_usd"], rate_told(row), row["total"], row["currency"])
            for row in rows
        ],
        note,
        total=("total", sum((row["total_usd"] for row in rows), Decimal(0)), "", "; ".join(sums), "")
        if rows else None,
        page=[(name, (name,)) for name in ("tenant", "total_usd", "rate", "total")],
    )  # fmt: skip


def rate_told(row: Mapping[str, Any]) -> str:
    """`EUR→USD 1.1651` of a row of the statement; nothing of a tenant that owes dollars."""
    if row["currency"] == "USD":
        return ""
    return f"{row['currency']}→USD {row['fx_rate'].normalize():f}"


def _documents(con: sa.Connection, period: Period, recon: Any) -> Table:
    """Our invoices and credit notes, by tenant; they add up to what was invoiced."""
    rows = [
        (
            row.invoice_id,
            row.tenant_id,
            row.document_type.replace("_", " "),
            row.corrects_invoice_id,
            row.amount,
            row.currency,
            row.amount_usd,
        )
        for row in sorted(documents.invoices(con, period), key=lambda row: (row.tenant_id, row.invoice_id))
    ]
    total = sum((row[-1] for row in rows), Decimal(0))
    differs = total != recon.invoiced_total_usd
    return Table(
        "documents", "Our invoices and credit notes",
        ("number", "tenant", "kind", "corrects", "amount", "currency", "amount_usd"), rows,
        "loaded since the last reconciliation: some of them are not in it" if differs else "",
        total=("total", "", "", "", "", "", total) if rows else None,
        page=[(name, (name,)) for name in ("number", "tenant", "kind", "corrects", "amount", "amount_usd")],
    )  # fmt: skip


def _aws_invoices(con: sa.Connection, period: Period) -> Table:
    invoices = t.aws_invoices
    found = con.execute(
        sa.select(invoices).where(invoices.c.period_start == period.start).order_by(invoices.c.invoice_id)
    ).all()
    codes = {row.base_currency for row in found}
    is_one = codes == {"USD"}
    sums = [sum((getattr(row, name) or Decimal(0) for row in found), Decimal(0))
            for name in ("amount_before_tax", "tax")]  # fmt: skip
    names = ("before_tax_usd", "tax_usd") if is_one else ("before_tax", "tax")
    return Table(
        "aws_invoices", "AWS's invoices",
        ("number", "kind", "payer", "issued_by", *names, "currency", "corrects"),
        [
            (
                row.invoice_id, row.invoice_type.replace("_", " ").lower(), row.payer_account_id,
                row.invoicing_entity or row.billing_entity, row.amount_before_tax, row.tax or Decimal(0),
                row.base_currency, row.corrects_invoice_id,
            )
            for row in found
        ],
        "" if found else "none is loaded",
        total=("total", "", "", "", *sums, "", "") if is_one else None,
    )  # fmt: skip


def _margin(con: sa.Connection, books: Books, period: Period) -> Table:
    """What is left of what tenants are charged; empty where the reconciliation is not of what stands now."""
    rows, note = [], "own cost and cost that nobody bears yet have lines of their own"
    try:
        made = margin_cells.read(books, con, period)
    except CopsError as refusal:
        if refusal.code != "E-NOT-RECONCILED":
            raise
        made, note = None, f"not shown: {refusal.found}"
    for line in [*made.lines("tenant"), made.total] if made else ():
        charged, cost, left = (amount.to_decimal(one) for one in (line.charged, line.cost, line.margin))
        unused, pct = amount.to_decimal(line.unused), line.margin_pct
        told = (cost, left, charged) if line.is_priced else (cost, None, None)
        rows.append((line.name, *told, "" if pct is None else amount.shown(pct), unused))
    return Table(
        "margin", "Margin: what is left of what tenants are charged",
        ("tenant", "cost_usd", "margin_usd", "charged_usd", "margin_pct", "unused_commitments_usd"),
        rows[:-1], note,
        (("level", "cost_usd"), ("change", "margin_usd"), ("level", "charged_usd")),
        total=rows[-1] if rows else None,
    )  # fmt: skip


def _movers(con: sa.Connection, recon: Any, period: Period) -> Table:
    """Tenants whose expected charge moved most since the month before, and all others in one row."""
    tenants = t.recon_run_tenant
    before = record.newest(con, period.previous())
    sides: list[dict[str, Decimal]] = []
    for one in (before, recon):
        rows = con.execute(sa.select(tenants).where(tenants.c.recon_seq == (one.recon_seq if one else None)))
        sides.append({row.tenant_id: row.expected_usd for row in rows})
    before_of, now_of = sides
    changes = {
        name: now_of.get(name, Decimal(0)) - before_of.get(name, Decimal(0)) for name in {*before_of, *now_of}
    }
    order = sorted((name for name in changes if changes[name]), key=lambda name: (-abs(changes[name]), name))
    names = order[:MOVERS] if before else []
    first = [_moved(name, sides, [name]) for name in names]
    if first and (left := sorted({*changes} - {*names})):
        first.append(_moved("all others", sides, left))
    return Table(
        "movers", f"Top movers since {period.previous()}: billable",
        ("tenant", "before_usd", "now_usd", "change_usd", "change_pct"),
        first,
        "" if before else f"{period.previous()} was never reconciled here",
        (("level", "before_usd"), ("change", "change_usd"), ("level", "now_usd")),
        total=_moved("total", sides, sorted(changes)) if first else None,
    )  # fmt: skip


def _moved(told: str, sides: Sequence[Mapping[str, Decimal]], names: Sequence[str]) -> tuple[object, ...]:
    was, now = (sum((side.get(name, Decimal(0)) for name in names), Decimal(0)) for side in sides)
    pct = amount.percent(amount.from_decimal(now - was), amount.from_decimal(abs(was)), 2)
    return told, was, now, now - was, "" if pct is None else f"{pct:f}"
