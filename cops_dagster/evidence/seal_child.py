"""The second opinion on a seal: reads published Parquet with Arrow and digests it with code of its own.

Run as a process by `evidence/seal.py`, with file names on standard input. It shares no encoder and no reader
with the first path on purpose: a fault in either shows as two different digests. No import of ours
belongs here.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq


def main() -> None:
    """Answers `{"digest": …, "rows": …}` for `{"tables": […], "files": {…}, "columns": {…}}`."""
    asked = json.load(sys.stdin)
    tables, count = [], 0
    for name in asked["tables"]:
        rows: list[list[Any]] = []
        for path in asked["files"][name]:
            read = pq.ParquetFile(path).read()
            held = [
                read.column(column).to_pylist() if column in read.column_names else [None] * read.num_rows
                for column in asked["columns"][name]
            ]
            rows.extend(map(list, zip(*held, strict=True)))
        rows.sort(key=lambda row: row[0])  # entry_id stands first
        count += len(rows)
        tables.append(_list([_text(name), _list([_list([_cell(cell) for cell in row]) for row in rows])]))
    state = hashlib.sha256(b"\x01" + _text("entries-1") + _list(tables))
    json.dump({"digest": state.hexdigest(), "rows": count}, sys.stdout)


def _cell(value: Any) -> bytes:
    if value is None:
        return _framed(b"n", b"")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return _framed(b"i", b"%d" % value)
    if isinstance(value, Decimal):
        return _framed(b"m", format(value.quantize(Decimal("1e-18")) + 0, "f").encode())
    if isinstance(value, date):
        return _framed(b"d", value.strftime("%Y-%m-%d").encode())
    raise TypeError(f"a {type(value).__name__} in an entry")


def _text(value: str) -> bytes:
    return _framed(b"s", value.encode("utf-8", "surrogatepass"))


def _list(parts: list[bytes]) -> bytes:
    return _framed(b"l", b"".join(parts))


def _framed(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack(">Q", len(body)) + body


if __name__ == "__main__":
    main()
