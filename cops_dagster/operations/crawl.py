"""The crawled copy of the report: is every delivered month a partition of the table that Athena reads?

Belongs here: comparing, and deciding when the crawler is to run. COPS reads manifests and needs no crawler;
people who ask Athena do. Does not belong here: Glue's API (`stores/aws/glue.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.operations.controls import CRAWL_WITHIN
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.aws import glue

CRAWL_AGAIN_AFTER = timedelta(hours=6)
"""A crawl that does not help is not repeated at every tick: crawls are paid for."""

_MONTH = re.compile(r"(\d{4})(?:-?(\d{2})(?:01)?(?:-\d{6,8})?|/(\d{1,2}))")
"""`2025-09` (CUR 2.0), `20250901-20251001`, or year and month as two keys (legacy, without leading zero)."""


@dataclass(frozen=True)
class Crawled:
    """A crawler, the delivered months its table does not show, and why it should run now, if it should."""

    crawler: glue.Crawler
    missing: tuple[Period, ...]
    reason: str | None

    @property
    def is_running(self) -> bool:
        """A crawl is under way."""
        return self.crawler.state != "READY"


def look(books: Books, at: datetime) -> Crawled | None:
    """How the crawler of `[controls]` stands; `None` when none is set.

    Raises:
        CopsError: `E-AWS-DENIED`, `E-AWS-THROTTLED`, `E-AWS-UNREACHABLE`.
    """
    controls = books.settings.controls
    if controls.crawler is None:
        return None
    seen = glue.crawler(controls.crawler)
    missing: tuple[Period, ...] = ()
    if controls.catalog_table:
        shown = {period_of(values) for values in glue.partitions(controls.catalog_table)}
        missing = tuple(period for period in _delivered(books) if period not in shown)
    return Crawled(seen, missing, _reason(seen, missing, at))


def _reason(seen: glue.Crawler, missing: tuple[Period, ...], at: datetime) -> str | None:
    if missing:
        return "no partition for " + ", ".join(map(str, missing))
    if seen.last_started_at is None:
        return "it never ran"
    if seen.last_status != "SUCCEEDED":
        return f"the last crawl ended {seen.last_status}"
    if at - seen.last_started_at > CRAWL_WITHIN:
        return f"the last crawl began {seen.last_started_at:%Y-%m-%d %H:%M} UTC"
    return None


def start(books: Books) -> bool:
    """Starts the crawler of `[controls]`; `False` when it runs already.

    Raises:
        CopsError: `E-SETTING` when none is set; else as `look`.
    """
    name = books.settings.controls.crawler
    if name is None:
        raise CopsError(
            "E-SETTING",
            "setting controls.crawler",
            expected="the name of a Glue crawler",
            found="none",
            next_step="set COPS_CONTROLS__CRAWLER, such as commercial-ops-cur-crawler",
        )
    return glue.start_crawler(name)


def watch(books: Books, at: datetime, started: datetime | None) -> tuple[str, bool]:
    """Starts the crawler if it should run; what was found, and whether it was started now.

    Args:
        started: when it was last started by this watch, if it was.
    """
    seen = look(books, at)
    if seen is None:
        return "no crawler is set in [controls]", False
    if seen.is_running:
        return f"{seen.crawler.name} is {seen.crawler.state}", False
    if seen.reason is None:
        return f"{seen.crawler.name} succeeded {seen.crawler.last_started_at:%Y-%m-%d %H:%M} UTC", False
    if started and at - started < CRAWL_AGAIN_AFTER:
        return f"{seen.reason}; started {started:%Y-%m-%d %H:%M} UTC and not again before 6 hours", False
    start(books)
    return f"{seen.reason}: started {seen.crawler.name}", True


def period_of(values: tuple[str, ...]) -> Period | None:
    """The month that a partition's values name; `None` for one that names none."""
    for text in ("/".join(pair) for pair in pairwise(values)):
        if found := _MONTH.fullmatch(text):
            return _period(found)
    return next((_period(found) for one in values if (found := _MONTH.fullmatch(one))), None)


def _period(found: re.Match[str]) -> Period | None:
    month = int(found[2] or found[3])
    return Period(int(found[1]), month) if 1 <= month <= 12 else None


def _delivered(books: Books) -> list[Period]:
    shown = t.cur_billing_head
    with books.admin.read() as con:
        starts = con.execute(
            sa.select(shown.c.period_start).distinct().order_by(shown.c.period_start)
        ).scalars()
        return [Period.of(start) for start in starts]
