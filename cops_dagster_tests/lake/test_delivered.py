"""Reading what AWS sent: what is no whole Parquet file is refused, a path is a path, times are UTC."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cops_dagster.cur.schema import Sent
from cops_dagster.errors import CopsError
from cops_dagster.lake import statements
from cops_dagster.lake.delivered import DeliveredFiles, master_query
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.footers import inspect
from cops_dagster.lake.namespace import CUR_BILLING_MASTER
from cops_dagster.lake.views import over_files, read_parquet


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDB]:
    with DuckDB() as made:
        yield made


def parquet(path: Path, **columns: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns or {"a": [1, 2, 3]}), path)
    return path


def types(engine: DuckDB, paths: list[Path]) -> tuple[dict[str, str], list[int]]:
    """Each column's type, and the rows of each file."""
    columns, rows = inspect(engine, paths, subject="d")
    return {name: sent.data_type for name, sent in columns.items()}, rows


def delivery(*paths: Path, columns: dict[str, Sent]) -> DeliveredFiles:
    infos = [path.stat() for path in paths]
    return DeliveredFiles(
        "d", "s", columns, paths,
        tuple(info.st_size for info in infos), tuple(info.st_mtime_ns for info in infos),
    )  # fmt: skip


def test_columns_and_rows_are_read_from_whole_files(engine: DuckDB, tmp_path: Path) -> None:
    paths = [parquet(tmp_path / f"r-{n}.parquet", a=["x"] * n, b=[1.5] * n) for n in (1, 2)]
    assert types(engine, paths) == ({"a": "varchar", "b": "double"}, [1, 2])


