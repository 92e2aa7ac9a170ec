"""What leaves COPS: exports of a reconciled month, made into the home and recorded."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from cops_dagster.exports import commitment_use, focus, journal, margin, margin_files, packs
from cops_dagster.graph import outcome
from cops_dagster.graph.assets.about import FINANCE, about
from cops_dagster.graph.host import Host
from cops_dagster.graph.partitions import period_of
from cops_dagster.graph.resources import act
from cops_dagster.money.digest import digest

ACCOUNT = (
    "commitment", "bought_usd", "used_usd", "unused_usd", "saved_usd", "utilisation_pct", "coverage_pct",
    "savings_rate_pct",
)  # fmt: skip
"""What is shown of a commitment, and of all of them but the name."""


def assets(host: Host) -> list[dg.AssetsDefinition]:
    """Exports, each downstream of the reconciliation."""

    @dg.asset(**about("focus_export", host, "exports", ["recon_summary", "fact_cost_adjustment"], FINANCE))
    def focus_export(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """The month as FOCUS files: both sides, both versions, in `exports/focus` of the home."""
        books, period = host.books(context), period_of(context)
        made = act(lambda: focus.export_all(books, period))
        rows = [
            {"export": one.name, "rows": one.rows, "sha256": one.sha256, "folder": str(one.folder)}
            for one in made
        ]
        return outcome.materialized(
            host, "focus_export", {"exports": rows}, " ".join(one.sha256[:14] for one in made)
        )

    @dg.asset(**about("journal", host, "exports", ["recon_summary"], FINANCE))
    def journal_(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """What finance was given of the month, and what the next export would add; nothing is given out."""
        books, period = host.books(context), period_of(context)
        there = act(lambda: journal.standing(books, period))
        return outcome.materialized(host, "journal", there.figures, there.digest)

    @dg.asset(**about("margin_export", host, "exports", ["margin"], FINANCE))
    def margin_export(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """The margin of the month as CSV files, in `exports/margin` of the home."""
        books, period = host.books(context), period_of(context)
        made = act(lambda: margin.margins(books, period))
        folder = books.settings.home / "exports" / "margin" / str(period)
        act(lambda: margin_files.write(books, made, folder))
        return outcome.materialized(host, "margin_export", {"folder": str(folder)}, made.months[0].recon_id)

    @dg.asset(**about("tenant_pack", host, "exports", ["recon_summary"], FINANCE), output_required=False)
    def tenant_pack(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        """A folder for each tenant of a settled month, in `exports` of the home; of another month none."""
        books, period = host.books(context), period_of(context)
        made = act(lambda: packs.pack_all(books, period))
        if not made:
            context.log.info("%s is not settled, and no pack of it goes out: see `cops doctor`", period)
            return
        rows = [{"tenant": one.tenant_id, "sha256": one.sha256, "folder": str(one.folder)} for one in made]
        yield outcome.materialized(
            host, "tenant_pack", {"packs": rows}, digest("packs", [one.sha256 for one in made])
        )

    @dg.asset(
        **about("commitment_account", host, "exports", ["fact_cost_raw", "fact_cost_allocated"], FINANCE)
    )
    def commitment_account(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """Each reservation and savings plan: bought, used by whom, unused, borne by whom."""
        books, period = host.books(context), period_of(context)
        rows = act(lambda: commitment_use.rows(books, period))
        accounts = [outcome.shown(row, *ACCOUNT) for row in rows if row["by"] == "commitment"]
        figures = {name: rows[-1][name] for name in ACCOUNT[1:]} | {"accounts": accounts}
        return outcome.materialized(host, "commitment_account", figures, commitment_use.digest_of(rows))

    return [focus_export, journal_, margin_export, tenant_pack, commitment_account]
