"""A statement sent to an engine on other machines: what comes back, and what it costs.

Belongs here: the protocol that the client of Trino and the client of Athena have, and their failures as coded
errors. Does not belong here: the clients (`stores/trino_client.py`, `stores/aws/athena_client.py`), what is
asked (`lake/cluster.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from cops_dagster.errors import CopsError

BUSY = ("E-ENGINE-BUSY", "E-AWS-THROTTLED", "E-AWS-UNREACHABLE")
"""Refusals that may pass by themselves."""


@dataclass(frozen=True)
class Ran:
    """A statement that ran. Money is `Decimal`, times are without zone, UTC."""

    query_id: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    scanned_bytes: int


Dialect = Literal["trino", "athena"]


class Queries(Protocol):
    """One connection. It holds nothing that a statement relies on."""

    dialect: Dialect

    def run(self, sql: str) -> Ran:
        """Runs one statement to its end.

        Raises:
            CopsError: `E-ENGINE-BUSY`, `E-ENGINE-FAILED`, `E-ENGINE-STOPPED`, `E-ENGINE-LIMIT`;
                `E-COST-RANGE` for sums beyond decimal(38,18); `E-AWS-DENIED` for what it may not read;
                `E-AWS-…` of the way there.
        """
        ...

    def kept_as(self, location: str) -> str:
        """The properties of a table that is made of a query, its files below this place."""
        ...


def refused(code: str, subject: str, found: str) -> CopsError:
    """A statement that brought no result, with the way out."""
    expected, next_step = {
        "E-ENGINE-BUSY": (
            "an engine that takes the statement",
            "run it again later: nothing was published, and the month stands as it was",
        ),
        "E-ENGINE-STOPPED": (
            "a statement that runs to its end",
            "somebody stopped it, or the engine did: run it again; the month stands as it was",
        ),
        "E-ENGINE-LIMIT": (
            "a statement within the limits of bytes and time",
            "look at the month's size; if it is right, raise COPS_CLUSTER__MAX_GIB or …__MAX_MINUTES",
        ),
        "E-AWS-DENIED": (
            "an engine that may read the lake and the report, and write below its own place",
            "give its role these rights (deploy/aws/cops-engine-policy.json); the month stands as it was",
        ),
        "E-COST-RANGE": (
            "sums with at most 20 digits before the point",
            "no amount was rounded or written; look for lines with absurd amounts: what AWS cannot have"
            " billed, it must deliver again",
        ),
    }.get(
        code,
        (
            "a statement that the engine can run",
            "read what it says; `COPS_ENGINE=duckdb` makes the month on this machine",
        ),
    )
    return CopsError(code, subject, expected=expected, found=found[:500], next_step=next_step)


def code_of(text: str) -> str:
    """What a message of Trino's means, in which Athena speaks too."""
    low = text.lower()
    if "decimal overflow" in low:
        return "E-COST-RANGE"
    if any(
        sign in low
        for sign in (
            "exceeded_time_limit",
            "maximum run time",
            "exceeded the maximum",
            "bytes scanned limit",
            "scan limit",
            "exceeded_scan_limit",
        )
    ):
        return "E-ENGINE-LIMIT"
    if any(sign in low for sign in ("cancel", "killed", "administratively", "user_canceled")):
        return "E-ENGINE-STOPPED"
    if any(sign in low for sign in ("status code: 403", "access denied", "accessdenied")):
        return "E-AWS-DENIED"
    if any(
        sign in low
        for sign in (
            "server is shutting down",
            "no nodes available",
            "remote task",
            "exhausted resources",
            "query_queue_full",
            "too many requests",
            "throttl",
            "slow down",
            "slowdown",
            "status code: 503",
            "could not communicate",
            "server_starting_up",
            "query not found",
            "abandoned",
        )
    ):
        return "E-ENGINE-BUSY"
    return "E-ENGINE-FAILED"
