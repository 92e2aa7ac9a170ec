"""An evidence store that is gone, empty or another home's is seen, and no anchor makes it right."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.cli.main import app
from cops_dagster.closing import repair
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, verify
from cops_dagster.ledger.books import Books
from cops_dagster.operations import doctor
from cops_dagster.stores import tables as t
from cops_dagster.stores.objects import FolderObjects
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.evidence.pieces import tamper


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed")
    books = ready(folder)
    close_by_two(books, SEPTEMBER)
    books.admin.close()
    return folder


@pytest.fixture
def books(sealed: Path, tmp_path: Path) -> Books:
    shutil.copytree(sealed, tmp_path, dirs_exist_ok=True)
    return home(tmp_path, inputs=None)


def store(books: Books) -> Path:
    return books.settings.home / "evidence"


def moved_away(books: Books) -> None:
    store(books).rename(store(books).with_name("elsewhere"))


def emptied(books: Books) -> None:
    shutil.rmtree(store(books))
    store(books).mkdir()


def without_objects(books: Books) -> None:
    shutil.rmtree(store(books) / "objects")


def of_another_home(books: Books) -> None:
    moved_away(books)
    other = FolderObjects(store(books))
    other.put(b"another")
    other.anchor(2, "ab" * 32)


def without_anchors(books: Books) -> None:
    shutil.rmtree(store(books) / "anchors")


def without_the_seal(books: Books) -> None:
    with books.admin.read() as con:
        row = chain.find(con, "seal", "period", "2025-09")
    (store(books) / row.object_key).unlink()


HARMS: list[tuple[Callable[[Books], None], str]] = [
    (moved_away, "E-EVIDENCE-MISSING"),
    (emptied, "E-EVIDENCE-MISSING"),
    (without_objects, "E-EVIDENCE-MISSING"),
    (of_another_home, "E-EVIDENCE-"),
    (without_anchors, "E-EVIDENCE-MISSING"),
    (without_the_seal, "E-EVIDENCE-MISSING"),
]


@pytest.mark.sampled(6)
@pytest.mark.parametrize(("harm", "code"), HARMS, ids=[harm.__name__ for harm, _ in HARMS])
def test_a_store_that_is_not_this_chain_s_is_seen_and_nothing_is_written_into_it(
    books: Books, harm: Callable[[Books], None], code: str
) -> None:
    """`cops close` of the closed month wrote a new anchor into the empty store: the finding was gone."""
    harm(books)
    before = verify.verify(books)
    assert before.status != "ok"
    there = sorted(store(books).rglob("*"))
    acts: list[Callable[[], object]] = [
        lambda: close_by_two(books, SEPTEMBER),
        lambda: repair.require_mendable(books, SEPTEMBER),
        lambda: chain.store(books, []),
    ]
    for act in acts:
        with pytest.raises(CopsError) as refusal:
            act()
        assert refusal.value.code.startswith(code)
        assert "restore" in refusal.value.next_step
    assert sorted(store(books).rglob("*")) == there
    assert verify.verify(books) == before
    (said, *_) = [one for one in doctor.diagnose(books, SEPTEMBER) if one.step == "home"]
    assert (said.light, said.look) == ("red", "cops evidence verify")
    assert "restore" in said.next_step


@pytest.mark.parametrize("harm", [moved_away, emptied, without_objects], ids=lambda one: one.__name__)
def test_a_store_that_is_gone_is_one_finding_that_advises_no_close(
    books: Books, harm: Callable[[Books], None]
) -> None:
    harm(books)
    (found,) = verify.verify(books).findings
    assert found.what == f"the store {books.settings.evidence_uri}"
    assert "gone, empty or another" in found.found
    assert "cops close" not in found.found


def test_the_store_put_back_is_the_way_out(books: Books) -> None:
    """The twin: what the refusals advise is enough."""
    moved_away(books)
    store(books).with_name("elsewhere").rename(store(books))
    assert verify.verify(books).status == "ok"
    assert not close_by_two(books, SEPTEMBER).wrote
    assert not [one for one in doctor.diagnose(books, SEPTEMBER) if one.step == "home"]


def test_a_close_that_was_cut_short_before_its_anchor_is_finished(books: Books) -> None:
    """The twin: of a crash, seal and chain are there, name and anchor are not."""
    for folder in ("names", "anchors"):
        shutil.rmtree(store(books) / folder)
    (found,) = verify.verify(books).findings
    assert "`cops close 2025-09` writes it" in found.found
    assert not close_by_two(books, SEPTEMBER).wrote
    assert verify.verify(books).status == "ok"


@pytest.mark.long
def test_a_new_home_with_an_empty_store_is_right_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    new = home(tmp_path)
    assert verify.verify(new).status == "ok"
    run(new)
    assert verify.verify(new).status == "ok"


def test_a_new_home_does_not_write_into_another_s_store(books: Books, tmp_path: Path) -> None:
    write(tmp_path / "new" / "cur", [lines(MONTH)])
    new = home(tmp_path / "new", inputs=None, evidence=str(store(books)))
    there = sorted(store(books).rglob("*"))
    with pytest.raises(CopsError, match="another home") as refusal:
        run(new)
    assert refusal.value.code == "E-EVIDENCE-TAMPERED"
    assert sorted(store(books).rglob("*")) == there


def test_materialize_and_verify_say_what_is_to_be_done(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cops materialize` ended with 0 over a store that was gone."""
    moved_away(books)
    for name, value in (("HOME", tmp_path / "home"), ("CUR", tmp_path / "cur"), ("ACTOR", "kim")):
        monkeypatch.setenv(f"COPS_{name}", str(value))
    settings.current.cache_clear()
    done = CliRunner().invoke(app, ["materialize", "2025-09"])
    assert isinstance(done.exception, CopsError)
    assert done.exception.code == "E-EVIDENCE-MISSING"
    done = CliRunner().invoke(app, ["evidence", "verify"])
    assert done.exit_code == 1
    assert "next: correct COPS_EVIDENCE" in done.output


