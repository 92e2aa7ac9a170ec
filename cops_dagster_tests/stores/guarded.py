"""A database with a row in every table: a closed month, an open one, and what belongs to none.

Belongs here: rows in the order in which the database takes them, as a client without COPS would write them.
Does not belong here: any test.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.stores import tables as t
from cops_dagster_tests.stores.consented import agree, agree_to_close, are_agreed

REFUSED = (sa.exc.IntegrityError, sa.exc.InternalError, sa.exc.ProgrammingError, sa.exc.OperationalError)
"""What a guard raises, by the dialect."""

AUGUST, SEPTEMBER = date(2025, 8, 1), date(2025, 9, 1)
SEAL = "5ea1"

PATHS: dict[str, tuple[str, ...]] = {
    "open": (), "delayed": ("delayed",), "provisional": ("provisional",), "final": ("provisional", "final"),
    "closing": ("provisional", "final", "closing"), "closed": ("provisional", "final", "closing", "closed"),
}  # fmt: skip
"""The moves that lead from open to a state."""

COUNTED = (
    "alert_clock", "alert_event", "close_request", "cur_ingestion_log", "export_record", "invoice_freeze",
    "journal_entry", "notification_log", "outbox", "publish_journal", "recon_run", "source_event",
    "usage_day", "usage_month", "usage_refusal",
)  # fmt: skip
"""Tables whose first column the database counts up."""

_VALUES: dict[type, Any] = {
    sa.Text: "x", sa.BigInteger: 7, sa.Boolean: False, sa.Date: SEPTEMBER,
    sa.DateTime: datetime.fromisoformat("2025-09-01"), t.Money: Decimal("-1.000000000000000001"),
}  # fmt: skip
_SPECIAL: dict[tuple[str, str], Any] = {
    ("alert_silence", "severity"): "P2",
    ("allowed_signers", "event"): "added",
    ("alert_silence", "ends_at"): datetime.fromisoformat("2025-09-02"),
    ("alert_state", "state"): "firing",
    ("alert_state", "severity"): "P2",
    ("allocation_run_log", "status"): "running",
    ("control_status", "status"): "ok",
    ("cur_ingestion_log", "status"): "running",
    ("evidence_head", "head_id"): 1,
    ("cur_delivery_hold", "delivery_id"): "held",
    ("cur_read_file", "path"): "converted/x.parquet",
    ("invoice_freeze", "release_requested_by"): None,
    ("invoice_freeze", "released_at"): None,
    ("invoice_freeze", "released_by"): None,
    ("invoice_freeze", "subject_digest"): None,
    ("journal_entry", "kind"): "accrual",
    ("outbox", "attempts"): 0,
    ("outbox", "delivered_at"): None,
    ("period_lock", "seal_digest"): None,
    ("period_lock", "seal_journal_seq"): None,
    ("policy", "policy_version"): 1,
    ("recon_exceptions", "decided_at"): None,
    ("recon_exceptions", "decided_by"): None,
    ("recon_exceptions", "resolved_at"): None,
    ("recon_exceptions", "subject_digest"): None,
    ("recon_exceptions", "withdrawn_at"): None,
    ("recon_run_bridge", "kind"): "level",
    ("source_event", "event"): "retired",
    ("usage_day_value", "standing"): "taken",
}


def row(table: sa.Table, **given: object) -> dict[str, Any]:
    """Some value for every column; a number that the database counts up is left to it."""
    some = {
        column.name: _SPECIAL.get((table.name, column.name), _VALUES[type(column.type)])
        for column in table.columns
    }
    if table.name in COUNTED:
        some.pop(table.columns[0].name)
    return some | given


def insert(con: sa.Connection, table: sa.Table, **given: object) -> None:
    """One row."""
    con.execute(sa.insert(table).values(row(table, **given)))


def begin(con: sa.Connection, month: date = SEPTEMBER, state: str = "open") -> None:
    """A month's lock row, after the event that tells of it."""
    insert(
        con, t.period_lock_event, period_start=month, state_seq=1, from_state=None, to_state=state
    )  # fmt: skip
    insert(con, t.period_lock, period_start=month, state=state, state_seq=1)


def told(con: sa.Connection, there: str, month: date = SEPTEMBER) -> None:
    """The event of a move that is to come."""
    lock = t.period_lock
    here = con.execute(sa.select(lock).where(lock.c.period_start == month)).one()
    insert(
        con, t.period_lock_event, period_start=month, state_seq=here.state_seq + 1, from_state=here.state,
        to_state=there,
    )  # fmt: skip


def moved(there: str, month: date = SEPTEMBER, **given: object) -> sa.Update:
    """The move itself, as a statement."""
    lock = t.period_lock
    seq = lock.c.state_seq + 1
    return sa.update(lock).where(lock.c.period_start == month).values(state=there, state_seq=seq, **given)


def put(con: sa.Connection, state: str, month: date = SEPTEMBER) -> None:
    """Walks an open month to a state by moves that are allowed."""
    for there in PATHS[state]:
        if there == "closing" and not are_agreed(con, month):
            agree_to_close(con, month)
        told(con, there, month)
        con.execute(moved(there, month, **(sealed(con, month) if there == "closed" else {})))


