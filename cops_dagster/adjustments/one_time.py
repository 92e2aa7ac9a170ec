"""One-time rules: cost of a closed month moved from one bearer to others, once, with evidence.

Belongs here: `cops adjust`. What a closed month posted stays; the move is proposed as an adjustment, which
a second person approves. Does not belong here: storing and booking it (`adjustments/proposals.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.adjustments import proposals
from cops_dagster.adjustments.changes import Line
from cops_dagster.allocation.rules import Costs
from cops_dagster.errors import CopsError, require_said
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.money.split import split
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.words import OPERATOR, UNALLOCATED

HUNDRED = 100 * amount.ATTO


def posted(books: Books, con: sa.Connection, period: Period, *, with_one_time: bool = True) -> list[Line]:
    """What stands in the books about a month, netted at the grain of entries.

    Args:
        with_one_time: one-time rules count; without, what remains is what deliveries account for.
    """
    with books.engine() as engine:
        books.namespace(engine, con, period).provide(["fact_cost_allocated"])
        books.namespace(engine, con).provide(["fact_cost_adjustment"])
        rows = engine.fetch(
            "fetch_posted_by_grain", {"usage_period_start": period.start, "with_one_time": with_one_time}
        ).dicts()
    return [_line(row) for row in rows]


def _line(row: dict[str, Any]) -> Line:
    return Line(
        row["service"],
        row["service_component"],
        row["charge_class"],
        row["tenant_id"],
        row["plan_id"],
        row["allocation_method"],
        row["rule_id"],
        row["rule_version"],
        Costs(*(amount.from_decimal(row[f"{name}_usd"]) for name in Costs._fields)),
    )


def propose(
    books: Books,
    period: Period,
    *,
    bearer: str,
    shares: Mapping[str, Decimal],
    reason: str,
    evidence_links: str,
    service: str | None = None,
    charge_class: str | None = None,
) -> str:
    """Proposes to move what `bearer` bears of a closed month to others; the adjustment's id.

    Args:
        shares: tenant → percent; they sum to 100.
        service, charge_class: only cost of this service or class.

    Raises:
        CopsError: `E-PERIOD-OPEN`, `E-RULE-SUM`, `E-TENANT-UNKNOWN`, `E-PARAM` without reason or evidence, or
            when the bearer bears nothing there.
    """
    require_policy(books)
    require_said(reason, evidence_links, subject="adjustment")
    weights = {name: amount.from_decimal(share, subject=name) for name, share in shares.items()}
    if sum(weights.values()) != HUNDRED or any(weight < 0 for weight in weights.values()):
        raise CopsError(
            "E-RULE-SUM",
            f"shares of the adjustment of {period}",
            expected="percentages that sum to 100",
            found=" + ".join(f"{share:f}" for share in shares.values()) or "none",
            next_step="correct the --to options",
        )
    with books.admin.read() as con:
        proposals.require_closed(con, period)
        plans = {row.tenant_id: row.plan_id for row in con.execute(sa.select(t.tenants))}
        for name in shares:
            if name not in plans and name not in (OPERATOR, UNALLOCATED):
                raise CopsError(
                    "E-TENANT-UNKNOWN",
                    f"adjustment of {period}",
                    expected="a tenant of the registry",
                    found=repr(name),
                    next_step="correct the --to option",
                )
        base = proposals.base_of(con, period)
        moved = [
            line
            for line in posted(books, con, period)
            if line.tenant_id == bearer
            and any(line.costs)
            and service in (None, line.service)
            and charge_class in (None, line.charge_class)
        ]
    if not moved:
        raise CopsError(
            "E-PARAM",
            f"adjustment of {period}",
            expected=f"cost that {bearer} bears there",
            found="none",
            next_step=f"see `cops explain --tenant {bearer} --period {period}`",
        )
    rule_id = "one-time-" + digest(str(period), bearer, sorted(weights.items()), reason)[:12]
    lines = [
        line for source in moved for line in (_negated(source), *_shared(source, weights, plans, rule_id))
    ]
    return proposals.propose(
        books,
        period,
        "one_time_rule",
        lines,
        ["one_time_rule"] * len(lines),
        base_digest=base,
        reason=reason.strip(),
        evidence_links=evidence_links,
    )


def _negated(line: Line) -> Line:
    return Line(
        line.service,
        line.service_component,
        line.charge_class,
        line.tenant_id,
        line.plan_id,
        line.allocation_method,
        line.rule_id,
        line.rule_version,
        Costs(*(-cost for cost in line.costs)),
    )


def _shared(
    line: Line, weights: Mapping[str, int], plans: Mapping[str, str | None], rule_id: str
) -> list[Line]:
    columns = [split(cost, weights) for cost in line.costs]
    shares = {name: Costs(*(column[name] for column in columns)) for name in sorted(weights)}
    return [
        Line(
            line.service,
            line.service_component,
            line.charge_class,
            name,
            plans.get(name),
            "rule",
            rule_id,
            1,
            costs,
        )
        for name, costs in shares.items()
        if any(costs)
    ]
