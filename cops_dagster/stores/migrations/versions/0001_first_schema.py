"""The first schema: every table and view, append-only guards, expected CUR schema revision 1."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cops_dagster.stores.tables import Money

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_APPEND_ONLY = (
    "cur_delivery",
    "cur_delivery_file",
    "expected_cur_schema",
    "allocation_key_snapshot",
    "publish_journal",
    "lake_file",
    "period_lock_event",
    "recon_run",
    "recon_run_tenant",
    "budget_history",
    "evidence_index",
)

_VIEWS = {
    "expected_cur_schema_v1": (
        "SELECT column_name, data_type, required FROM expected_cur_schema WHERE revision = 1"
    ),
    "expected_cur_schema_vN": (
        "SELECT column_name, data_type, required FROM expected_cur_schema WHERE revision = "
        "(SELECT max(revision) FROM expected_cur_schema)"
    ),
    "recon_summary": (
        "SELECT * FROM recon_run WHERE recon_seq IN (SELECT max(recon_seq) FROM recon_run GROUP "
        "BY period_start)"
    ),
    "recon_tenant": (
        "SELECT * FROM recon_run_tenant WHERE recon_seq IN (SELECT max(recon_seq) FROM recon_run "
        "GROUP BY period_start)"
    ),
}

# the expected CUR schema, revision 1, in order; `!` marks a required column
_EXPECTED = (
    (
        "varchar",
        "identity_line_item_id identity_time_interval bill_invoice_id! bill_invoicing_entity "
        "bill_billing_entity bill_bill_type bill_payer_account_id",
    ),
    ("timestamp", "bill_billing_period_start_date! bill_billing_period_end_date"),
    ("varchar", "line_item_usage_account_id! line_item_line_item_type!"),
    ("timestamp", "line_item_usage_start_date! line_item_usage_end_date"),
    (
        "varchar",
        "line_item_product_code! line_item_usage_type line_item_operation "
        "line_item_availability_zone line_item_resource_id",
    ),
    ("double", "line_item_usage_amount line_item_normalization_factor line_item_normalized_usage_amount"),
    ("varchar", "line_item_currency_code! line_item_unblended_rate"),
    ("double", "line_item_unblended_cost!"),
    ("varchar", "line_item_blended_rate"),
    ("double", "line_item_blended_cost line_item_net_unblended_cost"),
    (
        "varchar",
        "line_item_net_unblended_rate line_item_line_item_description line_item_tax_type "
        "line_item_legal_entity product_product_name product_servicecode product_product_family "
        "product_instance_type product_region product_region_code product_operating_system "
        "product_sku pricing_rate_id pricing_currency",
    ),
    ("double", "pricing_public_on_demand_cost"),
    ("varchar", "pricing_public_on_demand_rate pricing_term pricing_unit"),
    (
        "double",
        "reservation_effective_cost reservation_net_effective_cost "
        "reservation_amortized_upfront_cost_for_usage "
        "reservation_amortized_upfront_fee_for_billing_period "
        "reservation_net_amortized_upfront_fee_for_billing_period "
        "reservation_unused_amortized_upfront_fee_for_billing_period "
        "reservation_net_unused_amortized_upfront_fee_for_billing_period "
        "reservation_unused_recurring_fee reservation_net_unused_recurring_fee "
        "reservation_recurring_fee_for_usage",
    ),
    ("varchar", "reservation_reservation_a_r_n reservation_subscription_id"),
    (
        "double",
        "savings_plan_total_commitment_to_date savings_plan_used_commitment "
        "savings_plan_savings_plan_effective_cost savings_plan_net_savings_plan_effective_cost "
        "savings_plan_amortized_upfront_commitment_for_billing_period "
        "savings_plan_net_amortized_upfront_commitment_for_billing_period "
        "savings_plan_recurring_commitment_for_billing_period "
        "savings_plan_net_recurring_commitment_for_billing_period",
    ),
    (
        "varchar",
        "savings_plan_savings_plan_a_r_n resource_tags_user_tenant_id resource_tags_user_plan_id "
        "resource_tags_user_service_component resource_tags_user_name "
        "resource_tags_user_environment source_id delivery_id",
    ),
)


def upgrade() -> None:
    """Makes an empty database one that COPS can work with."""
    _tables()
    for name, select in _VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {select}")
    _expect_cur_schema()
    if op.get_context().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _expect_cur_schema() -> None:
    names = [(name, data_type) for data_type, group in _EXPECTED for name in group.split()]
    expected = sa.table(
        "expected_cur_schema",
        sa.column("revision", sa.BigInteger),
        sa.column("column_name", sa.Text),
        sa.column("position", sa.BigInteger),
        sa.column("data_type", sa.Text),
        sa.column("required", sa.Boolean),
    )
    op.bulk_insert(
        expected,
        [
            {
                "revision": 1,
                "column_name": name.rstrip("!"),
                "position": position,
                "data_type": data_type,
                "required": name.endswith("!"),
            }
            for position, (name, data_type) in enumerate(names, start=1)
        ],
    )


def _guard_sqlite() -> None:
    for table in _APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY {table} takes no {verb}'); END"
            )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION cops_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'E-APPEND-ONLY % takes no %', TG_TABLE_NAME, TG_OP; END $$"
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION cops_append_only()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION cops_append_only()"
        )


def _tables() -> None:
    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("plan_id", sa.Text, nullable=True),
        sa.Column("active_from", sa.Date, nullable=False),
        sa.Column("active_to", sa.Date, nullable=True),
        sa.Column("currency", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenants")),
    )
    op.create_table(
        "plans",
        sa.Column("plan_id", sa.Text, nullable=False),
        sa.Column("effective_from", sa.Date, nullable=False),
        sa.Column("markup_bps", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("plan_id", "effective_from", name=op.f("pk_plans")),
    )
    op.create_table(
        "tag_aliases",
        sa.Column("tag_name", sa.Text, nullable=False),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("canonical", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("tag_name", "alias", name=op.f("pk_tag_aliases")),
    )
    op.create_table(
        "account_tenants",
        sa.Column("usage_account_id", sa.Text, nullable=False),
        sa.Column("effective_from", sa.Date, nullable=False),
        sa.Column("effective_to", sa.Date, nullable=True),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("usage_account_id", "effective_from", name=op.f("pk_account_tenants")),
    )
    op.create_table(
        "allocation_rules",
        sa.Column("rule_id", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("effective_from", sa.Date, nullable=False),
        sa.Column("effective_to", sa.Date, nullable=True),
        sa.Column("priority", sa.BigInteger, nullable=False),
        sa.Column("match_service", sa.Text, nullable=True),
        sa.Column("match_service_component", sa.Text, nullable=True),
        sa.Column("match_charge_class", sa.Text, nullable=True),
        sa.Column("match_usage_account_id", sa.Text, nullable=True),
        sa.Column("match_plan_id", sa.Text, nullable=True),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("key_name", sa.Text, nullable=True),
        sa.Column("shares", sa.Text, nullable=True),
        sa.Column("on_zero_key", sa.Text, nullable=False),
        sa.Column("approved_by", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("rule_id", "version", name=op.f("pk_allocation_rules")),
    )
    op.create_table(
        "allocation_keys",
        sa.Column("key_name", sa.Text, nullable=False),
        sa.Column("measure", sa.Text, nullable=False),
        sa.Column("max_age_hours", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key_name", name=op.f("pk_allocation_keys")),
    )
    op.create_table(
        "tenant_usage",
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("measure", sa.Text, nullable=False),
        sa.Column("value", Money, nullable=False),
        sa.Column("refreshed_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("period_start", "tenant_id", "measure", name=op.f("pk_tenant_usage")),
    )
    op.create_table(
        "invoice_detail",
        sa.Column("invoice_id", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("amount", Money, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("amount_usd", Money, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("document_type", sa.Text, nullable=False),
        sa.Column("corrects_invoice_id", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("invoice_id", "tenant_id", "period_start", name=op.f("pk_invoice_detail")),
    )
    op.create_table(
        "fx_rates",
        sa.Column("base", sa.Text, nullable=False),
        sa.Column("quote", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("rate", Money, nullable=False),
        sa.PrimaryKeyConstraint("base", "quote", "period_start", name=op.f("pk_fx_rates")),
    )
    op.create_table(
        "aws_invoices",
        sa.Column("invoice_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("payer_account_id", sa.Text, nullable=False),
        sa.Column("invoicing_entity", sa.Text, nullable=True),
        sa.Column("billing_entity", sa.Text, nullable=True),
        sa.Column("bill_type", sa.Text, nullable=True),
        sa.Column("invoice_type", sa.Text, nullable=False),
        sa.Column("base_currency", sa.Text, nullable=False),
        sa.Column("amount_before_tax", Money, nullable=False),
        sa.Column("tax", Money, nullable=False),
        sa.Column("payment_currency", sa.Text, nullable=True),
        sa.Column("payment_amount", Money, nullable=True),
        sa.Column("exchange_rate", Money, nullable=True),
        sa.Column("corrects_invoice_id", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("invoice_id", name=op.f("pk_aws_invoices")),
    )
    op.create_table(
        "budgets",
        sa.Column("budget_id", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("scope_type", sa.Text, nullable=False),
        sa.Column("scope_value", sa.Text, nullable=True),
        sa.Column("effective_from", sa.Date, nullable=False),
        sa.Column("effective_to", sa.Date, nullable=True),
        sa.Column("basis", sa.Text, nullable=False),
        sa.Column("target_usd", Money, nullable=False),
        sa.PrimaryKeyConstraint("budget_id", "version", name=op.f("pk_budgets")),
    )
    op.create_table(
        "cur_delivery",
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("layout", sa.Text, nullable=False),
        sa.Column("manifest_path", sa.Text, nullable=False),
        sa.Column("assembly_id", sa.Text, nullable=True),
        sa.Column("schema_digest", sa.Text, nullable=False),
        sa.Column("columns_json", sa.Text, nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("cost_usd", Money, nullable=False),
        sa.Column("invoice_state", sa.Text, nullable=False),
        sa.Column("delivered_at", sa.DateTime, nullable=False),
        sa.Column("first_seen_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_cur_delivery")),
    )
    op.create_table(
        "cur_delivery_file",
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "position", name=op.f("pk_cur_delivery_file")),
    )
    op.create_table(
        "cur_billing_head",
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("location_json", sa.Text, nullable=False),
        sa.Column("seen_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("source_id", "period_start", name=op.f("pk_cur_billing_head")),
    )
    op.create_table(
        "cur_ingestion_log",
        sa.Column("log_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("run_id", sa.Text, nullable=True),
        sa.Column("attempt_id", sa.Text, nullable=False),
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("delivery_id", sa.Text, nullable=True),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("rows_in", sa.BigInteger, nullable=True),
        sa.Column("rows_accepted", sa.BigInteger, nullable=True),
        sa.Column("rows_quarantined", sa.BigInteger, nullable=True),
        sa.Column("cost_in_usd", Money, nullable=True),
        sa.Column("cost_accepted_usd", Money, nullable=True),
        sa.Column("cost_quarantined_usd", Money, nullable=True),
        sa.Column("digest_list", sa.Text, nullable=True),
        sa.Column("error_code", sa.Text, nullable=True),
        sa.Column("error_detail", sa.Text, nullable=True),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("dagster_run_id", sa.Text, nullable=True),
        sa.Column("started_at", sa.DateTime, nullable=False),
        sa.Column("finished_at", sa.DateTime, nullable=True),
        sa.PrimaryKeyConstraint("log_seq", name=op.f("pk_cur_ingestion_log")),
        sa.CheckConstraint(
            "status IN ('running','succeeded','failed','delayed','skipped')",
            name=op.f("ck_cur_ingestion_log_status"),
        ),
    )
    op.create_table(
        "expected_cur_schema",
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("column_name", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("data_type", sa.Text, nullable=False),
        sa.Column("required", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("revision", "column_name", name=op.f("pk_expected_cur_schema")),
    )
    op.create_table(
        "allocation_key_snapshot",
        sa.Column("inputs_id", sa.Text, nullable=False),
        sa.Column("key_name", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("measure", sa.Text, nullable=False),
        sa.Column("key_value", Money, nullable=False),
        sa.Column("key_total", Money, nullable=False),
        sa.Column("refreshed_at", sa.DateTime, nullable=True),
        sa.Column("frozen_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint(
            "inputs_id", "key_name", "tenant_id", name=op.f("pk_allocation_key_snapshot")
        ),
    )
    op.create_table(
        "allocation_run_log",
        sa.Column("attempt_id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("inputs_id", sa.Text, nullable=False),
        sa.Column("predecessor_run_id", sa.Text, nullable=True),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("delivery_ids", sa.Text, nullable=False),
        sa.Column("rules_json", sa.Text, nullable=False),
        sa.Column("params_json", sa.Text, nullable=False),
        sa.Column("algorithm_version", sa.Text, nullable=False),
        sa.Column("sql_sha256", sa.Text, nullable=False),
        sa.Column("pool_total_usd", Money, nullable=True),
        sa.Column("allocated_total_usd", Money, nullable=True),
        sa.Column("unallocated_total_usd", Money, nullable=True),
        sa.Column("entry_count", sa.BigInteger, nullable=True),
        sa.Column("error_code", sa.Text, nullable=True),
        sa.Column("error_detail", sa.Text, nullable=True),
        sa.Column("note", sa.Text, nullable=True),
        sa.Column("evidence_id", sa.Text, nullable=True),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("dagster_run_id", sa.Text, nullable=True),
        sa.Column("started_at", sa.DateTime, nullable=False),
        sa.Column("finished_at", sa.DateTime, nullable=True),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_allocation_run_log")),
        sa.CheckConstraint(
            "status IN ('running','published','refused','failed')",
            name=op.f("ck_allocation_run_log_status"),
        ),
    )
    op.create_table(
        "publish_journal",
        sa.Column("journal_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("inputs_id", sa.Text, nullable=False),
        sa.Column("predecessor_run_id", sa.Text, nullable=True),
        sa.Column("reverses_run_id", sa.Text, nullable=True),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("cost_usd", Money, nullable=False),
        sa.Column("verdicts_json", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("dagster_run_id", sa.Text, nullable=True),
        sa.Column("published_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("journal_seq", name=op.f("pk_publish_journal")),
        sa.UniqueConstraint("run_id", name=op.f("uq_publish_journal_run_id")),
    )
    op.create_table(
        "period_head",
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("inputs_id", sa.Text, nullable=False),
        sa.Column("journal_seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("table_name", "period_start", "source_id", name=op.f("pk_period_head")),
    )
    op.create_table(
        "lake_file",
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("delivery_id", sa.Text, nullable=True),
        sa.Column("schema_version", sa.BigInteger, nullable=False),
        sa.Column("columns_json", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("cost_usd", Money, nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_lake_file")),
    )
    op.create_table(
        "outbox",
        sa.Column("outbox_id", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("journal_seq", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("delivered_at", sa.DateTime, nullable=True),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("last_error", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("outbox_id", name=op.f("pk_outbox")),
    )
    op.create_table(
        "period_lock",
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("state_seq", sa.BigInteger, nullable=False),
        sa.Column("seal_digest", sa.Text, nullable=True),
        sa.Column("seal_journal_seq", sa.BigInteger, nullable=True),
        sa.Column("changed_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("period_start", name=op.f("pk_period_lock")),
        sa.CheckConstraint(
            "state IN ('open','delayed','provisional','final','closing','closed')",
            name=op.f("ck_period_lock_state"),
        ),
    )
    op.create_table(
        "period_lock_event",
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("state_seq", sa.BigInteger, nullable=False),
        sa.Column("from_state", sa.Text, nullable=True),
        sa.Column("to_state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence_id", sa.Text, nullable=True),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("changed_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("period_start", "state_seq", name=op.f("pk_period_lock_event")),
    )
    op.create_table(
        "recon_run",
        sa.Column("recon_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("recon_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("run_id", sa.Text, nullable=True),
        sa.Column("inputs_id", sa.Text, nullable=False),
        sa.Column("aws_total_usd", Money, nullable=False),
        sa.Column("aws_amortized_usd", Money, nullable=False),
        sa.Column("aws_true_up_usd", Money, nullable=False),
        sa.Column("aws_upfront_usd", Money, nullable=False),
        sa.Column("bridge_residual_usd", Money, nullable=False),
        sa.Column("allocated_total_usd", Money, nullable=False),
        sa.Column("operator_usd", Money, nullable=False),
        sa.Column("unallocated_usd", Money, nullable=False),
        sa.Column("adjustments_usd", Money, nullable=False),
        sa.Column("basis_difference_usd", Money, nullable=False),
        sa.Column("markup_usd", Money, nullable=False),
        sa.Column("expected_usd", Money, nullable=False),
        sa.Column("invoiced_total_usd", Money, nullable=False),
        sa.Column("variance_usd", Money, nullable=False),
        sa.Column("variance_pct", Money, nullable=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("worst_tenant_id", sa.Text, nullable=True),
        sa.Column("worst_tenant_status", sa.Text, nullable=True),
        sa.Column("charge_basis", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=True),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reconciled_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("recon_seq", name=op.f("pk_recon_run")),
    )
    op.create_table(
        "recon_run_tenant",
        sa.Column("recon_seq", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("allocated_usd", Money, nullable=False),
        sa.Column("operator_usd", Money, nullable=False),
        sa.Column("unallocated_usd", Money, nullable=False),
        sa.Column("adjustments_usd", Money, nullable=False),
        sa.Column("basis_difference_usd", Money, nullable=False),
        sa.Column("markup_usd", Money, nullable=False),
        sa.Column("expected_usd", Money, nullable=False),
        sa.Column("invoiced_usd", Money, nullable=False),
        sa.Column("variance_usd", Money, nullable=False),
        sa.Column("variance_pct", Money, nullable=True),
        sa.Column("warning_tolerance_usd", Money, nullable=False),
        sa.Column("failure_tolerance_usd", Money, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("recon_seq", "tenant_id", name=op.f("pk_recon_run_tenant")),
    )
    op.create_table(
        "recon_exceptions",
        sa.Column("exception_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("recon_seq", sa.BigInteger, nullable=True),
        sa.Column("tenant_id", sa.Text, nullable=True),
        sa.Column("class", sa.Text, nullable=False),
        sa.Column("amount_usd", Money, nullable=False),
        sa.Column("owner", sa.Text, nullable=True),
        sa.Column("decision", sa.Text, nullable=True),
        sa.Column("evidence_id", sa.Text, nullable=True),
        sa.Column("opened_by", sa.Text, nullable=False),
        sa.Column("opened_at", sa.DateTime, nullable=False),
        sa.Column("resolved_by", sa.Text, nullable=True),
        sa.Column("resolved_at", sa.DateTime, nullable=True),
        sa.Column("note", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("exception_id", name=op.f("pk_recon_exceptions")),
    )
    op.create_table(
        "tag_coverage",
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("tag_coverage_pct", Money, nullable=True),
        sa.Column("covered_usd", Money, nullable=False),
        sa.Column("coverable_usd", Money, nullable=False),
        sa.Column("row_coverage_pct", Money, nullable=True),
        sa.Column("covered_rows", sa.BigInteger, nullable=False),
        sa.Column("coverable_rows", sa.BigInteger, nullable=False),
        sa.Column("propagated_coverage_pct", Money, nullable=True),
        sa.Column("missing_tenant_tag", sa.BigInteger, nullable=False),
        sa.Column("missing_tenant_tag_usd", Money, nullable=False),
        sa.Column("basis", sa.Text, nullable=False),
        sa.Column("measured_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("period_start", name=op.f("pk_tag_coverage")),
    )
    op.create_table(
        "budget_master",
        sa.Column("budget_id", sa.Text, nullable=False),
        sa.Column("scope_type", sa.Text, nullable=False),
        sa.Column("scope_value", sa.Text, nullable=True),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("basis", sa.Text, nullable=False),
        sa.Column("target_usd", Money, nullable=False),
        sa.Column("actual_usd", Money, nullable=False),
        sa.Column("forecast_usd", Money, nullable=True),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("last_refreshed_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("budget_id", name=op.f("pk_budget_master")),
    )
    op.create_table(
        "budget_history",
        sa.Column("budget_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("refreshed_at", sa.DateTime, nullable=False),
        sa.Column("target_usd", Money, nullable=False),
        sa.Column("actual_usd", Money, nullable=False),
        sa.Column("forecast_usd", Money, nullable=True),
        sa.Column("level", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("budget_id", "period_start", "refreshed_at", name=op.f("pk_budget_history")),
    )
    op.create_table(
        "control_status",
        sa.Column("control", sa.Text, nullable=False),
        sa.Column("evaluated_at", sa.DateTime, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=True),
        sa.Column("measured", sa.Text, nullable=True),
        sa.Column("detail", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("control", "evaluated_at", name=op.f("pk_control_status")),
    )
    op.create_table(
        "alert_state",
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("alert_rule", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("episode", sa.BigInteger, nullable=False),
        sa.Column("measured", Money, nullable=True),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("last_evaluated_at", sa.DateTime, nullable=False),
        sa.Column("acked_by", sa.Text, nullable=True),
        sa.Column("ack_expires_at", sa.DateTime, nullable=True),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_alert_state")),
    )
    op.create_table(
        "alert_event",
        sa.Column("alert_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("episode", sa.BigInteger, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=True),
        sa.Column("actor", sa.Text, nullable=True),
        sa.Column("detail", sa.Text, nullable=True),
        sa.Column("occurred_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("alert_seq", name=op.f("pk_alert_event")),
    )
    op.create_table(
        "notification_log",
        sa.Column("notification_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("episode", sa.BigInteger, nullable=False),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=True),
        sa.Column("sent_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("notification_seq", name=op.f("pk_notification_log")),
    )
    op.create_table(
        "invoice_freeze",
        sa.Column("freeze_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("set_by", sa.Text, nullable=False),
        sa.Column("set_at", sa.DateTime, nullable=False),
        sa.Column("released_by", sa.Text, nullable=True),
        sa.Column("released_at", sa.DateTime, nullable=True),
        sa.Column("release_evidence_id", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("freeze_seq", name=op.f("pk_invoice_freeze")),
    )
    op.create_table(
        "evidence_index",
        sa.Column("evidence_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("prev_hash", sa.Text, nullable=True),
        sa.Column("entry_hash", sa.Text, nullable=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject_type", sa.Text, nullable=False),
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("object_key", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.Text, nullable=True),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("evidence_seq", name=op.f("pk_evidence_index")),
    )
