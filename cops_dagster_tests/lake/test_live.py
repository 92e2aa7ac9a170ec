"""Live files: the bytes that were published or a refusal; and which files are live, now and before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake import live
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.live import LiveFile, live_files, verify
from cops_dagster.stores import files as stored
from cops_dagster.stores import tables as t
from cops_dagster.stores.volume import Volume

SEPTEMBER = date(2025, 9, 1)


def published(path: Path, content: bytes = b"published bytes") -> LiveFile:
    path.write_bytes(content)
    info = path.stat()
    return LiveFile(
        "fact_cost_raw", SEPTEMBER, "report", "r", path, stored.sha256(path), info.st_size, info.st_mtime_ns
    )


def flip(file: LiveFile, *, same_time: bool) -> None:
    content = bytearray(file.path.read_bytes())
    content[len(content) // 2] ^= 1
    file.path.write_bytes(bytes(content))
    time = file.mtime_ns if same_time else file.mtime_ns + 1
    os.utime(file.path, ns=(time, time))


def refused(file: LiveFile, *, digests: bool) -> CopsError:
    with pytest.raises(CopsError) as refusal:
        verify([file], digests=digests)
    assert refusal.value.code == "E-DIGEST"
    assert file.path.name in refusal.value.subject
    return refusal.value


@pytest.mark.parametrize("digests", [False, True])
def test_published_bytes_are_allowed_again_and_again(digests: bool, tmp_path: Path) -> None:
    files = [published(tmp_path / f"{n}.parquet", bytes([n]) * 10) for n in range(5)]
    verify(files, digests=digests)
    verify(files, digests=digests)


def test_a_flipped_bit_of_the_same_size_and_time_is_found_by_digests(tmp_path: Path) -> None:
    file = published(tmp_path / "x.parquet")
    flip(file, same_time=True)
    assert refused(file, digests=True).found.startswith("sha256")


def test_a_flipped_bit_of_another_time_is_found_without_being_asked_for_digests(tmp_path: Path) -> None:
    file = published(tmp_path / "x.parquet")
    flip(file, same_time=False)
    refused(file, digests=False)


def test_a_flipped_bit_is_found_after_the_file_was_found_good(tmp_path: Path) -> None:
    file = published(tmp_path / "x.parquet")
    verify([file], digests=True)
    flip(file, same_time=False)
    refused(file, digests=True)


def test_a_file_is_not_good_because_another_record_of_it_was(tmp_path: Path) -> None:
    file = published(tmp_path / "x.parquet")
    verify([file], digests=True)
    other = LiveFile(**{**vars(file), "sha256": "0" * 64})
    refused(other, digests=True)


@pytest.mark.parametrize("digests", [False, True])
def test_a_restored_file_of_another_time_but_the_same_bytes_is_allowed(digests: bool, tmp_path: Path) -> None:
    file = published(tmp_path / "x.parquet")
    os.utime(file.path, ns=(1, 1))
    verify([file], digests=digests)


@pytest.mark.parametrize("digests", [False, True])
def test_a_missing_file_is_refused(digests: bool, tmp_path: Path) -> None:
    file = published(tmp_path / "x.parquet")
    file.path.unlink()
    assert refused(file, digests=digests).found == "no such file"


@pytest.mark.parametrize("digests", [False, True])
@pytest.mark.parametrize("content", [b"", b"published byte", b"published bytes and more"])
def test_a_file_of_another_size_is_refused(content: bytes, digests: bool, tmp_path: Path) -> None:
    file = published(tmp_path / "x.parquet")
    file.path.write_bytes(content)
    os.utime(file.path, ns=(file.mtime_ns, file.mtime_ns))
    assert refused(file, digests=digests).found == f"{len(content)} bytes"


def test_one_bad_file_among_good_ones_is_the_one_named(tmp_path: Path) -> None:
    files = [published(tmp_path / f"{n}.parquet", bytes([n]) * 10) for n in range(3)]
    flip(files[1], same_time=True)
    with pytest.raises(CopsError, match=r"1\.parquet"):
        verify(files, digests=True)


def test_a_file_just_written_and_digested_is_not_digested_twice_but_a_later_change_is_found(
    tmp_path: Path,
) -> None:
    file = published(tmp_path / "x.parquet")
    live.remember(file.path, file.sha256, stored.identity(file.path))
    verify([file], digests=True)
    flip(file, same_time=False)
    refused(file, digests=True)


# --- which files are live ------------------------------------------------------------------------------

JOURNAL = """
# seq table               month    source run    before
1     fact_cost_raw       2025-08  a      a8     .
2     fact_cost_raw       2025-09  a      a9     .
3     fact_cost_raw       2025-09  b      b9     .
4     fact_cost_raw       2025-09  a      a9-new a9
5     fact_cost_allocated 2025-09  .      one    .
6     fact_cost_allocated 2025-09  .      two    one
"""


@pytest.fixture
def con() -> Iterator[sa.Connection]:
    """An admin database with the journal above, one file of each run."""
    engine = sa.create_engine("sqlite://")
    for table in (t.publish_journal, t.lake_file):
        table.create(engine)
    with engine.connect() as made:
        for row in JOURNAL.strip().splitlines()[1:]:
            seq, table_name, month, source, run_id, before = row.split()
            common = {
                "run_id": run_id, "table_name": table_name, "period_start": date.fromisoformat(f"{month}-01"),
                "source_id": source.strip("."), "row_count": 1, "cost_usd": Decimal(1),
            }  # fmt: skip
            more = {"journal_seq": int(seq), "inputs_id": run_id, "verdicts_json": "[]", "actor": "test",
                    "predecessor_run_id": before.strip(".") or None,
                    "published_at": datetime(2025, 10, 1)}  # fmt: skip
            made.execute(sa.insert(t.publish_journal).values(**common, **more))
            made.execute(
                sa.insert(t.lake_file).values(
                    **common, path=f"{table_name}/{run_id}.parquet", schema_version=1, columns_json="[]",
                    sha256="0", size_bytes=1, mtime_ns=1,
                )
            )  # fmt: skip
        yield made


@pytest.mark.parametrize(
    ("table", "month", "as_of", "runs"),
    [
        ("fact_cost_raw", None, None, ["a8", "a9-new", "b9"]),
        ("fact_cost_raw", "2025-09", None, ["a9-new", "b9"]),
        ("fact_cost_raw", "2025-07", None, []),
        ("fact_cost_raw", None, 3, ["a8", "a9", "b9"]),
        ("fact_cost_raw", "2025-09", 2, ["a9"]),
        ("fact_cost_raw", None, 0, []),
        ("fact_cost_allocated", None, None, ["one", "two"]),
        ("fact_cost_allocated", "2025-09", 5, ["one"]),
        ("fact_cost_allocated", None, 4, []),
        ("cur_quarantine", None, None, []),
    ],
)
def test_the_newest_run_of_a_source_is_live_and_every_run_of_an_append_only_table(
    table: str, month: str | None, as_of: int | None, runs: list[str], con: sa.Connection, tmp_path: Path
) -> None:
    found = live_files(
        con, Volume(tmp_path), table,
        period_start=date.fromisoformat(f"{month}-01") if month else None, as_of_seq=as_of,
    )  # fmt: skip
    assert [file.run_id for file in found] == runs
    assert [file.path for file in found] == [tmp_path / table / f"{run}.parquet" for run in runs]


def test_a_file_exchanged_after_it_was_found_good_is_found_whatever_its_size_and_time(tmp_path: Path) -> None:
    """The digest was remembered by size and time, which anybody can set."""
    file = published(tmp_path / "x.parquet")
    verify([file], digests=True)
    flip(file, same_time=True)
    assert refused(file, digests=True).found.startswith("sha256")


def test_a_file_that_is_read_while_it_stays_is_allowed(tmp_path: Path) -> None:
    file = published(tmp_path / "x.parquet")
    held = verify([file], digests=True)
    os.link(file.path, tmp_path / "another name")
    live.require_same(held)


@pytest.mark.parametrize("digests", [False, True])
def test_a_file_that_is_exchanged_for_the_same_bytes_while_it_is_read_is_refused(
    digests: bool, tmp_path: Path
) -> None:
    """Which bytes were read between the two looks, nobody can say."""
    file = published(tmp_path / "x.parquet")
    held = verify([file], digests=digests)
    shutil.copy2(file.path, tmp_path / "copy")
    (tmp_path / "copy").replace(file.path)
    with pytest.raises(CopsError, match="E-DIGEST"):
        live.require_same(held)


def test_a_link_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    """It ended in a traceback: digests follow no links."""
    file = published(tmp_path / "x.parquet")
    file.path.rename(tmp_path / "elsewhere")
    file.path.symlink_to(tmp_path / "elsewhere")
    refused(file, digests=True)


def test_an_engine_whose_files_were_exchanged_gives_nothing_to_publish(tmp_path: Path) -> None:
    file = published(tmp_path / "x.parquet")
    held = verify([file], digests=True)
    engine = DuckDB()
    engine.relies_on(lambda: live.require_same(held))
    flip(file, same_time=True)
    with pytest.raises(CopsError, match="E-DIGEST"):
        engine.stage(exp.select("1"), tmp_path / "made.parquet")
    with pytest.raises(CopsError, match="E-DIGEST"):
        engine.__exit__(None, None, None)
