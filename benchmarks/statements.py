"""`cops` with a note of every statement: which engine ran it, its wall and its CPU seconds.

    BENCH_STATEMENTS=FILE python benchmarks/statements.py materialize 2025-07

Wraps the engines of this one process; the product knows nothing of it. A reader's CPU seconds are those of
its child, by the kernel's clock of 0.01 s; those of an engine in this process hold whatever ran beside it.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.reader import Reader
from cops_dagster.stores import files

LOG = Path(os.environ["BENCH_STATEMENTS"])
TICK = os.sysconf("SC_CLK_TCK")
_asked: list[str] = []


def note(**said: Any) -> None:
    with LOG.open("a", encoding="utf-8") as file:
        file.write(json.dumps(said) + "\n")


def cpu_of(engine: DuckDB) -> float:
    if not isinstance(engine, Reader):
        return time.process_time()
    try:
        fields = Path(f"/proc/{engine.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def called(sql: str) -> str:
    """What a statement is called in the table."""
    if sql.startswith("SET "):
        return "start of an engine"
    if found := re.match(r'CREATE OR REPLACE (?:TEMP )?VIEW "?(\w+)', sql):
        return f"view {found[1]}"
    is_table = sql.startswith("CREATE OR REPLACE TABLE")
    return _asked[-1] if _asked and not is_table else sql[:70]


def counted(kind: type[DuckDB]) -> None:
    """Notes every statement that an engine of this kind executes."""
    real = kind._execute

    def execute(self: DuckDB, sql: str, values: Any) -> Any:
        start, cpu = time.perf_counter(), cpu_of(self)
        try:
            return real(self, sql, values)
        finally:
            name = called(re.sub(r"\s+", " ", sql))
            wall = time.perf_counter() - start
            note(name=name, where=kind.__name__.lower(), wall=wall, cpu=cpu_of(self) - cpu)

    kind._execute = execute  # type: ignore[method-assign]


def named(verb: str) -> None:
    """What was asked by name is noted by name: `sql/NAME.sql`, or what kind of file was written."""
    real: Callable[..., Any] = getattr(DuckDB, verb)

    def asked(self: DuckDB, *given: Any, **more: Any) -> Any:
        names = [one for one in given if isinstance(one, str)]
        targets = [one.parent.parent.parent.name for one in given if isinstance(one, Path)]
        if names or targets:
            _asked.append(f"{verb} {' '.join([*names, *targets])}")
        try:
            return real(self, *given, **more)
        finally:
            if names or targets:
                _asked.pop()

    setattr(DuckDB, verb, asked)


def digested(real: Callable[[Path], str]) -> Callable[[Path], str]:
    def sha256(path: Path) -> str:
        start, cpu = time.perf_counter(), time.thread_time()
        found = real(path)
        note(name="sha256", where="digest", wall=time.perf_counter() - start, cpu=time.thread_time() - cpu)
        return found

    return sha256


def ended() -> None:
    mine, theirs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    note(
        name="", where="process", wall=time.perf_counter() - BEGAN, cpu=mine.ru_utime + mine.ru_stime,
        children=theirs.ru_utime + theirs.ru_stime,
    )  # fmt: skip


if __name__ == "__main__":
    BEGAN = time.perf_counter() - time.process_time()
    for one in (DuckDB, Reader):
        counted(one)
    for verb in ("fetch", "keep", "stage"):
        named(verb)
    files.sha256 = digested(files.sha256)
    atexit.register(ended)
    from cops_dagster.cli.start import main

    sys.argv[0] = "cops"
    main()
