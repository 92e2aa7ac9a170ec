"""Reports in S3: fetched once, pinned by ETag, never mixed; and a month that is taken from there."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from cops_dagster.closing import current
from cops_dagster.closing import status as state
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import places
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores.aws import reports
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.stores.buckets import bucket, put
from cops_dagster_tests.stores.s3_server import SECRET, Bucket

__all__ = ["bucket"]  # the fixture

ROOT = "s3://billing/exports"


def month(
    bucket: Bucket, folder: Path, text: str = MONTH, *, assembly: str = "a1", period: Period = SEPTEMBER
) -> None:
    write(folder / assembly, [lines(text, period)], period=period, assembly=assembly)
    put(bucket, folder / assembly)


def opened(folder: Path) -> Books:
    books = home(folder)
    return replace(books, settings=books.settings.model_copy(update={"cur": ROOT}))


def got(bucket: Bucket) -> list[str]:
    return [call for call in bucket.calls if call.startswith("GET exports/")]


@pytest.mark.long
def test_a_month_is_taken_from_s3_and_a_second_time_nothing_is_fetched(
    bucket: Bucket, tmp_path: Path
) -> None:
    month(bucket, tmp_path / "made")
    month(bucket, tmp_path / "made8", period=Period(2025, 8))
    books = opened(tmp_path)
    assert [one.period for one in places.months(books.settings)] == [Period(2025, 8), SEPTEMBER]
    run(books)
    (here,) = state.statuses(books, SEPTEMBER)
    assert (here.aws_usd, here.gap_usd) == (Decimal("40.880000001"), 0)
    assert here.delivered_at is not None
    assert f"{here.delivered_at:%Y-%m-%d}" == "2025-10-09"  # S3's own time
    bucket.calls.clear()
    assert current.is_current(books, SEPTEMBER)
    assert got(bucket) == []
    assert not any("20250801" in call and call.endswith(".parquet") for call in bucket.calls)


def test_another_assembly_is_another_delivery(bucket: Bucket, tmp_path: Path) -> None:
    month(bucket, tmp_path / "made")
    books = opened(tmp_path)
    run(books)
    month(bucket, tmp_path / "made", MONTH.replace("10.10", "11.10"), assembly="a2")
    assert not current.is_current(books, SEPTEMBER)
    run(books)
    assert state.statuses(books, SEPTEMBER)[0].aws_usd == Decimal("41.880000001")


def test_bytes_that_are_replaced_within_the_same_second_are_seen(bucket: Bucket, tmp_path: Path) -> None:
    bucket.on_top("exports/report/20250901-20251001/a1/x.parquet", b"one")
    place = tmp_path / "place"
    assert reports.fetch(ROOT, place, SEPTEMBER) == 1
    (file,) = place.rglob("x.parquet")
    before = file.stat().st_mtime_ns
    bucket.on_top("exports/report/20250901-20251001/a1/x.parquet", b"two")
    assert reports.fetch(ROOT, place, SEPTEMBER) == 1
    assert (file.read_bytes(), file.stat().st_mtime_ns != before) == (b"two", True)


def test_what_is_replaced_while_it_is_read_is_listed_anew_and_then_told(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "exports/report/20250901-20251001/a1/x.parquet"
    bucket.on_top(key, b"0")
    listing, times = reports._listing, iter(range(1, 9))

    def replacing(*given: object) -> list[reports.Listed]:
        found = listing(*given)
        if next(times) <= changes:
            bucket.on_top(key, str(len(bucket.calls)).encode())
        return found

    monkeypatch.setattr(reports, "_listing", replacing)
    changes = 2
    assert reports.fetch(ROOT, tmp_path / "place", SEPTEMBER) == 1
    times, changes = iter(range(1, 9)), 9
    with pytest.raises(CopsError, match="E-DELIVERY-UPDATING"):
        reports.fetch(ROOT, tmp_path / "other", SEPTEMBER)


def test_manifests_come_last(bucket: Bucket, tmp_path: Path) -> None:
    month(bucket, tmp_path / "made")
    reports.fetch(ROOT, tmp_path / "place", SEPTEMBER)
    order = [call.endswith("Manifest.json") for call in got(bucket)]
    assert order == sorted(order)


def test_what_aws_removed_of_the_month_is_removed_here(bucket: Bucket, tmp_path: Path) -> None:
    for period in ("20250801-20250901", "20250901-20251001"):
        bucket.on_top(f"exports/report/{period}/x.parquet", b"one")
        reports.fetch(ROOT, tmp_path, Period.parse(f"{period[:4]}-{period[4:6]}"))
        bucket.on_top(f"exports/report/{period}/x.parquet", None)
    bucket.on_top("exports/report/20250901-20251001/y.parquet", b"two")
    reports.fetch(ROOT, tmp_path, SEPTEMBER)
    left = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.parquet"))
    assert left == ["report/20250801-20250901/x.parquet", "report/20250901-20251001/y.parquet"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "key", ["../../evil", "a/../../evil", "a//b", "./x", ".lock", "a/.fetched.json", "a/b\0c"]
)
def test_a_key_that_is_no_honest_path_is_not_fetched(bucket: Bucket, tmp_path: Path, key: str) -> None:
    bucket.on_top("exports/report/fine.json", b"1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports, "_bring", lambda *given, **_: given[2])
        patch.setattr(
            "botocore.paginate.PageIterator.__iter__",
            lambda _: iter([{"Contents": [_object("exports/" + key), _object("exports/report/fine.json")]}]),
        )
        (one,) = reports.fetch(ROOT, tmp_path / "place", SEPTEMBER)  # type: ignore[misc]
    assert one.key == "exports/report/fine.json"


def _object(key: str) -> dict[str, object]:
    from datetime import UTC, datetime

    return {"Key": key, "ETag": '"x"', "Size": 1, "LastModified": datetime(2025, 10, 9, tzinfo=UTC)}


def test_an_empty_address_is_refused_and_takes_nothing_away(bucket: Bucket, tmp_path: Path) -> None:
    month(bucket, tmp_path / "made")
    reports.fetch(ROOT, tmp_path / "place", SEPTEMBER)
    before = sorted((tmp_path / "place").rglob("*"))
    bucket.versions.clear()
    with pytest.raises(CopsError, match="E-SOURCE-UNKNOWN"):
        reports.fetch(ROOT, tmp_path / "place", SEPTEMBER)
    assert sorted((tmp_path / "place").rglob("*")) == before


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (403, "AccessDenied", "E-AWS-DENIED"), (400, "ExpiredToken", "E-AWS-DENIED"),
        (503, "SlowDown", "E-AWS-THROTTLED"), (500, "InternalError", "E-AWS-UNREACHABLE"),
        (404, "NoSuchBucket", "E-AWS-BUCKET"),
        (403, "RequestTimeTooSkewed", "E-AWS-CLOCK"),
    ],
)  # fmt: skip
def test_what_aws_refuses_is_a_coded_error_without_its_words(
    bucket: Bucket, tmp_path: Path, status: int, said: str, code: str
) -> None:
    bucket.always = (status, said)
    with pytest.raises(CopsError) as refusal:
        reports.fetch(ROOT, tmp_path, SEPTEMBER)
    assert refusal.value.code == code
    assert SECRET not in str(refusal.value)


def test_throttling_is_waited_out(bucket: Bucket, tmp_path: Path) -> None:
    month(bucket, tmp_path / "made")
    bucket.failures = [(503, "SlowDown"), (503, "SlowDown")]
    assert reports.fetch(ROOT, tmp_path / "place", SEPTEMBER) > 0
