"""Reconciliation of a period: AWS's invoices ↔ CUR ↔ allocated ↔ invoiced, every run of it kept.

Belongs here: when a period is reconciled anew, and the one transaction that records the outcome: figures,
exceptions, and at a failure the alert and the freeze. The arithmetic is in `reconciliation/variance.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cops_dagster.alerts import board, escalation
from cops_dagster.alerts.board import observe
from cops_dagster.errors import unknown_month
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.ledger.publish import require_same_policy
from cops_dagster.ledger.run import Run
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.policy import Policy
from cops_dagster.reconciliation import (
    checks,
    differences,
    documents,
    exceptions,
    freeze,
    invoicing,
    record,
    variance,
)
from cops_dagster.reconciliation.sides import read
from cops_dagster.reconciliation.variance import Tolerance
from cops_dagster.stores import tables as t

ALGORITHM = "recon-3"


@dataclass(frozen=True)
class Reconciled:
    """Outcome: the newest reconciliation of the period, and whether this call made it."""

    recon_id: str
    status: str
    wrote: bool


def reconcile(books: Books, period: Period, *, note: str | None = None) -> Reconciled:
    """Reconciles a period with its invoices; unchanged inputs give the existing reconciliation.

    So does a closed month: what it was closed on stands.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when nothing is allocated.
    """
    require_policy(books, is_run=True)
    with books.admin.read() as con:
        inputs_id = inputs_of(con, books.policy, period)
        before = record.newest(con, period)
        if before and (before.inputs_id == inputs_id or lock.is_sealed(con, period)):
            return Reconciled(before.recon_id, before.status, wrote=False)
        run = head(con, "fact_cost_allocated", period)
        sides = read(books, con, period)
    gone = differences.missing_entities(sides.issued_before, sides.issued) if sides.is_final else []
    made = variance.reconcile(
        sides.costs,
        [one for _, one in sides.documents],
        tolerance_of(books.policy),
        is_final=sides.is_final,
        half_units=sides.half_units(),
        conflicts=sides.conflicts,
        missing_entities=len(gone),
    )
    found = [
        *differences.against_aws(sides.issued, sides.billed, is_final=sides.is_final),
        *gone,
        *differences.of_ledger(sides.ledger, is_final=sides.is_final),
        *differences.against_tenants(made.lines, sides.facts(), is_final=sides.is_final),
    ]
    recon_id = Run("recon_run", period, "", inputs_id, before.recon_id if before else None).id
    ids = {
        "recon_id": recon_id, "run_id": run.run_id if run else None, "inputs_id": inputs_id, "note": note,
    }  # fmt: skip
    with books.admin.write() as con:
        require_same_policy(con, books)
        newest = record.newest(con, period)
        if newest and newest.inputs_id == inputs_id:
            # another process reconciled the same meanwhile, so this is the same reconciliation
            return Reconciled(newest.recon_id, newest.status, wrote=False)
        seq = record.append(con, books, period, made, sides, ids)
        exceptions.replace(con, period, seq, found)
        reconciled(con, books, period, made.status)
        board.judged(con, books, period, checks.of_newest(con, period))
    return Reconciled(recon_id, made.status, wrote=True)


def tolerance_of(policy: Policy) -> Tolerance:
    """The `[recon]` tolerances in atto-dollars."""
    recon = policy.recon
    return Tolerance(
        amount.from_decimal(recon.warning_usd),
        recon.warning_bps,
        amount.from_decimal(recon.failure_usd),
        recon.failure_bps,
    )


def trend(books: Books, period: Period, count: int = 2) -> list[Any]:
    """The newest reconciliations of a period, the oldest of them first: variance before and after."""
    recons = t.recon_run
    with books.admin.read() as con:
        rows = con.execute(
            sa.select(recons)
            .where(recons.c.period_start == period.start)
            .order_by(recons.c.recon_seq.desc())
            .limit(count)
        ).all()
    return list(reversed(rows))


def months_off(con: sa.Connection, period: Period) -> dict[str, int]:
    """Tenants off tolerance in a period, and for how many reconciled months in a row up to it."""
    recons, tenants = t.recon_run, t.recon_run_tenant
    newest = sa.select(sa.func.max(recons.c.recon_seq)).where(recons.c.period_start <= period.start)
    rows = con.execute(
        sa.select(tenants.c.period_start, tenants.c.tenant_id, tenants.c.status).where(
            tenants.c.recon_seq.in_(newest.group_by(recons.c.period_start))
        )
    ).all()
    off = {(row.period_start, row.tenant_id) for row in rows if row.status != "ok"}
    found: dict[str, int] = {}
    for tenant in sorted(tenant for start, tenant in off if start == period.start):
        month, count = period, 0
        while (month.start, tenant) in off:
            month, count = month.previous(), count + 1
        found[tenant] = count
    return found


def inputs_of(con: sa.Connection, policy: Policy, period: Period) -> str:
    """The id of a reconciliation's inputs: heads, documents, rates, plans, tolerances, finality.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when nothing is allocated.
    """
    if head(con, "fact_cost_allocated", period) is None:
        raise unknown_month(period, expected="an allocated month", found="nothing allocated")
    recon = policy.recon
    return digest(
        ALGORITHM,
        str(period),
        month.read(con, period).heads,
        documents.loaded(con, period),
        [recon.warning_usd, recon.warning_bps, recon.failure_usd, recon.failure_bps],
        policy.charge.basis,
        invoicing.is_final(con, period),
    )


def reconciled(con: sa.Connection, books: Books, period: Period, status: str) -> None:
    """The alert of a failed reconciliation and the freeze, in the transaction that records it (rule 5.13)."""
    newest = record.newest(con, period)
    figures = (
        f"worst tenant {newest.worst_tenant_id or 'none'} {newest.worst_tenant_status or ''},"
        f" variance {amount.shown(newest.variance_usd)} USD of {amount.shown(newest.expected_usd)} expected"
    )
    seen = escalation.of_reconciliation(
        period, status, newest.reconciled_at, run_id=books.dagster_run_id, figures=figures
    )
    for alert in observe(con, [seen], actor=books.actor):
        if alert.state == "firing":
            freeze.put(
                con,
                books,
                period,
                cause=f"{alert.fingerprint[:16]}:{alert.episode}",
                reason=f"the reconciliation of {period} failed: {figures}",
            )
