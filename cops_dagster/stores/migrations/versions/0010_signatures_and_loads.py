"""Every load leaves its trace, and decisions may be signed: loads, allowed signers, signatures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_KEYS = {
    "load_log": ("load_id", "table_name"),
    "allowed_signers": ("event_id",),
    "signature": ("signature_id",),
}


def upgrade() -> None:
    """Makes the three tables with their guards: rows are added and never changed."""
    op.create_table(
        "load_log",
        sa.Column("load_id", sa.Text, nullable=False),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("loaded_at", sa.DateTime, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("inserted", sa.BigInteger, nullable=False),
        sa.Column("unchanged", sa.BigInteger, nullable=False),
        sa.Column("replaced", sa.BigInteger, nullable=False),
        sa.Column("replaced_json", sa.Text, nullable=False),
        sa.Column("files_json", sa.Text, nullable=False),
        sa.Column("evidence_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("load_id", "table_name", name=op.f("pk_load_log")),
    )
    op.create_table(
        "allowed_signers",
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("books_id", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("valid_from", sa.DateTime, nullable=False),
        sa.Column("valid_before", sa.DateTime, nullable=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("occurred_at", sa.DateTime, nullable=False),
        sa.Column("evidence_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_allowed_signers")),
        sa.CheckConstraint("event IN ('added','revoked')", name=op.f("ck_allowed_signers_event")),
    )
    op.create_table(
        "signature",
        sa.Column("signature_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject_type", sa.Text, nullable=False),
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=True),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("signed_at", sa.DateTime, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("evidence_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("signature_id", name=op.f("pk_signature")),
    )
    is_postgresql = op.get_context().dialect.name == "postgresql"
    for table, keys in _KEYS.items():
        if is_postgresql:
            _guard_postgresql(table)
        else:
            _guard_sqlite(table, keys)


def _guard_sqlite(table: str, keys: tuple[str, ...]) -> None:
    # before INSERT too: a REPLACE of a connection without recursive triggers deletes past the other ones
    same = " AND ".join(f"e.{key} = NEW.{key}" for key in keys)
    op.execute(
        f"CREATE TRIGGER {table}_new BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} e WHERE {same}) OR EXISTS "
        f"(SELECT 1 FROM {table} e WHERE e.rowid = NEW.rowid) "
        f"BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY {table} takes no REPLACE'); END"
    )
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY {table} takes no {verb}'); END"
        )


def _guard_postgresql(table: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION cops_append_only()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION cops_append_only()"
    )
