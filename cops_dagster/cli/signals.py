"""Ctrl-C and SIGTERM: heard from the first moment on, whoever has put handlers of their own meanwhile.

Belongs here: hearing them, and saying that a command was stopped. Python writes the number of every signal to
a pipe of ours before any handler runs, so it is known although Dagster replaces handlers during a run and
DuckDB tells of an interrupted query as of any other fault. What stops is the caller's affair.
"""

from __future__ import annotations

import json
import os
import signal
import sys

_heard: list[int] = []


def listen() -> None:
    """From here on both signals raise `KeyboardInterrupt`, and `received` knows of them."""
    read, write = os.pipe()
    for end in (read, write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _heard[:] = [read]


def received() -> int | None:
    """The first of the two signals that came since `listen`, if one did."""
    if not _heard:
        return None
    try:
        numbers = os.read(_heard[0], 64)
    except BlockingIOError:
        numbers = b""
    _heard.extend(numbers)
    return next((one for one in _heard[1:] if one in (signal.SIGINT, signal.SIGTERM)), None)


def say_stopped(number: int) -> int:
    """Says in one line that the command was stopped; its exit code, 130 or 143."""
    text = "interrupted; nothing is half-written, run it again"
    if sys.stderr.isatty():
        line = text
    else:
        line = json.dumps(
            {
                "level": "error",
                "code": "E-INTERRUPTED",
                "subject": "cops",
                "expected": "an undisturbed run",
                "found": signal.Signals(number).name,
                "next_step": text,
            }
        )
    sys.stderr.write(f"\n{line}\n" if sys.stderr.isatty() else f"{line}\n")
    return 128 + number