@pytest.mark.long
def test_a_clock_that_went_back_is_said_and_the_chain_stays_right(books: Books) -> None:
    assert verify.verify(books).warnings == []
    with books.admin.read() as con:
        rows = con.execute(sa.select(t.publish_journal).order_by(t.publish_journal.c.journal_seq)).all()
        recorded = con.execute(sa.select(t.evidence_head)).one()
    earlier = rows[-2].published_at - timedelta(days=2)
    tamper(
        books,
        (
            "UPDATE publish_journal SET published_at = ? WHERE journal_seq = ?",
            (str(earlier), rows[-1].journal_seq),
        ),
    )
    told = [one for one in doctor.diagnose(books, SEPTEMBER) if one.step == "home"]
    (said,) = [one for one in told if one.what == "the clock went back"]
    assert said.light == "amber"
    assert f"journal row {rows[-1].journal_seq}" in said.found
    assert recorded.evidence_seq > 1
    guards = [one.what for one in told if "guard" in one.what]
    assert len(guards) == 4  # the tampering dropped them all: three are named, the others counted
    assert guards[3].endswith(" more guards")


def test_an_entry_of_the_evidence_that_is_older_than_the_one_before_is_a_warning(tmp_path: Path) -> None:
    from cops_dagster_tests.evidence.pieces import add, piece, rebuild

    made = home(tmp_path, inputs=None)
    for number in (1, 2, 3):
        add(made, piece(number))
    rebuild(made, lambda rows: rows[2].update(recorded_at=rows[1]["recorded_at"] - timedelta(days=2)))
    found = verify.verify(made)
    assert found.status == "ok"
    assert [(one.seq, one.what) for one in found.warnings] == [(3, "time")]
