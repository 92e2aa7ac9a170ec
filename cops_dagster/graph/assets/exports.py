"""What leaves COPS: exports of a reconciled month, made into the home and recorded."""

from typing import Any

import dagster as dg

from cops_dagster.exports import focus, journal
from cops_dagster.graph import outcome
from cops_dagster.graph.assets.about import FINANCE, about
from cops_dagster.graph.partitions import period_of
from cops_dagster.graph.resources import Ledger, act


def assets(periods: dg.MonthlyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Exports, each downstream of the reconciliation."""

    @dg.asset(**about("focus_export", periods, "exports", ["recon_summary", "fact_cost_adjustment"], FINANCE))
    def focus_export(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """The month as FOCUS files: both sides, both versions, in `exports/focus` of the home."""
        books, period = ledger.books(context), period_of(context)
        made = act(lambda: focus.export_all(books, period))
        rows = [
            {"export": one.name, "rows": one.rows, "sha256": one.sha256, "folder": str(one.folder)}
            for one in made
        ]
        return outcome.materialized(
            "focus_export", {"exports": rows}, " ".join(one.sha256[:14] for one in made)
        )

    @dg.asset(**about("journal", periods, "exports", ["recon_summary"], FINANCE))
    def journal_(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """What finance was given of the month, and what the next export would add; nothing is given out."""
        books, period = ledger.books(context), period_of(context)
        there = act(lambda: journal.standing(books, period))
        return outcome.materialized("journal", there.figures, there.digest)

    return [focus_export, journal_]
