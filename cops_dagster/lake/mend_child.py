"""The mending process: rewrites one Parquet file whose strings are not all UTF-8, or whose maps repeat a key.

Belongs here: decoding and taking maps apart, batch by batch. It imports nothing of COPS.
"""

from __future__ import annotations

import resource
import sys
from typing import Any

_ADDRESS_BYTES = 8 << 30


def _decoded(column: Any, faults: list[str | None], name: str) -> Any:
    """The column as valid text; lines whose bytes were not are noted in `faults`."""
    import pyarrow as pa

    try:
        column.validate(full=True)
        return column
    except pa.ArrowInvalid:
        pass
    values: list[str | None] = []
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    for index, value in enumerate(plain.cast(pa.binary())):
        body = value.as_py()
        if body is None:
            values.append(None)
            continue
        try:
            values.append(body.decode("utf-8"))
        except UnicodeDecodeError:
            values.append(body.decode("utf-8", errors="backslashreplace"))
            faults[index] = faults[index] or f"{name}: bytes 0x{body.hex()[:160]}"
    return pa.array(values, pa.string())


def _pairs(column: Any) -> Any:
    """A map as a list of keys and values, which may hold a key twice; what is NULL stays NULL."""
    import pyarrow as pa

    pairs = pa.StructArray.from_arrays([column.keys, column.items], ["key", "value"])
    return pa.ListArray.from_arrays(column.offsets, pairs, mask=column.is_null())


def main(source: str, target: str, fault: str, fault_text: str, lost: str, maps: str = "") -> None:
    """Rewrites `source` as `target` with the three columns that every converted file has."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_BYTES, _ADDRESS_BYTES))
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for batch in pq.ParquetFile(source).iter_batches():
        faults: list[str | None] = [None] * batch.num_rows
        columns = [
            _decoded(column, faults, name)
            if pa.types.is_string(column.type) or pa.types.is_dictionary(column.type)
            else _pairs(column)
            if maps and pa.types.is_map(column.type)
            else column
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        codes = ["E-UTF8" if text else None for text in faults]
        nothing = pa.nulls(batch.num_rows, pa.string())
        table = pa.table(
            [*columns, pa.array(codes, pa.string()), pa.array(faults, pa.string()), nothing],
            names=[*batch.schema.names, fault, fault_text, lost],
        )
        writer = writer or pq.ParquetWriter(target, table.schema, compression="zstd")
        writer.write_table(table)
    if writer:
        writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
