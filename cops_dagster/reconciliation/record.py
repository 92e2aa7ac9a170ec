"""The record of a reconciliation: the month, every tenant, statement, bridge, exceptions, alert.

Belongs here: the rows that one reconciliation writes, all in one transaction; `recon_summary`,
`recon_tenant`, `tenant_statement` and `cost_bridge` are views of the newest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.money.currency import is_known, unit
from cops_dagster.period import Period
from cops_dagster.reconciliation.bridge import bridges
from cops_dagster.reconciliation.cents import Parts, present
from cops_dagster.reconciliation.variance import Reconciliation, TenantLine
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.words import OPERATOR, UNALLOCATED

if TYPE_CHECKING:
    from cops_dagster.reconciliation.sides import Counterparts  # which asks for the newest record, here


def newest(con: sa.Connection, period: Period) -> Any:
    """The newest reconciliation of a period, or `None`."""
    recons = t.recon_run
    return con.execute(
        sa.select(recons)
        .where(recons.c.period_start == period.start)
        .order_by(recons.c.recon_seq.desc())
        .limit(1)
    ).one_or_none()


@dataclass(frozen=True)
class Recorded:
    """A reconciliation as it was written: its number, its amounts by column, a row for each tenant."""

    seq: int
    amounts: dict[str, Decimal | None]
    tenants: Sequence[Any]


def of(con: sa.Connection, recon_id: str) -> Recorded:
    """A reconciliation by its id."""
    recons, tenants = t.recon_run, t.recon_run_tenant
    row = con.execute(sa.select(recons).where(recons.c.recon_id == recon_id)).one()._mapping
    amounts = {column.name: row[column.name] for column in recons.c if isinstance(column.type, t.Money)}
    seq = int(row["recon_seq"])
    return Recorded(seq, amounts, con.execute(sa.select(tenants).where(tenants.c.recon_seq == seq)).all())


def append(
    con: sa.Connection,
    books: Books,
    period: Period,
    made: Reconciliation,
    sides: Counterparts,
    ids: dict[str, str | None],
) -> int:
    """Appends a reconciliation with its tenants, statement and bridge; its number."""

    def usd(term: str) -> Decimal:
        return amount.to_decimal(made.total(term))

    aws, expected, variance = sides.aws, made.total("expected"), made.total("variance")
    seq = int(
        con.execute(
            sa.insert(t.recon_run)
            .values(
                period_start=period.start,
                **ids,
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
                charge_basis=books.policy.charge.basis,
                actor=books.actor,
                reconciled_at=now(),
                policy_version=books.adopted.version if books.adopted else None,
            )
            .returning(t.recon_run.c.recon_seq)
        ).scalar_one()
    )
    key = {"recon_seq": seq, "period_start": period.start}
    for table, rows in (
        (t.recon_run_tenant, [key | _tenant(line) for line in made.lines]),
        (t.recon_run_statement, [key | one for one in _statement(made.lines, sides)]),
        (t.recon_run_bridge, [key | one for one in _bridge(made.lines)]),
    ):
        if rows:
            con.execute(sa.insert(table), rows)
    return seq


def _tenant(line: TenantLine) -> dict[str, object]:
    terms = (
        "allocated", "operator", "unallocated", "adjustments", "basis_difference", "markup", "expected",
        "invoiced", "variance",
    )  # fmt: skip
    return {
        "tenant_id": line.tenant_id,
        **{f"{term}_usd": amount.to_decimal(getattr(line, term)) for term in terms},
        "variance_pct": amount.percent(line.variance, abs(line.expected)),
        "warning_tolerance_usd": amount.to_decimal(line.warning_tolerance),
        "failure_tolerance_usd": amount.to_decimal(line.failure_tolerance),
        "status": line.status,
    }


_NAMES = ("direct", "shared", "adjustments", "markup")


def _statement(lines: Sequence[TenantLine], sides: Counterparts) -> list[dict[str, object]]:
    made = []
    for line in lines:
        if line.tenant_id in (OPERATOR, UNALLOCATED):
            continue
        usd = Parts(line.direct, line.shared, line.adjustments, line.markup)
        currency = sides.currencies.get(line.tenant_id, "USD")
        # a code that ISO 4217 does not know has no unit to round to: as without a rate, nothing is stated
        rate = sides.rates.get(currency) if is_known(currency) else None
        shown: dict[str, object] = dict.fromkeys((*_NAMES, "rounding", "total"))
        if rate is not None and line.is_priced:  # what nobody can price, nobody is shown in cents
            presented = present(usd, rate, unit(currency))
            rounded = zip(_NAMES, presented.parts.each(), strict=True)
            shown |= {name: amount.to_decimal(part) for name, part in rounded}
            shown["rounding"] = amount.to_decimal(presented.rounding)
            shown["total"] = amount.to_decimal(presented.parts.total)
        exact = zip(_NAMES, usd.each(), strict=True)
        made.append(
            {"tenant_id": line.tenant_id, "currency": currency}
            | {f"{name}_usd": amount.to_decimal(part) for name, part in exact}
            | {"total_usd": amount.to_decimal(usd.total)}
            | {"fx_rate": None if rate is None else amount.to_decimal(rate), **shown}
        )
    return made


def _bridge(lines: Sequence[TenantLine]) -> list[dict[str, object]]:
    return [
        {
            "tenant_id": tenant,
            "position": at,
            "step": step.name,
            "kind": step.kind,
            "amount_usd": amount.to_decimal(step.amount),
            "cumulative_usd": amount.to_decimal(step.cumulative),
        }
        for tenant, steps in bridges(lines).items()
        for at, step in enumerate(steps, start=1)
    ]
