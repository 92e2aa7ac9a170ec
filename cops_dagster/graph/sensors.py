"""What watches: new deliveries, late ones, and what a crash left behind.

Belongs here: which month gets a run, and saying why none does. What a run does is the job's affair. Cursors
are bounded: a fingerprint per source and month of the last `MONTHS_MAX` months that were seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import dagster as dg
import sqlalchemy as sa

from cops_dagster import settings
from cops_dagster.cur import layout
from cops_dagster.errors import CopsError
from cops_dagster.graph.partitions import newest_partition
from cops_dagster.ledger import crawl, deliver, late, lock, places, sweep, work
from cops_dagster.ledger.books import Books, existing_books, open_books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

MONTHS_MAX = 120
"""Months that a cursor remembers: ten years."""
RUNS_MAX = 6
"""Runs asked for at once: a new home with five years of reports takes them in turns."""
CRAWL_AGAIN_AFTER = timedelta(hours=6)
"""A crawl that does not help is not repeated at every tick: crawls are paid for."""
UNATTENDED = ("open", "delayed", "provisional")
"""States in which a run may start by itself; a final month waits for its close, a closed one for people."""


def sensors(
    periods: dg.MonthlyPartitionsDefinition, job: dg.UnresolvedAssetJobDefinition
) -> list[dg.SensorDefinition]:
    """Those that watch deliveries, the outbox and the crawler."""

    @dg.sensor(
        name="cur_manifests",
        job=job,
        minimum_interval_seconds=settings.current().watch.every_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="New or restated deliveries in the report roots, folders and S3: a run for each month.",
    )
    def cur_manifests(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        books = open_books(settings.current())
        known = known_of(context.cursor)
        try:
            lying = fingerprints(books, known)
        except CopsError as problem:
            return _refused(problem)
        return _requests(books, periods, lying, known)

    @dg.sensor(
        name="late_deliveries",
        minimum_interval_seconds=3 * settings.current().watch.every_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Deliveries for closed months become proposed adjustments, which a person approves.",
    )
    def late_deliveries(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return _told(propose_late)

    @dg.sensor(
        name="publish_sweep",
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Finishes what a crash left: projections, dead attempts, files that nobody published.",
    )
    def publish_sweep(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return _told(swept)

    return [cur_manifests, late_deliveries, publish_sweep, _crawler_watch()]


def _told(act: Callable[[Books], str]) -> dg.SkipReason:
    """What an act on the books found; that there are none yet, or why it was refused, is an answer too."""
    books = existing_books(settings.current())
    if books is None:
        return dg.SkipReason("there is no home yet")
    try:
        return dg.SkipReason(act(books))
    except CopsError as problem:
        return _refused(problem)


def _refused(problem: CopsError) -> dg.SkipReason:
    return dg.SkipReason(f"{problem.code}: {problem.found}; next: {problem.next_step}")


def swept(books: Books) -> str:
    """Finishes what a crash left; what it did, in one line."""
    done = sweep.sweep(books)
    return (
        f"{done.projected} projected, {done.attempts_closed} attempts closed,"
        f" {done.folders_removed} folders removed"
    )


def _crawler_watch() -> dg.SensorDefinition:
    @dg.sensor(
        name="crawler_watch",
        minimum_interval_seconds=900,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts the Glue crawler if its last crawl failed or its table lacks a delivered month.",
    )
    def crawler_watch(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        cursor = context.cursor

        def look(books: Books) -> str:
            nonlocal cursor
            reason, cursor = watch_crawler(books, now(), context.cursor)
            return reason

        return dg.SensorResult(skip_reason=_told(look), cursor=cursor)

    return crawler_watch


def watch_crawler(books: Books, at: datetime, cursor: str | None) -> tuple[str, str | None]:
    """Starts the crawler if it should run; what was found, and when it was last started by us."""
    seen = crawl.look(books, at)
    if seen is None:
        return "no crawler is set in [controls]", cursor
    if seen.is_running:
        return f"{seen.crawler.name} is {seen.crawler.state}", cursor
    if seen.reason is None:
        return f"{seen.crawler.name} succeeded {seen.crawler.last_started_at:%Y-%m-%d %H:%M} UTC", cursor
    if cursor and at - datetime.fromisoformat(cursor) < CRAWL_AGAIN_AFTER:
        return f"{seen.reason}; started {cursor[:16]} UTC and not again before 6 hours", cursor
    crawl.start(books)
    return f"{seen.reason}: started {seen.crawler.name}", at.isoformat()


def fingerprints(books: Books, known: Mapping[str, str] | None = None) -> dict[Period, str]:
    """What lies in the report roots: per month and root a digest over the manifests of its sources.

    Of a month in S3 only manifests are here before its first run, so they alone count: AWS writes them last.
    In a folder it also counts which delivery is complete, since people copy files in any order.

    Args:
        known: fingerprints by month, as remembered: a root that cannot be reached is as it was seen last, and
            the others go on.

    Raises:
        CopsError: why no root could be reached.
    """
    found: dict[Period, dict[str, list[str]]] = {}
    fetched = books.settings.fetched_place("s3://")
    lying = places.lying(books)
    for place in lying.places:
        folder, month = place.root.folder, place.month
        try:
            marks = sorted(
                f"{file.name} {file.version} {file.size}" for file in layout.manifest_files(folder, month)
            )
            if not folder.root.is_relative_to(fetched):
                newest = layout.find(folder, month).newest
                marks.append(f"complete {newest.manifest_file.version if newest else 'none'}")
        except OSError as problem:  # one folder that may not be read; its run will say so
            marks = [f"unreadable {problem.strerror}"]
        by_root = found.setdefault(month.period, {})
        by_root.setdefault(_mark_of(place.root.place), []).append(digest(month.source_id, *marks))
    seen = {
        period: {root: digest(sorted(marks))[:32] for root, marks in by_root.items()}
        for period, by_root in found.items()
    }
    away = {_mark_of(place) for place in lying.unreachable}
    for period, parts in seen.items():
        for part in (known or {}).get(str(period), "").split(" "):
            root, _, mark = part.partition("=")
            if root in away:
                parts[root] = mark
    return {
        period: " ".join(f"{root}={mark}" for root, mark in sorted(parts.items()))
        for period, parts in seen.items()
    }


def _mark_of(root: str) -> str:
    """A report root, short enough for a cursor."""
    return digest(root)[:8]


def known_of(cursor: str | None) -> dict[str, str]:
    """The fingerprints that a cursor remembers; nothing for one that cannot be read."""
    try:
        given = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return {str(name): str(mark) for name, mark in given.items()} if isinstance(given, dict) else {}


def _requests(
    books: Books, periods: dg.MonthlyPartitionsDefinition, lying: Mapping[Period, str], known: dict[str, str]
) -> dg.SensorResult | dg.SkipReason:
    changed = [period for period in sorted(lying) if known.get(str(period)) != lying[period]]
    offered = set(periods.get_partition_keys())
    requests: list[dg.RunRequest] = []
    told: list[str] = []
    for period in changed:
        if len(requests) == RUNS_MAX:
            told.append(f"{len(changed) - changed.index(period)} more month(s) at the next tick")
            break
        why = _no_run(books, period, offered)
        if why is None:
            requests.append(
                dg.RunRequest(
                    run_key=f"{period}:{digest(lying[period])[:32]}", partition_key=str(period),
                    tags={"cops/period": str(period), "cops/cause": "delivery"},
                )
            )  # fmt: skip
        else:
            told.append(f"{period}: {why}")
        known[str(period)] = lying[period]
    cursor = json.dumps(dict(sorted(known.items())[-MONTHS_MAX:]))
    if not requests:
        reason = "; ".join(told) or f"{len(lying)} month(s) looked at, none changed"
        return dg.SensorResult(skip_reason=reason, cursor=cursor)
    return dg.SensorResult(run_requests=requests, cursor=cursor)


def _no_run(books: Books, period: Period, offered: set[str]) -> str | None:
    """Why a changed month gets no run, or `None`."""
    if str(period) not in offered:
        return "before COPS_FIRST_PERIOD, or later than this month"
    with books.admin.read() as con:
        here = lock.state_of(con, period)
    if here == "closed":
        return "closed: late_deliveries proposes adjustments"
    if here not in (*UNATTENDED, "final"):
        return f"it is {here}"
    return (
        "nothing to do, the ledger was made from these bytes" if work.nothing_to_do(books, period) else None
    )


def propose_late(books: Books) -> str:
    """Proposes what late deliveries of closed months changed; what came of it, in one line."""
    p = t.period_lock
    with books.admin.read() as con:
        closed = con.execute(sa.select(p.c.period_start).where(p.c.state == "closed")).scalars().all()
    told = []
    lying = {month.period for month in deliver.months(books)}
    for start in sorted(closed):
        period = Period.of(start)
        if period not in lying:
            continue
        try:
            deliver.look(books, period)
            made = late.propose(books, period)
        except CopsError as problem:
            told.append(f"{period}: {problem.code}")
            continue
        if made:
            told.append(f"{period}: proposed {made[:16]}, cops adjust list")
    return "; ".join(told) or f"{len(closed)} closed month(s), nothing late"


def open_periods(
    periods: dg.MonthlyPartitionsDefinition, job: dg.UnresolvedAssetJobDefinition
) -> dg.ScheduleDefinition:
    """Daily: every month that is not final and has work gets a run, if no sensor saw why."""

    @dg.schedule(
        name="open_periods",
        job=job,
        cron_schedule="30 5 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Daily at 05:30 UTC: open months with new inputs, and final ones that may move on.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        books = existing_books(settings.current())
        if books is None:
            return dg.SkipReason("there is no home yet")
        offered, newest = set(periods.get_partition_keys()), newest_partition(periods)
        h, day = t.cur_billing_head, f"{context.scheduled_execution_time:%Y-%m-%d}"
        with books.admin.read() as con:
            starts = con.execute(sa.select(h.c.period_start).distinct()).scalars().all()
            open_ = [
                Period.of(start) for start in sorted(starts)
                if lock.state_of(con, Period.of(start)) in UNATTENDED
            ]  # fmt: skip
        wanted = [one for one in open_ if str(one) in offered and not work.nothing_to_do(books, one)]
        if not wanted:
            return dg.SkipReason(f"{len(open_)} open month(s) up to {newest}, nothing to do")
        return [
            dg.RunRequest(
                run_key=f"{day}:{one}", partition_key=str(one),
                tags={"cops/period": str(one), "cops/cause": "open_periods"},
            )
            for one in wanted[-RUNS_MAX:]
        ]  # fmt: skip

    return schedule
