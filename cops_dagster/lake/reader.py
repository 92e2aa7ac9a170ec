"""The reader: an engine in a process of its own, for bytes that COPS has not written.

Belongs here: starting it, talking to it, and saying what it died of. Delivered bytes are untrusted for ever,
kept or not: one that crashes or exhausts the reader fails this read and nothing else. Files that COPS wrote
itself are read by `lake/duck.py` in this process, their digests being known.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake import reader_child
from cops_dagster.lake.duck import DuckDB, configuration
from cops_dagster.lake.engine import Row, Value
from cops_dagster.lake.statements import Written

_GIB = 1 << 30
_Process = subprocess.Popen[bytes]
_resting: dict[str, _Process] | None = None
"""By what they read, processes that did their work and may do the next; `None` outside of `resting`."""
_EXHAUSTED = {signal.SIGKILL, signal.SIGXCPU, signal.SIGXFSZ}  # the kernel's ways to say: too much


@contextmanager
def resting() -> Iterator[None]:
    """Until this ends, the process of a reader that did its work waits for the next work on the same bytes.

    That gets a fresh engine and its own limits: only the start of the process is spared, 0.15 s each. One
    that was refused anything ends, as does every one outside of a run.
    """
    global _resting
    before, _resting = _resting, {}
    try:
        yield
    finally:
        ended, _resting = _resting, before
        for process in ended.values():
            _end(process)


class Reader(DuckDB):
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
        self._is_sound = False
        self._process = _rested(subject) or _started()
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
        self._is_sound = not any(raised)
        super().__exit__(*raised)

    def each(
        self, statement: str | exp.Expr | Written, params: Mapping[str, Value] | None = None
    ) -> Iterator[Row]:
        """Rows of a statement; they come over the pipe all at once."""
        yield from self.fetch(statement, params).rows

    def close(self) -> None:
        """Ends the child, or lets it rest."""
        if _resting is not None and self._is_sound and self._subject not in _resting and self._rests():
            _resting[self._subject] = self._process
        else:
            _end(self._process)

    def _rests(self) -> bool:
        """The child has closed its engine and waits for work."""
        assert self._process.stdout
        try:
            self._send({"rest": True})
        except CopsError:
            return False
        return reader_child.receive(self._process.stdout) == {"rests": True}

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


def _started() -> _Process:
    return subprocess.Popen(
        # without `site`, whose .pth files are other packages' code; the engine's folder is named instead
        [sys.executable, "-I", "-S", reader_child.__file__, str(Path(duckdb.__file__).parents[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a reader that Ctrl-C reached would look like one that crashed
    )


def _rested(subject: str) -> _Process | None:
    """The process that read the same and waits, if it is still there."""
    process = (_resting or {}).pop(subject, None)
    if process is None or process.poll() is None:
        return process
    _end(process)
    return None


def _end(process: _Process) -> None:
    for stream in (process.stdin, process.stdout):
        if stream:
            with contextlib.suppress(BrokenPipeError):  # it may be gone already
                stream.close()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _memory(limit: str) -> int:
    number, unit = limit[:-3], limit[-3:]
    return int(number) * (_GIB if unit == "GiB" else 1 << 20)
