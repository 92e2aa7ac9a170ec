"""The Glue crawler of the CUR table and the partitions it found, as Glue's API tells them.

Belongs here: the calls. Does not belong here: what a late crawl means (`operations/controls.py`) and when one
is started (`operations/crawl.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cops_dagster.stores.aws.call import Call, calling


@dataclass(frozen=True)
class Crawler:
    """A crawler and its last crawl. Times UTC; `None` when it never ran."""

    name: str
    state: str
    last_status: str | None
    last_started_at: datetime | None


def crawler(name: str) -> Crawler:
    """The state of a crawler.

    Raises:
        CopsError: `E-AWS-DENIED`, `E-AWS-THROTTLED`, `E-AWS-UNREACHABLE` (also for a name AWS does not know).
    """
    call = Call("glue", "AWS Glue", "glue:GetCrawler")
    with calling(call):
        found = call.client().get_crawler(Name=name)["Crawler"]
    last = found.get("LastCrawl") or {}
    started = last.get("StartTime")
    return Crawler(
        name,
        str(found.get("State", "")),
        last.get("Status"),
        started.astimezone(UTC).replace(tzinfo=None) if started else None,
    )


def start_crawler(name: str) -> bool:
    """Starts a crawler; `False` when it runs already.

    Raises:
        CopsError: as `crawler`.
    """
    call = Call("glue", "AWS Glue", "glue:StartCrawler")
    with calling(call):
        client = call.client()
        try:
            client.start_crawler(Name=name)
        except client.exceptions.CrawlerRunningException:
            return False
    return True


def partitions(table: str) -> list[tuple[str, ...]]:
    """The values of every partition of `database.table`.

    Raises:
        CopsError: as `crawler`.
    """
    database, _, name = table.partition(".")
    call = Call("glue", "AWS Glue", "glue:GetPartitions")
    with calling(call):
        pages = (
            call.client()
            .get_paginator("get_partitions")
            .paginate(DatabaseName=database, TableName=name, ExcludeColumnSchema=True)
        )
        return [tuple(one["Values"]) for page in pages for one in page["Partitions"]]
