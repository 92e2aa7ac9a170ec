"""Guards of every fact: every table says who may write what of it, and when (ADR 35).

All guards of earlier revisions are made anew from the table below, on both dialects.
"""

from __future__ import annotations

from alembic import op

from cops_dagster.stores.migrations import guards

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# --- what an UPDATE or DELETE may do -------------------------------------------------------------------

_INSERT_ONLY = (
    "adjustment", "adjustment_booking", "adjustment_effect", "alert_event", "alert_silence",
    "allocation_key_snapshot", "allocation_keys", "allocation_rule_date", "allocation_rules", "approval",
    "aws_invoices", "budget_history", "control_status", "cur_delivery", "cur_delivery_breakdown",
    "cur_delivery_file", "cur_delivery_hold", "cur_delivery_profile", "document_conflict", "evidence_index",
    "expected_cur_schema", "fx_rates", "invoice_detail", "lake_file", "notification_log",
    "period_lock_event", "plans", "policy", "publish_journal", "recon_run", "recon_run_bridge",
    "recon_run_statement", "recon_run_tenant", "run_reversal", "source_event",
)  # fmt: skip
"""Rows come; none changes, goes or is replaced."""

_STATE = {
    "account_tenants": ("effective_to", "tenant_id"),
    "alert_state": (
        "state", "severity", "episode", "step", "title", "measured", "detail", "next_step",
        "dagster_run_id", "since", "since_data", "fired_at", "resolved_at", "resolved_because",
        "last_data_at", "last_evaluated_at", "acked_by", "ack_expires_at",
    ),
    "allocation_run_log": (
        "status", "pool_total_usd", "allocated_total_usd", "unallocated_total_usd", "entry_count",
        "error_code", "error_detail", "evidence_id", "finished_at",
    ),
    "budgets": (
        "scope_type", "scope_value", "effective_from", "effective_to", "basis", "target_usd",
    ),
    "cur_ingestion_log": (
        "status", "rows_accepted", "rows_quarantined", "cost_accepted_usd", "cost_quarantined_usd",
        "error_code", "error_detail", "finished_at",
    ),
    "evidence_head": ("evidence_seq", "entry_hash"),
    "invoice_freeze": (
        "release_requested_by", "release_reason", "released_by", "released_at", "release_evidence_id",
    ),
    "outbox": ("delivered_at", "attempts", "last_error"),
    "period_head": ("run_id", "inputs_id", "journal_seq"),
    "period_lock": ("state", "state_seq", "seal_digest", "seal_journal_seq", "changed_at"),
    "recon_exceptions": (
        "decision", "evidence_id", "decided_by", "decided_at", "resolved_by", "resolved_at",
        "withdrawn_at",
    ),
    "tag_aliases": ("effective_to", "canonical"),
    "tenant_usage": ("value", "refreshed_at"),
    "tenants": ("name", "plan_id", "active_from", "active_to", "currency"),
}  # fmt: skip
"""Rows come, and these columns of them change; none goes or is replaced."""

_SHOWN = {"cur_billing_head": ("location_json",), "tag_coverage": ()}
"""What is shown of a month: rows come, change and go while the month is not sealed."""

_LOOKED_UP = (
    "active_cost_allocation_tag", "aws_budget", "budget_master", "cur_delivery_place", "foreign_export",
)  # fmt: skip
"""Copies of what is looked up or made anew, that no figure of a month is read from unproved."""

_COUNTED = {
    "alert_event": "alert_seq", "cur_ingestion_log": "log_seq", "invoice_freeze": "freeze_seq",
    "notification_log": "notification_seq", "outbox": "outbox_id", "publish_journal": "journal_seq",
    "recon_run": "recon_seq", "source_event": "event_seq",
}  # fmt: skip
"""Numbers that say what came first."""

# --- months ----------------------------------------------------------------------------------------------

_MONTH, _OLD_MONTH = "NEW.period_start", "OLD.period_start"
_SHUT = "E-PERIOD-CLOSED the period takes no entries"
_WRITABLE = guards.WRITABLE.format(month=_MONTH)
_SEALED = guards.SEALED.format(month=_MONTH)
_WAS_SEALED = guards.SEALED.format(month=_OLD_MONTH)

