"""What watches: new deliveries, late ones, and what a crash left behind.

Belongs here: which month gets a run, and saying why none does. What a run does is the job's affair. Cursors
are bounded, a fingerprint for each of the last `MONTHS_MAX` months, and advance only over work that was asked
for or needs none: a month that got no run for now is looked at again at every tick.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime

import dagster as dg

from cops_dagster.adjustments import late
from cops_dagster.closing import current
from cops_dagster.errors import CopsError
from cops_dagster.evidence import sweep
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.graph import liveness, loads, pages
from cops_dagster.graph.host import Host
from cops_dagster.graph.partitions import newest_partition
from cops_dagster.graph.resources import no_home
from cops_dagster.graph.schedules import standing_still
from cops_dagster.ingestion import places
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.operations import consequences, crawl, handed_out
from cops_dagster.period import Period
from cops_dagster.settings_places import is_s3
from cops_dagster.stores.admin import now

MONTHS_MAX = 120
"""Months that a cursor remembers: ten years."""
RUNS_MAX = 6
"""Runs asked for at once: a new home with five years of reports takes them in turns."""


def sensors(host: Host, job: dg.UnresolvedAssetJobDefinition) -> list[dg.SensorDefinition]:
    """Those that watch deliveries, the outbox and the crawler."""

    @dg.sensor(
        name=host.name("cur_manifests"),
        job=job,
        minimum_interval_seconds=host.settings().watch.every_seconds,
        default_status=host.sensor_status,
        description="New or restated deliveries in the report roots, folders and S3: a run for each month.",
    )
    def cur_manifests(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        known = known_of(context.cursor)
        try:
            current = host.settings()
            books = host.existing_books()
            if books is not None:
                require_policy(books)
            elif any(is_s3(root) for root in current.report_roots):
                return no_home(host.settings())  # what lies in S3 is seen by what was fetched into the home
            lying = places.fingerprints(current, known)
        except CopsError as problem:
            return _refused(problem)
        return _requests(books, host, lying, known)

    @dg.sensor(
        name=host.name("late_deliveries"),
        minimum_interval_seconds=3 * host.settings().watch.every_seconds,
        default_status=host.sensor_status,
        description="Deliveries for closed months become proposed adjustments, which a person approves.",
    )
    def late_deliveries(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return _told(host, late.propose_all)

    @dg.sensor(
        name=host.name("publish_sweep"),
        minimum_interval_seconds=30,
        default_status=host.sensor_status,
        description="Finishes what a crash left: dead runs, projections, attempts, files, unasked checks.",
    )
    def publish_sweep(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return _told(host, lambda books: "; ".join([*buried(books, context, host), swept(books)]))

    return [cur_manifests, late_deliveries, publish_sweep, _crawler_watch(host)]


def stale_exports(host: Host, job: dg.UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """Exports are made again when a correction was booked, or the month was made again, since they were."""

    @dg.sensor(
        name=host.name("stale_exports"),
        job=job,
        minimum_interval_seconds=3 * host.settings().watch.every_seconds,
        default_status=host.sensor_status,
        description="Months that left COPS and changed since: their exports are made again.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        books = host.existing_books()
        if books is None:
            return no_home(host.settings())
        if (still := standing_still(host)) is not None:
            return still
        offered = set(host.periods.get_partition_keys())
        with books.admin.read() as con:
            stale = handed_out.stale_months(con)
        wanted = {period: state for period, state in stale.items() if str(period) in offered}
        return [
            host.run_of(
                period,
                f"export:{period}:{state}",
                "stale_exports",
                "changed since it left",
            )
            for period, state in list(wanted.items())[:RUNS_MAX]
        ] or dg.SkipReason("what left COPS is what the books say")

    return sensor


def loaded_inputs(host: Host) -> dg.SensorDefinition:
    """What people loaded and closed becomes visible in Dagster; nothing is done with it."""

    @dg.sensor(
        name=host.name("loaded_inputs"),
        minimum_interval_seconds=60,
        default_status=host.sensor_status,
        description="Loads of tenants, rules, usage, invoices and budgets, as observations of their tables;"
        " the report of a month that was closed.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        cursor = context.cursor

        def look(books: Books) -> str:
            nonlocal cursor
            newest = f"{loads.newest(books)} {pages.newest(books)}".strip()
            if newest == (cursor or ""):
                return "nothing was loaded or closed"
            done = loads.report(books, context.instance, host.key)
            closed = pages.report(books, context.instance, host.key)
            cursor = newest
            return f"{done} load(s) and {closed} closed month(s) reported"

        return dg.SensorResult(skip_reason=_told(host, look), cursor=cursor)

    return sensor


def _told(host: Host, act: Callable[[Books], str]) -> dg.SkipReason:
    """What an act on the books found; that there are none yet, or why it was refused, is an answer too."""
    try:
        books = host.existing_books()
        return no_home(host.settings()) if books is None else dg.SkipReason(act(books))
    except CopsError as problem:
        return _refused(problem)


def _refused(problem: CopsError) -> dg.SkipReason:
    return dg.SkipReason(str(problem))


def buried(books: Books, context: dg.SensorEvaluationContext, host: Host) -> list[str]:
    """Tells Dagster of runs whose process is gone: their months are free again, and people hear of it."""
    try:
        instance = context.instance
    except dg.DagsterInvariantViolationError:
        return []  # a sensor that is called by hand knows no runs
    return [
        f"run {run_id[:8]} is dead" for run_id in liveness.bury(instance, books.settings.home, ours=host.runs)
    ]


def swept(books: Books) -> str:
    """Finishes what a crash left; what it did, in one line."""
    done = sweep.sweep(books)
    asked = consequences.settle_all(books, at_rest=consequences.RUNNING_FOR)
    return "; ".join(
        [
            f"{done.projected} projected, {done.attempts_closed} attempts closed,"
            f" {done.folders_removed} folders removed",
            *(f"{period}: {what}" for period, what in asked.items()),
        ]
    )


def _crawler_watch(host: Host) -> dg.SensorDefinition:
    @dg.sensor(
        name=host.name("crawler_watch"),
        minimum_interval_seconds=900,
        default_status=host.sensor_status,
        description="Starts the Glue crawler if its last crawl failed or its table lacks a delivered month.",
    )
    def crawler_watch(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        cursor = context.cursor

        def watch(books: Books) -> str:
            nonlocal cursor
            at = now()
            told, was_started = crawl.watch(books, at, _started_at(cursor, at))
            cursor = at.isoformat() if was_started else cursor
            return told

        return dg.SensorResult(skip_reason=_told(host, watch), cursor=cursor)

    return crawler_watch


def _started_at(cursor: str | None, at: datetime) -> datetime | None:
    """When the crawler was last started by us; nothing for a cursor that cannot be read or lies ahead."""
    try:
        started = datetime.fromisoformat(cursor or "")
        return started if started <= at else None
    except (ValueError, TypeError):
        return None


def known_of(cursor: str | None) -> dict[str, str]:
    """The fingerprints that a cursor remembers; nothing for one that cannot be read."""
    try:
        given = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return {str(name): str(mark) for name, mark in given.items()} if isinstance(given, dict) else {}


def _requests(
    books: Books | None,
    host: Host,
    lying: Mapping[Period, str],
    known: dict[str, str],
) -> dg.SensorResult | dg.SkipReason:
    """A run for each changed month. Without a home every month is new: its first run makes the home."""
    changed = [period for period in sorted(lying) if known.get(str(period)) != lying[period]]
    offered = set(host.periods.get_partition_keys())
    requests: list[dg.RunRequest] = []
    told: list[str] = []
    for period in changed:
        if len(requests) == RUNS_MAX:
            told.append(f"{len(changed) - changed.index(period)} more month(s) at the next tick")
            break
        waits = _not_offered(host, period, offered) or (current.waits(books, period) if books else None)
        if waits:
            told.append(f"{period}: {waits}")
            continue  # not remembered: it is asked for once it can be
        done = current.needs_none(books, period) if books else None
        if done is None:
            mark = digest(lying[period])[:32]
            requests.append(host.run_of(period, f"{period}:{mark}", "delivery", "new or restated delivery"))
        else:
            told.append(f"{period}: {done}")
        known[str(period)] = lying[period]
    cursor = json.dumps(dict(sorted(known.items())[-MONTHS_MAX:]))
    if not requests:
        reason = "; ".join(told) or f"{len(lying)} month(s) looked at, none changed"
        return dg.SensorResult(skip_reason=reason, cursor=cursor)
    return dg.SensorResult(run_requests=requests, cursor=cursor)


def _not_offered(host: Host, period: Period, offered: set[str]) -> str | None:
    """Why Dagster has no partition of a month, or `None`."""
    if str(period) in offered:
        return None
    first = min(offered, default=str(period))
    if str(period) < first:
        return f"before {first}, the first month that Dagster offers: reload the code location{_also(host)}"
    if period <= Period.of(now().date()):
        return None  # Dagster offers it after a reload; its run needs none
    return "later than this month by this machine's clock"


def _also(host: Host) -> str:
    given = host.settings().first_period
    return f" with COPS_FIRST_PERIOD earlier than {given}, or unset" if given else ""


def open_periods(host: Host, job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """Daily: every month that is not final and has work gets a run, if no sensor saw why.

    Months that lie in a report root count as well as those on record: one whose first run failed before its
    delivery was recorded is asked for again. Dagster's queue lets them take turns.
    """

    @dg.schedule(
        name=host.name("open_periods"),
        job=job,
        cron_schedule="30 5 * * *",
        execution_timezone="UTC",
        default_status=host.schedule_status,
        description="Daily at 05:30 UTC: open months with new inputs, and final ones that may move on.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        books = host.existing_books()
        if books is None:
            return no_home(host.settings())
        if (still := standing_still(host)) is not None:
            return still
        offered, newest = set(host.periods.get_partition_keys()), newest_partition(host.periods)
        day = f"{context.scheduled_execution_time:%Y-%m-%d}"
        open_ = current.unattended(books)
        wanted = [
            one
            for one in open_
            if not _not_offered(host, one, offered) and not current.is_current(books, one)
        ]
        if not wanted:
            return dg.SkipReason(f"{len(open_)} open month(s) up to {newest}, nothing to do")
        return [host.run_of(one, f"{day}:{one}", "open_periods", "open, with work") for one in wanted]

    return schedule
