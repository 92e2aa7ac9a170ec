"""The preventive controls: the playbook's six, and two that hold the proof against the books, each hour.

Belongs here: measuring each control and recording the outcome in `control_status`, with the alert of one
that does not hold. What cannot be measured is `unknown`, never ok. Does not belong here: the schedule
(`graph/schedules.py`), what is proved and how (`closing/proof.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from cops_dagster.alerts import board, escalation
from cops_dagster.alerts.board import judged_at
from cops_dagster.allocation import checks
from cops_dagster.clocks import APART, is_within
from cops_dagster.closing import periods, proof
from cops_dagster.errors import CopsError
from cops_dagster.evidence import verify
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.evidence.chain import anchor_news
from cops_dagster.evidence.standing import Finding
from cops_dagster.ingestion import claims
from cops_dagster.ledger.books import Books
from cops_dagster.operations import starved
from cops_dagster.operations.checks import budgets
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.tagging import tag

Status = Literal["ok", "warning", "failed", "unknown"]

CRAWL_WITHIN = timedelta(hours=25)
"""A daily crawler, and an hour for it to be late."""
CLOSE_WITHIN = timedelta(days=10)
"""How long a month may be final before somebody should close it."""
MESSAGES_WITHIN = timedelta(days=1)
UNDELIVERED_AFTER = timedelta(hours=1)
"""How long a message may be refused before that is a fault of its own."""
WHOLE_EVERY = timedelta(hours=23)
"""How long closed months that were found as sealed are looked at by their rows alone: a day, run early."""

_ALERTED_ELSEWHERE = ("tag_coverage_at_100",)
"""The check's alert waits for 24 h of data (P3); the control would not, and would say it twice."""


@dataclass(frozen=True)
class Control:
    """One control as judged: what should be, what is, what shows it, how old that is, whose it is."""

    control: str
    status: Status
    target: str
    measured: str
    evidence: str
    measured_at: datetime | None
    owner: str
    next_step: str


def evaluate(books: Books) -> list[Control]:
    """Judges every control and records it, with alerts for those that do not hold."""
    require_policy(books)
    at = now()
    periods.mark_late(books, at)
    found = [judged(books, at) for judged in _CONTROLS]
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.control_status), [asdict(control) | {"evaluated_at": at} for control in found]
        )
        board.observe(
            con,
            [
                escalation.of_control(
                    one.control,
                    one.status,
                    at,
                    target=one.target,
                    measured=one.measured,
                    next_step=one.next_step,
                )
                for one in found
                if one.control not in _ALERTED_ELSEWHERE
            ],
            actor=books.actor,
            at=at,
        )
    return found


def newest(con: sa.Connection, at: datetime | None = None) -> list[Any]:
    """The last evaluation of every control, in the playbook's order; by default as of now."""
    controls = t.control_status
    last = judged_at(con, at or now())
    rows = con.execute(sa.select(controls).where(controls.c.evaluated_at == last)).all() if last else []
    return sorted(rows, key=lambda row: NAMES.index(row.control) if row.control in NAMES else len(NAMES))


def _crawler(books: Books, at: datetime) -> Control:
    name = books.settings.controls.crawler
    made = _made("glue_crawler_succeeded_daily", "daily", "data engineering")
    if not name:
        return made(
            "unknown",
            "no crawler is set",
            "[controls] crawler",
            None,
            "set it if Athena reads a crawled table; COPS itself reads manifests",
        )
    from cops_dagster.stores.aws import glue

    restart = "cops crawler start"
    try:
        seen = glue.crawler(name)
    except CopsError as problem:
        return made("unknown", f"{problem.code}: {problem.found}", name, None, problem.next_step)
    started = seen.last_started_at
    told = f"last crawl {seen.last_status or 'never'}" + (
        f" at {started:%Y-%m-%d %H:%M} UTC" if started else ""
    )
    if started is None or seen.last_status != "SUCCEEDED":
        return made("failed", told, name, started, restart)
    return made("ok" if is_within(started, CRAWL_WITHIN, at) else "failed", told, name, started, restart)


def _delivery(books: Books, at: datetime) -> Control:
    hours = books.policy.controls.delivery_lag_hours
    made = _made("cur_delivered_within_48h", f"< {hours} h", "data engineering")
    deliveries = t.cur_delivery
    # a file may name any time, but what was seen was there
    seen = sa.case(
        (deliveries.c.delivered_at < deliveries.c.first_seen_at, deliveries.c.delivered_at),
        else_=deliveries.c.first_seen_at,
    )
    with books.admin.read() as con:
        away = claims.retired_in(con, Period.of(at.date()))
        rows = [
            row
            for row in con.execute(
                sa.select(deliveries.c.source_id, sa.func.max(seen).label("at")).group_by(
                    deliveries.c.source_id
                )
            )
            if row.source_id not in away
        ]
    if not rows:
        return made("unknown", "no delivery seen yet", "cur_delivery", None, "cops status")
    oldest = min([row for row in rows if row.at > at + APART] or rows, key=lambda row: row.at)
    age = at - oldest.at
    return made(
        "ok" if is_within(oldest.at, timedelta(hours=hours), at) else "failed",
        f"{oldest.source_id}: {_ago(age)}",
        "cur_delivery",
        oldest.at,
        "cops docs cur-ingestion; cops period mark-delayed PERIOD --reason …",
    )


