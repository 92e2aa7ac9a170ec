"""The assets: one per table, monthly-partitioned, each calling one act of the ledger.

Belongs here: names, groups, owners, descriptions, column schemas and what a materialisation shows.
An asset's name is its table's name. Acts replace one period or leave it as it is.
"""

from decimal import Decimal
from typing import Any

import dagster as dg
import sqlalchemy as sa

from cops_dagster.adjustments import late
from cops_dagster.alerts.receivers import open_receivers
from cops_dagster.alerts.tick import tick
from cops_dagster.allocation import allocate
from cops_dagster.closing import repair
from cops_dagster.closing import status as state
from cops_dagster.closing.periods import advance
from cops_dagster.errors import CopsError
from cops_dagster.evidence import sweep
from cops_dagster.graph.figures import metadata, picture
from cops_dagster.graph.lineage import column_lineage, made_of
from cops_dagster.graph.partitions import period_of
from cops_dagster.graph.resources import Ledger, act
from cops_dagster.ingestion import claims, ingest, look
from cops_dagster.lake import iceberg
from cops_dagster.lake.tables import CUR_BILLING_MASTER, LAKE_TABLES, MISSING_TENANT_TAGS
from cops_dagster.lake.views import admin_columns
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount, footing
from cops_dagster.operations import budgets, controls
from cops_dagster.period import Period
from cops_dagster.reconciliation import reconcile
from cops_dagster.reports import close_report as report
from cops_dagster.stores import tables as t
from cops_dagster.tagging import tag

OWNERS = ["team:data-engineering"]
FINANCE = ["team:finance"]
TRENDS = (
    "delivered_usd",
    "cost_usd",
    "quarantined_usd",
    "missing_usd",
    "unclaimed_usd",
    "aws_total_usd",
    "invoiced_total_usd",
    "variance_usd",
)


def sources(periods: dg.MonthlyPartitionsDefinition) -> list[dg.AssetSpec]:
    """What a run reads and does not make."""
    described = {
        "cur_delivery": (
            "delivery",
            "AWS's Cost and Usage Report as it lies in the report roots.",
            ["aws", "parquet"],
        ),
        "tenants": ("inputs", "Tenant registry: who may be charged, from when, on which plan.", ["table"]),
        "tag_aliases": ("inputs", "Declared spellings of tag values.", ["table"]),
        "allocation_rules": ("inputs", "Versioned rules that split pooled cost.", ["table"]),
        "tenant_network_usage": ("inputs", "Network usage per tenant: a usage key.", ["table"]),
        "tenant_compute_usage": ("inputs", "Compute usage per tenant: a usage key.", ["table"]),
        "tenant_storage_usage": ("inputs", "Storage usage per tenant: a usage key.", ["table"]),
        "invoice_detail": ("inputs", "Issued tenant documents.", ["table"]),
        "budgets": ("inputs", "Budget targets, versioned.", ["table"]),
    }
    adjustment = dg.AssetSpec(
        "fact_cost_adjustment",
        group_name="allocation",
        description="Corrections of closed months, booked in the open one by `cops approve`.",
        kinds={"duckdb", "parquet"},
        owners=FINANCE,
        partitions_def=periods,
        metadata=_schema("fact_cost_adjustment"),
    )
    return [adjustment] + [
        dg.AssetSpec(
            name,
            group_name=group,
            description=text,
            kinds=set(kinds),
            owners=OWNERS,
            partitions_def=periods if name == "cur_delivery" else None,
        )
        for name, (group, text, kinds) in described.items()
    ]


def recorded_by(name: str, period: Period) -> str:
    """What a person does to have an asset recorded that no run of a month makes."""
    return {
        "cur_delivery": "cur_billing_master observes and records it:"
        f" cops materialize {period} --select cur_billing_master",
        "fact_cost_adjustment": "cops approve books it: see cops adjust list",
        "control_status": "it is judged every hour, for all months: cops controls",
    }.get(name, f"cops admin load records it: cops admin load {name}.csv")


