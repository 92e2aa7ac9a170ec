"""The policy that decides numbers and verdicts, kept in the books; every run names its version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NEXT = "NEW.policy_version <> (SELECT coalesce(max(p.policy_version), 0) + 1 FROM policy p)"
_MESSAGE = "E-APPEND-ONLY policy takes its next version and no other"


def upgrade() -> None:
    """Makes the table with its guards, and the columns that name it."""
    op.create_table(
        "policy",
        sa.Column("policy_version", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("policy_json", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("adopted_by", sa.Text, nullable=False),
        sa.Column("adopted_at", sa.DateTime, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=True),
        sa.Column("evidence_id", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("policy_version", name=op.f("pk_policy")),
    )
    for table in ("publish_journal", "recon_run"):
        op.add_column(table, sa.Column("policy_version", sa.BigInteger, nullable=True))
    if op.get_context().dialect.name == "postgresql":
        _postgresql()
    else:
        _sqlite()


def _sqlite() -> None:
    # before INSERT too: a REPLACE of a connection without recursive triggers deletes past the other one
    op.execute(
        f"CREATE TRIGGER policy_next BEFORE INSERT ON policy WHEN {_NEXT} "
        f"BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END"
    )
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER policy_no_{verb.lower()} BEFORE {verb} ON policy "
            f"BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY policy takes no {verb}'); END"
        )


def _postgresql() -> None:
    # a view of everything has the columns of the day it was made
    op.execute(
        "CREATE OR REPLACE VIEW recon_summary AS SELECT * FROM recon_run WHERE recon_seq IN "
        "(SELECT max(recon_seq) FROM recon_run GROUP BY period_start)"
    )
    op.execute(
        "CREATE FUNCTION cops_policy_next() RETURNS trigger LANGUAGE plpgsql "
        f"SECURITY DEFINER SET search_path FROM CURRENT AS $$ BEGIN IF {_NEXT} THEN "
        f"RAISE EXCEPTION '{_MESSAGE}'; END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER policy_next BEFORE INSERT ON policy FOR EACH ROW EXECUTE FUNCTION cops_policy_next()"
    )
    op.execute(
        "CREATE TRIGGER policy_no_change BEFORE UPDATE OR DELETE ON policy "
        "FOR EACH ROW EXECUTE FUNCTION cops_append_only()"
    )
    op.execute(
        "CREATE TRIGGER policy_no_truncate BEFORE TRUNCATE ON policy "
        "FOR EACH STATEMENT EXECUTE FUNCTION cops_append_only()"
    )
