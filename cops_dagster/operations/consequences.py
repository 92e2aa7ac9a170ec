"""What the checks of a month say, kept in step with what the month is made of.

A publication observes its own verdicts in its transaction (`ledger/publish.py`). The checks that read what
was published come after it; that they were asked is recorded with what they said, in one transaction, under a
digest of what they were asked about. So "not asked yet" is never taken for "none": whoever comes next, a run,
a command or the sweep, asks what a crash left unasked.

Belongs here: which asset has which judge, asking and recording, what of a month does not hold now. Does not
belong here: when a check holds (`ingestion/verdicts.py`), what becomes of an alert (`alerts/lifecycle.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from cops_dagster.alerts import board, escalation
from cops_dagster.alerts.lifecycle import Alert
from cops_dagster.allocation.checks import allocated, keys
from cops_dagster.allocation.verdicts import USAGE_DAYS_COME_IN_TIME
from cops_dagster.closing import current, periods
from cops_dagster.errors import CopsError
from cops_dagster.ingestion.checks import delivery, quarantined, raw
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.operations import all_checks, budgets, checks, handed_out
from cops_dagster.period import Period
from cops_dagster.reconciliation.checks import earned, of_newest, reconciled
from cops_dagster.reconciliation.record import newest
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.tagging.checks import tagged
from cops_dagster.verdict import Check, Verdict

JUDGES: dict[str, Callable[[Books, Period], Sequence[Verdict]]] = {
    "cur_billing_master": delivery,
    "fact_cost_raw": raw,
    "cur_quarantine": quarantined,
    "fact_cost_tagged": tagged,
    "allocation_key_snapshot": keys,
    "fact_cost_allocated": allocated,
    "recon_summary": reconciled,
    "margin": earned,
    "budget_master": lambda books, _: checks.budgets(books),
    "focus_export": handed_out.exports,
}
"""Asset → who asks its checks, in the order of the month."""

_MADE_OF: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "fact_cost_raw": (("fact_cost_raw",), ()),
    "cur_quarantine": (("fact_cost_raw",), ()),
    "fact_cost_tagged": (("fact_cost_tagged",), ("fact_cost_tagged",)),
    "allocation_key_snapshot": (("fact_cost_tagged",), ("fact_cost_allocated",)),
    "fact_cost_allocated": (("fact_cost_allocated",), ("fact_cost_allocated",)),
    "budget_master": (("fact_cost_allocated",), ()),
}
"""Asset → the tables of its month, and of the month before, whose runs its checks are about."""

_TOPIC = "checks"
MONTHS_AT_ONCE = 3
"""Months that one sweep asks about: a sensor's tick has a minute."""
RUNNING_FOR = timedelta(minutes=2)
"""So long after a publication its own run may still come to ask."""


def record(books: Books, period: Period, asset: str) -> Sequence[Verdict]:
    """Asks an asset's checks, and records what they said and that they were asked."""
    at = now()
    with books.admin.read() as con:
        topic = _topics(con, books, period).get(asset)
    verdicts = JUDGES[asset](books, period)
    with books.admin.write() as con:
        board.judged(con, books, period, verdicts, at=at)
        _asked(con, topic, at)
    return verdicts


def _asked(con: sa.Connection, topic: str | None, at: datetime) -> None:
    outbox = t.outbox
    if (
        topic
        and not con.execute(sa.select(outbox.c.outbox_id).where(outbox.c.topic == topic).limit(1)).first()
    ):
        con.execute(
            sa.insert(outbox).values(topic=topic, journal_seq=0, created_at=at, delivered_at=at, attempts=1)
        )


def _topics(con: sa.Connection, books: Books, period: Period) -> dict[str, str]:
    """Per asset that can be judged what its checks are about: a name that changes with it."""
    period_head, before = t.period_head, period.previous()
    heads: dict[tuple[Period, str], list[tuple[str, str]]] = {}
    for row in con.execute(
        sa.select(
            period_head.c.period_start,
            period_head.c.table_name,
            period_head.c.source_id,
            period_head.c.run_id,
        )
        .where(period_head.c.period_start.in_((period.start, before.start)))
        .order_by(period_head.c.table_name, period_head.c.source_id)
    ):
        heads.setdefault((Period.of(row.period_start), row.table_name), []).append(
            (row.source_id, row.run_id)
        )
    about: dict[str, Any] = {
        asset: [heads.get((period, name)) for name in own] + [heads.get((before, name)) for name in earlier]
        for asset, (own, earlier) in _MADE_OF.items()
        if all((period, name) in heads for name in own)
    }
    if shown := [(row.source_id, row.delivery_id) for row in month.shown(con, period)]:
        about["cur_billing_master"] = shown
    recon = newest(con, period)
    if recon is not None:
        about["recon_summary"] = about["margin"] = recon.recon_id
    if exported := handed_out.newest(con, period):
        changed = (handed_out.changed_at(con, period), handed_out.document_at(con, period))
        about["focus_export"] = (sorted(row.export_seq for row in exported), *changed)
    version = books.adopted.version if books.adopted else 0
    return {
        asset: f"{_TOPIC} {asset} {period} {digest(_TOPIC, asset, str(period), version, about[asset])[:32]}"
        for asset in JUDGES
        if asset in about
    }


def unasked(con: sa.Connection, books: Books, period: Period) -> list[str]:
    """Assets whose checks nobody asked since what they are about changed; of a closed month none."""
    if lock.is_sealed(con, period):
        return []
    topics, outbox = _topics(con, books, period), t.outbox
    known = set(
        con.execute(sa.select(outbox.c.topic).where(outbox.c.topic.in_(sorted(topics.values())))).scalars()
    )
    return [asset for asset, topic in topics.items() if topic not in known]


