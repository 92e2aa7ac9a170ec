"""Deliveries that lie where COPS does not see them: each refusal's advice is followed, and then it works."""

from __future__ import annotations

import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from cops_dagster.errors import CopsError
from cops_dagster.evidence.home import open_books
from cops_dagster.ingestion import deliver, look
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, write

AUGUST = Period(2025, 8)


def refused(books: Books, period: Period = SEPTEMBER) -> CopsError:
    with pytest.raises(CopsError) as problem:
        look.look(books, period)
    return problem.value


def with_root(books: Books, root: str) -> Books:
    return open_books(books.settings.model_copy(update={"cur": root}))


def test_a_month_without_its_manifest_names_the_files_and_both_ways_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "cur", [lines(MONTH)]).parent
    for file in folder.rglob("*-Manifest.json"):
        file.unlink()
    books = home(tmp_path)
    (seen,) = look.look(books, SEPTEMBER)
    (refusal,) = seen.refusals
    assert (refusal.code, seen.delivery_id) == ("E-MANIFEST-MISSING", None)
    assert "1 file(s) in report/20250901-20251001" in refusal.found
    words = shlex.split(refusal.next_step.partition("cops deliver ")[2])
    files = sorted((tmp_path / "cur").glob(words[0]))
    deliver.deliver(books, files, Period.parse(words[words.index("--period") + 1]))
    (seen,) = look.look(books, SEPTEMBER)
    assert (seen.source_id, seen.refusals) == ("manual", ())
    pq.write_table(lines(MONTH.replace("10.10", "11.10")), next(folder.rglob("*.parquet")))
    assert [one.source_id for one in look.look(books, SEPTEMBER) if one.refusals] == ["report"]


def test_an_empty_folder_of_a_month_is_named_and_hides_no_other_source(tmp_path: Path) -> None:
    (tmp_path / "cur" / "report" / "20250901-20251001").mkdir(parents=True)
    books = home(tmp_path)
    found = refused(books)
    assert found.code == "E-PERIOD-UNKNOWN"
    assert "the empty folder report/20250901-20251001" in found.found
    assert "sync the month's files and their manifest" in found.next_step
    write(tmp_path / "cur" / "other", [lines(MONTH)])
    (seen,) = look.look(books, SEPTEMBER)
    assert (seen.source_id, seen.refusals) == ("other/report", ())
    with books.admin.read() as con:
        assert look.unchanged(books, con, SEPTEMBER)


def test_a_months_folder_as_root_is_answered_with_the_folder_above(tmp_path: Path) -> None:
    month = write(tmp_path / "cur", [lines(MONTH)]).parent
    found = refused(with_root(home(tmp_path), str(month)))
    assert (found.code, "is a month's folder" in found.found) == ("E-PERIOD-UNKNOWN", True)
    (seen,) = look.look(with_root(home(tmp_path), found.next_step.rpartition(" ")[2]), SEPTEMBER)
    assert seen.delivery_id


def test_files_that_lie_in_no_months_folder_are_to_be_handed_over(tmp_path: Path) -> None:
    (tmp_path / "cur").mkdir()
    pq.write_table(lines(MONTH), tmp_path / "cur" / "part.snappy.parquet")
    found = refused(home(tmp_path))
    assert "1 data file(s) directly in" in found.found
    assert f"cops deliver {tmp_path / 'cur' / 'part.snappy.parquet'}" in found.next_step


def files_of(tmp_path: Path, kind: str) -> list[Path]:
    path = tmp_path / f"august.{kind}"
    table = lines(MONTH, AUGUST)
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        for at, field in enumerate(table.schema):
            if pa.types.is_timestamp(field.type):
                texts = [f"{value:%Y-%m-%dT%H:%M:%SZ}" for value in table.column(at).to_pylist()]
                table = table.set_column(at, field.name, [texts])
        pyarrow.csv.write_csv(table, path)
    return [path]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_files_of_another_month_are_refused_before_they_are_copied(tmp_path: Path, kind: str) -> None:
    files = files_of(tmp_path, kind)
    (tmp_path / "cur").mkdir()
    books = home(tmp_path)
    with pytest.raises(CopsError, match="E-MANIFEST-SCOPE") as problem:
        deliver.deliver(books, files, SEPTEMBER)
    assert problem.value.found == "lines of billing period 2025-08"
    assert not books.settings.deliveries_root.exists()
    period = Period.parse(problem.value.next_step.rpartition(" ")[2])
    deliver.deliver(books, files, period)
    (seen,) = look.look(books, period)
    assert seen.delivery_id


def test_files_of_two_months_at_once_are_refused(tmp_path: Path) -> None:
    pq.write_table(lines(MONTH), tmp_path / "september.parquet")
    (tmp_path / "cur").mkdir()
    files = [*files_of(tmp_path, "parquet"), tmp_path / "september.parquet"]
    with pytest.raises(CopsError, match="E-MANIFEST-SCOPE") as problem:
        deliver.deliver(home(tmp_path), files, SEPTEMBER)
    assert problem.value.found == "lines of billing period 2025-08, 2025-09"
    assert "each month by themselves" in problem.value.next_step