_OF_OPEN_MONTHS = (
    "adjustment_booking", "lake_file", "period_head", "publish_journal", "run_reversal", "tag_coverage",
)  # fmt: skip
"""What a run writes: only into months that take runs."""
_OF_UNSEALED_MONTHS = (
    "allocation_rule_date", "cur_billing_head", "recon_run", "recon_run_bridge", "recon_run_statement",
    "recon_run_tenant",
)  # fmt: skip
"""What a month is closed on: until its seal is being made."""

# --- further conditions ------------------------------------------------------------------------------------

_MOVES = (
    "open>delayed", "delayed>open", "open>provisional", "delayed>provisional", "provisional>delayed",
    "provisional>final", "final>provisional", "final>closing", "closing>final", "closing>closed",
)  # fmt: skip
_LEGAL = "NOT IN ({})".format(", ".join(f"'{move}'" for move in _MOVES))
_HEAD = (
    "(SELECT h.run_id FROM period_head h WHERE h.table_name = NEW.table_name "
    "AND h.period_start = NEW.period_start AND h.source_id = NEW.source_id)"
)
_HEAD_IN_JOURNAL = (
    "EXISTS (SELECT 1 FROM publish_journal j WHERE j.run_id = NEW.run_id AND j.table_name = NEW.table_name "
    "AND j.period_start = NEW.period_start AND j.source_id = NEW.source_id "
    "AND j.journal_seq = NEW.journal_seq AND j.inputs_id = NEW.inputs_id)"
)
_RUN_OF_THE_MONTH = (
    "EXISTS (SELECT 1 FROM publish_journal j WHERE j.run_id = NEW.run_id "
    "AND j.period_start = NEW.period_start{more})"
)
_FILES = "FROM lake_file f WHERE f.run_id = NEW.run_id"
_UNPUBLISHED = "E-UNPUBLISHED the journal has no such run"
_NEWEST_EVENT = (
    "coalesce((SELECT e.event FROM alert_event e WHERE e.fingerprint = NEW.fingerprint "
    "ORDER BY e.alert_seq DESC LIMIT 1), '')"
)
_LAST_ENTRY = "(SELECT {column} FROM evidence_index e ORDER BY e.evidence_seq DESC LIMIT 1)"
_HEAD_OF_CHAIN = (
    "EXISTS (SELECT 1 FROM evidence_index e WHERE e.evidence_seq = NEW.evidence_seq "
    "AND e.entry_hash = NEW.entry_hash "
    "AND e.evidence_seq = (SELECT max(n.evidence_seq) FROM evidence_index n))"
)
_FREEZE = (
    "NEW.document_type = 'invoice' AND NEW.corrects_invoice_id IS NULL AND EXISTS "
    "(SELECT 1 FROM invoice_freeze f WHERE f.released_at IS NULL AND f.period_start <= NEW.period_start)"
)
_IS_CLOSER = (
    "EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'cops_closer') "
    "AND NOT pg_has_role(current_user, 'cops_closer', 'MEMBER')"
)


def upgrade() -> None:
    """Takes the guards of earlier revisions away and makes them all."""
    op.create_index("ix_publish_journal_inputs_id", "publish_journal", ["inputs_id"])
    every = (*_INSERT_ONLY, *_STATE, *_SHOWN, *_LOOKED_UP)
    guards.drop_every(every)
    if guards.is_postgresql():
        guards.append_only_function()
    guards.insert_only(*_INSERT_ONLY)
    guards.never("expected_cur_schema", "INSERT")  # a revision that adds columns makes this guard anew
    for table, columns in (_STATE | _SHOWN).items():
        guards.changes_only(table, *columns)
        guards.never_replaced(table)
        guards.never_emptied(table)
    for table in _STATE:
        guards.never(table, "DELETE")
    for table in _LOOKED_UP:
        guards.never_emptied(table)
    for table, column in _COUNTED.items():
        guards.counted(table, column)
    _of_conversions()
    _of_months()
    _of_runs()
    _of_the_lock()
    _of_parts()
    _of_the_chain()
    _of_what_ends()


