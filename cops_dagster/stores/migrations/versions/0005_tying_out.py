"""What tying out and speaking up need: statements, bridges, exceptions with decisions, alerts, freezes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cops_dagster.stores.tables import Money

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_APPEND_ONLY = (
    "alert_event", "alert_silence", "control_status", "document_conflict", "notification_log",
    "recon_run_bridge", "recon_run_statement",
)  # fmt: skip
_NEVER_DELETED = ("alert_state", "invoice_freeze", "recon_exceptions")

_UNWRITTEN = (
    "alert_event",
    "alert_state",
    "budget_master",
    "control_status",
    "invoice_freeze",
    "notification_log",
)
"""Tables whose columns change and that nothing wrote to before, or that are looked up anew."""

_FREEZE = (
    "NEW.document_type = 'invoice' AND NEW.corrects_invoice_id IS NULL AND EXISTS "
    "(SELECT 1 FROM invoice_freeze f WHERE f.released_at IS NULL AND f.period_start <= NEW.period_start)"
)
_VIEWS = {
    "tenant_statement": "recon_run_statement",
    "cost_bridge": "recon_run_bridge",
}


def upgrade() -> None:
    """Makes the tables anew, with their guards."""
    for table in _UNWRITTEN:
        op.drop_table(table)
    op.execute("CREATE TEMPORARY TABLE recon_exceptions_before AS SELECT * FROM recon_exceptions")
    op.drop_table("recon_exceptions")
    _reconciliation()
    _alerts()
    columns = (
        "exception_id, period_start, recon_seq, tenant_id, class, amount_usd, owner, decision, evidence_id,"
        " opened_by, opened_at, resolved_by, resolved_at, note"
    )
    op.execute(f"INSERT INTO recon_exceptions ({columns}) SELECT {columns} FROM recon_exceptions_before")
    op.execute("DROP TABLE recon_exceptions_before")
    for view, table in _VIEWS.items():
        op.execute(
            f"CREATE VIEW {view} AS SELECT * FROM {table} WHERE recon_seq IN "
            "(SELECT max(recon_seq) FROM recon_run GROUP BY period_start)"
        )
    is_postgresql = op.get_context().dialect.name == "postgresql"
    for name, event, when, message in _conditions("IS DISTINCT FROM" if is_postgresql else "IS NOT"):
        if is_postgresql:
            _postgresql_guard(*name, event, when, message)
        else:
            _sqlite_guard(*name, event, when, message)
    if is_postgresql:
        _deny_postgresql()
    else:
        _deny_sqlite()


def _conditions(distinct: str) -> list[tuple[tuple[str, str], str, str, str]]:
    fixed = " OR ".join(
        f"OLD.{name} {distinct} NEW.{name}"
        for name in ("freeze_seq", "period_start", "reason", "cause", "set_by", "set_at")
    )
    return [
        (
            ("recon_exceptions", "resolved"), "UPDATE",
            "OLD.resolved_at IS NOT NULL AND OLD.withdrawn_at IS NOT NULL OR OLD.resolved_at IS NOT NULL AND "
            f"(OLD.decision {distinct} NEW.decision OR OLD.amount_usd {distinct} NEW.amount_usd "
            f"OR OLD.resolved_by {distinct} NEW.resolved_by OR OLD.resolved_at {distinct} NEW.resolved_at "
            f"OR OLD.evidence_id {distinct} NEW.evidence_id)",
            "E-APPEND-ONLY a resolved exception stays as it is",
        ),
        (
            ("invoice_freeze", "released"), "UPDATE", f"OLD.released_at IS NOT NULL OR {fixed}",
            "E-APPEND-ONLY a freeze is released once, and nothing else of it changes",
        ),
        (
            ("invoice_detail", "frozen"), "INSERT", _FREEZE,
            "E-FREEZE new invoices of this month and later are frozen",
        ),
    ]  # fmt: skip


def _sqlite_guard(table: str, name: str, event: str, when: str, message: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} WHEN {when} "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def _deny_sqlite() -> None:
    for table in (*_APPEND_ONLY, *_NEVER_DELETED):
        for verb in ("UPDATE", "DELETE") if table in _APPEND_ONLY else ("DELETE",):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY {table} takes no {verb}'); END"
            )


def _postgresql_guard(table: str, name: str, event: str, when: str, message: str) -> None:
    op.execute(
        f"CREATE OR REPLACE FUNCTION cops_{table}_{name}() RETURNS trigger LANGUAGE plpgsql "
        f"SECURITY DEFINER SET search_path FROM CURRENT AS $$ BEGIN IF {when} THEN "
        f"RAISE EXCEPTION '{message}'; END IF; RETURN NEW; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION cops_{table}_{name}()"
    )


def _deny_postgresql() -> None:
    for table in (*_APPEND_ONLY, *_NEVER_DELETED):
        verbs = "UPDATE OR DELETE" if table in _APPEND_ONLY else "DELETE"
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE {verbs} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION cops_append_only()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION cops_append_only()"
        )


def _reconciliation() -> None:
    op.create_table(
        "recon_run_statement",
        sa.Column("recon_seq", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("direct_usd", Money, nullable=False),
        sa.Column("shared_usd", Money, nullable=False),
        sa.Column("adjustments_usd", Money, nullable=False),
        sa.Column("markup_usd", Money, nullable=False),
        sa.Column("total_usd", Money, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("fx_rate", Money, nullable=True),
        sa.Column("direct", Money, nullable=True),
        sa.Column("shared", Money, nullable=True),
        sa.Column("adjustments", Money, nullable=True),
        sa.Column("markup", Money, nullable=True),
        sa.Column("rounding", Money, nullable=True),
        sa.Column("total", Money, nullable=True),
        sa.PrimaryKeyConstraint("recon_seq", "tenant_id", name=op.f("pk_recon_run_statement")),
    )
    op.create_table(
        "recon_run_bridge",
        sa.Column("recon_seq", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("amount_usd", Money, nullable=False),
        sa.Column("cumulative_usd", Money, nullable=False),
        sa.PrimaryKeyConstraint("recon_seq", "tenant_id", "position", name=op.f("pk_recon_run_bridge")),
        sa.CheckConstraint(
            "kind IN ('level','change','part')",
            name=op.f("ck_recon_run_bridge_kind"),
        ),
    )
    op.create_table(
        "recon_exceptions",
        sa.Column("exception_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("recon_seq", sa.BigInteger, nullable=True),
        sa.Column("stage", sa.Text, nullable=True),
        sa.Column("subject_id", sa.Text, nullable=True),
        sa.Column("tenant_id", sa.Text, nullable=True),
        sa.Column("class", sa.Text, nullable=False),
        sa.Column("amount_usd", Money, nullable=False),
        sa.Column("owner", sa.Text, nullable=True),
        sa.Column("decision", sa.Text, nullable=True),
        sa.Column("evidence_id", sa.Text, nullable=True),
        sa.Column("opened_by", sa.Text, nullable=False),
        sa.Column("opened_at", sa.DateTime, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=True),
        sa.Column("decided_at", sa.DateTime, nullable=True),
        sa.Column("resolved_by", sa.Text, nullable=True),
        sa.Column("resolved_at", sa.DateTime, nullable=True),
        sa.Column("withdrawn_at", sa.DateTime, nullable=True),
        sa.Column("note", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("exception_id", name=op.f("pk_recon_exceptions")),
    )
    op.create_table(
        "document_conflict",
        sa.Column("conflict_id", sa.Text, nullable=False),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("document_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=True),
        sa.Column("stored_json", sa.Text, nullable=False),
        sa.Column("given_json", sa.Text, nullable=False),
        sa.Column("difference_usd", Money, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("seen_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("conflict_id", name=op.f("pk_document_conflict")),
    )


def _alerts() -> None:
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
        sa.Column("forecast_error_usd", Money, nullable=True),
        sa.Column("forecast_method", sa.Text, nullable=True),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("last_refreshed_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("budget_id", name=op.f("pk_budget_master")),
    )
    op.create_table(
        "aws_budget",
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("budget_name", sa.Text, nullable=False),
        sa.Column("budget_type", sa.Text, nullable=False),
        sa.Column("time_unit", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("limit_amount", Money, nullable=True),
        sa.Column("actual_amount", Money, nullable=True),
        sa.Column("forecast_amount", Money, nullable=True),
        sa.Column("fetched_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "budget_name", name=op.f("pk_aws_budget")),
    )
    op.create_table(
        "control_status",
        sa.Column("control", sa.Text, nullable=False),
        sa.Column("evaluated_at", sa.DateTime, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("measured", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("measured_at", sa.DateTime, nullable=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("next_step", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("control", "evaluated_at", name=op.f("pk_control_status")),
        sa.CheckConstraint(
            "status IN ('ok','warning','failed','unknown')",
            name=op.f("ck_control_status_status"),
        ),
    )
    op.create_table(
        "alert_state",
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("alert_rule", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("episode", sa.BigInteger, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("measured", sa.Text, nullable=True),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("next_step", sa.Text, nullable=False),
        sa.Column("dagster_run_id", sa.Text, nullable=True),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("since_data", sa.DateTime, nullable=False),
        sa.Column("fired_at", sa.DateTime, nullable=True),
        sa.Column("resolved_at", sa.DateTime, nullable=True),
        sa.Column("resolved_because", sa.Text, nullable=True),
        sa.Column("last_data_at", sa.DateTime, nullable=False),
        sa.Column("last_evaluated_at", sa.DateTime, nullable=False),
        sa.Column("acked_by", sa.Text, nullable=True),
        sa.Column("ack_expires_at", sa.DateTime, nullable=True),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_alert_state")),
        sa.CheckConstraint(
            "state IN ('inactive','pending','firing','resolved')",
            name=op.f("ck_alert_state_state"),
        ),
        sa.CheckConstraint(
            "severity IN ('P1','P2','P3','P4')",
            name=op.f("ck_alert_state_severity"),
        ),
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
        "alert_silence",
        sa.Column("silence_id", sa.Text, nullable=False),
        sa.Column("alert_rule", sa.Text, nullable=True),
        sa.Column("period_start", sa.Date, nullable=True),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("starts_at", sa.DateTime, nullable=False),
        sa.Column("ends_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("silence_id", name=op.f("pk_alert_silence")),
    )
    op.create_table(
        "notification_log",
        sa.Column("notification_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("episode", sa.BigInteger, nullable=False),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("retried_reason", sa.Text, nullable=True),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
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
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("set_by", sa.Text, nullable=False),
        sa.Column("set_at", sa.DateTime, nullable=False),
        sa.Column("release_requested_by", sa.Text, nullable=True),
        sa.Column("release_reason", sa.Text, nullable=True),
        sa.Column("released_by", sa.Text, nullable=True),
        sa.Column("released_at", sa.DateTime, nullable=True),
        sa.Column("release_evidence_id", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("freeze_seq", name=op.f("pk_invoice_freeze")),
    )
