"""Consent is a condition of the act: what two people decide needs the second one's row, or is refused.

An approval names a thing that somebody asked for, in the form that was asked for (its digest), and is by
somebody else. Releasing, resolving, booking, taking a held delivery and closing look for that row. The
words of every refusal are the same in both dialects. On PostgreSQL a row that asks carries the login of
its session, and where the roles of `deploy/postgresql/roles.sql` are in use the login is who approves.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_ASKS = ("adjustment", "close_request", "cur_delivery_hold", "invoice_freeze", "recon_exceptions")
_ASKED_ANEW = {
    "invoice_freeze": ("release_requested_by", "release_reason", "release_evidence_id"),
    "recon_exceptions": ("decision", "decided_by", "decided_at", "evidence_id"),
}
"""Tables whose rows ask later than they begin, and the columns whose change is the asking."""

_IDENTITY = (
    "exception_id", "period_start", "recon_seq", "stage", "subject_id", "tenant_id", "class", "amount_usd",
    "owner", "opened_by", "opened_at", "note",
)  # fmt: skip
_DECIDED = ("decision", "evidence_id", "decided_by", "decided_at")
_RELEASE = ("release_requested_by", "release_reason", "release_evidence_id")

_BLANK = ("\t", "\n", "\r", "\u00a0")
_UNSEEN = ("\u00ad", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff")

_NAME_OF_FREEZE = "'freeze-' || {row}.freeze_seq"
_MESSAGE = {
    "two": "E-APPROVER who asked for it does not approve it",
    "asked": "E-CONSENT nobody asked for this, or not in this form",
    "again": "E-APPEND-ONLY {table} takes no REPLACE",
    "release": "E-CONSENT a freeze is released when somebody else approved its release",
    "resolve": "E-CONSENT what was decided is resolved when somebody else approved it",
    "book": "E-CONSENT an adjustment is booked when somebody else approved it",
    "take": "E-CONSENT a held delivery is taken when somebody else approved it",
    "close": "E-CONSENT a period closes when somebody else approved its newest state",
    "begin": "E-CONSENT nothing begins decided, released or withdrawn",
    "kept": "E-CONSENT what was asked for or approved stays as it is",
    "withdrawn": "E-CONSENT only a newer reconciliation withdraws an exception",
}


def upgrade() -> None:
    """Makes the columns, the table of requests to close, and the guards."""
    is_postgresql = op.get_context().dialect.name == "postgresql"
    _tables()
    guard = _postgresql if is_postgresql else _sqlite
    if is_postgresql:
        _logins()
    for table, name, event, when, message in _conditions(is_postgresql):
        guard(table, name, event, when, message)
    _append_only("close_request", is_postgresql)


def _tables() -> None:
    for table in _ASKS:
        if table != "close_request":
            op.add_column(table, sa.Column("requested_login", sa.Text, nullable=True))
    for table in ("invoice_freeze", "recon_exceptions"):
        op.add_column(table, sa.Column("subject_digest", sa.Text, nullable=True))
    op.add_column("recon_exceptions", sa.Column("withdrawn_recon_seq", sa.BigInteger, nullable=True))
    op.create_table(
        "close_request",
        sa.Column("request_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("subject_digest", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("run_ids", sa.Text, nullable=False),
        sa.Column("journal_seq", sa.BigInteger, nullable=False),
        sa.Column("recon_seq", sa.BigInteger, nullable=False),
        sa.Column("recon_id", sa.Text, nullable=False),
        sa.Column("readiness_sha256", sa.Text, nullable=False),
        sa.Column("evidence_id", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("requested_at", sa.DateTime, nullable=False),
        sa.Column("requested_login", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("request_seq", name=op.f("pk_close_request")),
        sa.UniqueConstraint("subject_id", name=op.f("uq_close_request_subject_id")),
        sa.UniqueConstraint("subject_digest", name=op.f("uq_close_request_subject_digest")),
    )
    op.add_column("approval", sa.Column("claimed_by", sa.Text, nullable=True))


def _conditions(is_postgresql: bool) -> list[tuple[str, str, str, str, str]]:
    """(table, trigger, event, when to refuse, message): what both dialects refuse in the same words."""
    distinct = "IS DISTINCT FROM" if is_postgresql else "IS NOT"

    def changed(names: tuple[str, ...]) -> str:
        return " OR ".join(f"OLD.{name} {distinct} NEW.{name}" for name in names)

    def approved(kind: str, subject: str, form: str, by: str | None = None) -> str:
        whose = f" AND a.approved_by = {by}" if by else ""
        return (
            f"EXISTS (SELECT 1 FROM approval a WHERE a.subject_type = '{kind}' AND a.subject_id = {subject}"
            f" AND a.subject_digest = {form}{whose})"
        )

    kind = "CASE WHEN NEW.stage IS NULL THEN 'variance_note' ELSE 'exception' END"
    resolved = approved("?", "NEW.exception_id", "NEW.subject_digest", "NEW.resolved_by").replace("'?'", kind)
    freeze = _NAME_OF_FREEZE.format(row="NEW")
    month = "to_char(NEW.period_start, 'YYYY-MM')" if is_postgresql else "substr(NEW.period_start, 1, 7)"
    held = (
        "EXISTS (SELECT 1 FROM cur_delivery_hold h WHERE h.delivery_id = NEW.delivery_id) AND NOT "
        + approved("cur_delivery", "NEW.delivery_id", "NEW.delivery_id")
    )
    found: list[tuple[str, str, str, str, str]] = [
        ("approval", "consent_asked", "INSERT", f"NOT {_asked()}", "asked"),
        ("approval", "consent_two", "INSERT", _same_person(is_postgresql), "two"),
        (
            "invoice_freeze", "consent_begins", "INSERT",
            "NEW.released_at IS NOT NULL OR NEW.release_requested_by IS NOT NULL"
            " OR NEW.subject_digest IS NOT NULL", "begin",
        ),
        (
            "invoice_freeze", "consent", "UPDATE",
            "NEW.released_at IS NOT NULL AND NOT "
            + approved("invoice_freeze", freeze, "NEW.subject_digest", "NEW.released_by"), "release",
        ),
        (
            "invoice_freeze", "consent_kept", "UPDATE",
            f"{changed(('cause',))} OR (({changed(_RELEASE)}) AND OLD.subject_digest IS NOT NULL AND"
            " (NEW.subject_digest IS NULL OR NEW.subject_digest = OLD.subject_digest))"
            f" OR (({changed((*_RELEASE, 'subject_digest'))}) AND "
            + approved("invoice_freeze", freeze, "OLD.subject_digest") + ")", "kept",
        ),
        (
            "recon_exceptions", "consent_begins", "INSERT",
            "NEW.withdrawn_at IS NOT NULL OR (NEW.stage IS NULL AND NEW.resolved_at IS NOT NULL)"
            " OR (NEW.stage IS NOT NULL AND NEW.subject_digest IS NOT NULL)"
            " OR ((NEW.decided_at IS NOT NULL OR NEW.resolved_at IS NOT NULL) AND NOT (NEW.opened_by = 'cops'"
            " AND coalesce(NEW.decided_by, '') = 'cops' AND coalesce(NEW.resolved_by, '') = 'cops'"
            " AND EXISTS (SELECT 1 FROM recon_run r WHERE r.recon_seq = NEW.recon_seq"
            " AND r.period_start = NEW.period_start)))", "begin",
        ),
        (
            "recon_exceptions", "consent", "UPDATE",
            f"OLD.resolved_at IS NULL AND NEW.resolved_at IS NOT NULL AND NOT {resolved}", "resolve",
        ),
        (
            "recon_exceptions", "consent_kept", "UPDATE",
            f"{changed(_IDENTITY)} OR (NEW.stage IS NULL AND {changed(('evidence_id',))})"
            f" OR (NEW.stage IS NOT NULL AND ({changed(_DECIDED)}) AND OLD.subject_digest IS NOT NULL"
            " AND (NEW.subject_digest IS NULL OR NEW.subject_digest = OLD.subject_digest))"
            f" OR (({changed(('subject_digest',))} OR (NEW.stage IS NOT NULL AND ({changed(_DECIDED)}))) AND "
            + approved("?", "NEW.exception_id", "OLD.subject_digest").replace("'?'", kind) + ")", "kept",
        ),
        (
            "recon_exceptions", "consent_withdrawn", "UPDATE",
            "OLD.withdrawn_at IS NULL AND NEW.withdrawn_at IS NOT NULL AND NOT EXISTS"
            " (SELECT 1 FROM recon_run r WHERE r.recon_seq = NEW.withdrawn_recon_seq"
            " AND r.period_start = NEW.period_start AND r.recon_seq > coalesce(NEW.recon_seq, 0))",
            "withdrawn",
        ),
        (
            "adjustment_booking", "consent", "INSERT",
            "NOT EXISTS (SELECT 1 FROM adjustment d JOIN approval a ON a.subject_type = 'adjustment'"
            " AND a.subject_id = d.adjustment_id AND a.subject_digest = d.document_sha256"
            " WHERE d.adjustment_id = NEW.adjustment_id AND a.approved_by = NEW.booked_by)", "book",
        ),
        ("cur_billing_head", "consent", "INSERT", held, "take"),
        ("cur_billing_head", "consent_moved", "UPDATE", held, "take"),
        ("lake_file", "consent", "INSERT", held, "take"),
        (
            "close_request", "consent_named", "INSERT",
            f"NEW.subject_id <> 'close-' || {month} AND NEW.subject_id NOT LIKE 'close-' || {month} || '-%'",
            "asked",
        ),
        (
            "period_lock", "consent", "UPDATE",
            "NEW.state IN ('closing','closed') AND NOT EXISTS (SELECT 1 FROM close_request q JOIN approval a"
            " ON a.subject_type = 'close' AND a.subject_id = q.subject_id"
            " AND a.subject_digest = q.subject_digest WHERE q.period_start = NEW.period_start"
            " AND q.journal_seq = (SELECT coalesce(max(j.journal_seq), 0) FROM publish_journal j"
            " WHERE j.period_start = NEW.period_start)"
            " AND q.recon_seq = (SELECT coalesce(max(r.recon_seq), 0) FROM recon_run r"
            " WHERE r.period_start = NEW.period_start))",
            "close",
        ),
        (
            "approval", "consent_once", "INSERT",
            "EXISTS (SELECT 1 FROM approval a WHERE a.subject_type = NEW.subject_type"
            " AND a.subject_id = NEW.subject_id)", "again",
        ),
        (
            "close_request", "consent_once", "INSERT",
            "EXISTS (SELECT 1 FROM close_request q WHERE q.request_seq = NEW.request_seq"
            " OR q.subject_id = NEW.subject_id OR q.subject_digest = NEW.subject_digest)", "again",
        ),
        *(
            (
                table, "consent_once", "INSERT",
                f"EXISTS (SELECT 1 FROM {table} o WHERE o.{key} = NEW.{key})", "again",
            )
            for table, key in (
                ("adjustment", "adjustment_id"), ("adjustment_booking", "adjustment_id"),
                ("cur_delivery_hold", "delivery_id"), ("invoice_freeze", "freeze_seq"),
                ("recon_exceptions", "exception_id"),
            )
        ),
    ]  # fmt: skip
    return [
        (table, name, event, when, _MESSAGE[message].format(table=table))
        for table, name, event, when, message in found
    ]


def _things(condition: str) -> str:
    """Whether a row that asks is what `NEW` approves; `{row}` in the condition is that row."""
    things = (
        ("cur_delivery", "cur_delivery_hold", "{row}.delivery_id", "{row}.delivery_id", "requested_by"),
        ("adjustment", "adjustment", "{row}.adjustment_id", "{row}.document_sha256", "requested_by"),
        (
            "exception", "recon_exceptions", "{row}.exception_id",
            "CASE WHEN {row}.stage IS NOT NULL THEN {row}.subject_digest END", "decided_by",
        ),
        (
            "variance_note", "recon_exceptions", "{row}.exception_id",
            "CASE WHEN {row}.stage IS NULL THEN {row}.subject_digest END", "opened_by",
        ),
        ("invoice_freeze", "invoice_freeze", _NAME_OF_FREEZE, "{row}.subject_digest", "release_requested_by"),
        ("close", "close_request", "{row}.subject_id", "{row}.subject_digest", "requested_by"),
    )  # fmt: skip
    return " OR ".join(
        f"(NEW.subject_type = '{kind}' AND EXISTS (SELECT 1 FROM {table} o WHERE"
        f" {subject.format(row='o')} = NEW.subject_id AND {form.format(row='o')} = NEW.subject_digest"
        f" AND {condition.format(requester=f'o.{requester}', row='o')}))"
        for kind, table, subject, form, requester in things
    )


def _asked() -> str:
    return f"({_things('{requester} = NEW.requested_by')})"


def _known_as(name: str) -> str:
    """A name as far as SQL compares people: see `evidence/people.py`, which folds more."""
    for sign in _BLANK:
        name = f"replace({name}, '{sign}', ' ')"
    for sign in _UNSEEN:
        name = f"replace({name}, '{sign}', '')"
    for _ in range(3):
        name = f"replace({name}, '  ', ' ')"
    return f"lower(trim({name}))"


def _same_person(is_postgresql: bool) -> str:
    asked = _known_as("NEW.requested_by")
    same = (
        f"{_known_as('NEW.approved_by')} IN ('', {asked})"
        f" OR {_known_as('coalesce(NEW.claimed_by, NEW.approved_by)')} = {asked}"
    )
    if not is_postgresql:
        return same
    # whoever asked under another name did so in a session, and that session is known
    return f"{same} OR (cops_session_decides() AND ({_things('{row}.requested_login = session_user')}))"


def _sqlite(table: str, name: str, event: str, when: str, message: str) -> None:
    # SQLite gives a row its number after BEFORE INSERT: NEW.key is -1 until then, which no row has
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} WHEN {when} "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def _postgresql(table: str, name: str, event: str, when: str, message: str) -> None:
    op.execute(
        f"CREATE FUNCTION cops_{table}_{name}() RETURNS trigger LANGUAGE plpgsql {_path()} "
        f"AS $$ BEGIN IF {when} THEN RAISE EXCEPTION '{message}'; END IF; RETURN NEW; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION cops_{table}_{name}()"
    )


def _path() -> str:
    """Names are looked up here and in nobody's temporary tables."""
    schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    return f"SET search_path = pg_catalog, {schema}, pg_temp"


