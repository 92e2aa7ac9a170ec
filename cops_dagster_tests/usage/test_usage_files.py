"""Files as a source: each counted once, whole, and of its own address."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster.usage import files
from cops_dagster_tests.stores.buckets import bucket, put
from cops_dagster_tests.stores.s3_server import Bucket
from cops_dagster_tests.usage.declaring import FILES, day_of, declaring, flow, take

__all__ = ["bucket"]  # the fixture

DAY = day_of(1)


def loaded(books: Books) -> dict[str, int]:
    with books.admin.read() as con:
        return {row.tenant_id: int(row.value) for row in con.execute(sa.select(t.tenant_usage))}


def refusal(books: Books) -> CopsError:
    with pytest.raises(CopsError) as caught:
        take(books, DAY)
    return caught.value


def over(*patterns: str) -> str:
    return FILES.replace('"flow/{year}-{month}-{day}.csv"', ", ".join(f'"{one}"' for one in patterns))


def test_a_file_that_two_patterns_or_two_names_mean_counts_once(tmp_path: Path) -> None:
    """Overlapping patterns read it twice, and every figure was doubled."""
    file = flow(tmp_path, DAY, acme=3, globex=1)
    (tmp_path / "flow" / "newest.csv").symlink_to(file.name)
    books = declaring(tmp_path, over("flow/*.csv", "flow/{year}-*.csv"))
    take(books, DAY)
    assert loaded(books) == {"acme": 3, "globex": 1}


@pytest.mark.parametrize("is_s3", [False, True], ids=["folder", "s3"])
def test_files_of_one_name_in_two_places_are_both_read(tmp_path: Path, bucket: Bucket, is_s3: bool) -> None:
    """From S3 the second was written over the first, and read twice."""
    for place, tenant in (("eu", "acme"), ("us", "globex")):
        folder = tmp_path / "delivered" / place
        folder.mkdir(parents=True)
        (folder / "part-0.csv").write_text(f"tenant,bytes\n{tenant},7\n", encoding="utf-8")
    put(bucket, tmp_path / "delivered")
    at = "s3://billing/exports" if is_s3 else str(tmp_path / "delivered")
    books = declaring(tmp_path, over(f"{at}/eu/*.csv", f"{at}/us/*.csv", f"{at}/u?/*.csv"))
    take(books, DAY)
    assert loaded(books) == {"acme": 7, "globex": 7}


def test_a_link_that_leads_nowhere_is_no_missing_part_of_the_day(tmp_path: Path) -> None:
    flow(tmp_path, DAY, acme=3)
    (tmp_path / "flow" / "other.csv").symlink_to("gone.csv")
    found = refusal(declaring(tmp_path, over("flow/*.csv")))
    assert (found.code, "other.csv" in found.found) == ("E-USAGE-FILES", True)


def test_a_file_that_goes_or_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = flow(tmp_path, DAY, acme=3)
    books = declaring(tmp_path)
    ask = files._rows

    def grows(*given: object) -> object:
        found = ask(*given)  # type: ignore[arg-type]
        file.write_text(file.read_text(encoding="utf-8") + "globex,5\n", encoding="utf-8")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(files, "_rows", grows)
        assert refusal(books).code == "E-USAGE-FILES"
    digest = files.sha256

    def goes(path: Path) -> str:
        path.unlink()
        return digest(path)

    monkeypatch.setattr(files, "sha256", goes)
    assert refusal(books).code == "E-USAGE-FILES"


def test_text_files_with_columns_in_another_order_are_read_by_name(tmp_path: Path) -> None:
    flow(tmp_path, DAY, acme=3)
    (tmp_path / "flow" / "b.csv").write_text("bytes,tenant\n5,globex\n", encoding="utf-8")
    books = declaring(tmp_path, over("flow/*.csv"))
    take(books, DAY)
    assert loaded(books) == {"acme": 3, "globex": 5}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE files",
        "CREATE TABLE x AS SELECT * FROM files",
        "SELECT tenant, bytes FROM files; SELECT tenant, bytes FROM files",
        "COPY files TO 'x.csv'",
        "ATTACH 'x.db'",
        "INSTALL httpfs",
        "PRAGMA version",
        "SET memory_limit = '1TB'",
        "EXPLAIN SELECT tenant, bytes FROM files",
        "SELECT getenv('HOME'), 1",
        "-- nothing",
    ],
)
def test_anything_but_one_select_is_refused(tmp_path: Path, query: str) -> None:
    flow(tmp_path, DAY, acme=3)
    text = FILES.replace("SELECT tenant, SUM(bytes) FROM files GROUP BY tenant", query)
    assert refusal(declaring(tmp_path, text)).code == "E-USAGE-QUERY"
    assert sorted(one.name for one in tmp_path.iterdir() if one.suffix in (".csv", ".db")) == []
