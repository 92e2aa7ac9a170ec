"""Explaining an amount: from an entry to its rule, key, pool, CUR lines, delivered files and evidence.

Belongs here: `cops explain`. Everything is read from what was published, bytes verified; nothing is
computed anew but sums of lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.allocation import allocate
from cops_dagster.errors import CopsError, unknown_month
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.period import Period
from cops_dagster.reports import explain_chain
from cops_dagster.reports.explain_chain import Stop
from cops_dagster.stores import tables as t

LINE_GROUPS_SHOWN = 10


@dataclass(frozen=True)
class Explanation:
    """One entry, and everything behind it. Amounts in USD.

    Attributes:
        entry: the entry's columns.
        reversed_by: the run that took it back, if any: then it counts no more.
        rule: the version that split the pool, or `None` for direct cost.
        key: tenant → key value, as frozen for the run.
        chain: the places that the pool went by, where it went by services; else none.
        line_groups: CUR lines of the entry's service and charge class; the largest ten.
        files: delivered files with their digests.
        evidence: documents that prove the run.
    """

    entry: dict[str, Any]
    reversed_by: str | None
    rule: dict[str, Any] | None
    key: dict[str, Decimal]
    chain: list[Stop]
    line_groups: list[dict[str, Any]]
    line_groups_left: int
    files: list[dict[str, Any]]
    evidence: list[dict[str, Any]]


def entries(
    books: Books, period: Period, tenant: str, service: str | None = None
) -> tuple[list[dict[str, Any]], Decimal]:
    """What a tenant bears in a month, the largest first, and its sum in USD.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN`, `E-ENTRY-UNKNOWN` when the tenant bears nothing there.
    """
    rows = _entries(books, period, tenant=tenant, service=service or "")
    if not rows:
        raise CopsError(
            "E-ENTRY-UNKNOWN",
            f"{tenant} in {period}",
            expected="cost that it bears",
            found="none",
            next_step="see `cops status`; tenants are in the table tenants",
        )
    return rows, sum((row["allocated_cost_usd"] for row in rows), Decimal(0))


def entry(books: Books, entry_id: str) -> Explanation:
    """One entry explained.

    Raises:
        CopsError: `E-ENTRY-UNKNOWN`, `E-DIGEST` when a file behind it is not the published one.
    """
    run_id = entry_id.rpartition("-")[0]
    with books.admin.read() as con:
        journal = t.publish_journal
        run = con.execute(
            sa.select(journal).where(journal.c.run_id == run_id, journal.c.table_name == allocate.TABLE)
        ).one_or_none()
    rows = _entries(books, Period.of(run.period_start), entry_id=entry_id) if run else []
    if not run or not rows:
        raise CopsError(
            "E-ENTRY-UNKNOWN",
            f"entry {entry_id!r}",
            expected="an entry_id of fact_cost_allocated",
            found="none of this id, or a reversal (explain the entry it takes back)",
            next_step="take it from `cops explain --tenant T --period P`",
        )
    found, period = rows[0], Period.of(run.period_start)
    with books.admin.read() as con, books.lines(period) as engine:
        books.namespace(engine, con, period).provide(["fact_cost_raw"])
        groups = engine.fetch(
            "fetch_line_groups",
            {
                "period_start": period.start,
                "service": found["service"],
                "charge_class": found["charge_class"],
                "delivery_id": found["delivery_id"] or "",
            },
        ).dicts()
        return Explanation(
            entry=found,
            reversed_by=_reversed_by(con, run_id),
            rule=_rule(con, found),
            key=_key(con, run.inputs_id, found["key_name"]),
            chain=explain_chain.way(con, found, run.inputs_id),
            line_groups=groups[:LINE_GROUPS_SHOWN],
            line_groups_left=max(len(groups) - LINE_GROUPS_SHOWN, 0),
            files=_files(con, found["delivery_id"]),
            evidence=_evidence(con, run_id),
        )


def _entries(
    books: Books, period: Period, *, entry_id: str = "", tenant: str = "", service: str = ""
) -> list[dict[str, Any]]:
    with books.admin.read() as con, books.engine() as engine:
        run = head(con, allocate.TABLE, period)
        if run is None:
            raise unknown_month(period, expected="an allocated month", found="nothing allocated")
        books.namespace(engine, con, period).provide([allocate.TABLE])
        return engine.fetch(
            "fetch_entries",
            {
                "period_start": period.start,
                "entry_id": entry_id,
                "head_run_id": run.run_id,
                "tenant_id": tenant,
                "service": service,
            },
        ).dicts()


def _reversed_by(con: sa.Connection, run_id: str) -> str | None:
    journal = t.publish_journal
    return con.execute(
        sa.select(journal.c.run_id).where(journal.c.reverses_run_id == run_id)
    ).scalar_one_or_none()


def _rule(con: sa.Connection, found: dict[str, Any]) -> dict[str, Any] | None:
    rules = t.allocation_rules
    row = (
        con.execute(
            sa.select(rules).where(
                rules.c.rule_id == found["rule_id"], rules.c.version == found["rule_version"]
            )
        )
        .mappings()
        .one_or_none()
    )
    return dict(row) if row else None


def _key(con: sa.Connection, inputs_id: str, key_name: str | None) -> dict[str, Decimal]:
    snapshots = t.allocation_key_snapshot
    rows: Sequence[Any] = con.execute(
        sa.select(snapshots.c.tenant_id, snapshots.c.key_value)
        .where(snapshots.c.inputs_id == inputs_id, snapshots.c.key_name == key_name)
        .order_by(snapshots.c.tenant_id)
    ).all()
    return {row.tenant_id: row.key_value for row in rows}


def _files(con: sa.Connection, delivery_id: str | None) -> list[dict[str, Any]]:
    deliveries, delivered = t.cur_delivery, t.cur_delivery_file
    rows = con.execute(
        sa.select(
            deliveries.c.source_id,
            deliveries.c.delivery_id,
            deliveries.c.manifest_path,
            delivered.c.name,
            delivered.c.sha256,
            delivered.c.row_count,
        )
        .join(delivered, delivered.c.delivery_id == deliveries.c.delivery_id)
        .where(deliveries.c.delivery_id == delivery_id)
        .order_by(delivered.c.position)
    ).mappings()
    return [dict(row) for row in rows]


def _evidence(con: sa.Connection, run_id: str) -> list[dict[str, Any]]:
    entries = t.evidence_index
    rows = con.execute(
        sa.select(entries.c.evidence_seq, entries.c.kind, entries.c.sha256)
        .where(entries.c.subject_type == "run", entries.c.subject_id == run_id)
        .order_by(entries.c.evidence_seq)
    ).mappings()
    return [dict(row) for row in rows]
