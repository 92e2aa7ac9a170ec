"""What is watched by the clock: budgets and controls."""

from typing import Any

import dagster as dg

from cops_dagster.closing import status
from cops_dagster.closing.status import PeriodStatus
from cops_dagster.graph import outcome
from cops_dagster.graph.assets.about import FINANCE, OWNERS, about, placed, schema
from cops_dagster.graph.host import Host
from cops_dagster.graph.resources import act
from cops_dagster.ledger.books import Books
from cops_dagster.operations import budgets, consequences, controls, messages
from cops_dagster.period import Period

LEVEL = (
    "budget_id",
    "scope_type",
    "scope_value",
    "target_usd",
    "actual_usd",
    "forecast_usd",
    "forecast_error_usd",
    "level",
)
"""What is shown of a budget."""
CONTROL = ("control", "status", "target", "measured", "next_step")
"""What is shown of a control."""


def assets(host: Host) -> list[dg.AssetsDefinition]:
    """Budgets and controls."""

    @dg.asset(**about("budget_master", host, "reconciliation", ["fact_cost_allocated", "budgets"], FINANCE))
    def budget_master(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """Budgets against the newest allocated month: actual, level, when refreshed."""
        books = host.books(context)
        done = act(lambda: budgets.refresh(books))
        with books.admin.read() as con:
            rows = budgets.standing(con)
        figures: dict[str, Any] = {
            "budgets": len(rows),
            "levels": [outcome.shown(row, *LEVEL) for row in rows],
            "aws_budgets": done.aws_budgets,
            "aws_refusal": done.aws_refusal,
        }
        return dg.MaterializeResult(metadata=outcome.metadata(figures) | outcome.billed())

    @dg.asset(
        **placed("control_status", host, "operations", OWNERS),
        required_resource_keys={host.resource},
        kinds={"sql"},
        metadata=schema("control_status"),
    )
    def control_status(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """The preventive controls, judged hourly, and how each month stands; then who must be told is told.

        Dagster's list of checks shows the month that was asked last; the table `months` shows them all.
        """
        books = host.books(context)
        found = act(lambda: controls.evaluate(books))
        sent = messages.send(books)
        figures: dict[str, Any] = {
            "months": [_standing(books, one) for one in status.statuses(books)],
            "failed": sum(one.status == "failed" for one in found),
            "unknown": sum(one.status == "unknown" for one in found),
            "controls": [outcome.shown(vars(one), *CONTROL) for one in found],
            "messages_accepted": sent.accepted,
            "messages_not_accepted": sent.failed,
        }
        return dg.MaterializeResult(metadata=outcome.metadata(figures))

    return [budget_master, control_status]


def _standing(books: Books, one: PeriodStatus) -> dict[str, object]:
    """A month in one line: its state, and the checks of it that do not hold, whichever run asked them."""
    found = consequences.failing(books, Period.parse(one.period))
    told: dict[str, object] = {"month": one.period, "state": one.state}
    for name, severity in (("errors", "ERROR"), ("warnings", "WARN")):
        told[name] = ", ".join(each["check"] for each in found if each["severity"] == severity) or "none"
    return told
