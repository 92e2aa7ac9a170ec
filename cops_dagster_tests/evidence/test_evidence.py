"""The chain of evidence against the adversary: whoever can write to the file of the admin database."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, verify
from cops_dagster.evidence.chain import Piece
from cops_dagster.evidence.standing import Finding
from cops_dagster.evidence.verify import Verification
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.objects import key_of
from cops_dagster_tests.deliveries import SEPTEMBER, home
from cops_dagster_tests.evidence.pieces import TEXT, add, piece, rebuild, repair_head, rows, tamper
from cops_dagster_tests.stores.consented import agree_to_close
from cops_dagster_tests.stores.guarded import begin, moved, told
from cops_dagster_tests.stores.s3_server import serving

ROOT = Path(__file__).resolve().parents[2]
ROWS = 5
BOUND = (
    "hash_version", "evidence_seq", "prev_hash", "entry_hash", "kind", "subject_type", "subject_id",
    "object_key", "object_version_id", "sha256", "size_bytes", "content_type", "run_id", "actor",
    "recorded_at",
)  # fmt: skip


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """A chain of five entries, every column filled, anchored at the third and at its end."""
    made = home(tmp_path, inputs=None)
    for number in range(1, ROWS + 1):
        add(made, piece(number), run_id=f"run {number}")
        if number in (3, ROWS):
            chain.anchor(made)
    return made


def found_by(books: Books) -> set[tuple[int, str]]:
    """What a mismatch was found by: entry and kind of finding."""
    verified = verify.verify(books)
    assert verified.status == "mismatch"
    return {(one.seq, one.what) for one in verified.findings if one.status == "mismatch"}


def object_of(books: Books, seq: int) -> Path:
    path = chain.objects(books).path(rows(books)[seq - 1]["object_key"])
    assert path is not None
    return path


# --- what is well ---------------------------------------------------------------------------------------


def test_an_empty_chain_is_ok(tmp_path: Path) -> None:
    assert verify.verify(home(tmp_path, inputs=None)) == Verification("ok", 0, 0, [])


def test_a_chain_that_nobody_touched_is_ok(books: Books) -> None:
    assert verify.verify(books) == Verification("ok", ROWS, ROWS, [])


def test_entries_are_numbered_without_a_gap_and_hold_the_hash_before(books: Books) -> None:
    made = rows(books)
    assert [row["evidence_seq"] for row in made] == [1, 2, 3, 4, 5]
    assert [row["prev_hash"] for row in made] == [None, *(row["entry_hash"] for row in made[:-1])]
    assert {row["hash_version"] for row in made} == {1}
    assert chain.read(books, 4) == b"proof 4"


def test_several_entries_of_one_transaction_are_chained(books: Books) -> None:
    assert add(books, piece(6), piece(7), piece(6)) == [6, 7, 6]
    assert verify.verify(books).status == "ok"


def test_the_same_proof_of_the_same_subject_is_one_entry(books: Books) -> None:
    before = rows(books)
    assert add(books, piece(2), piece(4), run_id="another") == [2, 4]
    assert rows(books) == before
    assert add(books, piece(2, subject="2025-10")) == [6]  # of another subject it is another entry
    assert verify.verify(books) == Verification("ok", 6, ROWS, [])  # over the same object


def test_the_newest_entry_of_a_subject_is_found(books: Books) -> None:
    with books.admin.read() as con:
        newest = chain.find(con, "note", "period", "2025-09")
        assert newest is not None
        assert newest.evidence_seq == ROWS
        assert chain.find(con, "note", "period", "2024-01") is None


def test_a_file_is_kept_as_it_was_when_it_was_stored(books: Books, tmp_path: Path) -> None:
    file = tmp_path / "report.parquet"
    file.write_bytes(b"delivered")
    (seq,) = add(books, Piece("file", "delivery", "d", "application/octet-stream", path=file))
    file.write_bytes(b"overwritten by AWS")
    assert chain.read(books, seq) == b"delivered"


def test_an_entry_that_is_not_there_is_a_coded_error(books: Books) -> None:
    with pytest.raises(CopsError) as problem:
        chain.read(books, 99)
    assert problem.value.code == "E-EVIDENCE-MISSING"


# --- crash and concurrency ------------------------------------------------------------------------------


def test_a_crash_between_store_and_index_leaves_nothing_wrong(books: Books) -> None:
    chain.store(books, [piece(6)])
    assert verify.verify(books) == Verification("ok", ROWS, ROWS, [])
    assert add(books, piece(6)) == [6]
    assert verify.verify(books).status == "ok"


def test_a_transaction_that_fails_takes_its_entries_and_its_head_with_it(books: Books) -> None:
    kept = chain.store(books, [piece(6)])

    def cut_short() -> None:
        with books.admin.write() as con:
            chain.index(con, books, kept)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    assert verify.verify(books) == Verification("ok", ROWS, ROWS, [])


@pytest.mark.long
def test_processes_that_index_at_once_make_one_chain(books: Books) -> None:
    script = (
        "import sys; from cops_dagster import settings; from cops_dagster.evidence.home import open_books\n"
        "from cops_dagster_tests.evidence.pieces import add, piece\n"
        "books = open_books(settings.load(home=sys.argv[1], actor='test'))\n"
        "for number in range(12): add(books, piece(100 + number), piece(int(sys.argv[2]) + number))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(books.settings.home), str(1000 * number)],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
        )
        for number in (1, 2, 3)
    ]  # fmt: skip
    assert [(one.communicate()[1], one.returncode) for one in running] == [("", 0)] * 3
    entries = ROWS + 12 + 3 * 12
    assert verify.verify(books) == Verification("ok", entries, entries, [])


def test_a_chain_that_grows_and_is_anchored_during_a_verification_is_ok(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = verify._recorded

    def then_another_process_closes_a_month(con: sa.Connection, *asked: Any) -> Any:
        found = read(con, *asked)
        add(books, piece(6))
        chain.anchor(books)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(verify, "_recorded", then_another_process_closes_a_month)
        assert verify.verify(books) == Verification("ok", ROWS, ROWS, [])
    assert verify.verify(books) == Verification("ok", ROWS + 1, ROWS + 1, [])


# --- entries --------------------------------------------------------------------------------------------


def test_the_list_of_bound_fields_has_every_column() -> None:
    assert sorted(BOUND) == sorted(column.name for column in t.evidence_index.c)


def changed(name: str, value: Any) -> Any:
    """Another value of the same kind, as near as can be: a digit more or less."""
    if isinstance(value, int):
        return value + (100 if name == "evidence_seq" else 1)
    return value[:-1] + ("0" if value[-1] != "0" else "1") if value else "x"


@pytest.mark.sampled(5)
@pytest.mark.parametrize("field", BOUND)
@pytest.mark.parametrize("how", ["changed", "emptied", "of another type"])
def test_a_changed_field_of_any_entry_is_found(books: Books, field: str, how: str) -> None:
    with books.admin.read() as con:  # as the file holds it, times as text
        held = con.exec_driver_sql(f"SELECT evidence_seq, {field} FROM evidence_index").all()
    assert len(held) == ROWS
    change = f"UPDATE evidence_index SET {field} = ? WHERE evidence_seq = ?"
    for seq, value in held:
        if how == "changed":
            new = changed(field, value)
        elif how == "emptied":
            new = 0 if isinstance(value, int) else ""
        elif field == "evidence_seq":
            continue  # the one column that SQLite lets hold nothing but a number
        else:
            new = 0.5 if isinstance(value, int) else b"\xff\x00"
        tamper(books, (change, (new, seq)))
        assert verify.verify(books).status == "mismatch", f"{field} of entry {seq} = {new!r}"
        tamper(books, (change, (value, new if field == "evidence_seq" else seq)))
        assert verify.verify(books).status == "ok"


@pytest.mark.parametrize("seq", range(1, ROWS + 1))
def test_a_removed_entry_is_found(books: Books, seq: int) -> None:
    tamper(books, f"DELETE FROM evidence_index WHERE evidence_seq = {seq}")
    assert (0, "recorded length and head") in found_by(books)


@pytest.mark.parametrize("seq", range(1, ROWS))
def test_two_swapped_entries_are_found(books: Books, seq: int) -> None:
    tamper(
        books,
        f"UPDATE evidence_index SET evidence_seq = -1 WHERE evidence_seq = {seq}",
        f"UPDATE evidence_index SET evidence_seq = {seq} WHERE evidence_seq = {seq + 1}",
        f"UPDATE evidence_index SET evidence_seq = {seq + 1} WHERE evidence_seq = -1",
    )
    assert (seq, "hash of the entry") in found_by(books)


def test_an_inserted_entry_is_found_even_with_a_right_hash(books: Books) -> None:
    made = rows(books)
    forged = made[4] | {"evidence_seq": 3, "prev_hash": made[1]["entry_hash"], "subject_id": "2025-08"}
    forged["entry_hash"] = chain.entry_hash(forged)
    tamper(
        books,
        *(
            f"UPDATE evidence_index SET evidence_seq = {seq + 1} WHERE evidence_seq = {seq}"
            for seq in (5, 4, 3)
        ),
    )
    with books.admin.write() as con:
        con.execute(sa.insert(t.evidence_index).values(**forged))
    assert (4, "hash of the entry before") in found_by(books)
    repair_head(books)
    assert (4, "hash of the entry before") in found_by(books)


def test_an_entry_appended_past_the_recorded_head_is_found(books: Books) -> None:
    last = rows(books)[-1]
    forged = last | {"evidence_seq": 6, "prev_hash": last["entry_hash"], "subject_id": "2025-08"}
    forged["entry_hash"] = chain.entry_hash(forged)
    with books.admin.write() as con:
        con.execute(sa.insert(t.evidence_index).values(**forged))
    assert found_by(books) == {(0, "recorded length and head")}


def test_a_removed_middle_is_found_with_the_numbers_closed_up(books: Books) -> None:
    tamper(books, "DELETE FROM evidence_index WHERE evidence_seq IN (2, 3)")
    assert (4, "number") in found_by(books)
    tamper(
        books,
        "UPDATE evidence_index SET evidence_seq = 2 WHERE evidence_seq = 4",
        "UPDATE evidence_index SET evidence_seq = 3 WHERE evidence_seq = 5",
    )
    repair_head(books)
    assert (2, "hash of the entry before") in found_by(books)


def test_a_removed_tail_is_found_by_the_recorded_head(books: Books) -> None:
    tamper(books, "DELETE FROM evidence_index WHERE evidence_seq > 3")
    assert found_by(books) == {(0, "recorded length and head"), (5, "anchor")}


def test_a_removed_tail_with_its_head_repaired_is_found_by_the_anchor_alone(books: Books) -> None:
    tamper(books, "DELETE FROM evidence_index WHERE evidence_seq > 3")
    repair_head(books)
    assert found_by(books) == {(5, "anchor")}


@pytest.mark.parametrize("left", ["nothing", "a head"])
def test_a_chain_removed_whole_is_found(books: Books, left: str) -> None:
    tamper(books, "DELETE FROM evidence_index")
    if left == "nothing":
        tamper(books, "DELETE FROM evidence_head")
        assert found_by(books) == {(3, "anchor"), (5, "anchor")}
    else:
        assert (0, "recorded length and head") in found_by(books)


@pytest.mark.parametrize(
    ("change", "anchors"),
    [
        (lambda made: made[0].update(actor="somebody else"), {3, 5}),
        (lambda made: made[4].update(subject_id="2025-08"), {5}),
        (lambda made: made.pop(1), {3, 5}),
        (lambda made: made.insert(3, dict(made[0], subject_id="2025-08")), {5}),
        (lambda made: made.reverse(), {3, 5}),
    ],
    ids=["first changed", "last changed", "removed", "inserted", "swapped"],
)
def test_a_chain_rebuilt_whole_is_found_by_the_anchors_alone(
    books: Books, change: Callable[[list[dict[str, Any]]], Any], anchors: set[int]
) -> None:
    rebuild(books, change)
    assert found_by(books) == {(seq, "anchor") for seq in anchors}


def test_a_hash_version_that_goes_back_is_found(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "VERSIONS", (1, 2))
    monkeypatch.setattr(chain, "HASH_VERSION", 2)
    add(books, piece(6), piece(7))
    assert verify.verify(books).status == "ok"  # it may go forward
    rebuild(books, lambda made: made[6].update(hash_version=1))
    assert (7, "hash version") in found_by(books)


@pytest.mark.parametrize("version", [0, 2, -1])
def test_a_hash_version_that_nobody_knows_is_found(books: Books, version: int) -> None:
    rebuild(books, lambda made: made[4].update(hash_version=version))
    assert (5, "hash version") in found_by(books)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM evidence_head",
        "UPDATE evidence_head SET evidence_seq = 4",
        "UPDATE evidence_head SET entry_hash = ''",
        "UPDATE evidence_head SET head_id = 2",
        "INSERT INTO evidence_head VALUES (2, 5, 'x')",
    ],
)
def test_a_changed_head_is_found_and_nothing_is_appended_to_such_a_chain(
    books: Books, statement: str
) -> None:
    tamper(books, statement)
    assert found_by(books) == {(0, "recorded length and head")}
    if not statement.startswith("INSERT"):  # the true head is still there
        with pytest.raises(CopsError) as problem:
            add(books, piece(6))
        assert problem.value.code == "E-EVIDENCE-TAMPERED"
        assert len(rows(books)) == ROWS


def test_rows_that_cannot_be_read_are_a_finding(books: Books) -> None:
    tamper(books, "UPDATE evidence_index SET actor = CAST(x'ff' AS TEXT) WHERE evidence_seq = 2")
    assert verify.verify(books).status == "incomplete"


def test_a_tampered_entry_is_not_read(books: Books) -> None:
    made = rows(books)
    tamper(
        books,
        ("UPDATE evidence_index SET object_key = ?, sha256 = ? WHERE evidence_seq = 2",
         (made[2]["object_key"], made[2]["sha256"])),
    )  # fmt: skip
    with pytest.raises(CopsError) as problem:
        chain.read(books, 2)
    assert problem.value.code == "E-EVIDENCE-TAMPERED"


# --- objects and anchors --------------------------------------------------------------------------------


@pytest.mark.parametrize("seq", range(1, ROWS + 1))
@pytest.mark.parametrize("data", [b"PROOF 1", b"proof", b""], ids=["replaced", "truncated", "emptied"])
def test_a_changed_object_is_found(books: Books, seq: int, data: bytes) -> None:
    path = object_of(books, seq)
    path.chmod(0o644)
    path.write_bytes(data)
    assert found_by(books) == {(seq, "object of note 2025-09")}
    with pytest.raises(CopsError) as problem:
        chain.read(books, seq)
    assert problem.value.code == "E-EVIDENCE-TAMPERED"


def test_an_object_swapped_with_another_valid_one_is_found(books: Books) -> None:
    one, other = object_of(books, 2), object_of(books, 4)
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    assert found_by(books) == {(2, "object of note 2025-09"), (4, "object of note 2025-09")}


def test_an_entry_bound_to_another_valid_object_is_found(books: Books) -> None:
    other = rows(books)[3]["object_key"]
    rebuild(books, lambda made: made[1].update(object_key=other))
    for anchor in (books.settings.home / "evidence" / "anchors").iterdir():
        anchor.unlink()
    assert found_by(books) == {(2, "object of note 2025-09")}


@pytest.mark.parametrize("left", ["nothing", "a folder", "a link"])
def test_an_object_that_cannot_be_read_makes_the_verification_incomplete(books: Books, left: str) -> None:
    path = object_of(books, 2)
    aside = path.rename(path.with_name("aside"))
    if left == "a folder":
        path.mkdir()
    elif left == "a link":
        path.symlink_to(aside)
    verified = verify.verify(books)
    assert (verified.status, [one.seq for one in verified.findings]) == ("incomplete", [2])
    with pytest.raises(CopsError) as problem:
        chain.read(books, 2)
    assert problem.value.code == "E-EVIDENCE-MISSING"


def test_a_mismatch_wins_over_what_cannot_be_read(books: Books) -> None:
    object_of(books, 1).unlink()
    tamper(books, "UPDATE evidence_index SET actor = 'x' WHERE evidence_seq = 4")
    verified = verify.verify(books)
    assert verified.status == "mismatch"
    assert {one.status for one in verified.findings} == {"mismatch", "incomplete"}


def test_anchors_that_cannot_be_read_make_the_verification_incomplete(books: Books) -> None:
    anchors = books.settings.home / "evidence" / "anchors"
    shutil.rmtree(anchors)
    anchors.write_text("no folder")
    verified = verify.verify(books)
    assert (verified.status, [one.what for one in verified.findings]) == ("incomplete", ["anchors"])


def test_a_forged_anchor_is_found(books: Books) -> None:
    chain.objects(books).anchor(4, "ab" * 32)
    assert found_by(books) == {(4, "anchor")}
    chain.objects(books).anchor(9, "ab" * 32)  # of a chain that was longer: the database is an old copy
    assert found_by(books) == {(4, "anchor"), (9, "anchor")}


def test_a_chain_whose_objects_lie_in_s3_is_verified_by_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(monkeypatch) as bucket:
        books = home(tmp_path, inputs=None, evidence="s3://proof/cops")
        assert add(books, piece(1), piece(2)) == [1, 2]
        chain.anchor(books)
        for key in list(bucket.versions):
            bucket.on_top(key, None)
        assert verify.verify(books) == Verification("ok", 2, 2, [])
        assert chain.read(books, 2) == b"proof 2"
        bucket.always = (403, "ExpiredToken")
        assert verify.verify(books).status == "incomplete"
        bucket.always = None
        tamper(books, "DELETE FROM evidence_index WHERE evidence_seq = 2")
        repair_head(books)
        assert found_by(books) == {(2, "anchor")}


# --- sealed periods -------------------------------------------------------------------------------------


@pytest.fixture
def sealed(books: Books) -> Books:
    """A closed September, its seal anchored, and an entry after it."""
    kept = chain.store(books, [Piece("seal", "period", "2025-09", TEXT, data=b"the seal")])
    with books.admin.write() as con:
        chain.index(con, books, kept)
        agree_to_close(con, SEPTEMBER.start)
        begin(con)
        for there in ("provisional", "final", "closing"):
            told(con, there)
            con.execute(moved(there))
        told(con, "closed")
        con.execute(moved("closed", seal_digest=kept[0].sha256, seal_journal_seq=None))
    return books


def test_the_removed_anchor_of_a_closed_month_makes_the_verification_incomplete(sealed: Books) -> None:
    (finding,) = verify.verify(sealed).findings
    assert finding == Finding(
        6, "anchor of 2025-09", "one at entry 6 or later",
        "none yet: its close was cut short, `cops close 2025-09` writes it", "incomplete",
    )  # fmt: skip
    chain.anchor(sealed)
    assert verify.verify(sealed).status == "ok"
    add(sealed, piece(7))
    assert verify.verify(sealed).status == "ok"
    (sealed.settings.home / "evidence" / "anchors" / f"000000000006-{rows(sealed)[5]['entry_hash']}").unlink()
    assert verify.verify(sealed).status == "incomplete"
    chain.anchor(sealed)  # a later one covers it
    assert verify.verify(sealed).status == "ok"


def test_the_removed_anchor_of_a_seal_that_has_its_name_was_taken_away(sealed: Books) -> None:
    """The name is given after the anchor: this is no close that was cut short, and nothing is appended."""
    chain.objects(sealed).name("seal-2025-09", rows(sealed)[5]["object_key"])
    (finding,) = verify.verify(sealed).findings
    assert "cops close" not in finding.found
    with pytest.raises(CopsError) as refusal:
        add(sealed, piece(7))
    assert refusal.value.code == "E-EVIDENCE-MISSING"


def test_a_seal_cut_off_the_chain_is_found_without_any_anchor(sealed: Books) -> None:
    tamper(sealed, "DELETE FROM evidence_index WHERE evidence_seq > 5")
    repair_head(sealed)
    assert found_by(sealed) == {(0, "seal of 2025-09")}


def test_a_seal_exchanged_for_another_is_found(sealed: Books) -> None:
    chain.anchor(sealed)
    tamper(sealed, "UPDATE period_lock SET seal_digest = 'x'")
    assert found_by(sealed) == {(0, "seal of 2025-09")}


# --- one period -----------------------------------------------------------------------------------------


def test_of_one_period_the_chain_is_verified_whole_and_its_own_objects_alone(books: Books) -> None:
    add(books, piece(6, subject="2025-10"))
    with books.admin.write() as con:
        lock.hold(con, books, Period(2025, 10))
        con.execute(
            sa.insert(t.publish_journal).values(
                run_id="r1", table_name="fact_cost_allocated", period_start=Period(2025, 10).start,
                source_id="", inputs_id="i", row_count=0, cost_usd=Decimal(0), verdicts_json="[]",
                actor="test", published_at=datetime(2025, 11, 1),
            )
        )  # fmt: skip
    add(books, Piece("run_inputs", "run", "r1", TEXT, data=b"inputs"))
    add(books, Piece("key", "allocation_key", "network", TEXT, data=b"keys"), run_id="r1")
    october, september = Period(2025, 10), SEPTEMBER
    assert verify.verify(books, october) == Verification("ok", 9, 3, [])
    assert verify.verify(books, september) == Verification("ok", 9, 5, [])
    object_of(books, 8).unlink()
    assert verify.verify(books, october).status == "incomplete"
    assert verify.verify(books, september).status == "ok"
    tamper(books, "UPDATE evidence_index SET actor = 'x' WHERE evidence_seq = 8")
    assert verify.verify(books, september).status == "mismatch"


# --- the command ----------------------------------------------------------------------------------------


def verify_command(home_of: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cops_dagster.cli.start", "evidence", "verify", *arguments],
        env={**os.environ, "COPS_HOME": str(home_of)}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.long
def test_the_command_says_ok_mismatch_or_incomplete_and_ends_with_one_unless_ok(books: Books) -> None:
    at = books.settings.home
    with books.admin.write() as con:
        lock.hold(con, books, SEPTEMBER)  # a month that nobody knows is refused
    well = verify_command(at)
    assert (well.returncode, well.stderr.split(":")[0]) == (0, "ok")
    object_of(books, 2).unlink()
    unread = verify_command(at, "--json")
    assert (unread.returncode, json.loads(unread.stdout)["status"]) == (1, "incomplete")
    tamper(books, "UPDATE evidence_index SET actor = 'x' WHERE evidence_seq = 4")
    wrong = verify_command(at, "2025-09", "--json")
    said = json.loads(wrong.stdout)
    assert (wrong.returncode, said["status"], said["entries"]) == (1, "mismatch", ROWS + 1)  # the month began
    entries = {(one["seq"], one["status"]) for one in said["findings"] if one["seq"]}  # the guards went too
    assert entries == {(2, "incomplete"), (4, "mismatch")}
    shown = verify_command(at)
    assert "hash of the entry" in shown.stdout
    assert shown.stderr.startswith("mismatch: ")


def test_a_home_that_is_none_is_refused_and_not_made(tmp_path: Path) -> None:
    done = verify_command(tmp_path / "mistyped")
    assert (done.returncode, json.loads(done.stderr)["code"]) == (2, "E-HOME")
    assert not (tmp_path / "mistyped").exists()


def test_key_and_digest_of_an_entry_agree(books: Books) -> None:
    assert all(row["object_key"] == key_of(row["sha256"]) for row in rows(books))
