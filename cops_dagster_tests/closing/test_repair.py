"""A published file that is lost comes back only as what it was, and never in a closed month."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.adjustments import proposals
from cops_dagster.allocation import allocate, inputs, post, reverse
from cops_dagster.closing import approve, current, repair
from cops_dagster.errors import CopsError
from cops_dagster.evidence import sweep
from cops_dagster.lake import live
from cops_dagster.lake.tables import LAKE_TABLES
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.operations import doctor
from cops_dagster.period import Period
from cops_dagster.stores import files as stored
from cops_dagster.stores import tables as t
from cops_dagster_tests.adjustments.late_deliveries import OCTOBER, late_delivery, somebody_else
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write
from cops_dagster_tests.shown import answer

ODD = MONTH + "Usage AmazonS3 nonsense acme team api 1\n"
"""With a line that is set aside."""
SUMS = "SELECT tenant_id, SUM(allocated_cost_usd) FROM fact_cost_allocated GROUP BY 1 ORDER BY 1"


def steps(books: Books, period: Period = SEPTEMBER) -> list[str]:
    """Every act of a month as the graph calls them; the entries' runs that were made again."""
    repair.require_mendable(books, period)
    made = repair.mend(books, period)
    run(books, period)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A month allocated, allocated anew with other keys, and taken back: three runs of entries."""
    folder = tmp_path_factory.mktemp("made")
    write(folder / "cur", [lines(ODD)])
    books = home(folder)
    run(books)
    keys = INPUTS["tenant_network_usage"].replace(",2,", ",8,")
    give(books, folder, replace=True, tenant_network_usage=keys)
    run(books)
    with books.admin.read() as con:
        head = month.head(con, allocate.TABLE, SEPTEMBER)
    assert head is not None
    reverse.reverse(books, head.run_id, reason="wrong keys")
    sweep.sweep(books)
    books.admin.close()
    return folder


@pytest.fixture
def books(made: Path, tmp_path: Path) -> Books:
    shutil.copytree(made / "home", tmp_path / "home")
    shutil.copytree(made / "cur", tmp_path / "cur")
    opened = home(tmp_path, inputs=None)
    with opened.admin.read() as con:  # the copies have their own times, and the delivery its own place
        assert all(not lost_of(opened, table) for table in LAKE_TABLES), con
    run(opened)
    return opened


def published(books: Books, table: str) -> dict[Path, str]:
    with books.admin.read() as con:
        rows = con.execute(
            sa.select(t.lake_file.c.path, t.lake_file.c.sha256).where(t.lake_file.c.table_name == table)
        ).all()
    return {books.settings.lake_root / path: sha256 for path, sha256 in rows}


def recorded(books: Books) -> tuple[list[object], list[object]]:
    with books.admin.read() as con:
        return (
            list(con.execute(sa.select(t.lake_file).order_by(t.lake_file.c.path))),
            list(con.execute(sa.select(t.publish_journal))),
        )


def lost_of(books: Books, table: str) -> list[str]:
    with books.admin.read() as con:
        return [file.path.name for file, _ in repair.lost_files(con, books.lake, table, SEPTEMBER.start)]


def gone(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    """Size and time as they were: only the digest tells."""
    info, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(info.st_mtime_ns, info.st_mtime_ns))
    live.forget([path])


@pytest.mark.long
@pytest.mark.sampled(3)
@pytest.mark.parametrize("harm", [gone, cut, flipped], ids=lambda one: one.__name__)
def test_the_entries_of_every_run_are_made_again_with_the_same_bytes(
    books: Books, harm: Callable[[Path], None]
) -> None:
    before, sums, files = recorded(books), answer(books, SUMS), published(books, allocate.TABLE)
    assert len(files) == 3
    for path in files:
        harm(path)
    assert len(steps(books)) == 3
    assert {path: stored.sha256(path) for path in files} == files
    assert recorded(books) == before
    assert answer(books, SUMS) == sums
    assert current.is_current(books, SEPTEMBER)
    assert steps(books) == []


@pytest.mark.sampled(5)
@pytest.mark.parametrize("table", ["fact_cost_raw", "cur_quarantine", "fact_cost_tagged"])
@pytest.mark.parametrize("harm", [gone, cut], ids=lambda one: one.__name__)
def test_lines_and_tagged_cost_go_back_to_their_place_and_nothing_is_published(
    books: Books, table: str, harm: Callable[[Path], None]
) -> None:
    """Nothing was said of a lost quarantine, and a lost month of lines was published anew."""
    before, files = recorded(books), published(books, table)
    for path in files:
        harm(path)
    assert lost_of(books, table)
    assert not current.is_current(books, SEPTEMBER)
    steps(books)
    assert {path: stored.sha256(path) for path in files} == files
    assert recorded(books) == before
    assert current.is_current(books, SEPTEMBER)


@pytest.mark.long
def test_a_month_that_lost_its_whole_lake_is_as_it_was_after_the_next_run(books: Books) -> None:
    before, sums = recorded(books), answer(books, SUMS)
    files = {path: sha for table in LAKE_TABLES for path, sha in published(books, table).items()}
    for path in files:
        path.unlink()
    run_in_order(books)
    assert {path: stored.sha256(path) for path in files} == files
    assert recorded(books) == before
    assert answer(books, SUMS) == sums


def run_in_order(books: Books) -> None:
    """Entries are made again when the month is tagged, as in the graph."""
    from cops_dagster.ingestion import ingest, look
    from cops_dagster.tagging import tag

    repair.require_mendable(books, SEPTEMBER)
    look.look(books, SEPTEMBER)
    ingest.ingest(books, SEPTEMBER)
    tag.tag(books, SEPTEMBER)
    repair.mend(books, SEPTEMBER)
    run(books)


def test_a_file_that_was_only_touched_is_whole(books: Books) -> None:
    for table in LAKE_TABLES:
        for path in published(books, table):
            os.utime(path)
    assert current.is_current(books, SEPTEMBER)
    assert repair.mend(books, SEPTEMBER) == []


def test_entries_that_come_out_as_other_bytes_are_not_put_in_their_place(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade of the engine: the file stays lost, and restoring it is said."""
    path = next(iter(published(books, allocate.TABLE)))
    path.unlink()
    as_it_is = post.write

    def another(engine, target, *given):  # type: ignore[no-untyped-def]
        params = as_it_is(engine, target, *given)
        target.write_bytes(target.read_bytes() + b" ")
        return params

    monkeypatch.setattr(post, "write", another)
    with pytest.raises(CopsError) as refusal:
        repair.mend(books, SEPTEMBER)
    assert refusal.value.code == "E-DIGEST"
    assert f"restore {path}" in refusal.value.next_step
    assert not path.exists()


