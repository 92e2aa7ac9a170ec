"""Whether a run that Dagster believes in has a process still. Pure.

Belongs here: the decision, from what can be seen of the run on this machine. Does not belong here: looking
(`graph/liveness.py`). Of a run that cannot be judged from here nothing is said: another machine's run lives
until its own machine, or Dagster's `run_monitoring`, says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

GRACE = timedelta(seconds=20)
"""So long a run without a sign of its own may be between two of its steps into life."""


@dataclass(frozen=True)
class Machine:
    """Where a process runs: its kernel since the last start, and the machine across starts where known."""

    boot: str
    name: str = ""

    def sees(self, other: Machine) -> bool:
        """Locks of the other's processes are seen from here, or it is this machine before its last start."""
        return bool(self.boot and self.boot == other.boot) or bool(self.name and self.name == other.name)


@dataclass(frozen=True)
class Sign:
    """What is seen of a run's process.

    Attributes:
        held: its lock is held; `None`: there is no lock of it here.
        is_seen: whoever made the lock can be seen from this machine.
        has_process: the process that its events name is there; `None`: none is named, or it may be elsewhere.
    """

    held: bool | None = None
    is_seen: bool = False
    has_process: bool | None = None


def is_dead(sign: Sign, age: timedelta) -> bool:
    """The run's process ended without saying so.

    Args:
        age: since Dagster last heard of the run.
    """
    if sign.held is not None:
        return sign.is_seen and not sign.held
    return sign.has_process is False and age >= GRACE
