"""The first and the last word of every command: signals are heard, and whatever ends it becomes an exit code.

Exit codes: 0 good, 1 a check or control failed, 2 refused with a coded error, 130 and 143 stopped.
Nothing heavy is imported here before the command is: signals must be heard while it is.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

from cops_dagster.cli import signals
from cops_dagster.errors import CopsError


def main() -> None:
    """The command `cops`."""

    def loaded() -> Callable[[], object]:
        from cops_dagster.cli.main import named

        return named(sys.argv[1:])

    run(loaded)


def run(load: Callable[[], Callable[[], object]]) -> None:
    """Loads the application and runs it; a refusal is printed with its code and ends with 2."""
    signals.listen()
    os.umask(0o077)  # what a command writes is its user's; a home may be its group's (`stores/access.py`)
    # A command is a short process: collecting garbage while it imports took 15 % of its time (measured).
    gc.set_threshold(400_000, 50, 50)
    try:
        load()()
    except SystemExit as end:
        stopped = signals.received() if end.code == 130 else None  # Typer's answer to KeyboardInterrupt
        if stopped is None:
            raise
        sys.exit(signals.say_stopped(stopped))
    except BaseException as problem:  # noqa: BLE001  the end of the line: nothing leaves as a traceback
        stopped = signals.received()
        if stopped is not None:
            sys.exit(signals.say_stopped(stopped))
        from cops_dagster.cli.output import print_refusal

        print_refusal(_hinted(coded(problem)))
        sys.exit(2)
    finally:
        gc.disable()  # the process ends and frees everything: to look for garbage first took another 5 %


def _hinted(refusal: CopsError) -> CopsError:
    """With the name that was likely meant, where the books know one."""
    if not refusal.code.endswith(("-UNKNOWN", "-NAME", "-METHOD", "E-REV")):
        return refusal
    try:
        from cops_dagster.cli import desk
        from cops_dagster.operations import meant

        books = desk.books_if_any()
        return meant.hinted(books, refusal) if books else refusal
    except Exception:  # noqa: BLE001  the refusal stands whatever is wrong with the books
        return refusal


def coded(problem: BaseException) -> CopsError:
    """The refusal that an error stands for; `E-INTERNAL` for one that nobody foresaw."""
    from cops_dagster.stores import faults

    if isinstance(problem, CopsError):
        return problem
    known = faults.of(problem, "the home")
    if known:
        return known
    import traceback

    frames = traceback.extract_tb(problem.__traceback__)
    where = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    first = (str(problem).strip().splitlines() or [""])[0][:500]
    return CopsError(
        "E-INTERNAL",
        "cops",
        expected="a command without an unforeseen error",
        found=f"{type(problem).__name__}: {first}{where}",
        next_step="run again: nothing is half-written; if it comes back, report this with the Dagster run",
        details={"traceback": "".join(traceback.format_exception(problem))[-4000:]},
    )


if __name__ == "__main__":
    main()
