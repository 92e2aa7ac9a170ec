"""Reconciliation of a period in USD: AWS ↔ allocated ↔ invoiced, every run of it kept.

Belongs here: bringing the figures together and recording the outcome in `recon_run` and
`recon_run_tenant`; `recon_summary` and `recon_tenant` are views of the newest. The arithmetic is in
`rules/reconciliation.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.publish import head
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.rules import reconciliation
from cops_dagster.rules.reconciliation import Reconciliation, TenantCost, TenantLine, Tolerance
from cops_dagster.settings import Settings
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

ALGORITHM = "recon-1"


@dataclass(frozen=True)
class Reconciled:
    """Outcome: the newest reconciliation of the period, and whether this call made it."""

    recon_id: str
    status: str
    wrote: bool


def reconcile(books: Books, period: Period, *, note: str | None = None) -> Reconciled:
    """Reconciles a period with its invoices; unchanged inputs give the existing reconciliation.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when nothing is allocated.
    """
    with books.admin.read() as con:
        inputs_id = inputs_of(con, books.settings, period)
        newest = _newest(con, period)
        if newest and newest.inputs_id == inputs_id:
            return Reconciled(newest.recon_id, newest.status, wrote=False)
        run = head(con, "fact_cost_allocated", period)
        aws, costs = _ledger_side(books, con, period)
        invoices = [(row.tenant_id, amount.from_decimal(row.amount_usd)) for row in _invoices(con, period)]
        is_final = _is_final(con, period)
    tolerance = Tolerance(
        amount.from_decimal(books.settings.recon.warning_usd),
        books.settings.recon.warning_bps,
        amount.from_decimal(books.settings.recon.failure_usd),
        books.settings.recon.failure_bps,
    )
    made = reconciliation.reconcile(costs, invoices, tolerance, is_final=is_final)
    recon_id = digest(inputs_id, newest.recon_id if newest else None)
    _record(books, period, made, aws, recon_id, inputs_id, run.run_id if run else None, note)
    return Reconciled(recon_id, made.status, wrote=True)


def trend(books: Books, period: Period, count: int = 2) -> list[Any]:
    """The newest reconciliations of a period, the oldest of them first: variance before and after."""
    r = t.recon_run
    with books.admin.read() as con:
        rows = con.execute(
            sa.select(r).where(r.c.period_start == period.start).order_by(r.c.recon_seq.desc()).limit(count)
        ).all()
    return list(reversed(rows))


def _newest(con: sa.Connection, period: Period) -> Any:
    r = t.recon_run
    return con.execute(
        sa.select(r).where(r.c.period_start == period.start).order_by(r.c.recon_seq.desc()).limit(1)
    ).one_or_none()


def inputs_of(con: sa.Connection, settings: Settings, period: Period) -> str:
    """The id of a reconciliation's inputs: heads, invoices, plans, tolerances, finality."""
    if head(con, "fact_cost_allocated", period) is None:
        raise CopsError(
            "E-PERIOD-UNKNOWN",
            f"period {period}",
            expected="an allocated month",
            found="nothing allocated",
            next_step=f"run `cops materialize {period}`",
        )
    h = t.period_head
    heads = con.execute(
        sa.select(h.c.table_name, h.c.source_id, h.c.run_id)
        .where(h.c.period_start == period.start)
        .order_by(h.c.table_name, h.c.source_id)
    ).all()
    recon = settings.recon
    return digest(
        ALGORITHM,
        str(period),
        [tuple(row) for row in heads],
        [(row.invoice_id, row.tenant_id, row.amount_usd) for row in _invoices(con, period)],
        [tuple(row) for row in con.execute(sa.select(t.plans).order_by(*t.plans.primary_key))],
        [recon.warning_usd, recon.warning_bps, recon.failure_usd, recon.failure_bps],
        settings.charge.basis,
        _is_final(con, period),
    )


def _invoices(con: sa.Connection, period: Period) -> list[Any]:
    i = t.invoice_detail
    return list(
        con.execute(
            sa.select(i.c.invoice_id, i.c.tenant_id, i.c.amount_usd)
            .where(i.c.period_start == period.start)
            .order_by(i.c.invoice_id, i.c.tenant_id)
        )
    )


def _is_final(con: sa.Connection, period: Period) -> bool:
    h, d = t.cur_billing_head, t.cur_delivery
    states = con.execute(
        sa.select(d.c.invoice_state)
        .join(h, h.c.delivery_id == d.c.delivery_id)
        .where(h.c.period_start == period.start)
    ).scalars()
    found = list(states)
    return bool(found) and all(state == "final" for state in found) and not quarantined_rows(con, period)


def quarantined_rows(con: sa.Connection, period: Period) -> int:
    """Lines of a period that are set aside: while there are any, its reconciliation is provisional."""
    h, j = t.period_head, t.publish_journal
    counts = con.execute(
        sa.select(j.c.row_count)
        .join(h, h.c.run_id == j.c.run_id)
        .where(h.c.table_name == "cur_quarantine", h.c.period_start == period.start)
    ).scalars()
    return sum(counts)