def _of_conversions() -> None:
    """What is read instead of a delivered file: what the chain knows as made of it, and nothing elsewhere."""
    table = "cur_read_file"
    guards.never(table, "UPDATE")
    guards.never_emptied(table)
    guards.never_replaced(table)
    guards.refuse(
        table, "proved", "INSERT",
        "NOT EXISTS (SELECT 1 FROM evidence_index e WHERE e.kind = 'conversion'"
        " AND e.subject_id = NEW.delivery_id || '/' || CAST(NEW.position AS TEXT) || '/' || NEW.sha256)",
        "E-CONVERSION the chain knows no such conversion",
    )  # fmt: skip
    guards.refuse(
        table, "own", "INSERT",
        "NEW.path NOT LIKE 'converted/%' OR NEW.path LIKE 'converted/%/%' OR NEW.path LIKE '%..%'",
        "E-CONVERSION a conversion lies in the folder of conversions",
    )  # fmt: skip


def _of_months() -> None:
    for table in _OF_OPEN_MONTHS:
        guards.refuse(table, "open", "INSERT", f"NOT {_WRITABLE}", _SHUT, month=_MONTH)
    for table in _OF_UNSEALED_MONTHS:
        guards.refuse(table, "unsealed", "INSERT", _SEALED, _SHUT, month=_MONTH)
    guards.refuse("period_head", "moves_open", "UPDATE", f"NOT {_WRITABLE}", _SHUT, month=_MONTH)
    guards.refuse("tenant_usage", "unsealed", "UPDATE", _WAS_SEALED, _SHUT, month=_OLD_MONTH)
    guards.refuse("cur_billing_head", "stays", "DELETE", _WAS_SEALED, _SHUT, month=_OLD_MONTH)
    guards.refuse("tag_coverage", "stays", "DELETE", _WAS_SEALED, _SHUT, month=_OLD_MONTH)
    # the close itself says that the delivered bytes are read from the evidence store now
    guards.refuse(
        "cur_billing_head", "unclosed", "UPDATE", guards.CLOSED.format(month=_OLD_MONTH), _SHUT,
        month=_OLD_MONTH,
    )  # fmt: skip
    # a note (no stage) explains a closed month; what a reconciliation found stays with it
    for name, event in (("unsealed", "INSERT"), ("stays", "UPDATE")):
        guards.refuse(
            "recon_exceptions", name, event, f"NEW.stage IS NOT NULL AND {_SEALED}", _SHUT, month=_MONTH
        )
    guards.refuse(
        "adjustment", "of_closed", "INSERT",
        f"NOT {guards.CLOSED.format(month='NEW.usage_period_start')}",
        "E-PERIOD-OPEN adjustments are for closed months", month="NEW.usage_period_start",
    )  # fmt: skip


