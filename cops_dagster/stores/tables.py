"""The tables of the admin database: inputs, state and logs. Names and columns are a public contract.

Belongs here: columns, keys and constraints, once, for both dialects. This is the one door to all tables:
the tables that people fill are written in `stores/input_tables.py`, those of deliveries in
`stores/delivery_tables.py`, of alerts in `stores/alert_tables.py`, of decisions in
`stores/decision_tables.py`, of usage in `stores/usage_tables.py`. Does not belong here: any query;
migrations (they are written from this, see `stores/migrations`). Money is `Money`, exact on every dialect;
times are UTC without zone; ids and account numbers are text.
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.stores.alert_tables import alert_clock as alert_clock
from cops_dagster.stores.alert_tables import alert_event as alert_event
from cops_dagster.stores.alert_tables import alert_silence as alert_silence
from cops_dagster.stores.alert_tables import alert_state as alert_state
from cops_dagster.stores.alert_tables import notification_log as notification_log
from cops_dagster.stores.columns import Money as Money
from cops_dagster.stores.columns import date_column as _date
from cops_dagster.stores.columns import int_column as _int
from cops_dagster.stores.columns import key_column as _key
from cops_dagster.stores.columns import metadata as metadata
from cops_dagster.stores.columns import money_column as _money
from cops_dagster.stores.columns import seq_column as _seq
from cops_dagster.stores.columns import text_column as _text
from cops_dagster.stores.columns import time_column as _time
from cops_dagster.stores.decision_tables import allowed_signers as allowed_signers
from cops_dagster.stores.decision_tables import load_log as load_log
from cops_dagster.stores.decision_tables import signature as signature
from cops_dagster.stores.delivery_tables import active_cost_allocation_tag as active_cost_allocation_tag
from cops_dagster.stores.delivery_tables import approval as approval
from cops_dagster.stores.delivery_tables import cur_billing_head as cur_billing_head
from cops_dagster.stores.delivery_tables import cur_delivery as cur_delivery
from cops_dagster.stores.delivery_tables import cur_delivery_breakdown as cur_delivery_breakdown
from cops_dagster.stores.delivery_tables import cur_delivery_file as cur_delivery_file
from cops_dagster.stores.delivery_tables import cur_delivery_hold as cur_delivery_hold
from cops_dagster.stores.delivery_tables import cur_delivery_place as cur_delivery_place
from cops_dagster.stores.delivery_tables import cur_delivery_profile as cur_delivery_profile
from cops_dagster.stores.delivery_tables import cur_ingestion_log as cur_ingestion_log
from cops_dagster.stores.delivery_tables import cur_read_file as cur_read_file
from cops_dagster.stores.delivery_tables import expected_cur_schema as expected_cur_schema
from cops_dagster.stores.delivery_tables import foreign_export as foreign_export
from cops_dagster.stores.delivery_tables import source_event as source_event
from cops_dagster.stores.input_tables import account_tenants as account_tenants
from cops_dagster.stores.input_tables import allocation_keys as allocation_keys
from cops_dagster.stores.input_tables import allocation_rules as allocation_rules
from cops_dagster.stores.input_tables import aws_invoices as aws_invoices
from cops_dagster.stores.input_tables import budgets as budgets
from cops_dagster.stores.input_tables import disputes as disputes
from cops_dagster.stores.input_tables import fx_rates as fx_rates
from cops_dagster.stores.input_tables import gl_accounts as gl_accounts
from cops_dagster.stores.input_tables import invoice_detail as invoice_detail
from cops_dagster.stores.input_tables import plans as plans
from cops_dagster.stores.input_tables import tag_aliases as tag_aliases
from cops_dagster.stores.input_tables import tenant_usage as tenant_usage
from cops_dagster.stores.input_tables import tenants as tenants
from cops_dagster.stores.usage_tables import key_usage_version as key_usage_version
from cops_dagster.stores.usage_tables import usage_day as usage_day
from cops_dagster.stores.usage_tables import usage_day_value as usage_day_value
from cops_dagster.stores.usage_tables import usage_month as usage_month
from cops_dagster.stores.usage_tables import usage_refusal as usage_refusal

# fmt: off
# --- runs, the commit point and its projection ------------------------------------------------------

allocation_key_snapshot = sa.Table(
    "allocation_key_snapshot", metadata,
    _key("inputs_id"), _key("key_name"), _key("tenant_id"), _date("period_start", null=False),
    _text("measure", null=False), _money("key_value", null=False), _money("key_total", null=False),
    _time("refreshed_at"), _time("frozen_at", null=False),
)
allocation_run_log = sa.Table(
    "allocation_run_log", metadata,
    _key("attempt_id"), _text("run_id", null=False), _text("inputs_id", null=False),
    _text("predecessor_run_id"), _date("period_start", null=False), _text("status", null=False),
    _text("delivery_ids", null=False), _text("rules_json", null=False), _text("params_json", null=False),
    _text("algorithm_version", null=False), _text("sql_sha256", null=False),
    _money("pool_total_usd"), _money("allocated_total_usd"), _money("unallocated_total_usd"),
    _int("entry_count"), _text("error_code"), _text("error_detail"), _text("note"),
    _text("evidence_id"), _text("evidence_links"), _text("actor", null=False), _text("dagster_run_id"),
    _time("started_at", null=False), _time("finished_at"),
    sa.CheckConstraint("status IN ('running','published','refused','failed')", name="status"),
)  # evidence_id: the run's document in evidence_index; evidence_links: what people say proves the cause
allocation_rule_date = sa.Table(  # decisions on which day's rules a period follows; the newest counts
    "allocation_rule_date", metadata,
    _key("period_start", sa.Date), _key("decision_seq", sa.BigInteger), _date("rules_as_of", null=False),
    _text("note", null=False), _text("evidence_links"), _text("actor", null=False),
    _time("decided_at", null=False),
)
run_reversal = sa.Table(  # runs that people took back: `run_id` posted the opposite of `reversed_run_id`
    "run_reversal", metadata,
    _key("run_id"), sa.Column("reversed_run_id", sa.Text, nullable=False, unique=True),
    _text("reposted_run_id"), _date("period_start", null=False), _text("reason", null=False),
    _text("actor", null=False), _time("reversed_at", null=False),
)
policy = sa.Table(  # what decides numbers and verdicts; the newest version is in force (ADR 26)
    "policy", metadata,
    sa.Column("policy_version", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("policy_json", null=False), _text("digest", null=False), _text("adopted_by", null=False),
    _time("adopted_at", null=False), _text("origin", null=False), _text("note"), _text("evidence_id"),
)  # policy_json: every value explicit; runs made before there was a policy name none
publish_journal = sa.Table(
    "publish_journal", metadata,
    _seq("journal_seq"), sa.Column("run_id", sa.Text, nullable=False, unique=True),
    _text("table_name", null=False), _date("period_start", null=False), _text("source_id", null=False),
    _text("inputs_id", null=False), _text("predecessor_run_id"), _text("reverses_run_id"),
    _int("row_count", null=False), _money("cost_usd", null=False), _text("verdicts_json", null=False),
    _text("actor", null=False), _text("dagster_run_id"), _time("published_at", null=False),
    _int("policy_version"),
)
sa.Index(  # a run is replaced once at most, and one run begins
    "uq_publish_journal_predecessor", publish_journal.c.table_name, publish_journal.c.period_start,
    publish_journal.c.source_id, sa.func.coalesce(publish_journal.c.predecessor_run_id, ""), unique=True,
)
sa.Index("ix_publish_journal_inputs_id", publish_journal.c.inputs_id)  # was anything published from these?
period_head = sa.Table(  # the pointer readers follow; source_id is '' where a table has no sources
    "period_head", metadata,
    _key("table_name"), _key("period_start", sa.Date), _key("source_id"),
    _text("run_id", null=False), _text("inputs_id", null=False), _int("journal_seq", null=False),
)
lake_file = sa.Table(
    "lake_file", metadata,
    _key("path"), _text("table_name", null=False), _date("period_start", null=False),
    _text("source_id", null=False), _text("run_id", null=False), _text("delivery_id"),
    _int("schema_version", null=False), _text("columns_json", null=False),
    _text("sha256", null=False), _int("size_bytes", null=False), _int("mtime_ns", null=False),
    _int("row_count", null=False), _money("cost_usd", null=False),
)
outbox = sa.Table(
    "outbox", metadata,
    _seq("outbox_id"), _text("topic", null=False), _int("journal_seq", null=False),
    _time("created_at", null=False), _time("delivered_at"), _int("attempts", null=False),
    _text("last_error"),
)

# --- periods ------------------------------------------------------------------------------------------

period_lock = sa.Table(
    "period_lock", metadata,
    _key("period_start", sa.Date), _text("state", null=False), _int("state_seq", null=False),
    _text("seal_digest"), _int("seal_journal_seq"), _time("changed_at", null=False),
    sa.CheckConstraint(
        "state IN ('open','delayed','provisional','final','closing','closed')", name="state"
    ),
)
period_lock_event = sa.Table(
    "period_lock_event", metadata,
    _key("period_start", sa.Date), _key("state_seq", sa.BigInteger), _text("from_state"),
    _text("to_state", null=False), _text("reason", null=False), _text("evidence_id"),
    _text("actor", null=False), _time("changed_at", null=False),
)
close_request = sa.Table(  # who wants a period closed as it is: its newest journal and recon numbers
    "close_request", metadata,
    _seq("request_seq"), _text("subject_id", null=False), _text("subject_digest", null=False),
    _date("period_start", null=False),
    _text("run_ids", null=False), _int("journal_seq", null=False), _int("recon_seq", null=False),
    _text("recon_id", null=False), _text("readiness_sha256", null=False), _text("evidence_id", null=False),
    _text("requested_by", null=False), _time("requested_at", null=False), _text("requested_login"),
    sa.UniqueConstraint("subject_id"), sa.UniqueConstraint("subject_digest"),
)

# --- adjustments of closed periods (all append-only) ----------------------------------------------------

adjustment = sa.Table(  # proposals; `document_sha256` is the evidence object with every line
    "adjustment", metadata,
    _key("adjustment_id"), _date("usage_period_start", null=False), _text("kind", null=False),
    _text("delivery_id"), _text("base_digest", null=False), _text("document_sha256", null=False),
    _text("evidence_id", null=False), _int("line_count", null=False), _money("unblended_usd", null=False),
    _money("amortized_usd", null=False), _money("net_amortized_usd", null=False),
    _text("reason", null=False), _text("evidence_links"), _text("requested_by", null=False),
    _time("proposed_at", null=False), _text("requested_login"),
)  # kind: late_change | one_time_rule
adjustment_effect = sa.Table(  # what a proposal means for each tenant, by class of change
    "adjustment_effect", metadata,
    _key("adjustment_id"), _key("change_class"), _key("tenant_id"), _int("line_count", null=False),
    _money("unblended_usd", null=False), _money("amortized_usd", null=False),
    _money("net_amortized_usd", null=False),
)  # change_class: see adjustments/changes.py
adjustment_booking = sa.Table(  # approved proposals: `run_id` booked it in the open `period_start`
    "adjustment_booking", metadata,
    _key("adjustment_id"), _text("run_id", null=False), _date("period_start", null=False),
    _text("booked_by", null=False), _time("booked_at", null=False),
)

# --- reconciliation -------------------------------------------------------------------------------------

_RECON_TERMS = (
    "allocated_usd", "operator_usd", "unallocated_usd", "adjustments_usd", "basis_difference_usd",
    "markup_usd", "expected_usd", "invoiced_usd", "variance_usd",
)  # fmt: skip
recon_run = sa.Table(  # every reconciliation ever made; the view recon_summary is the newest per period
    "recon_run", metadata,
    _seq("recon_seq"), _text("recon_id", null=False), _date("period_start", null=False),
    _text("run_id"), _text("inputs_id", null=False),
    _money("aws_total_usd", null=False), _money("aws_amortized_usd", null=False),
    _money("aws_true_up_usd", null=False), _money("aws_upfront_usd", null=False),
    _money("bridge_residual_usd", null=False),
    _money("allocated_total_usd", null=False), _money("operator_usd", null=False),
    _money("unallocated_usd", null=False), _money("adjustments_usd", null=False),
    _money("basis_difference_usd", null=False), _money("markup_usd", null=False),
    _money("expected_usd", null=False), _money("invoiced_total_usd", null=False),
    _money("variance_usd", null=False), _money("variance_pct"),
    _text("status", null=False), _text("worst_tenant_id"), _text("worst_tenant_status"),
    _text("charge_basis", null=False), _text("note"), _text("actor", null=False),
    _time("reconciled_at", null=False), _int("policy_version"),
)
recon_run_tenant = sa.Table(
    "recon_run_tenant", metadata,
    _key("recon_seq", sa.BigInteger), _key("tenant_id"), _date("period_start", null=False),
    *[_money(term, null=False) for term in _RECON_TERMS],
    _money("variance_pct"), _money("warning_tolerance_usd", null=False),
    _money("failure_tolerance_usd", null=False), _text("status", null=False),
)
recon_run_statement = sa.Table(  # the view tenant_statement is the newest; rounding is shown apart
    "recon_run_statement", metadata,
    _key("recon_seq", sa.BigInteger), _key("tenant_id"), _date("period_start", null=False),
    _money("direct_usd", null=False), _money("shared_usd", null=False),
    _money("adjustments_usd", null=False), _money("markup_usd", null=False),
    _money("total_usd", null=False), _text("currency", null=False), _money("fx_rate"),
    _money("direct"), _money("shared"), _money("adjustments"), _money("markup"), _money("rounding"),
    _money("total"),
)  # direct … total are cents of `currency`; NULL while the rate is missing
recon_run_bridge = sa.Table(  # the view cost_bridge is the newest; tenant_id '' is the whole month
    "recon_run_bridge", metadata,
    _key("recon_seq", sa.BigInteger), _key("tenant_id"), _key("position", sa.BigInteger),
    _date("period_start", null=False), _text("step", null=False), _text("kind", null=False),
    _money("amount_usd", null=False), _money("cumulative_usd", null=False),
    sa.CheckConstraint("kind IN ('level','change','part')", name="kind"),
)
recon_exceptions = sa.Table(  # every difference of every reconciliation; one amount, one decision
    "recon_exceptions", metadata,
    _key("exception_id"), _date("period_start", null=False), _int("recon_seq"), _text("stage"),
    _text("subject_id"), _text("tenant_id"), _text("class", null=False), _money("amount_usd", null=False),
    _text("owner"), _text("decision"), _text("evidence_id"), _text("opened_by", null=False),
    _time("opened_at", null=False), _text("decided_by"), _time("decided_at"), _text("resolved_by"),
    _time("resolved_at"), _time("withdrawn_at"), _text("note"), _text("requested_login"),
    _text("subject_digest"), _int("withdrawn_recon_seq"),
)  # stage: aws_invoice | cur | tenant_invoice | document; withdrawn: the difference is not there any more
document_conflict = sa.Table(  # documents that came twice with other content: both versions are kept
    "document_conflict", metadata,
    _key("conflict_id"), _text("table_name", null=False), _text("document_id", null=False),
    _date("period_start", null=False), _text("tenant_id"), _text("stored_json", null=False),
    _text("given_json", null=False), _money("difference_usd", null=False), _text("actor", null=False),
    _time("seen_at", null=False),
)

# --- coverage, budgets, controls, alerts --------------------------------------------------------------------

tag_coverage = sa.Table(
    "tag_coverage", metadata,
    _key("period_start", sa.Date), _text("run_id", null=False), _money("tag_coverage_pct"),
    _money("covered_usd", null=False), _money("coverable_usd", null=False),
    _money("row_coverage_pct"), _int("covered_rows", null=False), _int("coverable_rows", null=False),
    _money("propagated_coverage_pct"), _int("missing_tenant_tag", null=False),
    _money("missing_tenant_tag_usd", null=False), _text("basis", null=False),
    _time("measured_at", null=False),
)
budget_master = sa.Table(
    "budget_master", metadata,
    _key("budget_id"), _text("scope_type", null=False), _text("scope_value"),
    _date("period_start", null=False), _text("basis", null=False), _money("target_usd", null=False),
    _money("actual_usd", null=False), _money("forecast_usd"), _money("forecast_error_usd"),
    _text("forecast_method"), _text("level", null=False), _time("last_refreshed_at", null=False),
)
aws_budget = sa.Table(  # AWS Budgets as last read, beside ours; COPS never writes them
    "aws_budget", metadata,
    _key("account_id"), _key("budget_name"), _text("budget_type", null=False), _text("time_unit", null=False),
    _text("currency", null=False), _money("limit_amount"), _money("actual_amount"),
    _money("forecast_amount"), _time("fetched_at", null=False),
)
budget_history = sa.Table(
    "budget_history", metadata,
    _key("budget_id"), _key("period_start", sa.Date), _key("refreshed_at", sa.DateTime),
    _money("target_usd", null=False), _money("actual_usd", null=False), _money("forecast_usd"),
    _text("level", null=False),
)
control_status = sa.Table(  # every evaluation; `measured_at` is how old the fact is that was judged
    "control_status", metadata,
    _key("control"), _key("evaluated_at", sa.DateTime), _text("status", null=False),
    _text("target", null=False), _text("measured", null=False), _text("evidence", null=False),
    _time("measured_at"), _text("owner", null=False), _text("next_step", null=False),
    sa.CheckConstraint("status IN ('ok','warning','failed','unknown')", name="status"),
)
invoice_freeze = sa.Table(
    "invoice_freeze", metadata,
    _seq("freeze_seq"), _date("period_start", null=False), _text("reason", null=False),
    _text("cause", null=False), _text("set_by", null=False), _time("set_at", null=False),
    _text("release_requested_by"), _text("release_reason"), _text("released_by"), _time("released_at"),
    _text("release_evidence_id"), _text("requested_login"), _text("subject_digest"),
)  # cause: fingerprint and episode of the alert; each cause is released by itself
evidence_index = sa.Table(
    "evidence_index", metadata,
    _seq("evidence_seq"), _text("prev_hash"), _text("entry_hash"), _text("kind", null=False),
    _text("subject_type", null=False), _text("subject_id", null=False), _text("object_key", null=False),
    _text("sha256", null=False), _int("size_bytes", null=False), _text("run_id"),
    _text("actor", null=False), _time("recorded_at", null=False),
    _int("hash_version", null=False), _text("object_version_id"), _text("content_type", null=False),
)
export_record = sa.Table(  # what left COPS: an export of a month, what it was made from, its bytes' digest
    "export_record", metadata,
    _seq("export_seq"), _text("export_name", null=False), _date("period_start", null=False),
    _text("made_from", null=False), _text("sha256", null=False), _time("made_at", null=False),
    _text("actor", null=False),
)
sa.Index("ix_export_record_export_name", export_record.c.export_name, export_record.c.period_start)
journal_entry = sa.Table(  # what finance was given: the newest of a subject that is not undone counts
    "journal_entry", metadata,
    _seq("entry_seq"), sa.Column("entry_id", sa.Text, nullable=False, unique=True),
    _date("period_start", null=False), _date("posting_date", null=False), _text("subject", null=False),
    _text("kind", null=False), _text("reverses_entry_id"), _text("content_digest", null=False),
    _text("recon_id", null=False), _int("line_count", null=False), _text("actor", null=False),
    _time("exported_at", null=False),
    sa.CheckConstraint("kind IN ('accrual','reversal','actual','document','undo')", name="kind"),
)  # subject: stage, what it is about, tenant; content_digest: of date and lines, whatever came before
sa.Index("ix_journal_entry_period_start", journal_entry.c.period_start)
journal_line = sa.Table(
    "journal_line", metadata,
    _key("entry_id"), _key("line_no", sa.BigInteger), _date("period_start", null=False),
    _text("purpose", null=False), _text("account", null=False), _text("account_name", null=False),
    _text("account_kind", null=False), _text("tenant_id", null=False), _text("service", null=False),
    _date("usage_period_start"), _text("document_id", null=False), _text("currency", null=False),
    _money("amount", null=False),
)  # amount: debit positive, exact; the lines of an entry add up to 0 in each currency
evidence_head = sa.Table(  # one row: the recorded length and head of the chain, so that a cut tail shows
    "evidence_head", metadata,
    _key("head_id", sa.BigInteger), _int("evidence_seq", null=False), _text("entry_hash", null=False),
)

# fmt: on

VIEWS: dict[str, str] = {
    "expected_cur_schema_v1": (
        "SELECT column_name, data_type, required FROM expected_cur_schema WHERE revision = 1"
    ),
    "expected_cur_schema_v2": (
        "SELECT column_name, data_type, required FROM expected_cur_schema WHERE revision = 2"
    ),
    "expected_cur_schema_vN": (
        "SELECT column_name, data_type, required FROM expected_cur_schema "
        "WHERE revision = (SELECT max(revision) FROM expected_cur_schema)"
    ),
    "recon_summary": (
        "SELECT * FROM recon_run WHERE recon_seq IN "
        "(SELECT max(recon_seq) FROM recon_run GROUP BY period_start)"
    ),
    "recon_tenant": (
        "SELECT * FROM recon_run_tenant WHERE recon_seq IN "
        "(SELECT max(recon_seq) FROM recon_run GROUP BY period_start)"
    ),
    "tenant_statement": (
        "SELECT * FROM recon_run_statement WHERE recon_seq IN "
        "(SELECT max(recon_seq) FROM recon_run GROUP BY period_start)"
    ),
    "cost_bridge": (
        "SELECT * FROM recon_run_bridge WHERE recon_seq IN "
        "(SELECT max(recon_seq) FROM recon_run GROUP BY period_start)"
    ),
}
"""Views of the admin database, name → SELECT, in the SQL that SQLite and PostgreSQL share."""

VIEW_OF: dict[str, str] = {
    "expected_cur_schema_v1": "expected_cur_schema",
    "expected_cur_schema_v2": "expected_cur_schema",
    "expected_cur_schema_vN": "expected_cur_schema",
    "recon_summary": "recon_run",
    "recon_tenant": "recon_run_tenant",
    "tenant_statement": "recon_run_statement",
    "cost_bridge": "recon_run_bridge",
}
"""The table whose column types a view's columns have."""
