"""What SQL may not compute of a month's commitments: their net unused part, and halves in other reports.

Belongs here: between the lines and `ingestion/commitments.py`. Does not belong here: which line is which
(sql/lens.sql), negations (`tagging/negations.py`).
"""

from __future__ import annotations

from decimal import Decimal

from sqlglot import exp

from cops_dagster.ingestion import commitments
from cops_dagster.lake import lens
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.lens import Lens
from cops_dagster.money import amount
from cops_dagster.period import Period

_DISCOUNTED = (
    "savings_plan_net_recurring_commitment_for_billing_period",
    "savings_plan_net_amortized_upfront_commitment_for_billing_period",
    "line_item_net_unblended_cost",
)


def found(
    engine: Engine, files: DeliveredFiles, given: Lens, period: Period
) -> tuple[tuple[Decimal, ...], ...]:
    """The net unused commitment of discounted fees, by what they state: SQL may not divide money.

    In the first revision of the rules it is the gross one.
    """
    sent = {name.lower() for name in files.columns}
    if given.is_first or not sent & set(_DISCOUNTED):
        return ()
    names = ("unused_commitment", "gross_commitment", "net_commitment")
    discounted = (
        exp.select(*map(exp.column, names))
        .distinct()
        .from_(lens.judged(files, given, period.start).subquery("lines"))
        .where(
            exp.column("line_item_line_item_type").eq("SavingsPlanRecurringFee"),
            exp.column("quarantine_code").is_(exp.null()),
            exp.NEQ(this=exp.column(names[1]), expression=exp.column(names[2])),
        )
        .order_by(*names)
    )
    stated = [tuple(map(amount.from_decimal, row)) for row in engine.fetch(discounted).rows]
    return tuple(
        tuple(map(amount.to_decimal, (unused, gross, net, commitments.net_unused(unused, gross, net))))
        for unused, gross, net in stated
    )


def halves(engine: Engine) -> list[commitments.Half]:
    """Commitments of the engine's `measured_lines` whose other half is in another report."""
    found = [
        commitments.Commitment(
            row["source_id"],
            row["commitment"],
            row["has_fee"],
            row["has_usage"],
            row["residual_usd"],
            row["net_residual_usd"],
        )
        for row in engine.fetch("measure_commitments").dicts()
    ]
    if not found:  # what adds up needs no second look at the lines
        return []
    accounts = [(row[0], row[1], row[2]) for row in engine.fetch("fetch_billed_accounts").rows]
    return commitments.halves(found, accounts)
