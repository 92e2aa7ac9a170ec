"""What an auditor takes along: complete, chosen by a seed, and redone by `sqlite3` and `sha256sum` alone."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reports import audit, sampling
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import SEPTEMBER


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Books:
    made = ready(tmp_path_factory.mktemp("audited"))
    close_by_two(made, SEPTEMBER)
    return made


@pytest.fixture(scope="module")
def pack(books: Books, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return audit.sample(books, SEPTEMBER, n=5, seed="4711", out=tmp_path_factory.mktemp("pack")).folder


def rows(pack: Path, table: str) -> list[dict[str, str]]:
    with (pack / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def redone(pack: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The script as an auditor runs it: an empty environment, nothing of ours on the path."""
    return subprocess.run(
        ["/bin/sh", str(pack / audit.SCRIPT), *more],
        env={"PATH": "/usr/bin:/bin"}, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.long
def test_the_script_agrees_with_what_was_written(books: Books, pack: Path) -> None:
    done = redone(pack, books.settings.evidence_uri.removeprefix("file:"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "FAILED" not in done.stdout
    assert len(done.stdout.splitlines()) >= 16


def test_the_population_is_every_entry_of_the_month(pack: Path) -> None:
    population = rows(pack, "population")
    assert sum(Decimal(row["allocated_cost_usd"]) for row in population) == Decimal("40.880000001")
    assert len({row["entry_id"] for row in population}) == len(population)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_sample(
    books: Books, pack: Path, tmp_path: Path
) -> None:
    again = audit.sample(books, SEPTEMBER, n=5, seed="4711", out=tmp_path)
    assert {
        path.relative_to(again.folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in again.folder.rglob("*")
        if path.is_file()
    } == {
        path.relative_to(pack): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pack.rglob("*")
        if path.is_file()
    }
    other = audit.sample(books, SEPTEMBER, n=5, seed="4712", out=tmp_path)
    assert [row["entry_id"] for row in rows(other.folder, "sample")] != [
        row["entry_id"] for row in rows(pack, "sample")
    ]


def test_more_than_there_is_takes_all_of_it(books: Books, tmp_path: Path) -> None:
    done = audit.sample(books, SEPTEMBER, n=10_000, seed="all", out=tmp_path)
    assert done.chosen == done.population
    assert redone(done.folder).returncode == 0


def test_a_chosen_entry_names_its_run_rule_and_who_approved_it(pack: Path) -> None:
    sample = rows(pack, "sample")
    assert [row["sample_number"] for row in sample] == ["1", "2", "3", "4", "5"]
    assert {row["run_by"] for row in sample} == {"test"}
    by_rule = [row for row in sample if row["rule_version"]]  # what no rule claims has none
    assert {row["rule_approved_by"] for row in by_rule} == {"kim"}


def test_every_control_of_the_month_names_its_evidence_and_held(pack: Path) -> None:
    controls = {row["control"]: row for row in rows(pack, "controls")}
    assert all(row["evidence"] for row in controls.values())
    for name in (
        "allocated equals pool",
        "cost matches delivery",
        "the chain of evidence and every object of the month are as recorded",
    ):
        assert controls[name]["holds"] == "True", sorted(controls)


def test_the_access_list_says_who_can_write_the_books_and_who_did(pack: Path) -> None:
    access = rows(pack, "access")
    assert {row["what"] for row in access if row["kind"] == "owner"} >= {"admin.db", "lake", "evidence"}
    assert {row["who"] for row in access if row["kind"] == "acted"} >= {"test"}


def rewrite(name: str, old: str, new: str, *, sums: bool = True) -> Callable[[Path], None]:
    """Somebody who changes a file, and `SHA256SUMS` with it."""

    def tamper(pack: Path) -> None:
        path = pack / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        if sums:
            audit._sums(pack)

    return tamper


def drop_last_line(name: str) -> Callable[[Path], None]:
    def tamper(pack: Path) -> None:
        lines = (pack / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (pack / name).write_text("".join(lines[:-1]), encoding="utf-8")
        audit._sums(pack)

    return tamper


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (rewrite("population.csv", "acme", "acne", sums=False), "SHA256SUMS"),
        (drop_last_line("population.csv"), "as many entries as were sealed"),
        (drop_last_line("population.csv"), "adds up to the sealed"),
        (drop_last_line("conservation.csv"), "what was allocated is what was delivered"),
        (drop_last_line("lines.csv"), "CUR lines behind the sample"),
        (rewrite("parameters.csv", "4711", "4713"), "what the seed chooses"),
        (drop_last_line("sample.csv"), "what the seed chooses"),
        (rewrite("seal.json", "result_digest", "result-digest"), "whose digest closed the month"),
    ],
)
def test_what_was_changed_in_the_folder_is_told(
    tamper: Callable[[Path], None], said: str, pack: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(pack, mine)
    tamper(mine)
    done = redone(mine)
    assert done.returncode == 1
    assert any(line.startswith("FAILED") and said in line for line in done.stdout.splitlines()), done.stdout


@pytest.mark.parametrize(
    ("n", "seed"),
    [
        (0, "x"),
        *((5, seed) for seed in (
            "", " ", "a\nb", "=1+1", "-5", "+5", "@a", ".5", "_5", "a,b", 'a"b', "a'b", "a b", "a;b", "a:b",
            "größe", "٤٧", "x\n", "a" * 65,
        )),
    ],
)  # fmt: skip
def test_a_sample_without_size_or_plain_seed_is_refused(
    n: int, seed: str, books: Books, tmp_path: Path
) -> None:
    """The guard against formulas marked a seed such as `=1+1` in the CSV, and the script said FAILED."""
    with pytest.raises(CopsError) as refused:
        audit.sample(books, SEPTEMBER, n=n, seed=seed, out=tmp_path)
    assert (refused.value.code, "--seed" in refused.value.next_step) == ("E-PARAM", True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("seed", ["0012", "1e5", "1.50", "0x10", "A_b.c-9", "a" * 64])
def test_the_script_takes_a_plain_seed_as_it_is_written(seed: str, books: Books, tmp_path: Path) -> None:
    done = redone(audit.sample(books, SEPTEMBER, n=3, seed=seed, out=tmp_path).folder)
    assert (done.returncode, done.stderr, "FAILED" in done.stdout) == (0, "", False), done.stdout


def test_the_script_reads_columns_by_name_whatever_stands_in_the_others(
    books: Books, pack: Path, tmp_path: Path
) -> None:
    """It cut CSV at commas and lines, so a comma in the seed moved the digest of the seal."""
    mine = tmp_path / "mine"
    shutil.copytree(pack, mine)
    for name in ("parameters", "delivered_files"):
        there = rows(mine, name)
        odd = {"parameters": "period", "delivered_files": "name"}[name]
        with (mine / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, sorted(there[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({**row, odd: 'a,"b"\nc,d'} for row in there)
    (mine / audit.SUMS).unlink()
    audit._sums(mine)
    done = redone(mine, books.settings.evidence_uri.removeprefix("file:"))
    assert (done.returncode, done.stderr, "FAILED" in done.stdout) == (0, "", False), done.stdout


@pytest.mark.parametrize("out", ["a_file", "a_file/below", "/proc/nowhere", "/dev/full"])
def test_a_place_that_takes_no_folder_is_refused_by_code(out: str, books: Books, tmp_path: Path) -> None:
    """It was an internal error with a traceback and the advice to run again."""
    (tmp_path / "a_file").write_text("taken")
    with pytest.raises(CopsError, match=r"E-PARAM.*--out"):
        audit.sample(books, SEPTEMBER, n=5, seed="x", out=tmp_path / out)


def test_a_sample_that_the_disk_did_not_take_leaves_nothing_and_is_written_again(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a folder stood there, which the next run took for a sample that is there already."""

    def full(folder: Path) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(audit, "_sums", full)
        with pytest.raises(CopsError, match="E-DISK:"):
            audit.sample(books, SEPTEMBER, n=5, seed="x", out=tmp_path)
    assert list(tmp_path.iterdir()) == []
    done = audit.sample(books, SEPTEMBER, n=5, seed="x", out=tmp_path)
    assert list(tmp_path.iterdir()) == [done.folder]


def test_a_month_that_is_not_closed_is_refused(books: Books, tmp_path: Path) -> None:
    with pytest.raises(CopsError, match="E-PERIOD-OPEN"):
        audit.sample(books, Period(2025, 10), n=5, seed="x", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_rank_is_what_sqlite_computes() -> None:
    asked = "SELECT lower(hex(sha3('4711:abc-1', 256)))"
    done = subprocess.run(["sqlite3", ":memory:", asked], capture_output=True, text=True, check=True)
    assert sampling.rank("4711", "abc-1") == done.stdout.strip()