def test_an_allocation_of_another_version_is_not_made_again(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(iter(published(books, allocate.TABLE))).unlink()
    monkeypatch.setattr(inputs, "ALGORITHM", "allocated-of-tomorrow")
    with pytest.raises(CopsError, match="another version") as refusal:
        repair.mend(books, SEPTEMBER)
    assert "restore" in refusal.value.next_step


@pytest.mark.long
def test_lines_that_come_out_as_other_bytes_are_a_new_run_over_the_same_inputs(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cops_dagster.lake import lost

    files, runs, sums = recorded(books), len(recorded(books)[1]), answer(books, SUMS)
    for table, harm in (("fact_cost_raw", gone), ("fact_cost_tagged", cut)):
        for path in published(books, table):
            harm(path)
    monkeypatch.setattr(lost, "are_again", lambda *_: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps(books)
        assert sweep.rebuild(books) > runs
    assert len(recorded(books)[1]) > runs
    assert all(row in recorded(books)[0] for row in files[0])
    assert answer(books, SUMS) == sums


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed")
    books = ready(folder)
    close_by_two(books, SEPTEMBER)
    books.admin.close()
    return folder


@pytest.mark.sampled(3)
@pytest.mark.parametrize("table", ["fact_cost_raw", "fact_cost_tagged", "fact_cost_allocated"])
def test_a_closed_month_is_restored_and_never_made_again(sealed: Path, tmp_path: Path, table: str) -> None:
    """`cops materialize` said that there was nothing to do."""
    shutil.copytree(sealed, tmp_path, dirs_exist_ok=True)
    books = home(tmp_path, inputs=None)
    (path,) = published(books, table)
    whole = path.read_bytes()
    path.unlink()
    assert not current.is_current(books, SEPTEMBER)
    for act in (repair.require_mendable, repair.mend):
        with pytest.raises(CopsError) as refusal:
            act(books, SEPTEMBER)
        assert refusal.value.code == "E-DIGEST"
        assert f"restore {path} from backup; `cops evidence replay 2025-09`" in refusal.value.next_step
    assert not path.exists()
    said, *proof = [one for one in doctor.diagnose(books, SEPTEMBER) if one.step == "home"]
    assert (said.light, said.next_step) == ("red", refusal.value.next_step)
    assert {one.light for one in proof} == {"red"}  # the seal misses the file too
    path.write_bytes(whole)
    assert current.is_current(books, SEPTEMBER)
    assert not [one for one in doctor.diagnose(books, SEPTEMBER) if one.step == "home"]


@pytest.mark.long
def test_the_doctor_names_each_lost_file_and_its_command(books: Books) -> None:
    paths = [path for table in ("fact_cost_raw", allocate.TABLE) for path in published(books, table)]
    for path in paths:
        path.unlink()
    said = [one for one in doctor.diagnose(books, SEPTEMBER) if one.step == "home"]
    assert {(one.light, one.next_step) for one in said} == {("red", "cops materialize 2025-09")}
    assert all(any(path.name in one.what for one in said) for path in paths)
    run_in_order(books)
    assert not [one for one in doctor.diagnose(books, SEPTEMBER) if one.step == "home"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("table", ["fact_cost_tagged", "fact_cost_allocated"])
def test_the_iceberg_tables_are_not_rebuilt_without_a_file_and_stay_as_they_were(
    books: Books, table: str
) -> None:
    """It dropped every table, then ended in a FileNotFoundError."""
    from cops_dagster.lake import iceberg

    catalog = iceberg.open_catalog(books.settings)
    rows = catalog.load_table(f"cops.{table}").scan().to_arrow().num_rows
    path = sorted(published(books, table))[0]
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(CopsError) as refusal:
        sweep.rebuild(books)
    assert refusal.value.code == "E-DIGEST"
    assert path.name in refusal.value.subject
    assert "cops materialize 2025-09" in refusal.value.next_step
    path.write_bytes(whole)
    assert catalog.load_table(f"cops.{table}").scan().to_arrow().num_rows == rows
    assert sweep.rebuild(books)


@pytest.mark.long
@pytest.mark.parametrize("harm", ["catalog", "metadata"])
def test_a_catalog_that_cannot_be_read_is_made_anew_by_the_rebuild(books: Books, harm: str) -> None:
    from cops_dagster.lake import iceberg

    root = books.settings.lake_root
    if harm == "catalog":
        (root / "iceberg_catalog.db").write_bytes(b"no database" * 100)
    else:
        for path in (root / "iceberg").rglob("*.metadata.json"):
            path.write_text("{")
    assert sweep.rebuild(books)
    table = iceberg.open_catalog(books.settings).load_table("cops.fact_cost_allocated")
    assert table.scan().to_arrow().num_rows == answer(books, "SELECT COUNT(*) FROM fact_cost_allocated")[0][0]


def test_an_adjustment_is_made_again_from_its_document_alone(sealed: Path, tmp_path: Path) -> None:
    """The delivery that caused it is not asked, and the closed month stays as it is."""
    shutil.copytree(sealed, tmp_path, dirs_exist_ok=True)
    books = home(tmp_path, inputs=None)
    made = late_delivery(books, tmp_path, MONTH + "Usage AmazonS3 111111111111 acme team api 5\n")
    approve.approve(somebody_else(books), made, reason="checked with AWS")
    ((path, sha256),) = published(books, proposals.TABLE).items()
    shutil.rmtree(tmp_path / "cur")
    before = recorded(books)
    path.unlink()
    assert len(repair.mend(books, OCTOBER)) == 1
    assert stored.sha256(path) == sha256
    assert recorded(books) == before
    assert repair.mend(books, OCTOBER) == []


@pytest.mark.long
def test_the_doctor_s_advice_is_followed_by_command(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cops materialize` was refused again, or ended in E-INTERNAL."""
    from typer.testing import CliRunner

    from cops_dagster import settings
    from cops_dagster.cli.main import app

    sums = answer(books, SUMS)
    for table in (allocate.TABLE, "fact_cost_raw"):
        for path in published(books, table):
            path.unlink()
    (said,) = {one.next_step for one in doctor.diagnose(books, SEPTEMBER) if one.step == "home"}
    for name, value in (("HOME", tmp_path / "home"), ("CUR", tmp_path / "cur"), ("ACTOR", "kim")):
        monkeypatch.setenv(f"COPS_{name}", str(value))
    settings.current.cache_clear()
    done = CliRunner().invoke(app, said.split()[1:])
    assert not isinstance(done.exception, CopsError), done.exception
    assert "UserWarning" not in done.output
    assert answer(books, SUMS) == sums
    assert current.is_current(books, SEPTEMBER)