def _of_runs() -> None:
    guards.refuse(
        "publish_journal", "head", "INSERT", f"NEW.predecessor_run_id IS DISTINCT FROM {_HEAD}",
        "E-SUPERSEDED the run was planned over another head",
    )  # fmt: skip
    sums = f"NEW.row_count <> (SELECT coalesce(sum(f.row_count), 0) {_FILES})"
    if guards.is_postgresql():  # SQLite holds amounts as text and sums none
        sums += f" OR NEW.cost_usd <> (SELECT coalesce(sum(f.cost_usd), 0) {_FILES})"
    guards.refuse(
        "publish_journal", "whole", "INSERT",
        f"{sums} OR EXISTS (SELECT 1 {_FILES} AND (f.table_name <> NEW.table_name "
        "OR f.period_start <> NEW.period_start))",
        "E-UNPUBLISHED a run is published with all of its files",
    )  # fmt: skip
    for name, event in (("published", "INSERT"), ("forward", "UPDATE")):
        back = " OR NEW.journal_seq <= OLD.journal_seq" if event == "UPDATE" else ""
        guards.refuse(
            "period_head", name, event, f"NOT {_HEAD_IN_JOURNAL}{back}",
            "E-UNPUBLISHED a head moves to a newer run of the journal",
        )  # fmt: skip
    booking = " AND j.table_name = 'fact_cost_adjustment' AND j.inputs_id = NEW.adjustment_id"
    for table, more in (("tag_coverage", ""), ("run_reversal", ""), ("adjustment_booking", booking)):
        guards.refuse(
            table, "published", "INSERT", f"NOT {_RUN_OF_THE_MONTH.format(more=more)}", _UNPUBLISHED
        )
    # what is to be projected, by run; that checks were asked (ADR 39) is no run's, and done when it is said
    guards.refuse(
        "outbox", "published", "INSERT",
        "NEW.topic NOT LIKE 'checks %' AND (NEW.delivered_at IS NOT NULL OR NEW.attempts <> 0 "
        "OR EXISTS (SELECT 1 FROM outbox o WHERE o.journal_seq = NEW.journal_seq) "
        "OR NOT EXISTS (SELECT 1 FROM publish_journal j WHERE j.journal_seq = NEW.journal_seq)) "
        "OR NEW.topic LIKE 'checks %' AND (NEW.delivered_at IS NULL OR NEW.journal_seq <> 0 "
        "OR EXISTS (SELECT 1 FROM outbox o WHERE o.topic = NEW.topic))",
        _UNPUBLISHED,
    )  # fmt: skip
    guards.refuse(
        "outbox", "tried", "UPDATE", "NEW.attempts <> OLD.attempts + 1",
        "E-APPEND-ONLY every attempt to deliver counts",
    )  # fmt: skip
    guards.refuse(
        "allocation_key_snapshot", "complete", "INSERT",
        "EXISTS (SELECT 1 FROM publish_journal j WHERE j.inputs_id = NEW.inputs_id)",
        "E-APPEND-ONLY the keys of a published run are complete",
    )  # fmt: skip
    guards.refuse(
        "policy", "next", "INSERT",
        "NEW.policy_version <> (SELECT coalesce(max(p.policy_version), 0) + 1 FROM policy p)",
        "E-APPEND-ONLY policy takes its next version and no other",
    )  # fmt: skip


def _of_the_lock() -> None:
    table, event = "period_lock", "period_lock_event"
    told = (
        f"EXISTS (SELECT 1 FROM {event} e WHERE e.period_start = NEW.period_start "
        "AND e.state_seq = NEW.state_seq AND e.to_state = NEW.state AND e.from_state {before})"
    )
    guards.refuse(
        table, "begins", "INSERT",
        "NEW.state NOT IN ('open','delayed') OR NEW.state_seq <> 1 "
        "OR NEW.seal_digest IS NOT NULL OR NEW.seal_journal_seq IS NOT NULL",
        "E-PERIOD-STATE a period begins open or delayed",
    )  # fmt: skip
    guards.refuse(
        table, "moves", "UPDATE",
        f"NEW.state_seq <> OLD.state_seq + 1 OR OLD.state || '>' || NEW.state {_LEGAL}",
        "E-PERIOD-STATE no such move, and never out of closed",
    )  # fmt: skip
    for name, when in (("told", "INSERT"), ("move_told", "UPDATE")):
        before = "IS NULL" if when == "INSERT" else "= OLD.state"
        guards.refuse(
            table, name, when, f"NOT {told.format(before=before)}",
            "E-PERIOD-STATE a period moves after the event that says who moved it and why",
        )  # fmt: skip
    newest = "(SELECT max(j.journal_seq) FROM publish_journal j WHERE j.period_start = NEW.period_start)"
    sealed = (
        "EXISTS (SELECT 1 FROM evidence_index e WHERE e.kind = 'seal' AND e.subject_type = 'period' "
        "AND e.subject_id = substr(CAST(NEW.period_start AS text), 1, 7) AND e.sha256 = NEW.seal_digest)"
    )
    guards.refuse(
        table, "sealed", "UPDATE",
        "OLD.state = 'closing' AND NEW.state = 'closed' "
        f"AND (NEW.seal_journal_seq IS DISTINCT FROM {newest} OR NOT {sealed}) "
        "OR OLD.state <> 'closed' AND NEW.state <> 'closed' "
        "AND (NEW.seal_digest IS NOT NULL OR NEW.seal_journal_seq IS NOT NULL)",
        "E-SEAL a period closes with the seal that its evidence holds, and no other state has one",
    )  # fmt: skip
    here = f"(SELECT l.{{}} FROM {table} l WHERE l.period_start = NEW.period_start)"
    guards.refuse(
        event, "follows", "INSERT",
        f"NEW.state_seq <> coalesce({here.format('state_seq')}, 0) + 1 "
        f"OR NEW.from_state IS DISTINCT FROM {here.format('state')} "
        "OR NEW.from_state IS NULL AND NEW.to_state NOT IN ('open','delayed') "
        f"OR NEW.from_state IS NOT NULL AND NEW.from_state || '>' || NEW.to_state {_LEGAL}",
        "E-PERIOD-STATE an event tells the next move of its period, and never one out of closed",
    )  # fmt: skip
    guards.at_the_end(
        event, "moved",
        f"coalesce({here.format('state_seq')}, 0) < NEW.state_seq",
        "E-PERIOD-STATE an event without the move that it tells",
    )  # fmt: skip
    if guards.is_postgresql():
        # only where the roles of deploy/postgresql/roles.sql exist: a database without them has one user
        for where, which, column in ((table, "UPDATE", "state"), (event, "INSERT", "to_state")):
            guards.refuse(
                where, "closer", which, f"NEW.{column} IN ('closing','closed') AND {_IS_CLOSER}",
                "E-ROLE only a member of cops_closer closes a period", as_caller=True,
            )  # fmt: skip