def sealed(con: sa.Connection, month: date = SEPTEMBER) -> dict[str, object]:
    """The seal columns of a month, after the entry of evidence that they name."""
    journal, digest = t.publish_journal, f"{SEAL}-{month:%Y-%m}"
    prove(con, kind="seal", subject_type="period", subject_id=f"{month:%Y-%m}", sha256=digest)
    newest = con.execute(
        sa.select(sa.func.max(journal.c.journal_seq)).where(journal.c.period_start == month)
    ).scalar()
    return {"seal_digest": digest, "seal_journal_seq": newest}


def prove(con: sa.Connection, **given: object) -> None:
    """One entry of the chain of evidence, and its head."""
    entries, chain_head = t.evidence_index, t.evidence_head
    last = con.execute(sa.select(entries).order_by(entries.c.evidence_seq.desc()).limit(1)).one_or_none()
    seq = last.evidence_seq + 1 if last else 1
    head = {"evidence_seq": seq, "entry_hash": f"hash-{seq}"}
    insert(con, entries, **head, prev_hash=last.entry_hash if last else None, **given)
    if last is None:
        insert(con, chain_head, **head)
    else:
        con.execute(sa.update(chain_head).values(head))


def publish(
    con: sa.Connection, run_id: str = "r1", before: str | None = None, *, month: date = SEPTEMBER,
    table: str = "fact_cost_allocated", inputs: str = "x", files: int = 1, **given: object,
) -> int:  # fmt: skip
    """One run as `ledger/publish.py` writes it: its files, its journal row, head and outbox; its number."""
    journal, heads, lake_file = t.publish_journal, t.period_head, t.lake_file
    found = con.execute(sa.select(t.period_lock).where(t.period_lock.c.period_start == month)).first()
    if not found:
        begin(con, month)
    one = {"run_id": run_id, "table_name": table, "period_start": month, "source_id": ""}
    for number in range(files):
        insert(con, lake_file, path=f"{run_id}/{number}", row_count=2, cost_usd=Decimal(1), **one)
    values = row(
        journal,
        row_count=2 * files,
        cost_usd=Decimal(files),
        inputs_id=inputs,
        predecessor_run_id=before,
        **one,
    )
    seq = con.execute(sa.insert(journal).values(values | given).returning(journal.c.journal_seq)).scalar_one()
    head = {"run_id": run_id, "inputs_id": inputs, "journal_seq": seq}
    if before is None:
        insert(con, heads, **one | head)
    else:
        con.execute(
            sa.update(heads).where(heads.c.table_name == table, heads.c.period_start == month).values(head)
        )
    insert(con, t.outbox, journal_seq=seq)
    return int(seq)


def deliver(con: sa.Connection, delivery_id: str, month: date = SEPTEMBER) -> None:
    """A delivery with its parts, the parts first."""
    for part in (t.cur_delivery_file, t.cur_delivery_profile, t.cur_delivery_breakdown):
        insert(con, part, delivery_id=delivery_id)
    insert(con, t.cur_delivery, delivery_id=delivery_id, period_start=month)


def reconcile(con: sa.Connection, month: date = SEPTEMBER) -> int:
    """A reconciliation with its lines; its number."""
    recons = t.recon_run
    seq = con.execute(
        sa.insert(recons).values(row(recons, period_start=month)).returning(recons.c.recon_seq)
    ).scalar_one()  # fmt: skip
    for part in (t.recon_run_tenant, t.recon_run_statement, t.recon_run_bridge):
        insert(con, part, recon_seq=seq, period_start=month)
    return int(seq)


def fill(con: sa.Connection) -> None:
    """A row in every table: August is closed, September open."""
    for month in (AUGUST, SEPTEMBER):
        name = f"{month:%m}"
        begin(con, month)
        deliver(con, f"d{name}", month)
        insert(con, t.cur_billing_head, period_start=month, delivery_id=f"d{name}")
        for part in (t.allocation_key_snapshot, t.key_usage_version):
            insert(con, part, inputs_id=f"i{name}", period_start=month)
        insert(con, t.allocation_rule_date, period_start=month)
        publish(con, f"r{name}", month=month, inputs=f"i{name}")
        insert(con, t.tag_coverage, period_start=month, run_id=f"r{name}")
        insert(con, t.run_reversal, period_start=month, run_id=f"r{name}", reversed_run_id=f"q{name}")
        reconcile(con, month)
        for table in (t.recon_exceptions, t.tenant_usage, t.cur_ingestion_log, t.allocation_run_log):
            key = "exception_id" if table is t.recon_exceptions else "attempt_id"
            more = {} if table is t.tenant_usage else {key: name}
            insert(con, table, period_start=month, **more)
        insert(con, t.alert_state, fingerprint=name, period_start=month)
        for part in (t.journal_line, t.journal_entry):
            insert(con, part, entry_id=f"e{name}", period_start=month)
        for part in (t.usage_day_value, t.usage_day):
            insert(con, part, measure=f"m{name}", period_start=month)
    prove(con, kind="readiness")
    prove(con, kind="conversion", subject_type="delivery", subject_id="x/7/x")
    put(con, "closed", AUGUST)
    insert(con, t.adjustment_effect, adjustment_id="a1")
    insert(con, t.adjustment, adjustment_id="a1", usage_period_start=AUGUST)
    publish(con, "b1", table="fact_cost_adjustment", inputs="a1")
    agree(con, "adjustment", "a1", "x", asked="x", by="y")
    insert(con, t.adjustment_booking, adjustment_id="a1", run_id="b1", booked_by="y")
    for table in t.metadata.sorted_tables:
        if not con.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first():
            given = {"amount_usd": Decimal(1)} if table is t.invoice_detail else {}
            insert(con, table, **given)