def _coverage(books: Books, at: datetime) -> Control:
    made = _made("tag_coverage_at_100", f"{books.policy.coverage.target_pct:f} %", "platform")
    coverage = t.tag_coverage
    with books.admin.read() as con:
        row = con.execute(sa.select(coverage).order_by(coverage.c.period_start.desc()).limit(1)).one_or_none()
    if row is None or row.coverable_usd == 0:
        return made("unknown", "nothing to cover yet", "tag_coverage", None, "cops status")
    judged = tag.covered(books.policy, tag.coverage_of(row))
    status: Status = "ok" if judged.passed else "warning" if judged.severity == "WARN" else "failed"
    return made(
        status,
        f"{row.tag_coverage_pct.normalize():f} % of {row.period_start:%Y-%m}",
        "tag_coverage",
        row.measured_at,
        "cops docs tag-strategy; cops sql -q 'SELECT * FROM missing_tenant_tags'",
    )


def _keys(books: Books, at: datetime) -> Control:
    made = _made("allocation_keys_fresh_24h", "< 24 h", "platform")
    usage, allocation_keys = t.tenant_usage, t.allocation_keys
    with books.admin.read() as con:
        period = _newest_allocated(con)
        keys = con.execute(sa.select(allocation_keys)).all()
        refreshed = dict(
            con.execute(
                sa.select(usage.c.measure, sa.func.max(usage.c.refreshed_at))
                .where(usage.c.period_start == (period.start if period else None))
                .group_by(usage.c.measure)
            ).all()
        )
        silent = starved.told(con, period) if period else ""
    if period is None or not keys:
        return made("unknown", "no usage key is in use", "tenant_usage", None, "cops status")
    used = {row.key_name: refreshed.get(row.measure) for row in keys}
    verdict = checks.keys_fresh(period, used, {row.key_name: row.max_age_hours for row in keys})
    stale = verdict.figures["stale"]
    assert isinstance(stale, list)
    known = [moment for moment in used.values() if moment is not None]
    return made(
        "ok" if verdict.passed else "failed",
        f"{len(used) - len(stale)} of {len(used)} keys of {period} fresh"
        + (f"; stale: {', '.join(str(one['key_name']) for one in stale)}" if stale else "")
        + (f"; no figures of {silent}" if silent else ""),
        "tenant_usage",
        min(known, default=None),
        "cops docs allocation-rules: reload the usage files, then cops allocate PERIOD",
    )


def _budgets(books: Books, at: datetime) -> Control:
    made = _made("budgets_refreshed_and_alerts_delivered", "daily 04:00 UTC, messages accepted", "finance")
    verdict = budgets(books)[0]
    with books.admin.read() as con:
        oldest = con.execute(sa.select(sa.func.min(t.budget_master.c.last_refreshed_at))).scalar_one_or_none()
        accepted, refused = _messages(con, at)
    told = f"oldest refresh {verdict.figures['oldest_refresh_utc']}; {accepted} message(s) accepted in 24 h"
    if refused:
        return made(
            "failed",
            f"{told}; not accepted by {', '.join(refused)}",
            "notification_log",
            oldest,
            "cops alerts test",
        )
    if verdict.passed is None:
        return made("unknown", f"no budget is loaded; {told}", "budget_master", oldest, "load budgets.csv")
    return made(
        "ok" if verdict.passed else "failed",
        told,
        "budget_master, notification_log",
        oldest,
        "cops budgets refresh",
    )


def _messages(con: sa.Connection, at: datetime) -> tuple[int, list[str]]:
    """Messages accepted within a day, and receivers whose newest answers are refusals for over an hour."""
    notifications = t.notification_log
    rows = con.execute(
        sa.select(notifications.c.receiver, notifications.c.status, notifications.c.sent_at)
        .where(notifications.c.sent_at >= at - MESSAGES_WITHIN)
        .order_by(notifications.c.notification_seq)
    ).all()
    since: dict[str, datetime] = {}
    for row in rows:
        if row.status == "accepted":
            since.pop(row.receiver, None)
        else:
            since.setdefault(row.receiver, row.sent_at)
    refused = sorted(name for name, first in since.items() if first > at or at - first >= UNDELIVERED_AFTER)
    return sum(row.status == "accepted" and row.sent_at <= at for row in rows), refused


