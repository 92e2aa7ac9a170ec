"""A run and the tries at it: its id, where a try stages its files, its sign of life.

Belongs here: what makes a run's id, and planning again when another run was faster. A staged file lies at
its final path but no reader knows it until `lake_file` names it, so publishing moves no bytes. The lock of
an attempt is an OS file lock: it ends with the process however the process ends, so the sweep can tell dead
attempts from live ones. Does not belong here: the log of attempts (`evidence/attempts.py`), publishing
(`ledger/publish.py`).
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ParamSpec, TypeVar

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period


@dataclass(frozen=True)
class Run:
    """One result of an act. The same inputs over the same run have the same id, whoever makes it.

    Attributes:
        source_id: empty where a table has one run for all sources.
        predecessor: id of the run that readers saw when this one was planned.
        made_of: what the id is made of, where it is not the inputs and the predecessor.
    """

    table_name: str
    period: Period
    source_id: str
    inputs_id: str
    predecessor: str | None
    made_of: tuple[str | None, ...] = ()

    @cached_property
    def id(self) -> str:
        """The run's id, computed here only."""
        return digest(*(self.made_of or (self.inputs_id, self.predecessor)))

    def beside(self, table_name: str, predecessor: str | None) -> Run:
        """The run of another table that readers see with this one or not at all."""
        inputs_id = id_beside(table_name, self.inputs_id)
        return Run(table_name, self.period, self.source_id, inputs_id, predecessor, (table_name, self.id))


def id_beside(table_name: str, run_id: str) -> str:
    """The id of the run of another table that was made with this one."""
    return digest(table_name, run_id)


@dataclass(frozen=True)
class Attempt:
    """A live attempt. `attempt_id` is random; what it makes is named by its deterministic run id."""

    attempt_id: str
    books: Books

    def target(self, table_name: str, period: Period, run_id: str) -> Path:
        """Where this attempt stages a run's file of a table."""
        folder = self.books.settings.lake_root / table_name / str(period) / self.attempt_id
        return folder / f"{run_id[:16]}.parquet"


@contextmanager
def attempt(books: Books) -> Iterator[Attempt]:
    """Holds the attempt's lock until it ends, with or without success."""
    attempt_id = uuid.uuid4().hex
    locks = _locks(books)
    locks.mkdir(parents=True, exist_ok=True)
    path = locks / attempt_id
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o660)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield Attempt(attempt_id, books)
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def is_dead(books: Books, attempt_id: str) -> bool:
    """No process holds the attempt's lock any more."""
    path = _locks(books) / attempt_id
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(handle)


def _locks(books: Books) -> Path:
    return books.settings.home / "attempts"


Outcome = TypeVar("Outcome")
Given = ParamSpec("Given")


class Superseded(Exception):
    """Another run moved the head since this one was planned: plan again."""


PLANS_MAX = 3
"""How often a run is planned anew when others move the head meanwhile."""


def settle(subject: str, act: Callable[Given, Outcome], *args: Given.args, **named: Given.kwargs) -> Outcome:
    """Runs an act that plans over a head and publishes; plans again when it was superseded.

    Raises:
        CopsError: `E-CONTENTION` when the head moved under every plan.
    """
    for _ in range(PLANS_MAX):
        try:
            return act(*args, **named)
        except Superseded:
            continue
    raise CopsError(
        "E-CONTENTION",
        subject,
        expected="one run at a time for a period",
        found=f"the head moved {PLANS_MAX} times while this run was made",
        next_step="run again when the other runs have ended",
    )
