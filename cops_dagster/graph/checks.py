"""The asset checks: each asset's verdicts, partitioned, re-read from what was published.

Belongs here: which checks an asset has, which block, and the one seam to Dagster's preview API of
partitioned checks. When a check holds is decided in `ingestion/verdicts.py`.
"""

from collections.abc import Iterable

import dagster as dg

from cops_dagster.graph.outcome import result
from cops_dagster.graph.partitions import period_of
from cops_dagster.graph.resources import Ledger, act
from cops_dagster.operations import consequences

# asset → (check, what it says, does it block)
CHECKS: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "cur_billing_master": (
        ("delivery_is_complete", "Every file that the newest manifest names is there and readable.", True),
        ("schema_has_required_columns", "Required columns are there, each with its type.", True),
        ("one_currency", "Every line is in USD.", True),
        ("no_delivery_waits_for_approval", "No newer delivery is held back or still arriving.", True),
        ("delivery_within_48h", "An open month was delivered within the last 48 hours.", False),
        ("rows_not_falling", "As many rows as the delivery before, in all and per usage day.", False),
        ("folder_holds_only_named_files", "No data file lies there that the manifest does not name.", False),
        ("files_differ", "No two files of a delivery have the same bytes.", False),
        ("no_columns_removed", "Every column of the delivery before is still there.", False),
        ("line_types_are_known", "Every line item type has known cost views.", False),
        ("usage_lies_in_period", "Every usage line lies in its billing month.", False),
        ("usage_is_not_negative", "No usage line has a negative cost.", False),
        ("lines_are_distinct", "No line stands in the delivery twice.", False),
        ("every_value_is_carried", "No value that no cost view needs was rounded or lost.", False),
        ("each_payer_has_one_source", "No payer's usage account and month comes from two sources.", True),
        ("every_source_is_taken", "Every source's newest delivery was taken, every root reached.", False),
        ("every_source_has_its_place", "What is booked still lies in a report root.", False),
        ("no_foreign_exports", "Nothing but Cost and Usage Reports lies in the report roots.", False),
        ("no_unexpected_columns", "AWS added no column that the expected schema does not know.", False),
    ),
    "fact_cost_raw": (
        ("rows_match_delivery", "Delivered rows = accepted + quarantined.", True),
        ("cost_matches_delivery", "Delivered cost = accepted + quarantined, to the last digit.", True),
        ("every_delivery_is_ingested", "What is shown of each source is what is ingested of it.", False),
        ("cost_views_bridge", "unblended = amortized + true-up + upfront, gross and net.", False),
        ("commitments_are_delivered_whole", "Commitments came with their fee and their usage.", False),
        ("mapped_tags_are_delivered", "The tags that [tags] maps stand in the deliveries.", True),
    ),
    "cur_quarantine": (
        ("no_lines_quarantined", "No line is set aside; while one is, the month cannot close.", False),
    ),
    "fact_cost_tagged": (
        ("tagging_preserves_cost", "Every cost view sums to the same before and after tagging.", True),
        ("negations_follow_usage", "Savings-plan negations take back covered usage.", False),
        ("refunds_follow_what_they_name", "Refunds of a resource belong to its tenant.", False),
        ("tag_coverage_at_target", "Coverable cost carries tenant and plan tags, by cost.", False),
        ("tenants_are_known", "Every delivered tenant tag names a registered tenant.", False),
        ("plans_are_known", "Every delivered plan tag names a plan in force.", False),
        ("tenants_with_usage_have_direct_cost", "Tenants with platform usage appear in the CUR.", False),
        ("no_tenant_spikes", "No tenant's direct cost doubled since last month.", False),
        ("tags_are_spelled_alike", "Each tenant's tag is written in one way.", False),
        ("mapped_accounts_are_delivered", "Every mapped account stands in some delivery.", False),
        ("mapped_tags_are_active", "The payer's mapped cost allocation tags are active.", False),
    ),
    "allocation_key_snapshot": (
        ("key_totals_positive", "Every key that a pool needs has a positive total.", True),
        ("rules_cover_every_pool", "Every pool with cost is claimed by a rule.", False),
        ("rules_match_something", "Every service, account or plan that a rule names has cost.", False),
        ("rules_unchanged_in_period", "No rule version starts inside the period.", True),
        ("keys_name_every_tenant", "Every active tenant, and nobody else, has a figure in each key.", False),
        ("key_shares_steady", "Totals and shares of usage keys stay near last month's.", False),
        ("keys_fresh_24h", "Keys were refreshed in time (after month end for ended months).", False),
    ),
    "fact_cost_allocated": (
        ("allocated_equals_pool", "Σ allocated = Σ raw per service and class, difference 0.", True),
        ("unallocated_within_2_pct", "Cost no rule claimed and the delivery gap stay within 2 %.", False),
        ("operator_share_steady", "Our own share moved by at most 5 points since last month.", False),
    ),
    "recon_summary": (
        ("plans_have_a_markup", "Every plan that cost is billed by has a markup in force.", False),
        ("variance_within_tolerance", "Invoiced = expected within tolerance, for the worst tenant.", False),
        ("exceptions_explained", "Every exception has a decision.", False),
        ("aws_invoice_matches_cur", "AWS's invoices tie to the CUR by invoice id.", False),
    ),
    "budget_master": (
        ("budgets_refreshed_today", "Budgets were refreshed since 04:00 UTC.", False),
        ("budget_scopes_are_known", "Every budget is about something that exists.", False),
    ),
}  # fmt: skip

BLOCKING = frozenset(name for checks in CHECKS.values() for name, _, blocking in checks if blocking)


def period_checks(periods: dg.MonthlyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """Every asset's checks; one step reads an asset once for all of them."""
    return [_checks_of(asset, periods) for asset in CHECKS]


def _checks_of(asset: str, periods: dg.MonthlyPartitionsDefinition) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(name, asset=asset, description=text, blocking=blocking, partitions_def=periods)
        for name, text, blocking in CHECKS[asset]
    ]

    @dg.multi_asset_check(specs=specs, can_subset=True, name=f"{asset}_checks")
    def checks(context: dg.AssetCheckExecutionContext, ledger: Ledger) -> Iterable[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        books, period = ledger.books(context), period_of(context)
        for verdict in act(lambda: consequences.record(books, period, asset)):
            if verdict.check in wanted:
                yield result(verdict)

    return checks
