"""Files that leave COPS: CSV and Parquet with the same bytes from the same rows, and their folder.

Belongs here: how a file of an export is written and digested, and how a folder of them takes its place whole.
Does not belong here: what stands in them. A file has no clock, no random name and no path of this machine in
it. Where rows come from the engine, it writes the Parquet file itself (`lake/focus_rows.py`).
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cops_dagster.errors import CopsError
from cops_dagster.stores import csv_cells, faults
from cops_dagster.stores.files import fsync_folder, sha256

SUMS = "SHA256SUMS"
"""Says in a comment what the folder is, then lists every other file with its digest, as `sha256sum -c` reads
it."""
Columns = Sequence[tuple[str, str]]
"""Name and kind of each column: `text`, `money` (decimal(38,18)), `int`, `date`, `time` (UTC)."""


def csv_bytes(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A CSV file: UTF-8, a header line, line feeds, cells guarded (`stores/csv_cells.py`)."""
    text = io.StringIO()
    csv_cells.write(text, columns, rows)
    return text.getvalue().encode()


def parquet(path: Path, columns: Columns, rows: Sequence[Sequence[object]]) -> None:
    """A Parquet file of rows that fit into memory; the same rows give the same bytes."""
    import pyarrow as pa
    from pyarrow import parquet as written

    kinds = {
        "text": pa.string(), "money": pa.decimal128(38, 18), "int": pa.int64(), "date": pa.date32(),
        "time": pa.timestamp("us"),
    }  # fmt: skip
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns])
    arrays: list[Any] = [
        pa.array([row[at] for row in rows], kinds[kind]) for at, (_, kind) in enumerate(columns)
    ]
    table = pa.Table.from_arrays(arrays, schema=schema)
    written.write_table(table, path, compression="zstd", store_schema=False)


@contextmanager
def swapped(target: Path, kind: str) -> Iterator[Path]:
    """An empty folder that takes the target's place when all of its files are written, and never in part.

    A folder that stands there is replaced only if it is the same kind of export and is as it was written,
    which its `SHA256SUMS` says: another export, an edited file or what people keep there would be lost. On
    the way out that list is written and everything is made durable.

    Args:
        kind: what the folder is, such as `focus_cost_1_4 of 2025-08`.

    Raises:
        CopsError: `E-OUT` for a target that is something else; what `faults.writing_to` raises.
    """
    with faults.writing_to(target, "give another with --out"):
        target = Path.cwd() / target
        _require_own(target, kind)
        target.parent.mkdir(parents=True, exist_ok=True)
        made = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        made.mkdir()
    try:
        yield made
        with faults.writing_to(target, "give another with --out"):
            (made / SUMS).write_text(_mark(kind) + sums(made), encoding="utf-8")
            _make_durable(made)
            _replace(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def sums(folder: Path) -> str:
    """The lines of `SHA256SUMS` over every other file below a folder, by name."""
    return "".join(f"{sha256(path)}  {name}\n" for name, path in _files(folder) if name != SUMS)


def digest_of(folder: Path) -> str:
    """The digest of an export: of the names of its files and their digests."""
    return hashlib.sha256(sums(folder).encode()).hexdigest()


def _files(folder: Path) -> list[tuple[str, Path]]:
    found = [(path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file()]
    return sorted(found)


def _mark(kind: str) -> str:
    return f"# COPS export: {kind}\n"


def _require_own(target: Path, kind: str) -> None:
    if not target.exists() and not target.is_symlink():
        return
    found = "something else, which would be lost"
    if target.is_dir() and not target.is_symlink():
        if not any(target.iterdir()):
            return
        listed = target / SUMS
        said = listed.read_text(encoding="utf-8", errors="replace") if listed.is_file() else ""
        if said == _mark(kind) + sums(target):
            return
        if said.startswith(_mark(kind)):
            found = "such an export that was edited since"
        elif said.startswith(_mark("")[:-1]):
            found = "another: " + said.partition("\n")[0].removeprefix(_mark("")[:-1])
    raise CopsError(
        "E-OUT",
        f"folder {target}",
        expected=f"a folder that is not there yet, is empty, or is {kind} as it was written",
        found=found,
        next_step="give another with --out, or move that one away",
    )


def _make_durable(folder: Path) -> None:
    for _, path in _files(folder):
        with path.open("rb") as written:
            os.fsync(written.fileno())
    for path in [*(one for one in folder.rglob("*") if one.is_dir()), folder]:
        fsync_folder(path)


def _replace(made: Path, target: Path) -> None:
    """The old folder steps aside by one rename and the new one takes its name by the next."""
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    if target.exists():
        target.rename(old)
    try:
        made.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    fsync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)
