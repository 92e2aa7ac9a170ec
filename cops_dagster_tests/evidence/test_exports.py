"""The typed copy of a month's lines: what another reader finds in it, when it is made and when stale."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from cops_dagster import settings
from cops_dagster.errors import CopsError
from cops_dagster.evidence import exports, sweep
from cops_dagster.evidence.home import open_books
from cops_dagster.ingestion import ingest, look
from cops_dagster.lake import typed_copy, usage
from cops_dagster.lake.tables import EXPORT, FACT_COST_RAW
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster_tests.cli.called import cops, cops_json, ran
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.shown import answer

OCTOBER = SEPTEMBER.next()
LATER = MONTH + "Usage AmazonS3 111111111111 acme team api 1.000000001\n"
ASKED = "SELECT * FROM fact_cost_raw WHERE period_start = '{}'"


def elsewhere(books: Books) -> Any:
    """The table as a reader sees it that knows nothing of COPS."""
    root = books.settings.lake_root
    plain = SqlCatalog(
        "cops", uri=f"sqlite:///{root / 'iceberg_catalog.db'}", warehouse=f"file://{root / 'iceberg'}"
    )
    return plain.load_table(f"cops.{EXPORT}")


def exported(books: Books) -> list[tuple[Any, ...]]:
    table = elsewhere(books).scan().to_arrow()
    return sorted((tuple(row.values()) for row in table.to_pylist()), key=str)


def here(books: Books, *months: Period) -> list[tuple[Any, ...]]:
    return sorted((row for one in months for row in answer(books, ASKED.format(one.start))), key=str)


def known(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The lines without what AWS added in some month."""
    return [row[: len(FACT_COST_RAW)] for row in rows]


def folders(books: Books) -> list[Path]:
    return sorted(path for path in (books.settings.lake_root / EXPORT).glob("*/*"))


def states(books: Books) -> dict[tuple[str, str], int]:
    with books.admin.read() as con:
        found = usage.bytes_of(con, books.lake, exports.listed(books))
    return {(one.period, one.state): one.size_bytes for one in found if one.table_name == EXPORT}


def asked(books: Books, **lake: Any) -> Books:
    """The same books with other settings of the lake."""
    given = books.settings.lake.model_copy(update=lake)
    return replace(books, settings=books.settings.model_copy(update={"lake": given}))


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """Two files, one line of which stands aside, and a column that AWS added."""
    bad = MONTH.replace("111111111111  .       .     network", "x             .       .     network")
    header, *rows = bad.strip().splitlines()
    more = "\n".join((f"{header} line_item_new", *(f"{row} n" for row in rows)))
    write(tmp_path / "cur", [lines(more)])
    opened = home(tmp_path)
    run(opened)
    yield opened
    opened.admin.close()


def test_another_reader_finds_the_lines_digit_by_digit(books: Books) -> None:
    done = sweep.export(books, SEPTEMBER)
    assert (done.wrote, done.rows) == (True, 5)
    assert exported(books) == here(books, SEPTEMBER)
    table = elsewhere(books)
    assert {str(task.file.partition[1]) for task in table.scan().plan_files()} == {"report"}
    assert "line_item_new" in table.schema().column_names
    assert str(table.schema().find_type("amortized_cost")) == "decimal(38, 18)"
    ((run_id,),) = answer(books, "SELECT run_id FROM period_head WHERE table_name = 'fact_cost_raw'")
    summary = table.current_snapshot().summary.additional_properties
    assert (summary["cops.run_id"], done.run_ids) == (run_id, (run_id,))


def test_the_same_runs_again_write_nothing(books: Books) -> None:
    first = sweep.export(books, SEPTEMBER)
    before = folders(books), len(elsewhere(books).snapshots())
    again = sweep.export(books, SEPTEMBER)
    assert again == replace(first, wrote=False)
    assert (folders(books), len(elsewhere(books).snapshots())) == before


def test_a_month_that_is_not_ingested_is_refused(books: Books) -> None:
    with pytest.raises(CopsError, match="E-PERIOD-UNKNOWN") as refusal:
        sweep.export(books, OCTOBER)
    assert refusal.value.found == "nothing ingested"
    assert folders(books) == []


def test_a_month_whose_run_was_superseded_is_stale_until_it_is_exported_again(
    books: Books, tmp_path: Path
) -> None:
    write(tmp_path / "cur", [lines(MONTH, OCTOBER)], period=OCTOBER)
    look.look(books, OCTOBER)
    ingest.ingest(books, OCTOBER)
    sweep.export(books, SEPTEMBER)
    sweep.export(books, OCTOBER)
    old = here(books, SEPTEMBER, OCTOBER)
    write(tmp_path / "cur", [lines(LATER)], assembly="a2")
    run(books)
    assert set(states(books)) == {("2025-09", "stale"), ("2025-10", "live")}
    assert exported(books) == old  # nothing changed under its readers
    before = [path for path in folders(books) if path.parent.name == "2025-09"]
    assert sweep.export(books, SEPTEMBER).wrote
    assert set(states(books)) == {("2025-09", "live"), ("2025-10", "live")}
    assert known(exported(books)) == known(here(books, SEPTEMBER, OCTOBER))
    assert not before[0].exists()


@pytest.mark.long
def test_a_closed_month_can_be_exported_and_proves_the_same(tmp_path: Path) -> None:
    from cops_dagster.evidence import verify

    closed = ready(tmp_path)
    close_by_two(closed, SEPTEMBER)
    assert sweep.export(closed, SEPTEMBER).wrote
    assert exported(closed) == here(closed, SEPTEMBER)
    assert verify.verify(closed).status == "ok"
    assert not sweep.export(closed, SEPTEMBER).wrote


