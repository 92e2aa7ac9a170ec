"""What a close needs: rule dates, reversals, adjustments, and a chain that knows its own length."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cops_dagster.stores.tables import Money

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_APPEND_ONLY = (
    "allocation_rule_date",
    "run_reversal",
    "adjustment",
    "adjustment_effect",
    "adjustment_booking",
    "evidence_index",
)


def upgrade() -> None:
    """Makes the tables; `allocation_run_log` and `evidence_index` get their further columns."""
    _tables()
    _run_log_with_links()
    _chained_evidence_index()
    if op.get_context().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _guard_sqlite() -> None:
    for table in _APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY {table} takes no {verb}'); END"
            )


def _guard_postgresql() -> None:
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION cops_append_only()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION cops_append_only()"
        )


def _run_log_with_links() -> None:
    # made anew rather than altered, so that both dialects hold the table as `tables.py` writes it
    op.execute("CREATE TEMPORARY TABLE allocation_run_log_before AS SELECT * FROM allocation_run_log")
    op.drop_table("allocation_run_log")
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
        sa.Column("evidence_links", sa.Text, nullable=True),
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
    columns = (
        "attempt_id, run_id, inputs_id, predecessor_run_id, period_start, status, delivery_ids, rules_json,"
        " params_json, algorithm_version, sql_sha256, pool_total_usd, allocated_total_usd,"
        " unallocated_total_usd, entry_count, error_code, error_detail, note, evidence_id, actor,"
        " dagster_run_id, started_at, finished_at"
    )
    op.execute(f"INSERT INTO allocation_run_log ({columns}) SELECT {columns} FROM allocation_run_log_before")
    op.execute("DROP TABLE allocation_run_log_before")


def _chained_evidence_index() -> None:
    # nothing wrote to it before this revision
    op.drop_table("evidence_index")
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
        sa.Column("hash_version", sa.BigInteger, nullable=False),
        sa.Column("object_version_id", sa.Text, nullable=True),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("evidence_seq", name=op.f("pk_evidence_index")),
    )
    op.create_table(
        "evidence_head",
        sa.Column("head_id", sa.BigInteger, nullable=False),
        sa.Column("evidence_seq", sa.BigInteger, nullable=False),
        sa.Column("entry_hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("head_id", name=op.f("pk_evidence_head")),
    )


def _tables() -> None:
    op.create_table(
        "allocation_rule_date",
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("decision_seq", sa.BigInteger, nullable=False),
        sa.Column("rules_as_of", sa.Date, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("evidence_links", sa.Text, nullable=True),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("decided_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("period_start", "decision_seq", name=op.f("pk_allocation_rule_date")),
    )
    op.create_table(
        "run_reversal",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("reversed_run_id", sa.Text, nullable=False),
        sa.Column("reposted_run_id", sa.Text, nullable=True),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reversed_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_reversal")),
        sa.UniqueConstraint("reversed_run_id", name=op.f("uq_run_reversal_reversed_run_id")),
    )
    op.create_table(
        "adjustment",
        sa.Column("adjustment_id", sa.Text, nullable=False),
        sa.Column("usage_period_start", sa.Date, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("delivery_id", sa.Text, nullable=True),
        sa.Column("base_digest", sa.Text, nullable=False),
        sa.Column("document_sha256", sa.Text, nullable=False),
        sa.Column("evidence_id", sa.Text, nullable=False),
        sa.Column("line_count", sa.BigInteger, nullable=False),
        sa.Column("unblended_usd", Money, nullable=False),
        sa.Column("amortized_usd", Money, nullable=False),
        sa.Column("net_amortized_usd", Money, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence_links", sa.Text, nullable=True),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("proposed_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("adjustment_id", name=op.f("pk_adjustment")),
    )
    op.create_table(
        "adjustment_effect",
        sa.Column("adjustment_id", sa.Text, nullable=False),
        sa.Column("change_class", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("line_count", sa.BigInteger, nullable=False),
        sa.Column("unblended_usd", Money, nullable=False),
        sa.Column("amortized_usd", Money, nullable=False),
        sa.Column("net_amortized_usd", Money, nullable=False),
        sa.PrimaryKeyConstraint(
            "adjustment_id", "change_class", "tenant_id", name=op.f("pk_adjustment_effect")
        ),
    )
    op.create_table(
        "adjustment_booking",
        sa.Column("adjustment_id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("booked_by", sa.Text, nullable=False),
        sa.Column("booked_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("adjustment_id", name=op.f("pk_adjustment_booking")),
    )
