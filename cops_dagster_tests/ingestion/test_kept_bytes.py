"""Bytes that the lake keeps, harmed or refused for real: who finds it, by which code, what is done next."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cops_dagster import settings
from cops_dagster.closing import current, proof, repair
from cops_dagster.errors import CopsError
from cops_dagster.evidence.home import open_books
from cops_dagster.ingestion import checks, ingest
from cops_dagster.lake import live
from cops_dagster.lake.duck import DuckDB
from cops_dagster.ledger.books import Books
from cops_dagster.stores.files import sha256
from cops_dagster_tests.cli.started import cops, refusal
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write
from cops_dagster_tests.ingestion import full_disk
from cops_dagster_tests.ingestion.bad_inputs import FILE, refused
from cops_dagster_tests.ingestion.full_disk import SUMS, bytes_of
from cops_dagster_tests.shown import answer, by_tenant

ROOT = Path(__file__).resolve().parents[2]
SWAPPED = MONTH.replace("acme  ", "other ").replace("globex", "acme  ").replace("other ", "globex")
COST = "line_item_unblended_cost"


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    write(tmp_path / "cur", [lines(MONTH)])
    opened = home(tmp_path)
    run(opened)
    yield opened
    opened.admin.close()


def kept_of(books: Books) -> Path:
    (path,) = (books.settings.lake_root / ingest.TABLE).rglob("*.parquet")
    return path


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def lost(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    """Another sound delivery, tenants swapped, of equal size and time."""
    info = path.stat()
    with TemporaryDirectory(dir=path.parents[4]) as folder:
        made = write(Path(folder), [lines(SWAPPED)]) / FILE
        assert made.stat().st_size == info.st_size
        made.replace(path)
    os.utime(path, ns=(info.st_mtime_ns, info.st_mtime_ns))


HARMS = [damaged, lost, replaced]


def codes(*acts: Callable[[], object]) -> set[str | None]:
    """What acts that see the lake for the first time are refused with."""

    def code(act: Callable[[], object]) -> str | None:
        live._verified.clear()
        try:
            act()
        except CopsError as refusal:
            return refusal.code
        return None

    return {code(act) for act in acts}


# --- a kept file that is damaged, lost or replaced --------------------------------------------------------


@pytest.mark.parametrize("harm", HARMS, ids=lambda one: one.__name__)
def test_harm_to_a_kept_file_is_found_by_whoever_reads_it_and_the_next_run_keeps_the_delivered_one_again(
    harm: Callable[[Path], None], books: Books
) -> None:
    before, sums = bytes_of(books), by_tenant(books)
    harm(kept_of(books))
    asked = [partial(answer, books, f"SELECT COUNT(*) FROM {table}", verify=True)
             for table in ("fact_cost_raw", "cur_billing_master")]  # fmt: skip
    assert codes(*asked, partial(checks.raw, books, SEPTEMBER)) == {"E-DIGEST"}
    live._verified.clear()
    run(books)
    assert (bytes_of(books), by_tenant(books)) == (before, sums)
    assert current.is_current(books, SEPTEMBER)
    assert codes(*asked, partial(checks.raw, books, SEPTEMBER)) == {None}


@pytest.mark.parametrize("harm", HARMS, ids=lambda one: one.__name__)
def test_without_the_delivered_file_an_open_month_says_what_to_restore_and_is_whole_after_it(
    harm: Callable[[Path], None], books: Books, tmp_path: Path
) -> None:
    """AWS overwrote it, or somebody tidied up: nothing is booked from other bytes."""
    kept = kept_of(books)
    before, sums = bytes_of(books), by_tenant(books)
    info, whole = kept.stat(), kept.read_bytes()
    (tmp_path / "cur").rename(tmp_path / "away")
    (tmp_path / "cur").mkdir()
    harm(kept)
    live._verified.clear()
    with pytest.raises(CopsError) as refusal:
        ingest.ingest(books, SEPTEMBER)
    assert (refusal.value.code, refusal.value.found) == ("E-DIGEST", "no such file")
    assert "restore this file, or the one that the lake kept" in refusal.value.next_step
    kept.write_bytes(whole)
    os.utime(kept, ns=(info.st_mtime_ns, info.st_mtime_ns))
    ingest.ingest(books, SEPTEMBER)
    assert (bytes_of(books), by_tenant(books, verify=True)) == (before, sums)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("table", ["fact_cost_raw", "fact_cost_tagged", "fact_cost_allocated"])
def test_the_next_step_for_a_file_exchanged_at_equal_size_and_time_brings_it_back(
    table: str, tmp_path: Path
) -> None:
    """It named a run of the whole month, which goes by size and time and found nothing to do."""
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    (path,) = (books.settings.lake_root / table).rglob("*.parquet")
    before, info = bytes_of(books), path.stat()
    books.admin.close()
    damaged(path)
    os.utime(path, ns=(info.st_mtime_ns, info.st_mtime_ns))
    asked = ("sql", "--verify", "-q", f"SELECT COUNT(*) FROM {table}")
    said = refusal(cops(tmp_path, *asked))
    assert said["code"] == "E-DIGEST"
    command = re.findall("`cops (materialize [^`]*)`", said["next_step"])[0].split()
    assert cops(tmp_path, *command).returncode in (0, 1)  # 1: a check of the month does not hold
    assert bytes_of(books) == before
    assert cops(tmp_path, *asked).returncode == 0


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Books]:
    opened = ready(tmp_path)
    close_by_two(opened, SEPTEMBER)
    yield opened
    opened.admin.close()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("harm", HARMS, ids=lambda one: one.__name__)
def test_harm_to_a_kept_file_of_a_closed_month_is_found_by_its_seal_and_no_act_makes_it_again(
    harm: Callable[[Path], None], closed: Books
) -> None:
    """The delivered file is there still: what stands in a closed month is restored, never made."""
    kept = kept_of(closed)
    whole, info = kept.read_bytes(), kept.stat()

    def findings() -> list[tuple[str, str]]:
        live._verified.clear()
        seals = proof.closed_months(closed)
        return [(one.what, one.next_step) for month in seals for one in month.findings]

    assert findings() == []
    harm(kept)
    harmed = kept.read_bytes() if kept.exists() else None
    ((what, next_step),) = findings()
    assert (kept.name in what, "restore the file from backup" in next_step) == (True, True)
    asked = partial(answer, closed, SUMS, verify=True)
    assert codes(asked, partial(checks.raw, closed, SEPTEMBER)) == {"E-DIGEST"}
    for act in (repair.require_mendable, repair.mend, ingest.ingest):
        codes(partial(act, closed, SEPTEMBER))
    assert (kept.read_bytes() if kept.exists() else None) == harmed
    kept.write_bytes(whole)
    os.utime(kept, ns=(info.st_mtime_ns, info.st_mtime_ns))
    assert findings() == []


# --- a place that takes no more, or takes it otherwise ----------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("kind", ["tmpfs", "limit"])
def test_a_disk_that_is_full_while_bytes_are_kept_leaves_the_month_and_takes_it_when_there_is_room(
    kind: str, tmp_path: Path
) -> None:
    """A real file system of 1 MB; and a limit on a file's size, which writes run into as into a quota."""
    apart = ["unshare", "--user", "--map-root-user", "--mount"] if kind == "tmpfs" else []
    if apart and subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives no mount namespace")
    done = subprocess.run(
        [*apart, sys.executable, full_disk.__file__, str(tmp_path), kind],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.split() == ["E-DISK", "True", "30000"], done.stderr


def test_a_home_on_another_file_system_that_shares_no_blocks_keeps_the_same_bytes(tmp_path: Path) -> None:
    """Memory as a file system: no clone, no link from where AWS's files lie."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system")
    folder = write(tmp_path / "cur", [lines(MONTH)])
    with TemporaryDirectory(dir=memory) as place:
        given = settings.load(home=Path(place) / "home", cur=str(tmp_path / "cur"), actor="test")
        books = open_books(given)
        give(books, tmp_path, **INPUTS)
        run(books)
        assert sha256(kept_of(books)) == sha256(folder / FILE)
        (folder / FILE).unlink()
        assert answer(books, SUMS, verify=True) == [(6, Decimal("40.880000001"))]
        books.admin.close()


# --- types that change within a delivery ------------------------------------------------------------------


def column(name: str, values: pa.Array) -> pa.Table:
    """The month with one column given anew."""
    table = lines(MONTH)
    if name not in table.column_names:
        return table.append_column(name, values)
    return table.set_column(table.column_names.index(name), name, values)


SIX = [1, 2, 3, 4, 5, 6]
LATER_TYPES: dict[str, tuple[str, pa.Array, str | None]] = {
    "whole numbers": (COST, pa.array(SIX, pa.int64()), None),
    "small whole numbers": (COST, pa.array(SIX, pa.int32()), None),
    "nothing": (COST, pa.nulls(6), None),
    "text": (COST, pa.array(["1.5"] * 6), "E-SCHEMA-MIXED"),
    "decimals": (COST, pa.array([Decimal("1.5")] * 6, pa.decimal128(9, 2)), "E-SCHEMA-MIXED"),
    "halves of a double": (COST, pa.array([1.5] * 6, pa.float32()), "E-SCHEMA-MIXED"),
    "a column that no sum needs": ("product_region", pa.array(SIX, pa.int64()), "E-SCHEMA-MIXED"),
    "a column that AWS added": ("product_brand_new", pa.array(SIX, pa.int64()), "E-SCHEMA-MIXED"),
}  # fmt: skip


@pytest.mark.sampled(4)
@pytest.mark.parametrize("case", LATER_TYPES)
def test_a_second_file_of_another_type_is_read_exactly_or_refused_and_the_month_stays(
    case: str, books: Books, tmp_path: Path
) -> None:
    name, values, code = LATER_TYPES[case]
    before, sums = bytes_of(books), answer(books, SUMS)
    first = lines(MONTH) if name == COST else column(name, pa.array(["eu-west-1"] * 6))
    write(tmp_path / "cur", [first, column(name, values)], assembly="a2")
    if code is None:
        run(books)
        aside = answer(books, "SELECT COUNT(*) FROM cur_quarantine")[0][0]
        whole = Decimal("40.880000001") + (21 if values.null_count == 0 else 0)
        assert (*answer(books, SUMS)[0], aside) == (12 - values.null_count, whole, values.null_count)
        return
    with pytest.raises(CopsError) as refusal:
        run(books)
    assert (refusal.value.code, refused(books)[-1]) == (code, code)
    assert name in refusal.value.found
    assert (bytes_of(books), answer(books, SUMS)) == (before, sums)


def test_a_second_row_group_of_another_type_is_no_amount_and_never_summed(
    books: Books, tmp_path: Path
) -> None:
    """A file has one schema: whole numbers below one of doubles are bits that name no amount of money."""
    costs = pa.array([10.1, 20.2, 3.01, 9.000000001, 0.07, -1.5]).to_pylist()
    counted = struct.unpack("<3d", struct.pack("<3q", 10, 20, 30))
    table = column(COST, pa.array([*costs[:3], *counted]))
    path = write(tmp_path / "cur", [table], assembly="a2") / FILE
    pq.write_table(
        table, path, row_group_size=3, use_dictionary=False, write_statistics=False, compression="none"
    )
    said = rb"\x15\x0a(\x19.{1,8}\x18" + bytes([len(COST)]) + COST.encode() + rb")"  # thrift: type 5, DOUBLE
    places = list(re.finditer(said, body := path.read_bytes(), re.DOTALL))
    assert len(places) == 2
    at = places[1].start() + 1
    path.write_bytes(body[:at] + b"\x04" + body[at + 1 :])  # type 2, INT64
    before = bytes_of(books), by_tenant(books)
    with pytest.raises(CopsError, match=r"E-COST-SCALE: .* 3 of 6 lines whose cost nobody knows"):
        run(books)
    assert (bytes_of(books), by_tenant(books)) == before


# --- a page that first sight had no need of ---------------------------------------------------------------


def many() -> pa.Table:
    """The month with 1,194 free lines more: what grows that much otherwise waits for a person."""
    free = lines(MONTH.splitlines()[1] + "\n" + "Usage AmazonS3 111111111111 acme team api 0\n" * 1194)
    return pa.concat_tables([lines(MONTH), free])


def regions(*, dictionary: bool, codec: str, target: Path) -> tuple[int, int]:
    """A month in whose file a column that no sum needs has some size; where its bytes begin and end."""
    table = many()
    names = pa.array([f"region-{number % 300:03d}" for number in range(table.num_rows)])
    pq.write_table(
        table.append_column("product_region", names), target, use_dictionary=dictionary, compression=codec
    )
    group = pq.ParquetFile(target).metadata.row_group(0)
    (at,) = [
        group.column(number)
        for number in range(group.num_columns)
        if group.column(number).path_in_schema == "product_region"
    ]
    start = at.dictionary_page_offset or at.data_page_offset
    return start, start + at.total_compressed_size


def header(body: bytearray, start: int, _: int) -> None:
    body[start : start + 8] = b"\xff" * 8


def lengths(body: bytearray, start: int, end: int) -> None:
    """Texts that say that they are longer than their page."""
    at = body.rindex(b"region-", start, end)  # the first may stand in the page's statistics
    body[at - 4 : at] = b"\xff\xff\xff\x7f"


def packing(body: bytearray, start: int, end: int) -> None:
    for place in range(start + 40, end - 8):
        body[place] ^= 0xA5


PAGES: dict[str, tuple[bool, str, Any]] = {
    "a header of nonsense": (True, "snappy", header),
    "lengths beyond the page": (False, "none", lengths),
    "lengths beyond the dictionary": (True, "none", lengths),
    "packed bytes of nonsense": (True, "snappy", packing),
    "packed bytes of nonsense, zstd": (False, "zstd", packing),
    "nonsense without a codec": (True, "none", packing),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", PAGES)
def test_a_malformed_page_of_a_column_that_first_sight_never_read_refuses_the_delivery(
    case: str, books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the child: no engine of this process is given a delivered file."""
    dictionary, codec, harm = PAGES[case]
    write(tmp_path / "cur", [many()], assembly="many")
    run(books)
    before = bytes_of(books), by_tenant(books), answer(books, SUMS)
    path = write(tmp_path / "cur", [lines(MONTH)], assembly="a2") / FILE
    start, end = regions(dictionary=dictionary, codec=codec, target=path)
    body = bytearray(path.read_bytes())
    harm(body, start, end)
    path.write_bytes(body)
    here: list[str] = []
    real = DuckDB._execute

    def noted(engine: DuckDB, sql: str, values: Any) -> Any:
        here.append(sql)
        return real(engine, sql, values)

    monkeypatch.setattr(DuckDB, "_execute", noted)
    with pytest.raises(CopsError) as refusal:
        run(books)
    assert refusal.value.code in ("E-FILE-TRUNC", "E-READER-CRASH", "E-RESOURCE")
    assert all((refusal.value.expected, refusal.value.found, refusal.value.next_step))
    assert refused(books)[-1] == refusal.value.code
    assert not [sql for sql in here if path.name in sql or "read_parquet" in sql]
    monkeypatch.undo()
    assert (bytes_of(books), by_tenant(books), answer(books, SUMS)) == before
    write(tmp_path / "cur", [many()], assembly="a3")
    run(books)
    assert answer(books, SUMS)[0][0] == 1200


def test_a_line_with_bytes_that_are_no_text_in_such_a_column_stands_aside_and_every_other_is_taken(
    books: Books, tmp_path: Path
) -> None:
    path = write(tmp_path / "cur", [lines(MONTH)], assembly="a2") / FILE
    start, end = regions(dictionary=False, codec="none", target=path)
    body = bytearray(path.read_bytes())
    at = body.rindex(b"region-", start, end)
    body[at : at + 2] = b"\xff\xfe"
    path.write_bytes(body)
    run(books)
    assert answer(books, SUMS) == [(1199, Decimal("40.880000001"))]
    asked = "SELECT quarantine_code, SUM(line_item_unblended_cost) FROM cur_quarantine GROUP BY 1"
    assert answer(books, asked) == [("E-UTF8", 0)]
