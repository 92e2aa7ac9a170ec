"""A folder of an export takes its place whole, has the same bytes from the same rows, and loses nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pyarrow import parquet

from cops_dagster.errors import CopsError
from cops_dagster.exports import files

COLUMNS = (("name", "text"), ("usd", "money"), ("number", "int"), ("day", "date"), ("at", "time"))
ROWS = [
    ("=1+1", Decimal("-0.000000000000000001"), 7, date(2025, 8, 1), datetime.fromisoformat("2025-08-01")),
    (None, Decimal("99999999999999999999"), None, None, None),
]


def export(target: Path, rows: Sequence[tuple[object, ...]], kind: str = "rows of 2025-08") -> None:
    with files.swapped(target, kind) as folder:
        (folder / "a").mkdir()
        files.parquet(folder / "a" / "rows.parquet", COLUMNS, rows)
        (folder / "rows.csv").write_bytes(files.csv_bytes([name for name, _ in COLUMNS], rows))


def test_the_same_rows_give_the_same_bytes_and_the_list_can_be_checked(tmp_path: Path) -> None:
    export(tmp_path / "one", ROWS)
    export(tmp_path / "two", ROWS)
    assert files.digest_of(tmp_path / "one") == files.digest_of(tmp_path / "two")
    subprocess.run(["sha256sum", "-c", "--quiet", files.SUMS], cwd=tmp_path / "one", check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_amounts_keep_every_digit_and_text_is_guarded(tmp_path: Path) -> None:
    export(tmp_path / "one", ROWS)
    read = parquet.read_table(tmp_path / "one" / "a" / "rows.parquet")
    assert str(read.schema.field("usd").type) == "decimal128(38, 18)"
    assert read.column("usd").to_pylist() == [row[1] for row in ROWS]
    assert read.column("name").to_pylist() == ["=1+1", None]
    assert "'=1+1,-0.000000000000000001,7" in (tmp_path / "one" / "rows.csv").read_text(encoding="utf-8")


def test_an_export_is_replaced_by_the_next_one(tmp_path: Path) -> None:
    export(tmp_path / "one", ROWS)
    before = files.digest_of(tmp_path / "one")
    export(tmp_path / "one", ROWS[:1])
    assert files.digest_of(tmp_path / "one") != before
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_one_that_fails_leaves_what_stood_there(tmp_path: Path) -> None:
    export(tmp_path / "one", ROWS)
    before = files.digest_of(tmp_path / "one")
    with pytest.raises(ValueError, match="Could not convert"):
        export(tmp_path / "one", [(None, None, "x", None, None)])
    assert files.digest_of(tmp_path / "one") == before
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("other", ["rows of 2025-09", "rows of 2025-0", "others of 2025-08"])
def test_another_export_is_never_replaced(tmp_path: Path, other: str) -> None:
    export(tmp_path / "one", ROWS, other)
    before = files.digest_of(tmp_path / "one")
    with pytest.raises(CopsError, match=f"E-OUT.*another: {other}"):
        export(tmp_path / "one", ROWS)
    assert files.digest_of(tmp_path / "one") == before


def test_an_export_that_was_edited_is_never_replaced(tmp_path: Path) -> None:
    """A tenant's form that somebody had filled in was lost with the next pack."""
    export(tmp_path / "one", ROWS)
    (tmp_path / "one" / "rows.csv").write_text("filled in", encoding="utf-8")
    with pytest.raises(CopsError, match=r"E-OUT.*edited since"):
        export(tmp_path / "one", ROWS)
    assert (tmp_path / "one" / "rows.csv").read_text(encoding="utf-8") == "filled in"


@pytest.mark.parametrize("kept", ["file", "folder", "beside", "release"])
def test_what_is_no_export_is_never_replaced(tmp_path: Path, kept: str) -> None:
    target = tmp_path / "one"
    if kept == "release":  # a list of digests alone makes no export of ours
        target.mkdir()
        (target / "mine").write_text("mine", encoding="utf-8")
        (target / files.SUMS).write_text(files.sums(target), encoding="utf-8")
    elif kept == "file":
        target.write_text("mine", encoding="utf-8")
    elif kept == "folder":
        target.mkdir()
        (target / "mine").write_text("mine", encoding="utf-8")
    else:
        export(target, ROWS)
        (target / "mine").write_text("mine", encoding="utf-8")
    with pytest.raises(CopsError) as refused:
        export(target, ROWS)
    assert refused.value.code == "E-OUT"
    assert (target if kept == "file" else target / "mine").read_text(encoding="utf-8") == "mine"
