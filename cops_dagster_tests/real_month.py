"""A real month from its delivery to its close: October 2018, whose tenants are `user:CostCenter`.

Belongs here: the file that `COPS_TEST_REAL_MONTH` names, and what closes its month. Does not belong here: any
test. The file is nobody's to commit.
"""

from __future__ import annotations

import os
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from cops_dagster.ingestion import deliver, ingest, look
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster_tests.closing.ready import aged, close_by_two
from cops_dagster_tests.deliveries import acts, give, home
from cops_dagster_tests.shown import answer

OCTOBER = Period(2018, 10)
TAG = "resource_tags_user_cost_center"
RULES = (
    "rule_id,version,effective_from,priority,match_service,match_charge_class,method,key_name,shares,"
    "on_zero_key,approved_by\n"
) + "".join(
    f"{name},1,2018-01-01,{number},,{name},{method},,,fail,kim\n"
    for number, (name, method) in enumerate(
        {"usage": "proportional_cost", "tax": "even", "support": "even", "commitment_fee": "even"}.items(), 10
    )
)


def place() -> Path | None:
    """The file, where somebody has it."""
    named = os.environ.get("COPS_TEST_REAL_MONTH")
    return Path(named) if named else None


def closed(folder: Path, file: Path, given: dict[str, Any]) -> Books:
    """The month from delivery to close; what was invoiced is what the bill and the shares say."""
    inputs = {
        "plans": "plan_id,effective_from,markup_bps\nteam,2018-01-01,0\n",
        "allocation_rules": RULES,
    }
    books = home(folder, inputs=inputs, tags={"tenant_id": ["user_cost_center"]}, **given)
    (folder / "cur").mkdir()
    deliver.deliver(books, [file], OCTOBER)
    aged(books.settings.home)
    look.look(books, OCTOBER)
    ingest.ingest(books, OCTOBER)
    named = answer(books, f"SELECT DISTINCT {TAG} FROM fact_cost_raw WHERE {TAG} <> '' ORDER BY 1")
    registered = "".join(f'"{one}","{one}",team,2018-01-01\n' for (one,) in named)
    give(books, folder, tenants=f"tenant_id,name,plan_id,active_from\n{registered}")
    acts(books, OCTOBER)
    give(books, folder, **documents(books))
    acts(books, OCTOBER)
    close_by_two(books, OCTOBER)
    return books


def documents(books: Books) -> dict[str, str]:
    """AWS's invoices as its lines sum them up, and one invoice for what each tenant owes."""
    billed = answer(
        books,
        "SELECT bill_invoice_id, bill_payer_account_id,"
        " SUM(CASE WHEN charge_class <> 'tax' THEN line_item_unblended_cost ELSE 0 END),"
        " SUM(CASE WHEN charge_class = 'tax' THEN line_item_unblended_cost ELSE 0 END)"
        " FROM fact_cost_raw GROUP BY ALL ORDER BY ALL",
    )
    owed = answer(books, "SELECT tenant_id, total FROM tenant_statement WHERE total > 0 ORDER BY 1")
    return {
        "aws_invoices": "invoice_id,period_start,payer_account_id,invoice_type,base_currency,"
        "amount_before_tax,tax\n"
        + "".join(
            f"{one},2018-10,{payer},INVOICE,USD,{cents(net)},{cents(tax)}\n"
            for one, payer, net, tax in billed
        ),
        "invoice_detail": "invoice_id,tenant_id,period_start,amount,currency,status,document_type\n"
        + "".join(
            f'T-{number},"{tenant}",2018-10,{total:f},USD,issued,invoice\n'
            for number, (tenant, total) in enumerate(owed)
        ),
    }


def cents(usd: Decimal) -> str:
    """As a document shows it."""
    whole = round(Fraction(usd) * 100)
    return f"{Decimal(whole).scaleb(-2):f}"
