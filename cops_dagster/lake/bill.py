"""What statements on other machines cost: how many, how many bytes, at what price; and the bound on them.

Belongs here: counting, and the log of the home with a line for each session. Nothing is decided by it, so it
is no table of the books. Does not belong here: prices (a setting: AWS's differ by region).
"""

from __future__ import annotations

import fcntl
import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from cops_dagster.stores import queries
from cops_dagster.stores.queries import Ran

LEAST = 10_000_000
"""Bytes that Athena charges at least for a statement."""
_TERABYTE = 10**12
LOG = "engine_bill.jsonl"
"""The home's file of them."""
_step: list[Bill] = []
_run: list[str | None] = [None]


@dataclass(frozen=True)
class Asked:
    """One statement: its name, its id there, bytes scanned, and how it ended (`succeeded` or a code)."""

    name: str
    query_id: str
    scanned_bytes: int
    state: str


@dataclass
class Bill:
    """The statements of one session.

    Attributes:
        price: USD per terabyte scanned; 0 where machines are paid and not statements.
        max_bytes: what all of them may scan.
    """

    engine: str
    subject: str
    price: Decimal
    max_bytes: int
    asked: list[Asked] = field(default_factory=list)

    @property
    def scanned_bytes(self) -> int:
        """Of all statements."""
        return sum(one.scanned_bytes for one in self.asked)

    @property
    def usd(self) -> Decimal:
        """The price of the statements that ran, before whatever was agreed with AWS."""
        charged = sum(max(one.scanned_bytes, LEAST) for one in self.asked if one.query_id)
        return self.price * charged / _TERABYTE

    def ran(self, name: str, ran: Ran) -> None:
        """A statement that succeeded."""
        self.asked.append(Asked(name, ran.query_id, ran.scanned_bytes, "succeeded"))

    def failed(self, name: str, code: str) -> None:
        """A statement that did not; what it scanned is not told."""
        self.asked.append(Asked(name, "", 0, code))

    def require_room(self) -> None:
        """Refuses the next statement when the bound is reached.

        Raises:
            CopsError: `E-ENGINE-LIMIT`.
        """
        if self.scanned_bytes >= self.max_bytes:
            raise queries.refused(
                "E-ENGINE-LIMIT", self.subject, f"{self.scanned_bytes} bytes scanned of {self.max_bytes}"
            )

    def record(self, home: Path) -> None:
        """One line more in the home's log; none for a session that asked nothing."""
        if not self.asked:
            return
        _step.append(self)
        line = {
            "ended_at": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds"),
            "engine": self.engine,
            "subject": self.subject,
            "dagster_run_id": _run[0],
            "queries": len(self.asked),
            "scanned_bytes": self.scanned_bytes,
            "usd": format(self.usd, "f"),
            "statements": [asdict(one) for one in self.asked],
        }
        with (home / LOG).open("a", encoding="utf-8") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            log.write(json.dumps(line) + "\n")


def begin(dagster_run_id: str) -> None:
    """A step of a run begins in this process: what is asked from here on is its own."""
    _step.clear()
    _run[0] = dagster_run_id


def of_step() -> dict[str, str | int | Decimal]:
    """What this step asked of other machines, in sum; nothing where it asked none."""
    if not _step:
        return {}
    return {
        "engine": _step[0].engine,
        "engine_queries": sum(len(one.asked) for one in _step),
        "engine_scanned_bytes": sum(one.scanned_bytes for one in _step),
        "engine_usd": sum((one.usd for one in _step), Decimal(0)),
    }


def recorded(home: Path, about: str = "") -> list[dict[str, Any]]:
    """The sessions of a home whose subject names this, oldest first."""
    try:
        lines = (home / LOG).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [one for one in map(json.loads, lines) if about in one["subject"]]
