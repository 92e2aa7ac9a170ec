"""What the database itself refuses: entries of closed months, second heads, rewritten history.

Every guard has the code of the refusal in its message. On PostgreSQL the period guard takes the lock row FOR
SHARE, as the owner of the function: a writer that read `open` cannot commit after the close (measured).
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NEVER_UPDATED = (
    "allocation_keys", "allocation_rules", "alert_event", "aws_invoices", "control_status", "fx_rates",
    "invoice_detail", "notification_log", "plans",
)  # fmt: skip
_NEVER_DELETED = (
    *_NEVER_UPDATED, "account_tenants", "alert_state", "allocation_run_log", "budgets", "cur_ingestion_log",
    "evidence_head", "invoice_freeze", "outbox", "period_head", "period_lock", "recon_exceptions",
    "tag_aliases", "tenant_usage", "tenants",
)  # fmt: skip

_MOVES = (
    "open>delayed", "delayed>open", "open>provisional", "delayed>provisional", "provisional>delayed",
    "provisional>final", "final>provisional", "final>closing", "closing>final", "closing>closed",
)  # fmt: skip

_WRITABLE = "('open','delayed','provisional')"
_HEAD = (
    "(SELECT h.run_id FROM period_head h WHERE h.table_name = NEW.table_name "
    "AND h.period_start = NEW.period_start AND h.source_id = NEW.source_id)"
)
_IN_JOURNAL = (
    "EXISTS (SELECT 1 FROM publish_journal j WHERE j.run_id = NEW.run_id AND j.table_name = NEW.table_name "
    "AND j.period_start = NEW.period_start)"
)


def upgrade() -> None:
    """Makes the index and the triggers."""
    op.execute(
        "CREATE UNIQUE INDEX uq_publish_journal_predecessor ON publish_journal "
        "(table_name, period_start, source_id, coalesce(predecessor_run_id, ''))"
    )
    if op.get_context().dialect.name == "postgresql":
        _postgresql()
    else:
        _sqlite()


def _conditions(distinct: str) -> list[tuple[str, str, str, str, str]]:
    """(table, trigger, event, when to refuse, message): what both dialects refuse in the same words.

    Args:
        distinct: how the dialect says that two values differ, NULL being a value.
    """
    moves = ", ".join(f"'{move}'" for move in _MOVES)
    unreleased = " OR ".join(
        f"OLD.{name} {distinct} NEW.{name}"
        for name in ("freeze_seq", "period_start", "reason", "set_by", "set_at")
    )
    return [
        (
            "publish_journal", "head", "INSERT", f"NEW.predecessor_run_id {distinct} {_HEAD}",
            "E-SUPERSEDED the run was planned over another head",
        ),
        (
            "lake_file", "published", "INSERT", f"NOT {_IN_JOURNAL}",
            "E-UNPUBLISHED the journal has no such run",
        ),
        (
            "period_head", "published", "INSERT", f"NOT {_IN_JOURNAL}",
            "E-UNPUBLISHED the journal has no such run",
        ),
        (
            "period_head", "forward", "UPDATE", f"NOT {_IN_JOURNAL} OR NEW.journal_seq <= OLD.journal_seq",
            "E-UNPUBLISHED a head moves to a newer run of the journal",
        ),
        (
            "period_lock", "begins", "INSERT", "NEW.state NOT IN ('open','delayed') OR NEW.state_seq <> 1",
            "E-PERIOD-STATE a period begins open or delayed",
        ),
        (
            "period_lock", "moves", "UPDATE",
            f"NEW.period_start <> OLD.period_start OR NEW.state_seq <> OLD.state_seq + 1 "
            f"OR OLD.state || '>' || NEW.state NOT IN ({moves})",
            "E-PERIOD-STATE no such move, and never out of closed",
        ),
        (
            "allocation_run_log", "ended", "UPDATE", "OLD.status <> 'running'",
            "E-APPEND-ONLY an ended attempt stays as it is",
        ),
        (
            "cur_ingestion_log", "ended", "UPDATE", "OLD.status <> 'running'",
            "E-APPEND-ONLY an ended attempt stays as it is",
        ),
        (
            "recon_exceptions", "resolved", "UPDATE", "OLD.resolved_at IS NOT NULL",
            "E-APPEND-ONLY a resolved exception stays as it is",
        ),
        (
            "invoice_freeze", "released", "UPDATE", f"OLD.released_at IS NOT NULL OR {unreleased}",
            "E-APPEND-ONLY a freeze is released once, and nothing else of it changes",
        ),
    ]  # fmt: skip


def _sqlite() -> None:
    for table in _NEVER_UPDATED:
        _sqlite_trigger(table, "no_update", "UPDATE", "", f"E-APPEND-ONLY {table} takes no UPDATE")
    for table in _NEVER_DELETED:
        _sqlite_trigger(table, "no_delete", "DELETE", "", f"E-APPEND-ONLY {table} takes no DELETE")
    _sqlite_trigger(
        "publish_journal", "open", "INSERT",
        "NOT EXISTS (SELECT 1 FROM period_lock l WHERE l.period_start = NEW.period_start "
        f"AND l.state IN {_WRITABLE})",
        "E-PERIOD-CLOSED the period takes no entries",
    )  # fmt: skip
    for table, name, event, when, message in _conditions("IS NOT"):
        _sqlite_trigger(table, name, event, when, message)


def _sqlite_trigger(table: str, name: str, event: str, when: str, message: str) -> None:
    condition = f"WHEN {when} " if when else ""
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} {condition}"
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def _postgresql() -> None:
    for table in _NEVER_UPDATED:
        _postgresql_deny(table, "no_update", "UPDATE", "ROW")
    for table in _NEVER_DELETED:
        _postgresql_deny(table, "no_delete", "DELETE", "ROW")
        _postgresql_deny(table, "no_truncate", "TRUNCATE", "STATEMENT")
    for table, name, event, when, message in _conditions("IS DISTINCT FROM"):
        _postgresql_guard(table, name, event, f"IF {when} THEN RAISE EXCEPTION '{message}'; END IF;")
    _postgresql_guard(
        "publish_journal", "open", "INSERT",
        "PERFORM 1 FROM period_lock l WHERE l.period_start = NEW.period_start "
        f"AND l.state IN {_WRITABLE} FOR SHARE; "
        "IF NOT FOUND THEN RAISE EXCEPTION 'E-PERIOD-CLOSED the period takes no entries'; END IF;",
        definer=True,
    )  # fmt: skip
    # only where the roles of deploy/postgresql/roles.sql exist: a database without them has one user
    _postgresql_guard(
        "period_lock", "closer", "UPDATE",
        "IF NEW.state IN ('closing','closed') "
        "AND EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'cops_closer') "
        "AND NOT pg_has_role(current_user, 'cops_closer', 'MEMBER') "
        "THEN RAISE EXCEPTION 'E-ROLE only a member of cops_closer closes a period'; END IF;",
    )  # fmt: skip


def _postgresql_deny(table: str, name: str, event: str, level: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} "
        f"FOR EACH {level} EXECUTE FUNCTION cops_append_only()"
    )


def _postgresql_guard(table: str, name: str, event: str, body: str, *, definer: bool = False) -> None:
    security = "SECURITY DEFINER SET search_path FROM CURRENT" if definer else ""
    op.execute(
        f"CREATE FUNCTION cops_{table}_{name}() RETURNS trigger LANGUAGE plpgsql {security} "
        f"AS $$ BEGIN {body} RETURN NEW; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION cops_{table}_{name}()"
    )
