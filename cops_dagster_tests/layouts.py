"""One month of lines, written as AWS would deliver it in each of its layouts.

Takes Arrow tables under Athena names, as `deliveries.lines` makes them. Data files first, the manifest last.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cops_dagster.period import Period

Writer = Callable[[Path, Sequence[pa.Table], Period, str], Path]
Rows = list[dict[str, Any]]

_CATEGORIES = (
    "identity", "bill", "line_item", "product", "pricing", "reservation", "savings_plan", "split_line_item",
    "resource_tags", "cost_category", "account_tag", "discount",
)  # fmt: skip
_FLAT_PRODUCT = {"servicecode", "sku", "product_family", "instance_type", "region_code", "operation"}
_LOWER_FIRST = {"servicecode", "sku", "region", "region_code", "instance_type", "operation"}


def csv_header(name: str) -> str:
    """The legacy CSV header of an Athena name: `line_item_unblended_cost` → `lineItem/UnblendedCost`."""
    category = next((one for one in _CATEGORIES if name.startswith(f"{one}_")), "")
    rest = name.removeprefix(f"{category}_")
    kind = re.sub(r"_(\w)", lambda match: match[1].upper(), category)
    if category == "resource_tags":
        owner, _, key = rest.partition("_")
        return f"{kind}/{owner}:{key}"
    if (category == "product" and rest in _LOWER_FIRST) or category == "pricing":
        return f"{kind}/" + re.sub(r"_(\w)", lambda match: match[1].upper(), rest)
    return f"{kind}/" + "".join(part[:1].upper() + part[1:] for part in rest.split("_"))


def cell(value: Any) -> str:
    """A value as AWS writes it into CSV: no exponents, times in UTC, nothing for NULL."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


def csv_text(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Lines of CSV, quoted where needed."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[cell(value) for value in row] for row in rows])
    return text.getvalue().encode()


def packed(body: bytes, kind: str, name: str) -> bytes:
    """Bytes of a file of one kind: `gzip`, `zip` or as they are."""
    if kind == "gzip":
        return gzip.compress(body, mtime=0)
    if kind == "zip":
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, body)
        return made.getvalue()
    return body


def cur2_rows(table: pa.Table) -> Rows:
    """The lines as CUR 2.0 holds them: sparse columns in maps, a key only where a row has a value."""
    rows = []
    for line in table.to_pylist():
        row: dict[str, Any] = {"product": {}, "resource_tags": {}, "cost_category": {}, "discount": {}}
        for name, value in line.items():
            column, key = _map_of(name)
            if column is None:
                row[name] = value
            elif value is not None:
                row[column][key] = value
        rows.append(row)
    return rows


def _map_of(name: str) -> tuple[str | None, str]:
    if name.startswith("resource_tags_"):
        return "resource_tags", name.removeprefix("resource_tags_")
    if name.startswith("cost_category_"):
        return "cost_category", name.removeprefix("cost_category_")
    if name.startswith("product_") and name.removeprefix("product_") not in _FLAT_PRODUCT:
        return "product", name.removeprefix("product_")
    return None, ""


def _files(tables: Sequence[pa.Table], kind: str, report: str, *, cur2: bool) -> dict[str, bytes]:
    made = {}
    for number, table in enumerate(tables, start=1):
        stem = f"{report}-{number:05d}"
        if kind == "parquet":
            sink = io.BytesIO()
            pq.write_table(_cur2_table(table) if cur2 else table, sink)
            made[f"{stem}.snappy.parquet"] = sink.getvalue()
            continue
        if cur2:
            rows = cur2_rows(table)
            header = list(rows[0]) if rows else [*_cur2_table(table).column_names]
            body = csv_text(
                header,
                [[json.dumps(row[name]) if isinstance(row[name], dict) else row[name] for name in header]
                 for row in rows],
            )  # fmt: skip
        else:
            header = [csv_header(name) for name in table.column_names]
            body = csv_text(header, [list(line.values()) for line in table.to_pylist()])
        name = f"{stem}.csv." + ("gz" if kind == "gzip" else "zip")
        made[name] = packed(body, kind, f"{stem}.csv")
    return made


def _cur2_table(table: pa.Table) -> pa.Table:
    rows = cur2_rows(table)
    text, number = pa.map_(pa.string(), pa.string()), pa.map_(pa.string(), pa.float64())
    maps = {"product": text, "resource_tags": text, "cost_category": text, "discount": number}
    flat = [field for field in table.schema if _map_of(field.name)[0] is None]
    columns = [table.column(field.name) for field in flat]
    columns += [pa.array([list(row[name].items()) for row in rows], kind) for name, kind in maps.items()]
    return pa.table(columns, names=[*[field.name for field in flat], *maps])


