"""What happens to a new input row that speaks of a closed month: the table of decisions. Pure.

Belongs here: which days a row of each input table speaks of, and whether it may then be stored. Does not
belong here: which months are closed, storing (`inputs/load.py`), changes of stored rows
(`inputs/conflicts.py`).

A closed month takes no input: it would have no effect, and nobody would miss it. So the row is refused, and
the refusal says where it goes instead. Only a document that corrects another one is taken, for it is written
about its month whatever we close; it opens an exception in the oldest open month, where people see it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from cops_dagster.period import Period
from cops_dagster.reconciliation import aws_documents

WHENEVER = date(1970, 1, 1)
"""What an alias without a date begins with: it says nothing of any month, so a closed one keeps its own."""


@dataclass(frozen=True)
class Decision:
    """What a table's rows speak of, and where one goes that speaks of a closed month.

    Attributes:
        begins, ends: columns of the first day and of the day after the last one; empty `ends`: a month.
        instead: what to do about a refused row; `{month}` is the oldest open month, `{day}` its first day.
    """

    begins: str
    ends: str | None
    instead: str


DECISIONS: Mapping[str, Decision | None] = {
    "plans": Decision("effective_from", "", "begin the markup on {day}"),
    "tenants": Decision("active_from", "active_to", "begin the tenant on {day}: it bears nothing before"),
    "tag_aliases": Decision("effective_from", "effective_to", "begin the alias on {day}"),
    "account_tenants": Decision("effective_from", "effective_to", "begin the mapping on {day}"),
    "allocation_keys": None,  # speaks of no month
    "allocation_rules": Decision(
        "effective_from", "effective_to", "begin the version on {day}, or propose an adjustment"
    ),
    "tenant_usage": Decision("period_start", None, "propose an adjustment, which is booked in {month}"),
    "fx_rates": Decision("period_start", None, "a closed month keeps the rates that it was closed with"),
    "invoice_detail": Decision(
        "period_start", None,
        "a credit note, or an invoice that names the one it corrects, is taken; any other belongs to {month}",
    ),
    "aws_invoices": Decision(
        "period_start", None,
        "a credit memo, or a document that names the one it corrects, is taken; load any other for {month},"
        " which bears what AWS bills late",
    ),
    "budgets": Decision("effective_from", "effective_to", "begin the version on {day}"),
    "gl_accounts": None,  # decides no number: entries that were exported are reversed and made anew
    "disputes": None,  # taken for any month, and decided in an open one (`inputs/disputes.py`)
}  # fmt: skip
"""Input table → decision."""


def closed_month(table: str, row: Mapping[str, Any], closed: Collection[date]) -> date | None:
    """The newest closed month that a new row speaks of, by its first day; `None` for none of them."""
    decision = DECISIONS[table]
    if decision is None or not closed:
        return None
    begin: date = row[decision.begins]
    if table == "tag_aliases" and begin == WHENEVER:
        return None
    end: date
    if decision.ends is None:
        end = Period.of(begin).end
    else:
        end = (row[decision.ends] if decision.ends else None) or date.max
    return max((month for month in closed if begin < Period.of(month).end and month < end), default=None)


def corrects(table: str, row: Mapping[str, Any]) -> bool:
    """Whether a row is a document that corrects another one."""
    if table == "invoice_detail":
        return row["document_type"] == "credit_note" or row["corrects_invoice_id"] is not None
    if table == "aws_invoices":
        return aws_documents.is_credit(row["invoice_type"]) or row["corrects_invoice_id"] is not None
    return False


def oldest_open(closed: Collection[date]) -> Period:
    """The month that bears what concerns closed ones: earlier months are closed first, so it follows them."""
    return Period.of(max(closed)).next()


def instead(table: str, closed: Collection[date]) -> str:
    """Where a refused row goes."""
    decision, month = DECISIONS[table], oldest_open(closed)
    assert decision is not None
    return decision.instead.format(month=month, day=month.start)
