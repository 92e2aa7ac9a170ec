"""The tables of the admin database: inputs, state and logs. Names and columns are a public contract.

Belongs here: columns, keys and constraints, once, for both dialects. Does not belong here: any
query; migrations (they are written from this, see `stores/migrations`). Money is `Money`, exact on
every dialect; times are UTC without zone; ids and account numbers are text.
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
from cops_dagster.stores.columns import flag_column as _flag
from cops_dagster.stores.columns import int_column as _int
from cops_dagster.stores.columns import key_column as _key
from cops_dagster.stores.columns import metadata as metadata
from cops_dagster.stores.columns import money_column as _money
from cops_dagster.stores.columns import seq_column as _seq
from cops_dagster.stores.columns import text_column as _text
from cops_dagster.stores.columns import time_column as _time
from cops_dagster.stores.decisions import allowed_signers as allowed_signers
from cops_dagster.stores.decisions import load_log as load_log
from cops_dagster.stores.decisions import signature as signature

# fmt: off
# --- inputs: loaded by `cops admin load`, never overwritten (rule 5.11) --------------------------

tenants = sa.Table(
    "tenants", metadata,
    _key("tenant_id"), _text("name", null=False), _text("plan_id"),
    _date("active_from", null=False), _date("active_to"), _text("currency", null=False),
)
plans = sa.Table(
    "plans", metadata,
    _key("plan_id"), _key("effective_from", sa.Date), _int("markup_bps", null=False),
)
tag_aliases = sa.Table(
    "tag_aliases", metadata,
    _key("tag_name"), _key("alias"), _key("effective_from", sa.Date), _date("effective_to"),
    _text("canonical", null=False),
)  # tag_name: tenant_id | plan_id | service_component; in force over [effective_from, effective_to)
account_tenants = sa.Table(
    "account_tenants", metadata,
    _key("usage_account_id"), _key("effective_from", sa.Date), _date("effective_to"),
    _text("tenant_id", null=False),
)
allocation_rules = sa.Table(
    "allocation_rules", metadata,
    _key("rule_id"), _key("version", sa.BigInteger),
    _date("effective_from", null=False), _date("effective_to"), _int("priority", null=False),
    _text("match_service"), _text("match_service_component"), _text("match_charge_class"),
    _text("match_usage_account_id"), _text("match_plan_id"),
    _text("method", null=False), _text("key_name"), _text("shares"),
    _text("on_zero_key", null=False), _text("approved_by", null=False), _text("note"),
)
allocation_keys = sa.Table(
    "allocation_keys", metadata,
    _key("key_name"), _text("measure", null=False), _int("max_age_hours", null=False),
)
tenant_usage = sa.Table(
    "tenant_usage", metadata,
    _key("period_start", sa.Date), _key("tenant_id"), _key("measure"),
    _money("value", null=False), _time("refreshed_at", null=False),
)
invoice_detail = sa.Table(
    "invoice_detail", metadata,
    _key("invoice_id"), _key("tenant_id"), _key("period_start", sa.Date),
    _money("amount", null=False), _text("currency", null=False), _money("amount_usd", null=False),
    _text("status", null=False), _text("document_type", null=False), _text("corrects_invoice_id"),
)
fx_rates = sa.Table(
    "fx_rates", metadata,
    _key("base"), _key("quote"), _key("period_start", sa.Date), _money("rate", null=False),
)
aws_invoices = sa.Table(
    "aws_invoices", metadata,
    _key("invoice_id"), _date("period_start", null=False), _text("payer_account_id", null=False),
    _text("invoicing_entity"), _text("billing_entity"), _text("bill_type"), _text("invoice_type", null=False),
    _text("base_currency", null=False), _money("amount_before_tax", null=False),
    _money("tax", null=False), _text("payment_currency"), _money("payment_amount"),
    _money("exchange_rate"), _text("corrects_invoice_id"),
)
budgets = sa.Table(
    "budgets", metadata,
    _key("budget_id"), _key("version", sa.BigInteger), _text("scope_type", null=False),
    _text("scope_value"), _date("effective_from", null=False), _date("effective_to"),
    _text("basis", null=False), _money("target_usd", null=False),
)

# --- deliveries and ingestion ---------------------------------------------------------------------

cur_delivery = sa.Table(
    "cur_delivery", metadata,
    _key("delivery_id"), _text("source_id", null=False), _date("period_start", null=False),
    _text("layout", null=False), _text("manifest_path", null=False), _text("assembly_id"),
    _text("schema_digest", null=False), _text("columns_json", null=False),
    _int("row_count", null=False), _money("cost_usd", null=False),
    _text("invoice_state", null=False),  # final | open: do all Anniversary rows carry an invoice id?
    _time("delivered_at", null=False), _time("first_seen_at", null=False),
)
cur_delivery_file = sa.Table(
    "cur_delivery_file", metadata,
    _key("delivery_id"), _key("position", sa.BigInteger), _text("name", null=False),
    _int("size_bytes", null=False), _text("sha256", null=False), _int("row_count", null=False),
)
cur_delivery_profile = sa.Table(  # what was measured of a delivery at first sight
    "cur_delivery_profile", metadata,
    _key("delivery_id"), _text("file_format", null=False), _time("newest_usage_at"),
    _int("quarantined_rows", null=False), _money("quarantined_usd", null=False),
    _text("figures_json", null=False),
)
cur_delivery_breakdown = sa.Table(  # rows and cost by one dimension at a time, for delivery diffs
    "cur_delivery_breakdown", metadata,
    _key("delivery_id"), _key("dimension"), _key("value"),
    _int("row_count", null=False), _money("cost_usd", null=False),
)  # dimension: account | service | invoice | line_type | payer | payer_account (payer/account) | usage_day
cur_delivery_place = sa.Table(  # where a delivery was last seen lying; equal means no byte is read again
    "cur_delivery_place", metadata,
    _key("source_id"), _key("period_start", sa.Date), _key("delivery_id"),
    _text("location_json", null=False), _time("seen_at", null=False),
)
cur_delivery_hold = sa.Table(  # deliveries that wait for a person; released by an approval
    "cur_delivery_hold", metadata,
    _key("delivery_id"), _text("source_id", null=False), _date("period_start", null=False),
    _text("error_code", null=False), _text("found", null=False), _text("requested_by", null=False),
    _time("held_at", null=False), _text("requested_login"),
)  # requested_login: who was logged in to PostgreSQL when it was asked for; NULL on SQLite
approval = sa.Table(  # a second person's yes, bound to the digest of what was approved (rule 5.14)
    "approval", metadata,
    _key("subject_type"), _key("subject_id"), _text("subject_digest", null=False),
    _text("requested_by", null=False), _text("approved_by", null=False), _text("reason", null=False),
    _time("approved_at", null=False), _text("claimed_by"),
)  # claimed_by: who COPS_ACTOR said it was; approved_by is the login where PostgreSQL's roles are in use
cur_read_file = sa.Table(  # the Parquet that is read for a delivered file which is none
    "cur_read_file", metadata,
    _key("delivery_id"), _key("position", sa.BigInteger), _text("path", null=False),
    _text("sha256", null=False), _int("size_bytes", null=False), _int("mtime_ns", null=False),
)
cur_billing_head = sa.Table(  # which delivery `cur_billing_master` shows, and where its files lie now
    "cur_billing_head", metadata,
    _key("source_id"), _key("period_start", sa.Date), _text("delivery_id", null=False),
    _text("location_json", null=False),  # [[path, size_bytes, mtime_ns], …], the manifest first
    _time("seen_at", null=False),
)
foreign_export = sa.Table(  # what lies beside a CUR and is none, and where it lay when it was looked at
    "foreign_export", metadata,
    _key("source_id"), _key("period_start", sa.Date), _text("kind", null=False),
    _text("location_json", null=False), _time("seen_at", null=False),
)
source_event = sa.Table(  # what people decided about a source; in force: `retired` since the last `restored`
    "source_event", metadata,
    _seq("event_seq"), _text("source_id", null=False), _text("event", null=False),
    _date("first_period"), _date("last_period"), _text("delivery_id"), _text("reason", null=False),
    _text("evidence_id", null=False), _text("actor", null=False), _time("occurred_at", null=False),
    sa.CheckConstraint("event IN ('retired','restored','withdrawn')", name="event"),
)  # first_period, last_period: the months it is about, both inclusive; NULL is without end
cur_ingestion_log = sa.Table(
    "cur_ingestion_log", metadata,
    _seq("log_seq"), _text("run_id"), _text("attempt_id", null=False), _text("source_id", null=False),
    _text("delivery_id"), _date("period_start", null=False), _text("status", null=False),
    _int("rows_in"), _int("rows_accepted"), _int("rows_quarantined"),
    _money("cost_in_usd"), _money("cost_accepted_usd"), _money("cost_quarantined_usd"),
    _text("digest_list"), _text("error_code"), _text("error_detail"), _text("actor", null=False),
    _text("dagster_run_id"), _time("started_at", null=False), _time("finished_at"),
    sa.CheckConstraint(
        "status IN ('running','succeeded','failed','delayed','skipped')", name="status"
    ),
)
expected_cur_schema = sa.Table(  # revisions; the views expected_cur_schema_v1 and _vN read it
    "expected_cur_schema", metadata,
    _key("revision", sa.BigInteger), _key("column_name"), _int("position", null=False),
    _text("data_type", null=False), _flag("required"),
)

active_cost_allocation_tag = sa.Table(  # the payer's cost allocation tags as last listed from AWS
    "active_cost_allocation_tag", metadata,
    _key("tag_key"), _key("tag_type"), _text("status", null=False), _text("last_updated_at"),
    _text("last_used_on"), _time("fetched_at", null=False),
)

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
