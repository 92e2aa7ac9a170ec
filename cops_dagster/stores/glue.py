"""The Glue crawler of the CUR table, as its API tells it.

Belongs here: the call. Does not belong here: what a late crawl means (`ledger/controls.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cops_dagster.stores.aws import Call, calling


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
        name, str(found.get("State", "")), last.get("Status"),
        started.astimezone(UTC).replace(tzinfo=None) if started else None,
    )  # fmt: skip
