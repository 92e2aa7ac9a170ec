"""Reports, lake and proof in S3: a month from delivery to close, and on from there with an empty home."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlglot

from cops_dagster import settings
from cops_dagster.closing import repair
from cops_dagster.errors import CopsError
from cops_dagster.evidence import sweep, verify
from cops_dagster.ingestion import ingest, look
from cops_dagster.lake import iceberg
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.tables import EXPORT
from cops_dagster.ledger.books import Books
from cops_dagster.reconciliation import reconcile
from cops_dagster.stores import files
from cops_dagster.stores.aws import copies
from cops_dagster.stores.places import open_volume
from cops_dagster_tests.closing.ready import DOCUMENTS, close_by_two
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write
from cops_dagster_tests.shown import answer
from cops_dagster_tests.stores.buckets import bucket, put
from cops_dagster_tests.stores.glue_server import serving as glue_serving
from cops_dagster_tests.stores.s3_server import SECRET, Bucket

__all__ = ["bucket"]  # the fixture
TOTAL = "SELECT CAST(SUM(allocated_cost_usd) AS VARCHAR), COUNT(*) FROM fact_cost_allocated"


def opened(folder: Path, **more: Any) -> Books:
    books = home(folder, inputs=None, lake="s3://cops/lake", evidence="s3://cops/proof", **more)
    return replace(books, settings=books.settings.model_copy(update={"cur": "s3://billing/exports"}))


@pytest.fixture
def books(bucket: Bucket, tmp_path: Path) -> Books:
    write(tmp_path / "made", [lines(MONTH)])
    put(bucket, tmp_path / "made")
    made = opened(tmp_path)
    give(made, tmp_path, **INPUTS, **DOCUMENTS)
    run(made)
    sweep.sweep(made)
    return made


def lake_files(bucket: Bucket) -> list[str]:
    return sorted(key for key in bucket.versions if key.startswith("lake/fact_"))


def tables_of(books: Books) -> dict[str, int]:
    """Rows of each Iceberg table, read from S3 alone."""
    catalog = iceberg.open_catalog(books.settings)
    return {
        name[1]: catalog.load_table(name).scan().to_arrow().num_rows
        for name in catalog.list_tables(iceberg.NAMESPACE)
    }


@pytest.mark.long
def test_a_month_in_s3_closes_and_a_machine_with_an_empty_home_goes_on_from_there(
    books: Books, bucket: Bucket, tmp_path: Path
) -> None:
    files = answer(books, "SELECT path, sha256 FROM lake_file ORDER BY path")
    assert [f"lake/{path}" for path, _ in files] == lake_files(bucket)
    assert {len(bucket.versions[key]) for key in lake_files(bucket)} == {1}
    assert close_by_two(books, SEPTEMBER).wrote
    assert verify.verify(books).status == "ok"
    assert any(key.startswith("proof/anchors/") for key in bucket.versions)
    assert not (books.settings.home / "evidence").exists()

    before, tables = answer(books, TOTAL), tables_of(books)
    (tmp_path / "new" / "home").mkdir(parents=True)
    books.admin.close()
    shutil.copy(tmp_path / "home" / "admin.db", tmp_path / "new" / "home")  # PostgreSQL needs no copy
    shutil.rmtree(tmp_path / "home")
    here = opened(tmp_path / "new")
    assert answer(here, TOTAL) == before
    assert verify.verify(here).status == "ok"
    write(tmp_path / "more", [lines(MONTH)], assembly="b2")
    put(bucket, tmp_path / "more")
    look.look(here, SEPTEMBER)
    assert reconcile.reconcile(here, SEPTEMBER).status == "ok"
    sweep.rebuild(here)
    assert tables_of(here) == tables


@pytest.mark.long
def test_the_iceberg_tables_name_the_files_in_s3_also_after_their_catalog_was_lost(
    books: Books, bucket: Bucket
) -> None:
    table = iceberg.open_catalog(books.settings).load_table("cops.fact_cost_allocated")
    named = [task.file.file_path for task in table.scan().plan_files()]
    assert named
    assert all(name.removeprefix("s3://cops/") in bucket.versions for name in named)
    assert table.location().startswith("s3://cops/lake/iceberg/")
    total = sum(table.scan().to_arrow()["allocated_cost_usd"].to_pylist(), Decimal(0))
    assert f"{total:f}" == answer(books, TOTAL)[0][0]

    before = tables_of(books)
    (books.settings.lake_root / "iceberg_catalog.db").unlink()
    with books.admin.write() as con:
        again = "UPDATE outbox SET delivered_at = NULL, attempts = attempts + 1 WHERE journal_seq = 1"
        con.exec_driver_sql(again)
    sweep.sweep(books)
    assert tables_of(books) == before

    key = next(key for key in lake_files(bucket) if "allocated" in key)
    file = books.settings.lake_root / key.removeprefix("lake/")
    whole = file.read_bytes()
    file.unlink()
    bucket.on_top(key, whole[:-1] + b"X")
    with pytest.raises(CopsError) as problem:
        answer(books, TOTAL)
    assert problem.value.code == "E-DIGEST"
    assert not file.exists()
    bucket.on_top(key, whole)
    assert answer(books, TOTAL)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("answer_of_s3", [(403, "ExpiredToken"), (403, "AccessDenied"), (503, "SlowDown")])
def test_what_s3_refuses_leaves_the_month_as_it_was(
    bucket: Bucket, tmp_path: Path, answer_of_s3: tuple[int, str]
) -> None:
    write(tmp_path / "made", [lines(MONTH)])
    put(bucket, tmp_path / "made")
    here = opened(tmp_path)
    look.look(here, SEPTEMBER)
    bucket.always = answer_of_s3
    with pytest.raises(CopsError) as problem:
        run(here)
    bucket.always = None
    assert SECRET not in str(problem.value)
    assert answer(here, "SELECT COUNT(*) FROM publish_journal") == [(0,)]
    assert lake_files(bucket) == []


def test_glue_shows_every_reader_the_same_tables(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with glue_serving(monkeypatch) as glue:
        for number, machine in enumerate(("one", "two"), start=1):
            current = settings.load(home=tmp_path / machine, lake="s3://cops/lake", catalog="glue")
            lake = open_volume(current.lake_root, current.lake.place)
            path, cost = f"fact_cost_raw/2025-09/{machine}/x.parquet", Decimal("1.000000000000000001")
            staged(current.lake_root / path, f"report-{machine}", cost)
            lake.keep(path, files.sha256(current.lake_root / path))
            commit = iceberg.Commit(
                number, f"run-{machine}", "fact_cost_raw", SEPTEMBER.start, f"report-{machine}", False,
                [lake.uri(path)],
            )  # fmt: skip
            catalog = iceberg.open_catalog(current)
            assert iceberg.project(catalog, commit)
            assert not iceberg.project(catalog, commit)
        assert glue.tables["fact_cost_raw"]["Parameters"]["metadata_location"].startswith("s3://cops/lake/")
        costs = catalog.load_table("cops.fact_cost_raw").scan().to_arrow()["line_item_unblended_cost"]
        assert sum(costs.to_pylist(), Decimal(0)) == Decimal("2.000000000000000002")


def staged(path: Path, source: str, cost: Decimal) -> None:
    with DuckDB() as engine:
        engine.stage(
            sqlglot.parse_one(
                f"SELECT CAST('{cost}' AS DECIMAL(38,18)) AS line_item_unblended_cost,"
                f" DATE '2025-09-01' AS period_start, '{source}' AS source_id",
                read="duckdb",
            ),
            path,
        )


def test_glue_without_a_lake_in_s3_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CopsError) as problem:
        settings.load(home=tmp_path, catalog="glue")
    assert problem.value.code == "E-SETTING"
    assert settings.load(home=tmp_path, catalog="glue", lake="s3://cops/lake").lake.place


@pytest.mark.long
def test_a_copy_that_this_machine_lost_or_damaged_is_fetched_again(books: Books) -> None:
    with books.admin.read() as con:
        assert repair.lost(books, con, SEPTEMBER) == []
    paths = sorted(books.settings.lake_root.glob("fact_*/**/*.parquet"))
    whole = {path: path.read_bytes() for path in paths}
    for number, path in enumerate(paths):
        path.unlink() if number % 2 else path.write_bytes(whole[path][:-1])
    with books.admin.read() as con:
        assert repair.lost(books, con, SEPTEMBER) == []
    assert {path: path.read_bytes() for path in paths} == whole


@pytest.mark.long
def test_entries_that_s3_lost_too_are_made_again_and_kept_there(books: Books, bucket: Bucket) -> None:
    key = next(key for key in lake_files(bucket) if "allocated" in key)
    path = books.settings.lake_root / key.removeprefix("lake/")
    whole = path.read_bytes()
    path.unlink()
    del bucket.versions[key]
    with pytest.raises(CopsError) as problem:
        answer(books, TOTAL)
    assert problem.value.code == "E-DIGEST"
    assert "cops materialize 2025-09" in problem.value.next_step
    assert len(repair.mend(books, SEPTEMBER)) == 1
    assert path.read_bytes() == whole
    assert key in bucket.versions
    assert answer(books, TOTAL)


# --- bytes that S3 copies itself -------------------------------------------------------------------------

BAD = MONTH.replace("111111111111  .       .     network", "x             .       .     network")


def sent(bucket: Bucket) -> list[str]:
    """Kept lines that went through this machine on their way into the lake."""
    kept = ("PUT lake/fact_cost_raw/", "PUT lake/cur_quarantine/")
    return [call for call in bucket.calls if call.startswith(kept)]


def ingested(bucket: Bucket, folder: Path, *tables: Any) -> Books:
    write(folder / "made", list(tables) or [lines(MONTH)])
    put(bucket, folder / "made")
    made = opened(folder)
    give(made, folder, **INPUTS, **DOCUMENTS)
    run(made)
    return made


def kept_as_recorded(books: Books, bucket: Bucket) -> int:
    """Kept files whose object in the lake has the recorded digest; all of them, or the test fails."""
    rows = answer(books, "SELECT path, sha256, table_name FROM lake_file WHERE schema_version = 2")
    for path, sha256, _ in rows:
        assert hashlib.sha256(bucket.current(f"lake/{path}") or b"").hexdigest() == sha256
    return len(rows)


def test_what_aws_delivered_into_s3_is_copied_by_s3_and_never_sent(bucket: Bucket, tmp_path: Path) -> None:
    """Two files, one with a line set aside: it has two names in the lake, and no byte was sent."""
    books = ingested(bucket, tmp_path, lines(BAD), lines(MONTH.replace("10.10", "7")))
    assert (sent(bucket), len(bucket.copied), kept_as_recorded(books, bucket)) == ([], 3, 3)
    assert answer(books, "SELECT COUNT(*) FROM cur_quarantine") == [(1,)]


@pytest.mark.long
def test_a_file_of_a_folder_is_sent_once_whatever_names_it_has(bucket: Bucket, tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(BAD)])
    books = home(tmp_path, lake="s3://cops/lake")
    run(books)
    assert (len(sent(bucket)), len(bucket.copied), kept_as_recorded(books, bucket)) == (1, 1, 2)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "refusal",
    [
        (403, "AccessDenied"),
        (301, "PermanentRedirect"),
        (400, "KMS.DisabledException"),
        (501, "NotImplemented"),
    ],
)
def test_what_s3_does_not_copy_is_sent(refusal: tuple[int, str], bucket: Bucket, tmp_path: Path) -> None:
    bucket.copies_refused = refusal
    books = ingested(bucket, tmp_path, lines(BAD))
    assert (len(sent(bucket)), bucket.copied, kept_as_recorded(books, bucket)) == (2, [], 2)


def test_what_s3_neither_copies_nor_takes_leaves_the_month_as_it_was(bucket: Bucket, tmp_path: Path) -> None:
    books = ingested(bucket, tmp_path, lines(MONTH))
    before = answer(books, "SELECT run_id FROM period_head ORDER BY run_id"), lake_files(bucket)
    write(tmp_path / "made", [lines(MONTH.replace("10.10", "8"))], assembly="a2")
    put(bucket, tmp_path / "made")
    look.look(books, SEPTEMBER)
    bucket.always = (403, "AccessDenied")
    with pytest.raises(CopsError) as refusal:
        ingest.ingest(books, SEPTEMBER)
    bucket.always = None
    assert refusal.value.code == "E-LAKE-STORE"
    assert (answer(books, "SELECT run_id FROM period_head ORDER BY run_id"), lake_files(bucket)) == before


def test_an_object_that_aws_replaced_since_it_was_read_is_not_copied(bucket: Bucket, tmp_path: Path) -> None:
    """What was read and digested is what the lake keeps: it is sent from here."""
    write(tmp_path / "made", [lines(MONTH)])
    put(bucket, tmp_path / "made")
    made = opened(tmp_path)
    look.look(made, SEPTEMBER)
    (key,) = [key for key in bucket.versions if key.endswith(".parquet")]
    old = bucket.current(key)
    assert old is not None
    bucket.on_top(key, b"PAR1 another one PAR1")
    ingest.ingest(made, SEPTEMBER)
    assert (len(sent(bucket)), bucket.copied, kept_as_recorded(made, bucket)) == (1, [], 1)
    (kept,) = lake_files(bucket)
    assert bucket.current(kept) == old


@pytest.mark.long
def test_a_store_that_tells_no_digest_is_read(bucket: Bucket, tmp_path: Path) -> None:
    bucket.says_digests = False
    books = ingested(bucket, tmp_path)
    assert (sent(bucket), kept_as_recorded(books, bucket)) == ([], 1)
    assert any(call.startswith("GET lake/fact_cost_raw/") for call in bucket.calls)


def test_a_large_object_is_copied_in_parts_and_each_is_proved(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "WHOLE_MAX", 1000)
    monkeypatch.setattr(copies, "PART", 4096)
    books = ingested(bucket, tmp_path)
    assert (sent(bucket), kept_as_recorded(books, bucket)) == ([], 1)
    assert len(bucket.copied) > 1


@pytest.mark.long
def test_a_part_with_other_bytes_is_not_taken(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "WHOLE_MAX", 1000)
    monkeypatch.setattr(copies, "PART", 4096)
    bucket.says_digests = False  # nothing proves the parts
    books = ingested(bucket, tmp_path)
    assert kept_as_recorded(books, bucket) == 1
    assert len(sent(bucket)) == 1
    assert not [key for key in bucket.parts if key.startswith("lake/fact_cost_raw/")]  # paid for, if left


@pytest.mark.long
def test_an_exported_month_lies_in_s3_alone(bucket: Bucket, tmp_path: Path) -> None:
    books = ingested(bucket, tmp_path)
    assert sweep.export(books, SEPTEMBER).wrote
    table = iceberg.open_catalog(books.settings).load_table(f"cops.{EXPORT}")
    (named,) = [task.file.file_path for task in table.scan().plan_files()]
    assert bucket.current(named.removeprefix("s3://cops/"))
    assert not list(books.settings.lake_root.glob(f"{EXPORT}/**/*.parquet"))
    total = sum(table.scan().to_arrow()["line_item_unblended_cost"].to_pylist(), Decimal(0))
    assert (total,) == answer(books, "SELECT SUM(line_item_unblended_cost) FROM fact_cost_raw")[0]
    sweep.rebuild(books)
    assert not sweep.export(books, SEPTEMBER).wrote
