"""Calls of receivers, side by side, each with a deadline for the whole of it.

Belongs here: a thread per call, and ending one that takes too long, whatever the other side does. Does not
belong here: what is said to whom (`alerts/tick.py`), how a receiver is spoken to (`alerts/receivers.py`).

A library's own timeout is one of each read, so that a receiver which sends a byte now and then is waited
for as long as it likes. At the deadline the caller goes on without an answer, and every connection that the
call has opened is cut: what waits on one wakes up and ends. A call that looks up a name cannot be woken; it
connects to nobody after. No thread outlives the process, and none touches the database.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any

SECONDS = 10.0
"""How long one call may take, from the first look at a name to the last byte of the answer."""

_of_this_thread = threading.local()


class Overdue(Exception):
    """A call did not end in time; whether the other side has heard it is not known."""


@dataclass(frozen=True)
class Outcome:
    """What came of one call; `problem` is what it raised, `Overdue` when it took too long."""

    name: str
    number: int
    answer: str = ""
    problem: BaseException | None = None


class Call:
    """One call in a thread of its own."""

    def __init__(self, name: str, number: int, act: Callable[[], str], into: SimpleQueue[Outcome]) -> None:
        self.name, self.number, self.ends_at = name, number, time.monotonic() + SECONDS
        self._act, self._into, self._guard = act, into, threading.Lock()
        self._is_cut, self._connections = False, list[int]()
        _watch_connections()
        threading.Thread(target=self._run, name=f"receiver {name}", daemon=True).start()

    def _run(self) -> None:
        _of_this_thread.call = self
        try:
            found = Outcome(self.name, self.number, self._act())
        except BaseException as problem:  # noqa: BLE001  the caller decides what it means
            found = Outcome(self.name, self.number, problem=problem)
        with self._guard:
            self._is_cut, opened, self._connections = True, self._connections, []
        for one in opened:
            os.close(one)
        self._into.put(found)

    def note(self, connection: socket.socket) -> None:
        """Keeps hold of a connection that the call opens. Raises `TimeoutError` when its time is over."""
        with self._guard:
            if self._is_cut:
                raise TimeoutError
            # a copy of its own: TLS takes the number of the original away
            self._connections.append(os.dup(connection.fileno()))

    def cut(self) -> None:
        """Ends every connection of the call, now."""
        with self._guard:
            self._is_cut, opened, self._connections = True, self._connections, []
        for one in opened:
            with suppress(OSError), socket.socket(fileno=one) as connection:
                connection.shutdown(socket.SHUT_RDWR)


@cache
def _watch_connections() -> None:
    """Tells calls of the connections that they open, whichever library does; other threads go on as ever."""

    def heard(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            call: Call | None = getattr(_of_this_thread, "call", None)
            if call is not None:
                call.note(args[0])

    sys.addaudithook(heard)


def side_by_side(
    wanted: Mapping[str, Sequence[Callable[[], str]]],
    heard: Callable[[Outcome], bool],
    *,
    until: float | None = None,
) -> None:
    """Makes the calls of every name one after another, all names at once.

    Args:
        heard: told of each outcome as it comes, in the caller's thread; `False`: no further call of that
            name. until: by `time.monotonic()`, the moment after which no call begins; nothing is heard of
            those.
    """
    answers: SimpleQueue[Outcome] = SimpleQueue()
    running: dict[str, Call] = {}
    left = {name: list(enumerate(acts)) for name, acts in wanted.items()}
    try:
        while True:
            for name, acts in left.items():
                if name not in running and acts and (until is None or time.monotonic() < until):
                    number, act = acts.pop(0)
                    running[name] = Call(name, number, act, answers)
            if not running:
                return
            found = _next(answers, running)
            if not heard(found):
                left[found.name] = []
    finally:
        for call in running.values():
            call.cut()


def _next(answers: SimpleQueue[Outcome], running: dict[str, Call]) -> Outcome:
    """The next answer of a call that is still waited for, or the first call whose time is over."""
    while True:
        first = min(running.values(), key=lambda call: call.ends_at)
        with suppress(Empty):
            found = answers.get(timeout=max(0.0, first.ends_at - time.monotonic()))
            call = running.get(found.name)
            if call is None or call.number != found.number:
                continue  # too late: it was given up
            del running[found.name]
            return found
        del running[first.name]
        first.cut()
        return Outcome(first.name, first.number, problem=Overdue())
