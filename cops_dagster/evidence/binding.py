"""What a seal binds beside the entries: the rows of the admin database that speak of the month.

Belongs here: the one list of tables with the rows of each that count, and reading them in one form on both
dialects. Does not belong here: comparing them (`evidence/sealed.py`), the seal itself (`evidence/seal.py`).

A new table is one line in `BOUND`. A seal names the tables it binds, so older ones are held to theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cops_dagster.evidence import documents
from cops_dagster.evidence.sealed import Later
from cops_dagster.period import Period
from cops_dagster.stores import tables as t

Which = Callable[[sa.Table, Period], sa.ColumnElement[bool]]


@dataclass(frozen=True)
class Bound:
    """Rows of one table that a seal binds.

    Attributes:
        which: the rows that count for a period.
        later: what rows that come after the close are.
        without: columns that move by right, such as where bytes lie now.
        hourly: looked at each hour as well, by digest alone.
    """

    table: str
    which: Which
    later: Later
    without: tuple[str, ...] = ()
    hourly: bool = False


@dataclass(frozen=True)
class Log:
    """A log that only grows, bound by length and digest: its rows up to a number."""

    table: str
    number: str


def _of_month(table: sa.Table, period: Period) -> sa.ColumnElement[bool]:
    return table.c.period_start == period.start


def _everything(table: sa.Table, period: Period) -> sa.ColumnElement[bool]:
    return sa.true()


def _before_closed(table: sa.Table, period: Period) -> sa.ColumnElement[bool]:
    """The move to closed comes with the seal, which cannot hold it; the chain holds who and when."""
    return sa.and_(_of_month(table, period), table.c.to_state != "closed")


def _ended(table: sa.Table, period: Period) -> sa.ColumnElement[bool]:
    return sa.and_(_of_month(table, period), table.c.status != "running")


def _decided(table: sa.Table, period: Period) -> sa.ColumnElement[bool]:
    """One that was open when the month closed is decided afterwards."""
    is_decided = sa.or_(table.c.resolved_at.is_not(None), table.c.withdrawn_at.is_not(None))
    return sa.and_(_of_month(table, period), is_decided)


def _shown(table: sa.Table, period: Period) -> sa.ColumnElement[bool]:
    shown = t.cur_billing_head
    return table.c.delivery_id.in_(sa.select(shown.c.delivery_id).where(shown.c.period_start == period.start))


def _booked(table: sa.Table, period: Period) -> sa.ColumnElement[bool]:
    bookings = t.adjustment_booking
    return table.c.adjustment_id.in_(
        sa.select(bookings.c.adjustment_id).where(bookings.c.period_start == period.start)
    )


BOUND = (
    # what was published: entries lie in these files, by these runs
    Bound("lake_file", _of_month, "never", hourly=True),
    Bound("publish_journal", _of_month, "never", hourly=True),
    Bound("period_head", _of_month, "never", hourly=True),
    Bound("period_lock_event", _before_closed, "never", hourly=True),
    Bound("allocation_run_log", _ended, "free"),
    Bound("run_reversal", _of_month, "never"),
    # what it was made of
    Bound("cur_billing_head", _of_month, "never", without=("location_json", "seen_at")),
    Bound("cur_delivery", _shown, "never"),
    Bound("cur_delivery_file", _shown, "never"),
    Bound("cur_delivery_profile", _shown, "never"),
    Bound("cur_delivery_breakdown", _shown, "never"),
    Bound("cur_delivery_hold", _of_month, "free"),
    Bound("cur_ingestion_log", _ended, "free"),
    Bound("source_event", _everything, "free"),
    Bound("policy", _everything, "free"),
    Bound("plans", _everything, "free"),
    Bound("allocation_keys", _everything, "free"),
    Bound("allocation_rules", _everything, "free"),
    Bound("allocation_rule_date", _of_month, "never"),
    Bound("allocation_key_snapshot", _of_month, "never"),
    Bound("tenant_usage", _of_month, "told"),
    Bound("key_usage_version", _of_month, "never"),
    Bound("usage_day", _of_month, "free"),
    Bound("usage_day_value", _of_month, "free"),
    Bound("usage_month", _of_month, "free"),
    Bound("usage_refusal", _of_month, "free"),
    Bound("fx_rates", _of_month, "told"),
    # what was said of it: documents, reconciliation, statement, decisions
    Bound("invoice_detail", _of_month, "explained"),
    Bound("aws_invoices", _of_month, "explained"),
    Bound("document_conflict", _of_month, "free"),
    Bound("disputes", _of_month, "free"),
    Bound("recon_run", _of_month, "never"),
    Bound("recon_run_tenant", _of_month, "never"),
    Bound("recon_run_statement", _of_month, "never"),
    Bound("recon_run_bridge", _of_month, "never"),
    Bound("recon_exceptions", _decided, "free"),
    Bound("approval", _everything, "free"),
    Bound("close_request", _of_month, "never"),
    Bound("signature", _everything, "free"),
    Bound("allowed_signers", _everything, "free"),
    Bound("load_log", _everything, "free"),
    Bound("invoice_freeze", _of_month, "never"),
    Bound("adjustment", _booked, "never"),
    Bound("adjustment_effect", _booked, "never"),
    Bound("adjustment_booking", _of_month, "never"),
    Bound("tag_coverage", _of_month, "never"),
    Bound("budget_history", _of_month, "free"),
    Bound("export_record", _of_month, "free"),
    Bound("gl_accounts", _everything, "free"),
    Bound("journal_entry", _of_month, "free"),
    Bound("journal_line", _of_month, "free"),
)
"""Every table that makes up a closed month. Not bound, since they change by right: `alert_state` (held
against its own log instead), `budget_master`, `outbox`, `cur_delivery_place`, `cur_read_file`."""

LOGS = (Log("alert_event", "alert_seq"), Log("notification_log", "notification_seq"))
"""Logs of the whole home. The newest seal holds for the older ones: it binds what they bind, and more."""

_BY_NAME = {one.table: one for one in BOUND}


def of(name: str) -> Bound | None:
    """How a table is bound; `None` for one that this version does not bind."""
    return _BY_NAME.get(name)


def rows(con: sa.Connection, bound: Bound, period: Period) -> list[dict[str, Any]]:
    """The rows that count, as JSON holds them, in one order on every dialect."""
    table = t.metadata.tables[bound.table]
    columns = [column for column in table.c if column.name not in bound.without]
    found = documents.rows_of(con, sa.select(*columns).where(bound.which(table, period)))
    keys = key_of(bound)
    return sorted(found, key=lambda row: [str(row[name]) for name in keys])


def key_of(bound: Bound) -> list[str]:
    """The columns that name a row."""
    return [column.name for column in t.metadata.tables[bound.table].primary_key.columns]


def digest_of(found: Iterable[dict[str, Any]]) -> str:
    """SHA-256 over the rows, each as a line of canonical JSON."""
    state = hashlib.sha256()
    for row in found:
        state.update(documents.document(row) + b"\n")
    return state.hexdigest()


def length(con: sa.Connection, log: Log) -> int:
    """The newest number of a log; 0 for an empty one."""
    column = t.metadata.tables[log.table].c[log.number]
    return int(con.execute(sa.select(sa.func.max(column))).scalar() or 0)


def log_digest(con: sa.Connection, log: Log, up_to: int) -> str:
    """SHA-256 over a log's rows up to a number, in their order."""
    table = t.metadata.tables[log.table]
    column = table.c[log.number]
    return digest_of(documents.rows_of(con, sa.select(table).where(column <= up_to).order_by(column)))


def everything(con: sa.Connection, period: Period) -> dict[str, list[dict[str, Any]]]:
    """The rows of every bound table."""
    return {one.table: rows(con, one, period) for one in BOUND}


def said(found: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Rows and digest of each table: what stands in the seal itself."""
    return {name: {"rows": len(there), "digest": digest_of(there)} for name, there in found.items()}


def logs(con: sa.Connection) -> dict[str, dict[str, Any]]:
    """Length and digest of every log."""
    ends = {log: length(con, log) for log in LOGS}
    return {log.table: {"up_to": end, "digest": log_digest(con, log, end)} for log, end in ends.items()}