def _logins() -> None:
    """Who is logged in is written by the database, whatever the statement says."""
    op.execute(
        f"CREATE FUNCTION cops_session_decides() RETURNS boolean LANGUAGE sql STABLE {_path()} AS $$ "
        "SELECT coalesce(bool_or(has_table_privilege(r.oid, 'approval', 'INSERT')), false) "
        "FROM pg_roles r WHERE r.rolname = 'cops_writer' $$"
    )
    bodies = {
        table: "IF TG_OP = 'INSERT' THEN NEW.requested_login := session_user; "
        f"ELSIF {' OR '.join(f'OLD.{name} IS DISTINCT FROM NEW.{name}' for name in _ASKED_ANEW[table])} "
        "THEN NEW.requested_login := session_user; ELSE NEW.requested_login := OLD.requested_login; END IF;"
        if table in _ASKED_ANEW
        else "NEW.requested_login := session_user;"
        for table in _ASKS
    }
    # a note is opened by who asks; its decision is the second person's answer
    bodies["recon_exceptions"] = (
        "IF TG_OP = 'UPDATE' AND NEW.stage IS NULL THEN NEW.requested_login := OLD.requested_login; ELSE "
        + bodies["recon_exceptions"] + " END IF;"
    )  # fmt: skip
    bodies["approval"] = (
        "NEW.claimed_by := NEW.approved_by; "
        "IF cops_session_decides() THEN NEW.approved_by := session_user; END IF;"
    )
    for table, body in bodies.items():
        op.execute(
            f"CREATE FUNCTION cops_{table}_asker() RETURNS trigger LANGUAGE plpgsql {_path()} "
            f"AS $$ BEGIN {body} RETURN NEW; END $$"
        )
        verbs = "INSERT OR UPDATE" if table in _ASKED_ANEW else "INSERT"
        # triggers fire in the order of their names: this one before those that judge
        op.execute(
            f"CREATE TRIGGER {table}_a_asker BEFORE {verbs} ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION cops_{table}_asker()"
        )


def _append_only(table: str, is_postgresql: bool) -> None:
    if not is_postgresql:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY {table} takes no {verb}'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION cops_append_only()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION cops_append_only()"
    )
