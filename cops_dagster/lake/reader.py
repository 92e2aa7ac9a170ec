"""The reader: an engine in a process of its own, for bytes that COPS has not written.

Belongs here: starting it, talking to it, and saying what it died of. Delivered bytes are untrusted for ever,
kept or not: one that crashes or exhausts the reader fails this read and nothing else. Files that COPS wrote
itself are read by `lake/engine.py` in this process, their digests being known.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake import reader_child
from cops_dagster.lake.engine import Engine, Row, Value, configuration
from cops_dagster.lake.statements import Written

_GIB = 1 << 30
_EXHAUSTED = {signal.SIGKILL, signal.SIGXCPU, signal.SIGXFSZ}  # the kernel's ways to say: too much


class Reader(Engine):
    """An engine whose statements run in a child process with limits.

    Limits grow with the delivery: one second of processor time and 20 bytes written per delivered byte
    are far above what a month takes (10 M lines: 0.1 s per MB), and far below what a bomb wants.

    Args:
        subject: what is read, for messages.
        delivered_bytes: size of the files to be read.
    """

    is_apart = True

    def __init__(self, *, subject: str, delivered_bytes: int, memory_limit: str, spill: Path | None) -> None:
        self._subject = subject
        self._still = []
        self._process = subprocess.Popen(
            # without `site`, whose .pth files are other packages' code; the engine's folder is named instead
            [sys.executable, "-I", "-S", reader_child.__file__, str(Path(duckdb.__file__).parents[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a reader that Ctrl-C reached would look like one that crashed
        )
        self._send(
            {
                "config": configuration(memory_limit, spill),
                "cpu_seconds": 300 + delivered_bytes // 1_000_000,
                "file_bytes": _GIB + 20 * delivered_bytes,
                "address_bytes": _memory(memory_limit) + 8 * _GIB,
            }
        )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def __exit__(self, *raised: object) -> None:
        if (
            raised[1:] and isinstance(raised[1], BaseException) and not isinstance(raised[1], Exception)
        ):  # stopped: what it reads is not waited for
            self._process.kill()
        super().__exit__(*raised)

    def each(
        self, statement: str | exp.Expr | Written, params: Mapping[str, Value] | None = None
    ) -> Iterator[Row]:
        """Rows of a statement; they come over the pipe all at once."""
        yield from self.fetch(statement, params).rows

    def close(self) -> None:
        """Ends the child."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with contextlib.suppress(BrokenPipeError):  # it may be gone already
                    stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _parts(self, sql: str) -> list[duckdb.Statement]:
        return duckdb.extract_statements(sql)  # the child is not asked: what it reads may have crashed it

    def _execute(self, sql: str, values: Mapping[str, Any] | Sequence[Any]) -> tuple[list[str], list[Row]]:
        sent = (
            {name: reader_child.encode(value) for name, value in values.items()}
            if isinstance(values, Mapping)
            else [reader_child.encode(value) for value in values]
        )
        self._send({"sql": sql, "values": sent})
        assert self._process.stdout
        answer = reader_child.receive(self._process.stdout)
        if answer is None:
            raise self._died()
        if "error" in answer:
            raise getattr(duckdb, answer["error"], duckdb.Error)(answer["text"])
        return answer["columns"], [tuple(map(reader_child.decode, row)) for row in answer["rows"]]

    def _send(self, message: Any) -> None:
        assert self._process.stdin
        try:
            reader_child.send(self._process.stdin, message)
        except BrokenPipeError:
            raise self._died() from None

    def _died(self) -> CopsError:
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        exhausted = code < 0 and signal.Signals(-code) in _EXHAUSTED
        return CopsError(
            "E-RESOURCE" if exhausted else "E-READER-CRASH",
            self._subject,
            expected="files that can be read within the limits of memory, time and size"
            if exhausted
            else "files that can be read",
            found=f"the reading process ended with {how}",
            next_step="the ingested month stays; look at the delivered files, then ask AWS to deliver the"
            " month again" + (", or raise COPS_MEMORY_LIMIT if the month is that large" if exhausted else ""),
        )


def _memory(limit: str) -> int:
    number, unit = limit[:-3], limit[-3:]
    return int(number) * (_GIB if unit == "GiB" else 1 << 20)