def _ledger_side(books: Books, con: sa.Connection, period: Period) -> tuple[dict[str, Any], list[TenantCost]]:
    basis = books.settings.charge.basis
    markups = _markups(con, period)
    start = {"period_start": period.start}
    with books.engine() as engine:
        names = books.namespace(engine, con, period)
        names.provide(["fact_cost_tagged", "fact_cost_allocated", "fact_cost_adjustment"])
        # tagging preserves every cost view exactly, so its few rows stand for the month's lines
        aws = engine.fetch("measure_fact_cost_tagged", start).one()
        rows = engine.fetch("fetch_allocated_by_tenant", start).dicts()
        booked = {
            (row["tenant_id"], row["plan_id"]): row[f"{basis}_usd"]
            for row in engine.fetch("fetch_adjustments_by_tenant", start).dicts()
        }
    costs = [
        TenantCost(
            row["tenant_id"],
            amount.from_decimal(row["unblended_usd"]),
            amount.from_decimal(row[f"{basis}_usd"]),
            markups.get(row["plan_id"], 0),
            amount.from_decimal(booked.pop((row["tenant_id"], row["plan_id"]), Decimal(0))),
        )
        for row in rows
    ]
    # a tenant, or a plan of one, that this month has nothing of but what it owes for a closed one
    costs += [
        TenantCost(tenant, 0, 0, markups.get(plan, 0), amount.from_decimal(usd))
        for (tenant, plan), usd in sorted(booked.items(), key=str)
    ]
    return aws, costs


def _markups(con: sa.Connection, period: Period) -> dict[str | None, int]:
    rows = con.execute(
        sa.select(t.plans).where(t.plans.c.effective_from <= period.start).order_by(t.plans.c.effective_from)
    )
    return {row.plan_id: row.markup_bps for row in rows}


def _record(
    books: Books,
    period: Period,
    made: Reconciliation,
    aws: dict[str, Any],
    recon_id: str,
    inputs_id: str,
    run_id: str | None,
    note: str | None,
) -> None:
    def usd(term: str) -> Decimal:
        return amount.to_decimal(made.total(term))

    expected, variance = made.total("expected"), made.total("variance")
    with books.admin.write() as con:
        newest = _newest(con, period)
        if newest and newest.inputs_id == inputs_id:
            return  # another process reconciled the same meanwhile, so this is the same reconciliation
        seq = con.execute(
            sa.insert(t.recon_run)
            .values(
                recon_id=recon_id,
                period_start=period.start,
                run_id=run_id,
                inputs_id=inputs_id,
                aws_total_usd=aws["unblended_usd"],
                aws_amortized_usd=aws["amortized_usd"],
                aws_true_up_usd=aws["true_up_usd"],
                aws_upfront_usd=aws["upfront_usd"],
                bridge_residual_usd=aws["unblended_usd"]
                - aws["amortized_usd"]
                - aws["true_up_usd"]
                - aws["upfront_usd"],
                allocated_total_usd=usd("allocated"),
                operator_usd=usd("operator"),
                unallocated_usd=usd("unallocated"),
                adjustments_usd=usd("adjustments"),
                basis_difference_usd=usd("basis_difference"),
                markup_usd=usd("markup"),
                expected_usd=usd("expected"),
                invoiced_total_usd=usd("invoiced"),
                variance_usd=usd("variance"),
                variance_pct=amount.percent(variance, abs(expected)),
                status=made.status,
                worst_tenant_id=made.worst.tenant_id if made.worst else None,
                worst_tenant_status=made.worst.status if made.worst else None,
                charge_basis=books.settings.charge.basis,
                note=note,
                actor=books.actor,
                reconciled_at=now(),
            )
            .returning(t.recon_run.c.recon_seq)
        ).scalar_one()
        if made.lines:
            con.execute(
                sa.insert(t.recon_run_tenant), [_tenant_row(int(seq), period, line) for line in made.lines]
            )


def _tenant_row(seq: int, period: Period, line: TenantLine) -> dict[str, object]:
    terms = (
        "allocated", "operator", "unallocated", "adjustments", "basis_difference", "markup", "expected",
        "invoiced", "variance",
    )  # fmt: skip
    return {
        "recon_seq": seq,
        "tenant_id": line.tenant_id,
        "period_start": period.start,
        **{f"{term}_usd": amount.to_decimal(getattr(line, term)) for term in terms},
        "variance_pct": amount.percent(line.variance, abs(line.expected)),
        "warning_tolerance_usd": amount.to_decimal(line.warning_tolerance),
        "failure_tolerance_usd": amount.to_decimal(line.failure_tolerance),
        "status": line.status,
    }
