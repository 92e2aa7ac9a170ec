"""Deliveries from small text tables: one line of text is one CUR line.

    type   service      account       tenant  plan  component  cost
    Usage  AmazonEC2    111111111111  acme    team  api        10.00

`.` is an absent value. Any CUR column may be named; the short names below stand for the usual ones.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from cops_dagster import settings
from cops_dagster.allocation import allocate
from cops_dagster.cur.schema import BY_NAME
from cops_dagster.evidence import adoption, sweep
from cops_dagster.evidence.home import open_books
from cops_dagster.ingestion import ingest, look
from cops_dagster.inputs.load import load
from cops_dagster.ledger.books import Books
from cops_dagster.operations import budgets
from cops_dagster.period import Period
from cops_dagster.reconciliation import reconcile
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now, open_admin
from cops_dagster.tagging import tag
from cops_dagster_tests import remembered, shared

SEPTEMBER = Period(2025, 9)
SHORT = {
    "type": "line_item_line_item_type",
    "service": "product_servicecode",
    "account": "line_item_usage_account_id",
    "tenant": "resource_tags_user_tenant_id",
    "plan": "resource_tags_user_plan_id",
    "component": "resource_tags_user_service_component",
    "cost": "line_item_unblended_cost",
    "invoice": "bill_invoice_id",
    "currency": "line_item_currency_code",
    "id": "identity_line_item_id",
    "product": "product_product_name",
    "region": "product_region",
    "ri": "reservation_effective_cost",
    "sp": "savings_plan_savings_plan_effective_cost",
    "amount": "line_item_usage_amount",
    "resource": "line_item_resource_id",
    "operation": "line_item_operation",
}
TYPES = {"varchar": pa.string(), "double": pa.float64(), "timestamp": pa.timestamp("us")}

MONTH = """
type   service          account       tenant  plan  component  cost
Usage  AmazonEC2        111111111111  acme    team  api        10.10
Usage  AmazonEC2        111111111111  globex  team  api        20.20
Usage  AmazonEC2        111111111111  .       .     .          3.01
Usage  AWSDataTransfer  111111111111  .       .     network    9.000000001
Tax    AmazonEC2        111111111111  .       .     .          0.07
Credit AmazonEC2        111111111111  .       .     .          -1.5
"""

INPUTS = {
    "plans": "plan_id,effective_from,markup_bps\nteam,2025-01-01,0\n",
    "tenants": (
        "tenant_id,name,plan_id,active_from\nacme,Acme,team,2025-01-01\nglobex,Globex,team,2025-01-01\n"
    ),
    "allocation_keys": "key_name,measure,max_age_hours\nnetwork,network,24\n",
    "allocation_rules": (
        "rule_id,version,effective_from,priority,match_service,match_charge_class,method,key_name,shares,"
        "on_zero_key,approved_by\n"
        "transfer,1,2025-01-01,10,AWSDataTransfer,,usage_key,network,,fail,kim\n"
        'credits,1,2025-01-01,20,,credit,fixed,,"{""__operator__"": ""100""}",fail,kim\n'
        "rest,1,2025-01-01,30,,usage,proportional_cost,,,fail,kim\n"
    ),
    "tenant_network_usage": (
        "period_start,tenant_id,value,refreshed_at\n"
        "2025-09,acme,1,2025-10-01T03:00:00Z\n2025-09,globex,2,2025-10-01T03:00:00Z\n"
    ),
}


def lines(text: str, period: Period = SEPTEMBER) -> pa.Table:
    """The text table as an Arrow table with every column a delivery must have."""
    rows = [line.split() for line in text.strip().splitlines() if not line.lstrip().startswith("#")]
    header = [SHORT.get(name, name) for name in rows[0]]
    start = datetime(period.year, period.month, 1)
    given: dict[str, list[Any]] = {
        "bill_invoice_id": ["I-1"] * (len(rows) - 1),
        "bill_bill_type": ["Anniversary"] * (len(rows) - 1),
        "bill_billing_entity": ["AWS"] * (len(rows) - 1),
        "bill_billing_period_start_date": [start] * (len(rows) - 1),
        "line_item_usage_start_date": [start] * (len(rows) - 1),
        "line_item_product_code": ["AmazonEC2"] * (len(rows) - 1),
        "line_item_currency_code": ["USD"] * (len(rows) - 1),
    }
    for index, name in enumerate(header):
        cells = [row[index] for row in rows[1:]]
        double = name in BY_NAME and BY_NAME[name].data_type == "double"
        given[name] = [None if cell == "." else float(cell) if double else cell for cell in cells]
    fields = [
        pa.field(name, TYPES[BY_NAME[name].data_type] if name in BY_NAME else pa.string()) for name in given
    ]
    return pa.table(given, schema=pa.schema(fields))


def write(
    root: Path,
    tables: Sequence[pa.Table],
    *,
    period: Period = SEPTEMBER,
    assembly: str = "a1",
    overwrite: bool = False,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a delivery as AWS does, manifest last; the folder of its files."""
    month = root / "report" / f"{period.start:%Y%m%d}-{period.end:%Y%m%d}"
    folder = month if overwrite else month / assembly
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"report-{number:05d}.snappy.parquet" for number in range(1, len(tables) + 1)]
    for name, table in zip(names, tables, strict=True):
        pq.write_table(table, folder / name)
    said = {
        "assemblyId": assembly,
        "account": "111111111111",
        "reportName": "report",
        "compression": "Parquet",
        "billingPeriod": {
            "start": f"{period.start:%Y%m%d}T000000.000Z",
            "end": f"{period.end:%Y%m%d}T000000.000Z",
        },
        "reportKeys": [f"prefix/report/{folder.name}/{name}" for name in names],
    } | dict(manifest or {})
    for place in {folder, month}:
        (place / "report-Manifest.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


def home(folder: Path, *, inputs: Mapping[str, str] | None = INPUTS, **overrides: object) -> Books:
    """Open books over `folder/home` and `folder/cur`, with the usual inputs loaded."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    if not (folder / "home" / "admin.db").exists():
        empty_database(folder / "home")
    books = open_books(
        settings.load(home=folder / "home", cur=str(folder / "cur"), actor="test", **overrides)
    )
    if inputs:
        give(books, folder, **inputs)
    return books


def empty_database(folder: Path) -> None:
    """An empty, migrated `admin.db` in a folder: migrating takes 1.5 s, copying nothing."""
    shutil.copyfile(shared.once("admin.db", _migrated), folder / "admin.db")


def _migrated(file: Path) -> None:
    admin = open_admin(f"sqlite:///{file}")
    with admin.engine.connect() as con:
        con.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    admin.close()


def give(books: Books, folder: Path, *, replace: bool = False, **tables: str) -> None:
    """Loads admin tables given as CSV text."""
    place = folder / f"inputs-{len(list(folder.glob('inputs-*')))}"
    place.mkdir(parents=True)
    for name, text in tables.items():
        (place / f"{name}.csv").write_text(text, encoding="utf-8")
    load(books, [place], replace=replace)


def force_state(con: sa.Connection, state: str, period: Period | None = None) -> None:
    """Puts periods into a state that no act leads to, as somebody would who owns the database's file."""
    guards = con.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'period_lock'"
    ).all()
    for name, _ in guards:
        con.exec_driver_sql(f"DROP TRIGGER {name}")
    lock = t.period_lock
    if (
        period is not None
        and not con.execute(sa.select(lock).where(lock.c.period_start == period.start)).first()
    ):
        con.execute(
            sa.insert(lock).values(period_start=period.start, state=state, state_seq=1, changed_at=now())
        )
    changed = sa.update(lock).values(state=state)
    con.execute(changed if period is None else changed.where(lock.c.period_start == period.start))
    for _, sql in guards:
        con.exec_driver_sql(sql)


def adopt(books: Books) -> Books:
    """The same books, after a person put what is set for them in force."""
    adoption.adopt(books, books.settings.given_policy, origin="test")
    return books


def run(books: Books, period: Period = SEPTEMBER) -> None:
    """Every act of a month in order, without Dagster; a refused delivery raises its refusal."""
    remembered.run(books, period, acts)


def acts(books: Books, period: Period) -> None:
    """What `run` does when it cannot copy what it did before."""
    sweep.sweep(books)
    for seen in look.look(books, period):
        if seen.refusals:
            raise seen.refusals[0]
    ingest.ingest(books, period)
    tag.tag(books, period)
    allocate.snapshot_keys(books, period)
    allocate.allocate(books, period)
    budgets.refresh(books)
    reconcile.reconcile(books, period)
    sweep.sweep(books)
