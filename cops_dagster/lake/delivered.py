"""Delivered CUR files as the engine sees them: magic bytes, schemas, and one typed query over them.

Belongs here: reading what AWS sent, under its own names, one type per column. Does not belong here:
money (sql/stage_fact_cost_raw.sql) and the decision what is complete (`cur/`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlglot import exp

from cops_dagster.cur import schema as cur_schema
from cops_dagster.errors import CopsError
from cops_dagster.lake.engine import Engine, exact_name

_MAGIC = b"PAR1"
_NORMAL = {
    "VARCHAR": "varchar",
    "DOUBLE": "double",
    "FLOAT": "double",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP WITH TIME ZONE": cur_schema.ZONED,
}


@dataclass(frozen=True)
class DeliveredFiles:
    """One delivery's data files, their columns (name → normalised type) and where they lie now."""

    delivery_id: str
    source_id: str
    columns: dict[str, str]
    paths: tuple[Path, ...]
    sizes: tuple[int, ...]
    versions: tuple[int, ...]

    @classmethod
    def recorded(cls, row: Any, home: Path) -> DeliveredFiles:
        """From `cur_delivery` with `cur_billing_head.location_json` (the manifest stands first).

        Files below the home are recorded relative to it, so that a moved home still finds them.
        """
        location = json.loads(row.location_json)[1:]
        return cls(
            delivery_id=row.delivery_id,
            source_id=row.source_id,
            columns=json.loads(row.columns_json),
            paths=tuple(home / path for path, _, _ in location),
            sizes=tuple(size for _, size, _ in location),
            versions=tuple(version for _, _, version in location),
        )

    def verify_unchanged(self) -> None:
        """Refuses delivered files whose size or time moved since they were digested (`E-DIGEST`)."""
        for path, size, version in zip(self.paths, self.sizes, self.versions, strict=True):
            try:
                info = path.stat()
            except OSError:
                info = None
            if info is None or (info.st_size, info.st_mtime_ns) != (size, version):
                raise CopsError(
                    "E-DIGEST",
                    f"delivered file {path.name} of source {self.source_id}",
                    expected=f"{size} bytes as when it was digested",
                    found="no such file" if info is None else "another size or time",
                    next_step="materialise the period again to take the newest delivery",
                )


def inspect(engine: Engine, paths: list[Path], *, subject: str) -> tuple[dict[str, str], list[int]]:
    """Columns (name → normalised type) and rows per file, from the footers alone.

    Raises:
        CopsError: `E-FORMAT` (no Parquet), `E-FILE-TRUNC` (cut short or unreadable footer),
            `E-SCHEMA-MIXED` (files of one delivery with different columns).
    """
    schemas: list[dict[str, str]] = []
    counts: list[int] = []
    for path in paths:
        _check_magic(path, subject)
        try:
            source = exp.Select().select("*").from_(parquet([path])).sql("duckdb")
            columns = {
                row[0]: _NORMAL.get(row[1], str(row[1])) for row in engine.run(f"DESCRIBE {source}").rows
            }
            counted = engine.run(
                exp.select("num_rows").from_(_function("parquet_file_metadata", path)).sql("duckdb")
            )
        except CopsError as problem:
            raise _truncated(path, subject, problem.found) from None
        schemas.append(columns)
        counts.append(int(counted.rows[0][0]))
    for path, columns in zip(paths, schemas, strict=True):
        if columns != schemas[0]:
            differing = sorted(set(columns.items()) ^ set(schemas[0].items()))
            raise CopsError(
                "E-SCHEMA-MIXED",
                f"{subject}, file {path.name}",
                expected=f"the columns of {paths[0].name}",
                found=f"{len(differing)} differences, first {differing[0][0]} {differing[0][1]}",
                next_step="ask AWS to deliver the month again",
            )
    return schemas[0], counts


def delivered_query(files: DeliveredFiles) -> exp.Query:
    """Every delivered column under its name and one type, the expected ones NULL where not sent."""
    query = exp.Select().from_(parquet(files.paths))
    spelled = {name.lower(): name for name in files.columns}
    for column in cur_schema.EXPECTED:
        value: exp.Expr = exp.null()
        if column.name in spelled:
            value = exp.column(spelled[column.name], quoted=True)
            if (
                files.columns[spelled[column.name]] == cur_schema.ZONED
            ):  # the cast would follow the machine's zone
                value = exp.func("make_timestamp", exp.func("epoch_us", value))
        query = query.select(exp.alias_(exp.cast(value, column.data_type), column.name, quoted=True))
    for name, text in (("source_id", files.source_id), ("delivery_id", files.delivery_id)):
        query = query.select(exp.alias_(exp.Literal.string(text), name))
    for name in cur_schema.unexpected(files.columns):
        # as text, whatever its type: a type that no revision knows may change from month to month
        value = exp.cast(exp.column(name, quoted=True), "varchar")
        query = query.select(exp.alias_(value, cur_schema.kept_as(name), quoted=True))
    return query


def parquet(paths: Sequence[Path], *, by_name: bool = False) -> exp.Table:
    """`read_parquet` over exactly these files: names are no patterns, folders name no columns."""
    options = {"hive_partitioning": False} | ({"union_by_name": True} if by_name else {})
    return exp.Table(
        this=exp.Anonymous(
            this="read_parquet",
            expressions=[
                exp.Array(expressions=[_literal(path) for path in paths]),
                *[
                    exp.EQ(this=exp.column(name), expression=exp.Boolean(this=value))
                    for name, value in options.items()
                ],
            ],
        )
    )


def _literal(path: Path) -> exp.Expr:
    return exp.Literal.string(exact_name(path))


def _function(name: str, path: Path) -> exp.Table:
    return exp.Table(this=exp.Anonymous(this=name, expressions=[_literal(path)]))


def _check_magic(path: Path, subject: str) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(4)
        stream.seek(max(size - 4, 0))
        tail = stream.read(4)
    if head != _MAGIC:
        if size == 0:
            raise _truncated(path, subject, "0 bytes")
        raise CopsError(
            "E-FORMAT",
            f"{subject}, file {path.name}",
            expected="a Parquet file (first bytes PAR1)",
            found=f"first bytes {head!r}",
            next_step="deliver the report as Parquet",
        )
    if tail != _MAGIC or size < 12:
        raise _truncated(path, subject, f"{size} bytes without the closing PAR1")


def _truncated(path: Path, subject: str, found: str) -> CopsError:
    return CopsError(
        "E-FILE-TRUNC",
        f"{subject}, file {path.name}",
        expected="a whole Parquet file",
        found=found,
        next_step="wait for the next delivery, or copy the file again; the ingested month stays",
    )
