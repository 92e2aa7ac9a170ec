"""Waiting for somebody else's server, but not for ever: a host that falls silent starves no other source.

Belongs here: giving up. Does not belong here: what is asked, and how that is told (`usage/database.py`,
`usage/prometheus.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, act: Callable[[], T]) -> T:
    """What the act gives or raises; whatever it waits for then is left to itself.

    Raises:
        TimeoutError: it did not end in time.
    """
    said: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            said.put((act(), None))
        except BaseException as problem:  # noqa: BLE001  whoever asked raises it
            said.put((None, problem))

    Thread(target=run, daemon=True).start()
    try:
        found, problem = said.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if problem is not None:
        raise problem
    return found  # type: ignore[return-value]