def settle(books: Books, period: Period) -> list[str]:
    """Asks what was left unasked about a month; the assets that were.

    Raises:
        CopsError: why a judge cannot read what was published. What was recorded before stays.
    """
    with books.admin.read() as con:
        left = unasked(con, books, period)
        made = of_newest(con, period)
    for asset in left:
        if asset == "budget_master":
            budgets.refresh(books)  # whoever allocated may have died before it measured them
        try:
            record(books, period, asset)
        except CopsError:
            if asset != "cur_billing_master":  # its place may be gone: `every_source_has_its_place` says so
                raise
    if _is_news(books, period, made):  # people decided on exceptions since
        with books.admin.write() as con:
            board.judged(con, books, period, of_newest(con, period))
    return left


def _is_news(books: Books, period: Period, made: Iterable[Verdict]) -> bool:
    """A verdict that the admin database answers is another one than its alert says."""
    with books.admin.read() as con:
        if lock.is_sealed(con, period):
            return False
        red = {alert.rule for alert in board.of_period(con, period) if escalation.does_not_hold(alert)}
    return any(one.passed is not None and (one.check in red) is one.passed for one in made if _alerts(one))


def _alerts(verdict: Verdict) -> bool:
    return verdict.of.level(verdict.severity) is not None


def complete(books: Books, period: Period) -> list[dict[str, str]]:
    """Of a month that needs no run: what of it does not hold.

    What a run does at its end and a killed one did not is done: the period moves on where nothing is left to
    decide, and the alerts of its failed runs end.

    Raises: as `settle`.
    """
    settle(books, period)
    periods.advance(books, period)
    with books.admin.read() as con:
        failed = [one for one in board.of_period(con, period) if one.rule == escalation.RUN]
    if any(one.state == "firing" for one in failed):
        with books.admin.write() as con:
            board.end_failed_runs(con, period, because="the month is complete: a later run had nothing to do")
    return failing(books, period)


def failing(books: Books, period: Period) -> list[dict[str, str]]:
    """The checks of a month that do not hold, by their newest verdicts: asset, check, severity, figures.

    Of a closed month none: who closed it knew what did not hold, and nothing can be done about it any more.
    """
    with books.admin.read() as con:
        if lock.is_sealed(con, period):
            return []
        alerts = board.of_period(con, period)
        live = {one.check: one for one in of_newest(con, period)}
    below = any(one.rule == escalation.COVERAGE and escalation.does_not_hold(one) for one in alerts)
    found = [
        _told(one.scope, one.rule, is_error, one.detail)
        for one in alerts
        if one.rule not in (*escalation.NO_CHECKS, escalation.COVERAGE, *live)
        and escalation.does_not_hold(one)
        for is_error in [_is_error(one, below_floor=below)]
    ]
    found += [
        _told("recon_summary", one.check, one.severity == "ERROR", _figures(one))
        for one in live.values()
        if one.passed is False
    ]
    order = [*JUDGES, USAGE_DAYS_COME_IN_TIME.table]
    return sorted(found, key=lambda one: (order.index(one["asset"]), one["check"]))


def _is_error(alert: Alert, *, below_floor: bool) -> bool:
    unknown = Check(alert.rule, "a check of another version", alert.scope, gravest="ERROR")
    return escalation.is_error(alert, all_checks.NAMED.get(alert.rule, unknown), below_floor=below_floor)


def _figures(verdict: Verdict) -> str:
    return ", ".join(f"{name} {value}" for name, value in verdict.texts().items())


def _told(asset: str, check: str, is_error: bool, figures: str) -> dict[str, str]:
    return {
        "check": check, "asset": asset, "severity": "ERROR" if is_error else "WARN", "error_code": "",
        "error": "", "figures": figures,
    }  # fmt: skip


def settle_all(books: Books, *, at_rest: timedelta = timedelta(0)) -> dict[Period, str]:
    """Asks what was left unasked about open months, a few at once; per month what came of it.

    Args:
        at_rest: leaves a month alone to which something was published within this time.
    """
    at = now()
    told: dict[Period, str] = {}
    for period in _open(books, at - at_rest):
        if len(told) == MONTHS_AT_ONCE:
            break
        try:
            if left := settle(books, period):
                told[period] = f"{len(left)} asset(s) judged"
            _end_runs(books, period)
        except CopsError as problem:
            told[period] = problem.code
    return told


def _end_runs(books: Books, period: Period) -> None:
    """A failed run of a month that is complete all the same is nobody's trouble any more."""
    with books.admin.read() as con:
        firing = any(
            one.rule == escalation.RUN and one.state == "firing" for one in board.of_period(con, period)
        )
    if firing and current.is_current(books, period):
        with books.admin.write() as con:
            board.end_failed_runs(con, period, because="the month is complete: nothing is left to do")


def _open(books: Books, before: datetime) -> list[Period]:
    """Months with runs that are not closed and got none since, the newest first."""
    journal = t.publish_journal
    with books.admin.read() as con:
        rows = con.execute(
            sa.select(journal.c.period_start, sa.func.max(journal.c.published_at).label("at"))
            .group_by(journal.c.period_start)
            .order_by(journal.c.period_start.desc())
        ).all()
        return [
            period
            for row in rows
            if row.at <= before and not lock.is_sealed(con, period := Period.of(row.period_start))
        ]