def test_a_whole_file_without_rows_is_allowed(engine: DuckDB, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.float64())}), tmp_path / "r.parquet")
    assert types(engine, [tmp_path / "r.parquet"]) == ({"a": "double"}, [0])


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "by one byte": lambda content: content[:-1],
    "by four bytes": lambda content: content[:-4],
    "by half": lambda content: content[: len(content) // 2],
    "to its magic bytes": lambda content: content[:4],
    "to magic bytes at both ends": lambda content: content[:4] + content[-4:],
    "to nothing": lambda content: b"",
    "in the middle": lambda content: content[: len(content) // 3] + content[-20:],
    "to a footer longer than the file": lambda content: content[:-8] + b"\xff\xff\xff\x7f" + content[-4:],
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_truncated_file_is_refused_and_named(cut: str, engine: DuckDB, tmp_path: Path) -> None:
    whole, broken = parquet(tmp_path / "r-1.parquet"), parquet(tmp_path / "r-2.parquet")
    broken.write_bytes(CUTS[cut](broken.read_bytes()))
    with pytest.raises(CopsError) as refusal:
        inspect(engine, [whole, broken], subject="delivery d")
    assert refusal.value.code == "E-FILE-TRUNC"
    assert "r-2.parquet" in refusal.value.subject


def test_a_parquet_file_is_allowed_whatever_its_name(engine: DuckDB, tmp_path: Path) -> None:
    assert inspect(engine, [parquet(tmp_path / "r-1.csv.gz")], subject="d")[1] == [3]


@pytest.mark.parametrize(
    "second",
    [{"a": ["x"]}, {"a": [1], "b": [1]}, {"b": [1]}, {"A": [1]}],
    ids=["type", "more", "other", "case"],
)
def test_files_with_different_columns_are_refused(
    second: dict[str, list[Any]], engine: DuckDB, tmp_path: Path
) -> None:
    paths = [parquet(tmp_path / "r-1.parquet", a=[1]), parquet(tmp_path / "r-2.parquet", **second)]
    with pytest.raises(CopsError) as refusal:
        inspect(engine, paths, subject="d")
    assert refusal.value.code == "E-SCHEMA-MIXED"
    assert "r-2.parquet" in refusal.value.subject


def test_files_with_the_same_columns_in_another_order_are_allowed_and_matched_by_name(
    engine: DuckDB, tmp_path: Path
) -> None:
    one = parquet(tmp_path / "r-1.parquet", line_item_operation=["op"], line_item_usage_type=["use"])
    two = parquet(tmp_path / "r-2.parquet", line_item_usage_type=["use"], line_item_operation=["op"])
    columns, _ = inspect(engine, [one, two], subject="d")
    found = engine.fetch(master_query(delivery(one, two, columns=columns))).dicts()
    assert [(row["line_item_operation"], row["line_item_usage_type"]) for row in found] == [("op", "use")] * 2


def test_every_expected_column_has_its_one_type_null_where_not_sent_and_an_added_one_is_text(
    engine: DuckDB, tmp_path: Path
) -> None:
    path = parquet(tmp_path / "r.parquet", line_item_operation=["op"], zz_added=[7])
    query = master_query(delivery(path, columns=inspect(engine, [path], subject="d")[0]))
    (found,) = engine.fetch(query).dicts()
    assert list(found) == [*[name for name, _ in CUR_BILLING_MASTER], "zz_added"]
    given = {name: value for name, value in found.items() if value is not None}
    assert given == {"line_item_operation": "op", "source_id": "s", "delivery_id": "d", "zz_added": "7"}
    described = engine.run(f"DESCRIBE {statements.to_duckdb(query)}").rows
    assert tuple((row[0], row[1]) for row in described[:-1]) == CUR_BILLING_MASTER


# --- a path is a path ----------------------------------------------------------------------------------

ODD = ["r 1.parquet", "ä.parquet", "a'b.parquet", "%2e.parquet", "a\nb.parquet", "$x.parquet", "a;b.parquet",
       "r-[1].parquet", "r-?.parquet", "r-*.parquet", "**"]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_name_names_that_file_and_no_other(name: str, engine: DuckDB, tmp_path: Path) -> None:
    """`*`, `?` and `[` are wildcards to the engine; AWS lets report names and prefixes hold them."""
    parquet(tmp_path / "r-1.parquet", a=["other"])
    path = parquet(tmp_path / name, a=["mine"])
    assert engine.fetch(read_parquet([path])).rows == [("mine",)]
    assert types(engine, [path]) == ({"a": "varchar"}, [1])


@pytest.mark.parametrize("name", ["plain", "with space", "[x]", "x*", "a#b", "ü"])
def test_an_odd_folder_name_leads_to_that_folder_and_no_other(
    name: str, engine: DuckDB, tmp_path: Path
) -> None:
    parquet(tmp_path / "x" / "r.parquet", a=["other"])
    path = parquet(tmp_path / name / "r.parquet", a=["mine"])
    assert engine.fetch(read_parquet([path])).rows == [("mine",)]
    assert types(engine, [path]) == ({"a": "varchar"}, [1])


@pytest.mark.parametrize("name", ["env=prod", "year=2025", "line_item_operation=x"])
def test_a_folder_named_like_a_partition_adds_no_column_to_what_aws_sent(
    name: str, engine: DuckDB, tmp_path: Path
) -> None:
    path = parquet(tmp_path / name / "r.parquet", a=["mine"])
    assert types(engine, [path])[0] == {"a": "varchar"}
    assert engine.fetch(read_parquet([path])).columns == ("a",)


def test_a_table_over_no_files_is_empty_and_has_its_columns(engine: DuckDB) -> None:
    found = engine.fetch(over_files(CUR_BILLING_MASTER, []))
    assert (found.rows, found.columns) == ([], tuple(name for name, _ in CUR_BILLING_MASTER))


# --- times and changes ---------------------------------------------------------------------------------

READ_TIME = """
import sys
from pathlib import Path
from cops_dagster.lake.delivered import DeliveredFiles, master_query
from cops_dagster.lake.footers import inspect
from cops_dagster.lake.duck import DuckDB
path = Path(sys.argv[1])
with DuckDB() as engine:
    columns, _ = inspect(engine, [path], subject="d")
    query = master_query(DeliveredFiles("d", "s", columns, (path,), (0,), (0,)))
    print(engine.fetch(query).one()["line_item_usage_start_date"])
"""


@pytest.mark.sampled(3)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
@pytest.mark.parametrize("marked", [False, True], ids=["without a zone", "marked as UTC"])
def test_a_time_is_the_same_in_every_time_zone_of_the_machine(
    zone: str, marked: bool, tmp_path: Path
) -> None:
    times = pa.array([datetime(2025, 9, 1, tzinfo=UTC)], pa.timestamp("ms", "UTC" if marked else None))
    pq.write_table(pa.table({"line_item_usage_start_date": times}), tmp_path / "r.parquet")
    done = subprocess.run(
        [sys.executable, "-c", READ_TIME, str(tmp_path / "r.parquet")],
        env={**os.environ, "TZ": zone, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "2025-09-01 00:00:00"


@pytest.mark.parametrize("change", ["longer", "later", "gone"])
def test_a_delivered_file_that_changed_since_it_was_digested_is_refused(change: str, tmp_path: Path) -> None:
    path = parquet(tmp_path / "r.parquet")
    found = delivery(path, columns={})
    found.verify_unchanged()
    if change == "longer":
        info = path.stat()
        path.write_bytes(path.read_bytes() + b"x")
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    elif change == "later":
        os.utime(path)
    else:
        path.unlink()
    with pytest.raises(CopsError, match="E-DIGEST"):
        found.verify_unchanged()