def _of_parts() -> None:
    guards.whole(
        "publish_journal", "lake_file", "run_id",
        message="E-UNPUBLISHED the files of a run come with its journal row, and none later",
    )  # fmt: skip
    for part in ("cur_delivery_file", "cur_delivery_profile", "cur_delivery_breakdown"):
        guards.whole(
            "cur_delivery", part, "delivery_id",
            message="E-APPEND-ONLY what was found of a delivery comes with it, and nothing later",
        )  # fmt: skip
    guards.whole(
        "adjustment", "adjustment_effect", "adjustment_id",
        message="E-APPEND-ONLY the effects of an adjustment come with it, and none later",
    )  # fmt: skip
    newest = (
        "EXISTS (SELECT 1 FROM recon_run r WHERE r.recon_seq = NEW.recon_seq "
        "AND r.period_start = NEW.period_start) "
        "AND NOT EXISTS (SELECT 1 FROM recon_run r WHERE r.recon_seq > NEW.recon_seq)"
    )
    message = "E-APPEND-ONLY the lines of a reconciliation come with it, and none later"
    for part in ("recon_run_tenant", "recon_run_statement", "recon_run_bridge"):
        guards.refuse(part, "newest", "INSERT", f"NOT ({newest})", message)
        guards.at_the_end(
            part, "belongs",
            "NOT EXISTS (SELECT 1 FROM recon_run r WHERE r.recon_seq = NEW.recon_seq "
            "AND r.xmin = pg_current_xact_id()::xid)",
            message,
        )  # fmt: skip


def _of_the_chain() -> None:
    last = {name: _LAST_ENTRY.format(column=f"e.{name}") for name in ("evidence_seq", "entry_hash")}
    guards.refuse(
        "evidence_index", "next", "INSERT",
        f"NEW.evidence_seq <> coalesce({last['evidence_seq']}, 0) + 1 "
        f"OR NEW.prev_hash IS DISTINCT FROM {last['entry_hash']} "
        f"OR (SELECT h.entry_hash FROM evidence_head h WHERE h.head_id = 1) IS DISTINCT FROM "
        f"{last['entry_hash']}",
        "E-APPEND-ONLY the chain of evidence goes on at its end",
    )  # fmt: skip
    message = "E-APPEND-ONLY the head of the chain is its newest entry"
    guards.refuse("evidence_head", "newest", "INSERT", f"NEW.head_id <> 1 OR NOT {_HEAD_OF_CHAIN}", message)
    guards.refuse(
        "evidence_head", "forward", "UPDATE",
        f"NEW.evidence_seq <= OLD.evidence_seq OR NOT {_HEAD_OF_CHAIN}", message,
    )  # fmt: skip
    guards.at_the_end(
        "evidence_index", "headed",
        "NOT EXISTS (SELECT 1 FROM evidence_head h WHERE h.head_id = 1 "
        "AND h.evidence_seq >= NEW.evidence_seq)",
        message,
    )  # fmt: skip