def _put(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)


def _legacy_manifest(period: Period, assembly: str, kind: str, keys: Sequence[str]) -> bytes:
    said = {
        "assemblyId": assembly, "account": "000000000042", "columns": [], "charset": "UTF-8",
        "compression": {"parquet": "Parquet", "gzip": "GZIP", "zip": "ZIP"}[kind],
        "contentType": "Parquet" if kind == "parquet" else "text/csv",
        "reportId": "r", "reportName": "report",
        "billingPeriod": {
            "start": f"{period.start:%Y%m%d}T000000.000Z", "end": f"{period.end:%Y%m%d}T000000.000Z",
        },
        "bucket": "bucket", "reportKeys": list(keys),
    }  # fmt: skip
    return json.dumps(said).encode()


def legacy(
    root: Path, tables: Sequence[pa.Table], period: Period, assembly: str, *, kind: str, overwrite: bool
) -> Path:
    """A legacy report below `prefix/report`."""
    month = root / "prefix" / "report" / f"{period.start:%Y%m%d}-{period.end:%Y%m%d}"
    folder = month if overwrite else month / assembly
    files = _files(tables, kind, "report", cur2=False)
    _put(folder, files)
    manifest = _legacy_manifest(
        period, assembly, kind, [f"/{folder.relative_to(root).as_posix()}/{name}" for name in files]
    )
    for place in {folder, month}:
        (place / "report-Manifest.json").write_bytes(manifest)
    return folder


def athena(
    root: Path, tables: Sequence[pa.Table], period: Period, assembly: str, *, padded: bool = False
) -> Path:
    """A legacy report with Athena integration: always Parquet, always overwritten, with its status."""
    base = root / "prefix" / "report" / "report"
    month = f"{period.month:02d}" if padded else str(period.month)
    folder = base / f"year={period.year}" / f"month={month}"
    files = _files(tables, "parquet", "report", cur2=False)
    _put(folder, files)
    status(base, "READY")
    keys = [folder.relative_to(root).as_posix() + f"/{name}" for name in files]
    (folder / "report-Manifest.json").write_bytes(_legacy_manifest(period, assembly, "parquet", keys))
    return folder


def status(base: Path, text: str) -> None:
    """Writes the status table of a report with Athena integration."""
    folder = base / "cost_and_usage_data_status"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"status": [text]}), folder / "status.parquet")


def exports(
    root: Path,
    tables: Sequence[pa.Table],
    period: Period,
    assembly: str,
    *,
    kind: str,
    overwrite: bool,
    partition: str = "BILLING_PERIOD",
) -> Path:
    """A Data Export of CUR 2.0 below `prefix/export`."""
    base, month = root / "prefix" / "export", f"{partition}={period}"
    execution = "" if overwrite else f"2025-10-01T04:00:00.{len(assembly):03d}Z-{assembly}"
    folder = base / "data" / month / execution
    files = _files(tables, kind, "export", cur2=True)
    _put(folder, files)
    manifest = {
        "executionId": assembly,
        "exportArn": "arn:aws:bcm-data-exports:us-east-1:000000000042:export/export-1",
        "columns": [],
        "dataFiles": [f"s3://bucket/{folder.relative_to(root).as_posix()}/{name}" for name in files],
        "additionalOutputFiles": [],
    }
    _put(base / "metadata" / month / execution, {"export-Manifest.json": json.dumps(manifest).encode()})
    return folder


LAYOUTS: dict[str, Writer] = {
    **{
        f"legacy {name}, {'overwrite' if over else 'create new version'}": partial(
            legacy, kind=kind, overwrite=over
        )
        for name, kind in (("parquet", "parquet"), ("csv gzip", "gzip"), ("csv zip", "zip"))
        for over in (False, True)
    },
    "legacy athena": athena,
    "legacy athena, padded month": partial(athena, padded=True),
    **{
        f"data exports {name}, {'overwrite' if over else 'create new version'}": partial(
            exports, kind=kind, overwrite=over
        )
        for name, kind in (("parquet", "parquet"), ("csv gzip", "gzip"))
        for over in (False, True)
    },
    "data exports parquet, lower-case partition": partial(
        exports, kind="parquet", overwrite=True, partition="billing_period"
    ),
}
"""Name → writer of (root, tables, period, assembly id); it returns the folder of the data files."""