def test_a_rebuild_keeps_what_was_exported(books: Books) -> None:
    sweep.export(books, SEPTEMBER)
    before, files = exported(books), {path: path.stat().st_mtime_ns for path in folders(books)}
    sweep.rebuild(books)
    assert exported(books) == before
    assert {path: path.stat().st_mtime_ns for path in folders(books)} == files
    assert not sweep.export(books, SEPTEMBER).wrote


@pytest.mark.long
def test_a_catalog_that_was_lost_is_made_anew_with_what_was_exported(books: Books) -> None:
    sweep.export(books, SEPTEMBER)
    before = exported(books)
    (books.settings.lake_root / "iceberg_catalog.db").write_bytes(b"no database, as after a bad copy")
    assert states(books) == {}
    sweep.rebuild(books)
    assert exported(books) == before
    assert not sweep.export(books, SEPTEMBER).wrote
    assert len(folders(books)) == 1


@pytest.mark.long
def test_a_moved_home_takes_its_exports_with_it(books: Books, tmp_path: Path) -> None:
    sweep.export(books, SEPTEMBER)
    before = exported(books)
    books.admin.close()
    shutil.move(tmp_path / "home", tmp_path / "elsewhere")
    moved = open_books(settings.load(home=tmp_path / "elsewhere", cur=str(tmp_path / "cur"), actor="test"))
    assert states(moved) == {}
    assert not sweep.export(moved, SEPTEMBER).wrote
    assert exported(moved) == before
    moved.admin.close()


# --- after every ingestion ---------------------------------------------------------------------------------


def test_by_the_setting_a_month_is_exported_when_it_is_ingested(books: Books, tmp_path: Path) -> None:
    assert states(books) == {}
    following = asked(books, export=True)
    write(tmp_path / "cur", [lines(LATER)], assembly="a2")
    run(following)
    assert set(states(following)) == {("2025-09", "live")}
    assert len(exported(following)) == 7
    assert not sweep.export(following, SEPTEMBER).wrote


@pytest.mark.long
def test_the_first_month_of_a_home_is_exported_too(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    following = asked(home(tmp_path), export=True)
    run(following)
    assert exported(following) == here(following, SEPTEMBER)
    assert len(exported(following)) == 6


@pytest.mark.sampled(3)
@pytest.mark.parametrize("dies", ["while it writes", "before its commit", "in its commit"])
def test_an_export_that_was_interrupted_is_finished_by_the_sweep(
    dies: str, books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cops_dagster.lake import iceberg

    class Killed(BaseException):
        """What no `except Exception` sees."""

    def killed(*_: object, **__: object) -> None:
        raise Killed

    place, name = {
        "while it writes": (typed_copy, "write"),
        "before its commit": (iceberg, "export"),
        "in its commit": (iceberg, "_write"),
    }[dies]
    following = asked(books, export=True)
    write(tmp_path / "cur", [lines(LATER)], assembly="a2")
    with monkeypatch.context() as patched:
        patched.setattr(place, name, killed)
        with pytest.raises(Killed):
            run(following)
    assert states(following) == {}
    with following.admin.read() as con:
        assert sweep.pending(con)
    sweep.sweep(following)
    assert set(states(following)) == {("2025-09", "live")}
    assert len(exported(following)) == 7
    assert len(folders(following)) == 1
    with following.admin.read() as con:
        assert not sweep.pending(con)


def test_an_export_that_fails_leaves_its_row_pending_and_says_why(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise CopsError("E-DISK", "x", expected="room", found="a full disk", next_step="free disk")

    following = asked(books, export=True)
    write(tmp_path / "cur", [lines(LATER)], assembly="a2")
    monkeypatch.setattr(typed_copy, "write", full)
    with pytest.raises(CopsError, match="E-DISK"):
        run(following)
    assert ("E-DISK: a full disk",) in answer(
        books, "SELECT last_error FROM outbox WHERE delivered_at IS NULL"
    )
    assert folders(books) == []
    sweep.sweep(books)  # without the setting nothing waits for it
    with books.admin.read() as con:
        assert not sweep.pending(con)


def test_lines_that_are_not_those_published_are_not_exported(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = typed_copy.write
    monkeypatch.setattr(typed_copy, "write", lambda *given: whole(*given[:-1], given[-1] + Decimal("1e-18")))
    with pytest.raises(CopsError, match="E-PROJECTION"):
        sweep.export(books, SEPTEMBER)
    assert (states(books), folders(books)) == ({}, [])


def test_what_a_dead_process_left_is_swept(books: Books) -> None:
    left = books.settings.lake_root / EXPORT / "2025-09" / ("0" * 32)
    left.mkdir(parents=True)
    (left / "half.parquet").write_bytes(b"PAR1")
    assert sweep.sweep(books).folders_removed == 1
    assert not left.exists()


# --- the command -------------------------------------------------------------------------------------------


def test_the_command_says_what_it_wrote_and_what_is_stale(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPS_HOME", str(books.settings.home))
    settings.current.cache_clear()
    said = cops_json("lake", "export", "2025-09")
    assert (said["wrote"], said["rows"], said["table"], said["stale"]) == (True, 5, EXPORT, [])
    assert said["bytes"] == states(books)["2025-09", "live"]
    assert "nothing to do: 5 lines of 2025-09" in ran("lake", "export", "2025-09").output
    assert EXPORT in cops("lake", "usage")
    write(tmp_path / "cur", [lines(LATER)], assembly="a2")
    run(books)
    assert "the export of 2025-09 is stale" in ran("lake", "usage").output
    shown = cops_json("lake", "usage")
    assert [one["state"] for one in shown if one["table_name"] == EXPORT] == ["stale"]
