"""A month in S3 for an engine elsewhere: this machine reads footers, and S3 copies and digests the rest."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cops_dagster.closing import current
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import ingest, look
from cops_dagster.lake import live, statements
from cops_dagster.lake.question import is_plain
from cops_dagster.ledger.books import Books
from cops_dagster.stores import files
from cops_dagster.stores.aws import copies, outlines
from cops_dagster.stores.aws.copies import Source
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, acts, home, lines, write
from cops_dagster_tests.lake.elsewhere import scanning_elsewhere
from cops_dagster_tests.lake.shaped import SHAPES
from cops_dagster_tests.shown import answer
from cops_dagster_tests.stores.buckets import bucket, put
from cops_dagster_tests.stores.s3_server import Bucket

__all__ = ["bucket"]  # the fixture
LIVE = (
    "fact_cost_raw", "cur_quarantine", "cur_billing_master", "fact_cost_tagged", "fact_cost_allocated",
    "period_head",
)  # fmt: skip
RECON = (
    "SELECT period_start, aws_total_usd, allocated_total_usd, invoiced_total_usd, status FROM recon_summary"
)


@pytest.fixture
def there(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setattr(outlines, "TAIL", 256)
    with scanning_elsewhere(monkeypatch, bucket, tmp_path / "objects"):
        yield bucket


def opened(folder: Path, **more: Any) -> Books:
    books = home(folder, lake="s3://cops/lake")
    given = {"cur": "s3://billing/exports", "engine": "trino", **more}
    return replace(books, settings=books.settings.model_copy(update=given))


def many(rows: int = 4000) -> pa.Table:
    """Lines that take some space, since each has a resource of its own."""
    head, *some = MONTH.strip().splitlines()
    table = lines("\n".join([f"{head} id", *(f"{some[n % len(some)]} line-{n}" for n in range(rows))]))
    return table.append_column("line_item_resource_id", pa.array([os.urandom(20).hex() for _ in range(rows)]))


def month(bucket: Bucket, folder: Path, tables: list[pa.Table], *, assembly: str = "a1") -> int:
    """Puts a delivery into the bucket; how many bytes of data it has."""
    write(folder / assembly, tables, assembly=assembly)
    put(bucket, folder / assembly)
    return sum(len(bucket.current(key) or b"") for key in data(bucket))


def data(bucket: Bucket, below: str = "exports/") -> list[str]:
    return [key for key in bucket.versions if key.startswith(below) and key.endswith(".parquet")]


def fetched(bucket: Bucket, *below: str) -> int:
    return sum(bucket.sent.get(key, 0) for place in below for key in data(bucket, place))


def says(bucket: Bucket, kind: str = "FULL_OBJECT") -> None:
    """S3 knows the SHA-256 of every delivered object."""
    for key in data(bucket):
        raw = hashlib.sha256(bucket.current(key) or b"").digest()
        bucket.checksums[key] = base64.b64encode(raw).decode(), kind


def taken(books: Books) -> None:
    """The lines are in the books, and nothing is made of them yet."""
    (seen,) = look.look(books, SEPTEMBER)
    assert seen.goes_on
    ingest.ingest(books, SEPTEMBER)


def shown(books: Books) -> dict[str, list[str]]:
    local = replace(books, settings=books.settings.model_copy(update={"engine": "duckdb"}))
    found = {name: sorted(map(str, answer(local, f"SELECT * FROM {name}"))) for name in LIVE}
    return found | {"recon_summary": sorted(map(str, answer(local, RECON)))}


def on_disk(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*.parquet"))


def test_a_month_is_made_of_footers_and_is_the_month_that_duckdb_makes(there: Bucket, tmp_path: Path) -> None:
    size = month(there, tmp_path / "made", [many(), many()])
    says(there)
    books = opened(tmp_path)
    acts(books, SEPTEMBER)
    assert size > 300_000
    assert fetched(there, "exports/", "lake/fact_cost_raw") < size / 10
    kept = data(there, "lake/fact_cost_raw")
    assert [there.current(key) for key in sorted(kept)] == [there.current(key) for key in sorted(data(there))]
    assert sorted(kept) == sorted(there.copied)
    assert on_disk(books.settings.home / "fetched") < size / 4
    before = dict(there.sent)
    assert current.is_current(books, SEPTEMBER)
    acts(books, SEPTEMBER)
    assert there.sent == before

    live._verified.clear()  # another process: a mark says what was proved, and S3 that it is the same object
    acts(books, SEPTEMBER)
    assert there.sent == before

    here = opened(tmp_path / "here", engine="duckdb")
    acts(here, SEPTEMBER)
    assert shown(books) == shown(here)
    assert fetched(there, "lake/fact_cost_raw") == size  # asked by DuckDB, they are fetched, once
    shown(books)
    assert fetched(there, "lake/fact_cost_raw") == size


@pytest.mark.parametrize("kind", ["none", pytest.param("COMPOSITE", marks=pytest.mark.long)])
def test_what_s3_does_not_say_whole_is_digested_as_a_stream_once(
    kind: str, there: Bucket, tmp_path: Path
) -> None:
    size = month(there, tmp_path / "made", [many(1000)])
    if kind != "none":
        says(there, kind)
    books = opened(tmp_path)
    taken(books)
    live._verified.clear()
    taken(books)
    assert size <= fetched(there, "exports/") < size * 1.2
    assert on_disk(books.settings.home / "fetched") < size / 2
    recorded = answer(books, "SELECT sha256 FROM cur_delivery_file")
    assert recorded == [(hashlib.sha256(there.current(key) or b"").hexdigest(),) for key in data(there)]


def test_an_object_that_is_exchanged_after_it_was_outlined_is_refused(there: Bucket, tmp_path: Path) -> None:
    month(there, tmp_path / "made", [many(1000)])
    books = opened(tmp_path)
    (seen,) = look.look(books, SEPTEMBER)
    assert seen.goes_on
    (key,) = data(there)
    whole = there.current(key) or b""
    there.on_top(key, whole[:2000] + b"X" + whole[2001:])
    with pytest.raises(CopsError, match="E-DIGEST"):
        ingest.ingest(books, SEPTEMBER)
    assert answer(books, "SELECT * FROM publish_journal") == []
    assert data(there, "lake/fact_cost_raw") == []
    there.on_top(key, whole)
    ingest.ingest(books, SEPTEMBER)


LONG = [pytest.param(one, marks=pytest.mark.long) for one in ("a tag in two spellings", "csv")]


@pytest.mark.parametrize("shape", ["cur 2.0", "times and numbers as text", *LONG])
def test_a_month_of_any_shape_is_that_of_duckdb(shape: str, there: Bucket, tmp_path: Path) -> None:
    SHAPES[shape](tmp_path / "made")
    put(there, tmp_path / "made")
    books, here = opened(tmp_path), opened(tmp_path / "here", engine="duckdb")
    acts(books, SEPTEMBER)
    acts(here, SEPTEMBER)
    assert shown(books) == shown(here)


@pytest.mark.parametrize("refusal", ["refused", "parts"])
def test_the_kept_copy_is_made_by_s3_or_of_bytes_that_were_fetched_once(
    refusal: str, there: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = month(there, tmp_path / "made", [many(1000)])
    says(there)
    if refusal == "refused":
        there.copies_refused = (403, "AccessDenied")
    else:
        monkeypatch.setattr(copies, "WHOLE_MAX", 1000)
        monkeypatch.setattr(copies, "PART", 30_000)
    books = opened(tmp_path)
    taken(books)
    (kept,) = data(there, "lake/fact_cost_raw")
    assert there.current(kept) == there.current(data(there)[0])
    found = fetched(there, "exports/"), fetched(there, "lake/fact_cost_raw"), there.copied, size
    assert size <= found[0] + found[1] < size * 1.2, found
    assert len(there.copied) == (0 if refusal == "refused" else -(-size // 30_000))


def test_a_mark_beside_a_delivered_file_points_nowhere(there: Bucket, tmp_path: Path) -> None:
    """Who may write to a report folder of this machine may not have another object read in its place."""
    folder = write(tmp_path / "cur", [many(1000)])
    there.on_top("secret.parquet", b"somebody else's")
    (file,) = folder.glob("*.parquet")
    outlines.mark(file, outlines.Outline(Source("billing", "secret.parquet", '"1"')))
    books = opened(tmp_path, cur=str(tmp_path / "cur"))
    taken(books)
    assert answer(books, "SELECT sha256 FROM cur_delivery_file") == [(files.sha256(file),)]
    assert "secret.parquet" not in " ".join(there.calls)


NEWEST = (
    "SELECT MAX(bill_billing_period_start_date) AS latest_period_start,"
    " MAX(line_item_usage_start_date) AS latest_usage_ts FROM cur_billing_master"
)


def test_a_plain_question_about_lines_is_answered_where_they_lie(there: Bucket, tmp_path: Path) -> None:
    month(there, tmp_path / "made", [many(1000)])
    books = opened(tmp_path)
    taken(books)
    before = dict(there.sent)
    newest = answer(books, NEWEST)
    assert there.sent == before
    local = replace(books, settings=books.settings.model_copy(update={"engine": "duckdb"}))
    assert answer(local, NEWEST) == newest
    assert there.sent != before


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (NEWEST, True),
        (
            "SELECT 'cur' AS src, COUNT(*) cnt FROM x WHERE d = :d UNION ALL SELECT 'raw', COUNT(*) FROM y",
            True,
        ),
        ("SELECT a, SUM(b) FROM x GROUP BY 1 ORDER BY 1", True),
        ("SELECT * FROM x", False),  # every line
        ("SELECT SUM(a) / COUNT(*) FROM x", False),  # engines divide otherwise
        ("SELECT COUNT(*) FROM x WHERE d = '2025-09-01'", False),  # engines compare otherwise
        ("SELECT COUNT(*) FROM x WHERE TRIM(a) = b", False),
        ("SELECT a, COUNT(*) FROM x GROUP BY ALL", False),
    ],
)
def test_a_question_is_plain_that_every_engine_answers_alike(text: str, verdict: bool) -> None:
    tree = statements.tree_of(text)
    assert tree is not None
    assert is_plain(tree, {}) is verdict
    assert not is_plain(tree, {"d": "text"})