def _locks(books: Books, at: datetime) -> Control:
    made = _made("closed_periods_stay_locked", "closed after final, nothing posted behind a seal", "finance")
    locks, journal = t.period_lock, t.publish_journal
    with books.admin.read() as con:
        states = con.execute(sa.select(locks)).all()
        newest = dict(
            con.execute(
                sa.select(journal.c.period_start, sa.func.max(journal.c.journal_seq))
                .where(journal.c.table_name != "fact_cost_adjustment")
                .group_by(journal.c.period_start)
            ).all()
        )
    closed = [row for row in states if row.state == "closed"]
    behind = [row for row in closed if newest.get(row.period_start, 0) > (row.seal_journal_seq or 0)]
    if behind:
        return made(
            "failed",
            f"posted behind the seal: {_months(behind)}",
            "publish_journal",
            at,
            "stop: cops evidence verify; keep everything as it is",
        )
    waiting = [
        row for row in states if row.state == "final" and not is_within(row.changed_at, CLOSE_WITHIN, at)
    ]
    if waiting:
        return made(
            "warning",
            f"final and not closed: {_months(waiting)}",
            "period_lock",
            min(row.changed_at for row in waiting),
            f"cops close {_months(waiting).split(',')[0]} --dry-run",
        )
    return made("ok", f"{len(closed)} month(s) closed, none changed since", "period_lock", at, "nothing")


def _seals(books: Books, at: datetime) -> Control:
    """Every closed month anew from database and lake once a day, the rows that name its files each hour.

    What was not as sealed is computed anew each hour, until it is. `measured_at` is the last whole look.
    """
    made = _made(SEALS, "as sealed: rows and files daily, what names the files hourly", "finance")
    with books.admin.read() as con:
        last = next((row for row in newest(con) if row.control == SEALS), None)
    held = last.measured_at if last is not None and last.status == "ok" else None
    if held is not None and is_within(held, WHOLE_EVERY, at):
        months, chain, looked_at = proof.rows_of_closed_months(books), [], held
    else:
        months, chain = proof.closed_months(books), verify.verify(books, objects_too=False).findings
        chain, looked_at = [*chain, *proof.decisions(books), *proof.loads(books)], at
    anchor = _anchored(books)
    wrong = [*chain, *(one for month in months for one in month.findings), *anchor]
    told = [one for month in months for one in month.warnings]
    closed = len({month.period for month in months})
    if wrong:
        return made("failed", _told(wrong), "period_lock, lake_file, evidence_index", looked_at, VERIFY)
    if told:
        return made("warning", _told(told), "period_lock, lake_file, evidence_index", looked_at, VERIFY)
    return made(
        "ok", f"{closed} month(s) as sealed", "period_lock, lake_file, evidence_index", looked_at, "nothing"
    )


def _anchored(books: Books) -> list[Finding]:
    """The chain's head is written down outside the database by now; why not, if it cannot be."""
    try:
        anchor_news(books)
    except CopsError as problem:
        return [Finding(0, problem.subject, problem.expected, f"{problem.code}: {problem.found}")]
    return []


def _guards(books: Books, at: datetime) -> Control:
    made = _made(GUARDS, "those that the migrations make", "platform")
    wrong = proof.guard_findings(books, thorough=False)
    if wrong:
        return made("failed", _told(wrong), "the database's catalogue", at, VERIFY)
    return made("ok", "all of them, none else", "the database's catalogue", at, "nothing")


def _told(found: list[Finding]) -> str:
    first, rest = found[0], len(found) - 1
    return f"{first.what}: expected {first.expected}, found {first.found}" + (
        f"; and {rest} more" if rest else ""
    )


VERIFY = "stop: cops evidence verify; keep everything as it is"


def _ago(age: timedelta) -> str:
    hours = abs(age).total_seconds() / 3600
    told = f"{hours:.1f} h" if hours < 72 else f"{abs(age).days} days"
    return f"{told} ago" if age >= -APART else f"{told} ahead of this clock"


def _months(rows: list[Any]) -> str:
    return ", ".join(sorted(f"{row.period_start:%Y-%m}" for row in rows))


def _newest_allocated(con: sa.Connection) -> Period | None:
    heads = t.period_head
    start = con.execute(
        sa.select(sa.func.max(heads.c.period_start)).where(heads.c.table_name == "fact_cost_allocated")
    ).scalar_one_or_none()
    return Period.of(start) if start else None


def _made(
    control: str, target: str, owner: str
) -> Callable[[Status, str, str, datetime | None, str], Control]:
    def made(
        status: Status, measured: str, evidence: str, measured_at: datetime | None, next_step: str
    ) -> Control:
        return Control(control, status, target, measured, evidence, measured_at, owner, next_step)

    return made


_CONTROLS: tuple[Callable[[Books, datetime], Control], ...] = (
    _crawler, _delivery, _coverage, _keys, _budgets, _locks, _seals, _guards,
)  # fmt: skip
SEALS, GUARDS = "closed_months_match_their_seals", "guards_are_as_migrations_made_them"
NAMES = (
    "glue_crawler_succeeded_daily", "cur_delivered_within_48h", "tag_coverage_at_100",
    "allocation_keys_fresh_24h", "budgets_refreshed_and_alerts_delivered", "closed_periods_stay_locked",
    SEALS, GUARDS,
)  # fmt: skip
"""The controls in the playbook's order, then those of the proof."""
