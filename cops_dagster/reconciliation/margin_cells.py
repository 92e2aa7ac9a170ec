"""What a margin is made of: a month's entries by tenant, plan and service, its documents, its keys.

Belongs here: reading them in one snapshot, and refusing a month whose reconciliation says something else.
Does not belong here: the arithmetic (`reconciliation/margin.py`), what is shown of it (`exports/margin.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import ALLOCATED, head
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.reconciliation import margin, record
from cops_dagster.reconciliation.documents import atto, invoices, markups
from cops_dagster.reconciliation.margin import Cell, MarginLine, Recorded
from cops_dagster.reconciliation.sides import markup_of, mistagged_tenants, of_today
from cops_dagster.stores import tables as t
from cops_dagster.tagging.plans import plans_begin
from cops_dagster.words import OPERATOR, UNALLOCATED


@dataclass(frozen=True)
class Earned:
    """A month as its margin is computed from.

    Attributes:
        recon_id: the reconciliation that it foots with; empty for a draft.
        basis: the charge basis.
        invoiced: tenant → Σ of its documents, atto-dollars.
        keys: key name → tenant → units.
    """

    period: Period
    recon_id: str
    basis: str
    is_closed: bool
    cells: Sequence[Cell]
    invoiced: Mapping[str, int]
    keys: Mapping[str, Mapping[str, int]]

    def lines(self, by: margin.By) -> list[MarginLine]:
        """The lines by tenant, plan or service."""
        return margin.lines(self.cells, self.invoiced, by)

    @property
    def total(self) -> MarginLine:
        """The month in one line."""
        return margin.total(self.cells, self.invoiced)


def read(books: Books, con: sa.Connection, period: Period, *, draft: bool = False) -> Earned:
    """A month's entries with their markups, held against its newest reconciliation to difference 0.

    Args:
        draft: take the month as it stands, whatever a reconciliation says or whether there is one.

    Raises:
        CopsError: `E-NOT-RECONCILED` without a reconciliation, or when entries, plans or documents changed
            since the newest one.
    """
    newest = record.newest(con, period)
    if newest is None and not draft:
        raise not_reconciled(period, "none")
    basis = newest.charge_basis if newest is not None and not draft else books.policy.charge.basis
    cells = _cells(books, con, period, basis)
    documents: defaultdict[str, int] = defaultdict(int)
    for row in invoices(con, period):
        documents[row.tenant_id] += atto(row.amount_usd)
    invoiced, is_closed = dict(documents), lock.is_sealed(con, period)
    if newest is not None and not draft:
        recorded = _recorded(con, newest.recon_seq)
        if is_closed:  # what was closed on; a document that came later is none of its
            invoiced = {name: one.invoiced for name, one in recorded.items() if one.invoiced}
        by_tenant = margin.lines(cells, invoiced, "tenant")
        if found := margin.differing(by_tenant, recorded):
            tenant, what, usd = found[0]
            raise not_reconciled(
                period,
                f"{what} of {tenant} is {amount.show(usd)} USD more now, and {len(found) - 1} more differ",
            )
    return Earned(
        period,
        newest.recon_id if newest is not None and not draft else "",
        basis,
        is_closed,
        cells,
        invoiced,
        _keys(con, period),
    )


def not_reconciled(period: Period, found: str) -> CopsError:
    """The refusal of a month whose numbers no reconciliation stands behind."""
    return CopsError(
        "E-NOT-RECONCILED",
        f"period {period}",
        expected="a reconciliation of the entries, plans and documents that stand now",
        found=found,
        next_step=f"run `cops materialize {period}`; or look at it with --draft, which records nothing",
    )


def _cells(books: Books, con: sa.Connection, period: Period, basis: str) -> list[Cell]:
    start = {"period_start": period.start}
    with books.engine() as engine:
        names = books.namespace(engine, con, period)
        names.provide(["fact_cost_tagged", "fact_cost_allocated", "fact_cost_adjustment"])
        allocated = engine.fetch("fetch_allocated_by_service", start).dicts()
        booked = of_today(con, engine.fetch("fetch_adjustments_by_service", start).dicts())
        mistagged = mistagged_tenants(engine, period)
    bps, has_plans = markups(con, period), bool(plans_begin(con))
    unused = "net_unused_usd" if basis == "net_amortized" else "unused_usd"
    return margin.priced(
        _added_up(
            [_own(row, basis, unused) for row in allocated] + [_correction(row, basis) for row in booked]
        ),
        lambda tenant, plan: markup_of(tenant, plan, bps, mistagged) if has_plans else 0,
    )


def _own(row: Mapping[str, Any], basis: str, unused: str) -> Cell:
    on_basis = atto(row[f"{basis}_usd"])
    return Cell(
        row["tenant_id"], row["plan_id"], row["service"], None, atto(row["unblended_usd"]), on_basis,
        on_basis if row["allocation_method"] == "direct" else 0, atto(row[unused]),
    )  # fmt: skip


def _correction(row: Mapping[str, Any], basis: str) -> Cell:
    return Cell(
        row["tenant_id"], row["plan_id"], row["service"], row["usage_period_start"],
        atto(row["unblended_usd"]), atto(row[f"{basis}_usd"]),
    )  # fmt: skip


def _added_up(cells: Sequence[Cell]) -> list[Cell]:
    sums: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for cell in cells:
        one = sums[cell.tenant_id, cell.plan_id, cell.service, cell.usage]
        for at, usd in enumerate((cell.unblended, cell.basis, cell.direct, cell.unused)):
            one[at] += usd
    return [Cell(*key, *sums[key]) for key in sorted(sums, key=str)]


def _recorded(con: sa.Connection, seq: int) -> dict[str, Recorded]:
    """What a reconciliation says of each tenant; own cost and what nobody bears by its bridge."""
    tenants, statements, steps = t.recon_run_tenant, t.recon_run_statement, t.recon_run_bridge
    stated = {
        row.tenant_id: row for row in con.execute(sa.select(statements).where(statements.c.recon_seq == seq))
    }
    borne = {
        row.tenant_id: -atto(row.amount_usd)
        for row in con.execute(
            sa.select(steps).where(
                steps.c.recon_seq == seq,
                sa.or_(
                    sa.and_(steps.c.tenant_id == OPERATOR, steps.c.step == "operator"),
                    sa.and_(steps.c.tenant_id == UNALLOCATED, steps.c.step == "unallocated"),
                ),
            )
        )
    }
    found = {}
    for row in con.execute(sa.select(tenants).where(tenants.c.recon_seq == seq)):
        one = stated.get(row.tenant_id)
        found[row.tenant_id] = Recorded(
            atto(one.direct_usd) if one else 0,
            atto(one.shared_usd) if one else 0,
            atto(row.adjustments_usd),
            atto(row.markup_usd),
            atto(row.invoiced_usd),
            borne.get(row.tenant_id, 0) if row.tenant_id == OPERATOR else 0,
            borne.get(row.tenant_id, 0) if row.tenant_id == UNALLOCATED else 0,
        )
    return found


def _keys(con: sa.Connection, period: Period) -> dict[str, dict[str, int]]:
    """The usage keys that the newest run split by, as frozen with it; not the cost that others split by."""
    stands, snapshots = head(con, ALLOCATED, period), t.allocation_key_snapshot
    measured = sa.select(t.allocation_keys.c.key_name)
    if stands is None:
        return {}
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in con.execute(
        sa.select(snapshots)
        .where(
            snapshots.c.inputs_id == stands.inputs_id,
            snapshots.c.key_name.in_(measured),
            snapshots.c.tenant_id.in_(sa.select(t.tenants.c.tenant_id)),  # neither we nor services
        )
        .order_by(snapshots.c.key_name, snapshots.c.tenant_id)
    ):
        found[row.key_name][row.tenant_id] = atto(row.key_value)
    return dict(found)