def _of_what_ends() -> None:
    ended = "E-APPEND-ONLY an ended attempt stays as it is"
    for log in ("allocation_run_log", "cur_ingestion_log"):
        guards.refuse(log, "ended", "UPDATE", "OLD.status <> 'running'", ended)
    guards.refuse(
        "allocation_run_log", "begins", "INSERT", "NEW.status <> 'running'",
        "E-APPEND-ONLY an attempt begins before it ends",
    )  # fmt: skip
    guards.refuse(
        "cur_ingestion_log", "begins", "INSERT", "NEW.status = 'succeeded'",
        "E-APPEND-ONLY an attempt begins before it succeeds",
    )  # fmt: skip
    published = (
        "EXISTS (SELECT 1 FROM publish_journal j WHERE j.run_id = NEW.run_id "
        "AND j.period_start = NEW.period_start)"
    )
    guards.refuse(
        "allocation_run_log", "published", "UPDATE", f"NEW.status = 'published' AND NOT {published}",
        _UNPUBLISHED,
    )  # fmt: skip
    decided = " OR ".join(
        f"OLD.{name} IS DISTINCT FROM NEW.{name}"
        for name in (
            "decision", "evidence_id", "decided_by", "decided_at", "resolved_by", "resolved_at",
        )
    )  # fmt: skip
    guards.refuse(
        "recon_exceptions", "resolved", "UPDATE",
        f"OLD.resolved_at IS NOT NULL AND (OLD.withdrawn_at IS NOT NULL OR {decided})",
        "E-APPEND-ONLY a resolved exception stays as it is",
    )  # fmt: skip
    guards.refuse(
        "invoice_freeze", "released", "UPDATE", "OLD.released_at IS NOT NULL",
        "E-APPEND-ONLY a freeze is released once, and nothing else of it changes",
    )  # fmt: skip
    guards.refuse(
        "invoice_freeze", "begins", "INSERT", "NEW.released_at IS NOT NULL OR NEW.released_by IS NOT NULL",
        "E-APPEND-ONLY a freeze begins unreleased",
    )  # fmt: skip
    guards.refuse(
        "invoice_detail", "frozen", "INSERT", _FREEZE,
        "E-FREEZE new invoices of this month and later are frozen",
    )  # fmt: skip
    guards.refuse(
        "alert_silence", "never_p1", "INSERT", "NEW.severity = 'P1' OR NEW.ends_at <= NEW.starts_at",
        "E-ALERT-SILENCE a P1 is never silenced",
    )  # fmt: skip
    acknowledged = (
        "NEW.acked_by IS NOT NULL AND (NEW.acked_by IS DISTINCT FROM OLD.acked_by "
        "OR NEW.ack_expires_at IS DISTINCT FROM OLD.ack_expires_at)"
    )
    step = "CASE NEW.state WHEN 'inactive' THEN 'cleared' ELSE NEW.state END"
    guards.refuse(
        "alert_state", "told", "UPDATE",
        "NEW.episode <> OLD.episode AND NOT "
        "(OLD.state <> 'firing' AND NEW.state = 'firing' AND NEW.episode = OLD.episode + 1) "
        f"OR NEW.state <> OLD.state AND {_NEWEST_EVENT} <> {step} "
        "OR NEW.state = 'firing' AND OLD.state = 'firing' AND NEW.severity <> OLD.severity "
        f"AND {_NEWEST_EVENT} NOT IN ('escalated','de-escalated') "
        f"OR {acknowledged} AND {_NEWEST_EVENT} <> 'acknowledged'",
        "E-APPEND-ONLY an alert moves after the event that says who moved it and why",
    )  # fmt: skip