def tables(periods: dg.MonthlyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of the month, from delivery to reconciled."""
    return [*_ingestion(periods), *_tagging(periods), *_allocation(periods), *_reconciliation(periods)]


def _ingestion(periods: dg.MonthlyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    # What was delivered and what was ingested of it.

    @dg.asset(**_about("cur_billing_master", periods, "ingestion", ["cur_delivery"]))
    def cur_billing_master(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """The newest complete delivery of every source, as AWS sent it, under Athena names.

        A view over the delivered files. A refused delivery leaves the one before in place; the checks
        say why it was refused and stop the run.
        """
        books, period = ledger.books(context), period_of(context)
        act(lambda: repair.require_mendable(books, period))
        seen = act(lambda: look.look(books, period))
        proposed = act(lambda: late.propose(books, period))
        status = _status(books, period)
        ids = sorted(source.delivery_id or "" for source in seen)
        for source in seen:
            if source.is_new and source.delivery_id:
                context.log_event(
                    dg.AssetMaterialization(
                        "cur_delivery",
                        partition=str(period),
                        tags={"dagster/data_version": source.delivery_id[:32]},
                    )
                )
        return _result(
            "cur_billing_master",
            {
                "dagster/partition_row_count": status.lines if status else 0,
                "delivered_usd": status.aws_usd if status else Decimal(0),
                "sources": len(seen),
                "deliveries": ", ".join(ids),
                "refused": sum(len(source.refusals) for source in seen),
                "proposed_adjustment": proposed,
            },
            ",".join(ids),
        )

    @dg.asset(**_about("fact_cost_raw", periods, "ingestion", ["cur_billing_master"]))
    def fact_cost_raw(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """Every delivered line once, with exact money and all cost views."""
        books, period = ledger.books(context), period_of(context)
        iceberg.prepare()
        act(lambda: claims.require_one(books, period))
        done = act(lambda: ingest.ingest(books, period))
        return _published(books, period, "fact_cost_raw", any(source.wrote for source in done))

    @dg.asset(**_about("cur_quarantine", periods, "ingestion", ["fact_cost_raw"]))
    def cur_quarantine(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """Lines that cannot be booked, each with its reason; expected to be empty."""
        books, period = ledger.books(context), period_of(context)
        with books.admin.read() as con, books.lines(period) as engine:
            books.namespace(engine, con, period).provide(["cur_quarantine"])
            rows = engine.fetch("fetch_quarantined_by_code", {"period_start": period.start}).dicts()
        total = sum((row["cost_usd"] for row in rows), Decimal(0))
        lines = sum(row["row_count"] for row in rows)
        return _result(
            "cur_quarantine",
            {"dagster/partition_row_count": lines, "quarantined_usd": total, "by_code": rows},
            f"{lines} {total:f}",
        )

    return [cur_billing_master, fact_cost_raw, cur_quarantine]


def _tagging(periods: dg.MonthlyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    # Lines with their tenants, and how many came with tags.

    @dg.asset(**_about("fact_cost_tagged", periods, "tagging", ["fact_cost_raw", "tenants", "tag_aliases"]))
    def fact_cost_tagged(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """The month at the grain of allocation, each row with its tenant or none."""
        books, period = ledger.books(context), period_of(context)
        done = act(lambda: tag.tag(books, period))
        return _published(books, period, "fact_cost_tagged", done.wrote)

    @dg.asset(**_about("tag_coverage", periods, "tagging", ["fact_cost_tagged"]))
    def tag_coverage(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """How much of the taggable cost came with tenant and plan tags, by cost and by rows."""
        books, period = ledger.books(context), period_of(context)
        with books.admin.read() as con:
            row = con.execute(
                sa.select(t.tag_coverage).where(t.tag_coverage.c.period_start == period.start)
            ).one()
            chart = picture(report.coverage_chart(con, books.policy.coverage, period))
        shown = ("tag_coverage_pct", "row_coverage_pct", "propagated_coverage_pct", "covered_usd",
                 "coverable_usd", "missing_tenant_tag_usd", "missing_tenant_tag")  # fmt: skip
        shown_figures = {name: row._mapping[name] for name in shown}
        return _result("tag_coverage", shown_figures, row.run_id, over_months=chart)

    @dg.asset(**_about("missing_tenant_tags", periods, "tagging", ["fact_cost_raw", "fact_cost_tagged"]))
    def missing_tenant_tags(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """Where a tenant tag is missing, by the money it keeps from its tenant; expected to be empty."""
        books, period = ledger.books(context), period_of(context)
        with books.admin.read() as con, books.lines(period) as engine:
            books.namespace(engine, con, period).provide(["missing_tenant_tags"])
            rows = engine.fetch("fetch_missing_tenant_tags", {"period_start": period.start}).dicts()
        total = rows[0]["total_usd"] if rows else Decimal(0)
        places = rows[0]["places"] if rows else 0
        shown = [
            {name: _shown(value) for name, value in row.items() if name not in ("total_usd", "places")}
            for row in rows
        ]
        return _result(
            "missing_tenant_tags",
            {"missing_usd": total, "places": places, "largest": shown},
            f"{places} {total:f}",
        )

    return [fact_cost_tagged, tag_coverage, missing_tenant_tags]


def _allocation(periods: dg.MonthlyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    # Keys, entries, and what nobody bears.

    @dg.asset(
        **_about(
            "allocation_key_snapshot",
            periods,
            "allocation",
            [
                "fact_cost_tagged",
                "allocation_rules",
                "tenant_network_usage",
                "tenant_compute_usage",
                "tenant_storage_usage",
            ],
        )
    )
    def allocation_key_snapshot(
        context: dg.AssetExecutionContext, ledger: Ledger
    ) -> dg.MaterializeResult[Any]:
        """The keys that today's rules split the month by, frozen, also for a run that is refused."""
        books, period = ledger.books(context), period_of(context)
        inputs, made = act(lambda: allocate.snapshot_keys(books, period))
        rows = [
            {
                "key_name": key.key_name,
                "measure": key.measure,
                "tenants": len(key.weights),
                "key_total": amount.to_text(key.total),
            }
            for key in made.keys.values()
        ]
        return _result(
            "allocation_key_snapshot", {"rules": len(inputs.rules), "keys": rows}, inputs.inputs_id
        )

    @dg.asset(**_about("fact_cost_allocated", periods, "allocation", ["allocation_key_snapshot"]))
    def fact_cost_allocated(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """The append-only ledger: what every tenant bears, why, and the reversals of what was replaced."""
        books, period = ledger.books(context), period_of(context)
        act(lambda: claims.require_one(books, period))
        act(lambda: repair.mend(books, period))
        done = act(lambda: allocate.allocate(books, period))
        return _published(
            books, period, "fact_cost_allocated", done.wrote, reversed_run_id=done.reversed_run_id
        )

    @dg.asset(**_about("unallocated_cost", periods, "allocation", ["fact_cost_allocated"]))
    def unallocated_cost(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """Cost that no rule claimed, whose key failed or whose tag names nobody; expected to be empty."""
        books, period = ledger.books(context), period_of(context)
        with books.admin.read() as con, books.engine() as engine:
            books.namespace(engine, con, period).provide(["fact_cost_allocated"])
            rows = engine.fetch("fetch_unclaimed_by_service", {"period_start": period.start}).dicts()
            held = engine.fetch("fetch_held_tags", {"period_start": period.start}).dicts()
        rows = sorted(
            (row for row in rows if row["unclaimed_usd"]), key=lambda row: -abs(row["unclaimed_usd"])
        )
        total = sum((row["unclaimed_usd"] for row in rows), Decimal(0))
        return _result(
            "unallocated_cost", {"unclaimed_usd": total, "by_service": rows, "held_tags": held}, f"{total:f}"
        )

    return [allocation_key_snapshot, fact_cost_allocated, unallocated_cost]


def _reconciliation(periods: dg.MonthlyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    # The month against invoices and budgets.

    @dg.asset(
        **_about(
            "recon_summary",
            periods,
            "reconciliation",
            ["fact_cost_allocated", "fact_cost_adjustment", "invoice_detail"],
            FINANCE,
        )
    )
    def recon_summary(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """AWS ↔ allocated ↔ invoiced in USD, every term of the expectation a column."""
        books, period = ledger.books(context), period_of(context)
        done = act(lambda: reconcile.reconcile(books, period))
        moved_to = act(lambda: advance(books, period))
        with books.admin.read() as con:
            row = con.execute(sa.select(t.recon_run).where(t.recon_run.c.recon_id == done.recon_id)).one()
            tenants = con.execute(
                sa.select(t.recon_run_tenant).where(t.recon_run_tenant.c.recon_seq == row.recon_seq)
            ).all()
            chart = picture(report.bridge_chart(con, row.recon_seq))
        figures = {
            column.name: value
            for column, value in zip(t.recon_run.c, row, strict=True)
            if isinstance(column.type, t.Money)
        }
        by_tenant = [
            {
                "tenant_id": one.tenant_id,
                "allocated_usd": amount.shown(one.allocated_usd),
                "expected_usd": expected,
                "invoiced_usd": invoiced,
                "variance_usd": variance,
                "status": one.status,
            }
            for one in tenants
            for expected, variance, invoiced in [
                footing.told(
                    [("level", one.expected_usd), ("change", one.variance_usd), ("level", one.invoiced_usd)]
                )
            ]
        ]
        told = {"status": done.status, "period_state": moved_to, **figures, "tenants": by_tenant}
        return _result("recon_summary", told, done.recon_id, bridge=chart)

    @dg.asset(
        name="close_report",
        group_name="reconciliation",
        deps=["recon_summary", "tag_coverage"],
        partitions_def=periods,
        owners=FINANCE,
        kinds={"html"},
        pool="ledger",
    )
    def close_report(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """One page a month for finance: totals, bridge, coverage, tenants, exceptions, proof."""
        books, period = ledger.books(context), period_of(context)
        kept = act(lambda: report.keep(books, period))
        return dg.MaterializeResult(
            metadata=metadata(
                {"evidence": kept.evidence_seq, "sha256": kept.sha256, "size_bytes": kept.size_bytes}
            )
            | {
                "page": dg.MetadataValue.path(kept.url.removeprefix("file://")),
                "to_open": dg.MetadataValue.md(f"`cops report {period} --out FOLDER`"),
            },
            data_version=dg.DataVersion(kept.sha256),
        )

    @dg.asset(
        **_about("budget_master", periods, "reconciliation", ["fact_cost_allocated", "budgets"], FINANCE)
    )
    def budget_master(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """Budgets against the newest allocated month: actual, level, when refreshed."""
        books = ledger.books(context)
        done = act(lambda: budgets.refresh(books))
        with books.admin.read() as con:
            rows = con.execute(sa.select(t.budget_master).order_by(t.budget_master.c.budget_id)).all()
        shown = ("budget_id", "scope_type", "scope_value", "target_usd", "actual_usd", "forecast_usd",
                 "forecast_error_usd", "level")  # fmt: skip
        levels = [{name: _shown(row._mapping[name]) for name in shown} for row in rows]
        figures: dict[str, Any] = {
            "budgets": len(rows),
            "levels": levels,
            "aws_budgets": done.aws_budgets,
            "aws_refusal": done.aws_refusal,
        }
        return dg.MaterializeResult(metadata=metadata(figures))

    @dg.asset(
        name="control_status",
        group_name="operations",
        owners=OWNERS,
        kinds={"sql"},
        metadata=_schema("control_status"),
    )
    def control_status(context: dg.AssetExecutionContext, ledger: Ledger) -> dg.MaterializeResult[Any]:
        """The preventive controls, judged hourly; then whoever must be told is told."""
        books = ledger.books(context)
        found = act(lambda: controls.evaluate(books))
        sent = tick(books, open_receivers(books.settings))
        rows = [
            {
                "control": one.control,
                "status": one.status,
                "target": one.target,
                "measured": one.measured,
                "next_step": one.next_step,
            }
            for one in found
        ]
        figures: dict[str, Any] = {
            "failed": sum(one.status == "failed" for one in found),
            "unknown": sum(one.status == "unknown" for one in found),
            "controls": rows,
            "messages_accepted": sent.accepted,
            "messages_not_accepted": sent.failed,
        }
        return dg.MaterializeResult(metadata=metadata(figures))

    return [recon_summary, close_report, budget_master, control_status]


def _about(
    name: str,
    periods: dg.MonthlyPartitionsDefinition,
    group: str,
    deps: list[str],
    owners: list[str] | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "group_name": group,
        "deps": deps,
        "partitions_def": periods,
        "owners": owners or OWNERS,
        "kinds": {"duckdb", "parquet"} if name.startswith(("fact_", "cur_")) else {"sql"},
        "pool": "ledger",
        "metadata": _schema(name),
    }


def _schema(name: str) -> dict[str, Any]:
    return {
        "dagster/table_name": name,
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(column, kind.lower(), description=made_of(name, column))
                for column, kind in _columns(name)
            ]
        ),
    }


def _columns(name: str) -> tuple[tuple[str, str], ...]:
    if name == "cur_billing_master":
        return CUR_BILLING_MASTER
    if name in LAKE_TABLES:
        return LAKE_TABLES[name]
    if name == "missing_tenant_tags":
        return MISSING_TENANT_TAGS
    if name == "unallocated_cost":
        return (("service", "VARCHAR"), ("charge_class", "VARCHAR"), ("unclaimed_usd", "DECIMAL(38,18)"))
    return admin_columns(t.metadata.tables[t.VIEW_OF.get(name, name)])


def _status(books: Books, period: Period) -> state.PeriodStatus | None:
    try:
        return state.statuses(books, period)[0]
    except CopsError:
        return None


def _published(
    books: Books, period: Period, name: str, wrote: bool, reversed_run_id: str | None = None
) -> dg.MaterializeResult[Any]:
    act(lambda: sweep.project(books))
    with books.admin.read() as con:
        heads, journal = t.period_head, t.publish_journal
        rows = con.execute(
            sa.select(journal)
            .join(heads, heads.c.run_id == journal.c.run_id)
            .where(heads.c.table_name == name, heads.c.period_start == period.start)
            .order_by(journal.c.journal_seq)
        ).all()
    return _result(
        name,
        {
            "dagster/partition_row_count": sum(row.row_count for row in rows),
            "cost_usd": sum((row.cost_usd for row in rows), Decimal(0)),
            "run_id": ", ".join(row.run_id for row in rows),
            "outcome": "published" if wrote else "unchanged: the head was made from the same inputs",
            "reversed_run_id": reversed_run_id,
        },
        ",".join(row.inputs_id for row in rows),
    )


def _result(
    name: str, figures: dict[str, Any], version: str, **pictures: dg.MetadataValue
) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(
        metadata={**metadata(figures, trends=TRENDS), **pictures, **column_lineage(name)},
        data_version=dg.DataVersion(version[:60]),
    )


def _shown(value: object) -> object:
    return amount.shown(value) if isinstance(value, Decimal) else value
