"""What SQL may not compute of a month's commitments: their net unused part, and halves in other reports.

Belongs here: between the lines and `ingestion/commitments.py`. Does not belong here: which line is which
(sql/stage_fact_cost_raw.sql), negations (`tagging/negations.py`).
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from cops_dagster import revision
from cops_dagster.ingestion import commitments
from cops_dagster.lake import statements
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.lake.engine import Engine
from cops_dagster.money import amount
from cops_dagster.period import Period

NET_UNUSED = "net_unused_commitments"
_DISCOUNTED = (
    "savings_plan_net_recurring_commitment_for_billing_period",
    "savings_plan_net_amortized_upfront_commitment_for_billing_period",
    "line_item_net_unblended_cost",
)
_NET_UNUSED_COLUMNS = tuple(
    (name, "DECIMAL(38,18)") for name in ("unused_usd", "gross_usd", "net_usd", "net_unused_usd")
)


def provide(engine: Engine, files: DeliveredFiles, start: dict[str, Any], of: int) -> None:
    """The net unused commitment of discounted fees, by what they state: SQL may not divide money.

    Args:
        of: revision of the rules; in the first it is the gross one.
    """
    engine.table(NET_UNUSED, _NET_UNUSED_COLUMNS, [])
    sent = {name.lower() for name in files.columns}
    if of == revision.FIRST or not sent & set(_DISCOUNTED):
        return
    lines = statements.parsed("stage_fact_cost_raw").subquery("lines")
    names = ("unused_commitment", "gross_commitment", "net_commitment")
    discounted = (
        exp.select(*map(exp.column, names))
        .distinct()
        .from_(lines)
        .where(
            exp.column("line_item_line_item_type").eq("SavingsPlanRecurringFee"),
            exp.column("quarantine_code").is_(exp.null()),
            exp.NEQ(this=exp.column(names[1]), expression=exp.column(names[2])),
        )
    )
    stated = [
        tuple(map(amount.from_decimal, row))
        for row in engine.fetch(discounted, start | {"first_revision": False}).rows
    ]
    engine.table(
        NET_UNUSED,
        _NET_UNUSED_COLUMNS,
        [
            tuple(map(amount.to_decimal, (unused, gross, net, commitments.net_unused(unused, gross, net))))
            for unused, gross, net in stated
        ],
    )


def halves(engine: Engine, period: Period) -> list[commitments.Half]:
    """Commitments of the engine's `fact_cost_raw` whose other half is in another report."""
    start = {"period_start": period.start}
    found = [
        commitments.Commitment(
            row["source_id"],
            row["commitment"],
            row["has_fee"],
            row["has_usage"],
            row["residual_usd"],
            row["net_residual_usd"],
        )
        for row in engine.fetch("measure_commitments", start).dicts()
    ]
    if not found:  # what adds up needs no second look at the lines
        return []
    accounts = [(row[0], row[1], row[2]) for row in engine.fetch("fetch_billed_accounts", start).rows]
    return commitments.halves(found, accounts)
