"""Files as Iceberg tables of the engine's catalog, declared and not read: nothing of them is parsed here.

Belongs here: pyiceberg's part of a cluster's session. Does not belong here: when a table is made and dropped
(`lake/session.py`), the projection of published files (`lake/iceberg.py`). Columns are found by their names
in the files, since what AWS and COPS write has no field ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog as Catalog

_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")


@dataclass(frozen=True)
class DataFile:
    """A file where the engine finds it."""

    uri: str
    rows: int
    size_bytes: int


def is_known(kind: str) -> bool:
    """A column of this type, as the reader calls it, reads alike in every engine."""
    return kind in _KINDS or bool(_DECIMAL.fullmatch(kind))


_KINDS = {
    "VARCHAR": "string", "DOUBLE": "double", "FLOAT": "float", "TIMESTAMP": "timestamp",
    "TIMESTAMP_MS": "timestamp", "TIMESTAMP_S": "timestamp", "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz", "DATE": "date", "BOOLEAN": "boolean", "TINYINT": "int",
    "SMALLINT": "int", "INTEGER": "int", "BIGINT": "long", "MAP(VARCHAR, VARCHAR)": "map<string>",
    "MAP(VARCHAR, DOUBLE)": "map<double>",
}  # fmt: skip


def declare(
    catalog: Catalog, name: str, location: str, types: Mapping[str, str], files: Sequence[DataFile]
) -> None:
    """Makes a table of exactly these files.

    Args:
        name: `database.table`.
        types: of each column, as it is named in the files, what the reader calls its type.
    """
    from pyiceberg.manifest import DataFile as Entry
    from pyiceberg.manifest import DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    table = catalog.create_table(name, _schema(types), location=location, properties={"format-version": "2"})
    # the ids are the table's own: making it numbered the columns anew, those within maps last
    mapping = _as_written(table.schema().name_mapping.model_dump_json(), types)
    with table.transaction() as transaction:
        transaction.set_properties({"schema.name-mapping.default": mapping})
        with transaction.update_snapshot().fast_append() as append:
            for file in files:
                append.append_data_file(
                    Entry.from_args(
                        content=DataFileContent.DATA,
                        file_path=file.uri,
                        file_format=FileFormat.PARQUET,
                        partition=Record(),
                        record_count=file.rows,
                        file_size_in_bytes=file.size_bytes,
                        column_sizes={},
                        value_counts={},
                        null_value_counts={},
                        nan_value_counts={},
                        lower_bounds={},
                        upper_bounds={},
                        key_metadata=None,
                        split_offsets=None,
                        equality_ids=None,
                        sort_order_id=None,
                    )
                )


def files_of(catalog: Catalog, name: str) -> list[DataFile]:
    """The files that an engine wrote into a table, by its newest manifest."""
    table = catalog.load_table(name)
    snapshot = table.current_snapshot()
    return [
        DataFile(entry.data_file.file_path, entry.data_file.record_count, entry.data_file.file_size_in_bytes)
        for manifest in (snapshot.manifests(table.io) if snapshot else ())
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    ]


def forget(catalog: Catalog, database: str, prefix: str) -> int:
    """Takes the tables of which the name begins so out of the catalog; deletes no file. How many."""
    found = [one for one in catalog.list_tables(database) if one[-1].startswith(prefix)]
    for identifier in found:
        catalog.drop_table(identifier)
    return len(found)


def _as_written(mapping: str, types: Mapping[str, str]) -> str:
    import json

    fields = json.loads(mapping)
    for field, written in zip(fields, types, strict=True):
        field["names"] = sorted({written, written.lower()})
    return json.dumps(fields)


def _schema(types: Mapping[str, str]) -> Any:
    from pyiceberg import types as of
    from pyiceberg.schema import Schema

    plain = {
        "string": of.StringType(), "double": of.DoubleType(), "float": of.FloatType(),
        "timestamp": of.TimestampType(), "timestamptz": of.TimestamptzType(), "date": of.DateType(),
        "boolean": of.BooleanType(), "int": of.IntegerType(), "long": of.LongType(),
    }  # fmt: skip
    number = 0
    fields = []
    for written, kind in types.items():
        number += 1
        field_id = number
        made: Any
        if exact := _DECIMAL.fullmatch(kind):
            made = of.DecimalType(int(exact[1]), int(exact[2]))
        elif _KINDS[kind].startswith("map<"):
            made = of.MapType(number + 1, plain["string"], number + 2, plain[_KINDS[kind][4:-1]], False)
            number += 2
        else:
            made = plain[_KINDS[kind]]
        fields.append(of.NestedField(field_id, written.lower(), made, required=False))
    return Schema(*fields)
