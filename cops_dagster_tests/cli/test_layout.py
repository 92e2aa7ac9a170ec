"""What a terminal shows: no number, month, time or id is ever broken over lines, whatever its width."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from cops_dagster.cli import layout, output
from cops_dagster.cli.demo import _next
from cops_dagster.cli.status import print_statuses
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster_tests.deliveries import MONTH, home, lines, run, write

COLUMNS = ["period", "lines", "AWS USD", "id", "at (UTC)", "what"]
ROW = ["2025-09", "20,000", "-54,205.61", "67e2576a8a8d22eb", "2025-10-10 03:00", "machines without a tag"]
NUMBERS = ["lines", "AWS USD"]


def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    output.table("", COLUMNS, [ROW, ROW], right=NUMBERS, spare=["what"])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200])
def test_no_cell_but_a_sentence_is_broken_at_any_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    found = shown(capsys, monkeypatch, width)
    for cell in ROW[:-1]:
        assert sum(cell in line for line in found) == 2, (cell, found)


def test_a_wide_terminal_has_a_table_and_a_narrow_one_a_record_per_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "│" in "".join(shown(capsys, monkeypatch, 200))
    narrow = shown(capsys, monkeypatch, 50)
    assert narrow[0] == "period    2025-09"
    assert narrow.count("AWS USD   -54,205.61") == 2
    assert "" in narrow  # between two records
    assert max(map(len, narrow)) <= 50


def test_what_can_be_spared_goes_before_the_table_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shown(capsys, monkeypatch, 80)
    assert "tag" not in "".join(found)
    assert sum("2025-09" in line for line in found) == 2
    assert all("67e2576a8a8d22eb" in line for line in found if "2025-09" in line)


def test_columns_are_spared_one_by_one_as_far_as_the_width_asks() -> None:
    """At 80 columns `cops status` showed no table, though one of seven columns fits."""
    cells = [["2025-09", "20,000", "54,205.61", "provisional"]]

    def left(width: int) -> tuple[int, ...]:
        grid = layout.fitted(
            ["period", "lines", "AWS USD", "state"], cells, width, cell_len, spare=["lines", "state"]
        )
        return grid.shown if grid else ()

    assert [left(width) for width in (80, 36, 24, 16)] == [(0, 1, 2, 3), (0, 2, 3), (0, 2), ()]


def test_status_is_a_table_on_a_terminal_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    monkeypatch.setenv("COLUMNS", "80")
    print_statuses(books, None)
    heads, _, row, *_ = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert heads.split()[:5] == ["period", "state", "AWS", "USD", "gap"]
    assert row.split()[0] == "2025-09"


def test_a_pipe_without_a_width_gets_whole_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    output.table("", ["sha256", "path"], [["ab" * 32, "/".join(["folder"] * 60)]])
    assert any(
        "ab" * 32 in line and "/".join(["folder"] * 60) in line
        for line in capsys.readouterr().out.split("\n")
    )


def test_an_empty_table_says_none(capsys: pytest.CaptureFixture[str]) -> None:
    output.table("alerts", ["id", "what"], [])
    output.table("", ["id", "what"], [])
    assert capsys.readouterr().out == "alerts: none\nnone\n"


def test_what_looks_like_markup_or_an_emoji_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    output.table("[b]t[/b]", ["a"], [["[red]x[/red] :warning:"]])
    said = capsys.readouterr().out
    assert "[b]t[/b]" in said
    assert "[red]x[/red] :warning:" in said


def test_exact_amounts_in_figures_read_as_people_write_them() -> None:
    figures = "covered_usd 47514.175230844000000000, rows 919, pct 96.920868, left -0.004000000000000000"
    assert output.readable(figures) == "covered_usd 47,514.18, rows 919, pct 96.920868, left 0.00"


WORDS = st.text(alphabet="ab1,.-é漢", min_size=1, max_size=30)


@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=6),
    st.integers(10, 90),
)
def test_words_of_any_table_stay_whole(cells: list[str], width: int) -> None:
    columns = [f"c{at}" for at in range(len(cells))]
    grid = layout.fitted(columns, [cells], width, cell_len)
    if grid is None:
        text = "\n".join(layout.records(columns, [cells], width, cell_len)[0])
        assert [word for cell in cells for word in cell.split() if word not in text.split()] == []
    else:
        for at, wide in zip(grid.shown, grid.widths, strict=True):
            assert all(cell_len(word) <= wide for word in cells[at].split())
        assert sum(grid.widths) + 2 * len(grid.widths) <= width


@pytest.mark.parametrize("width", [30, 50, 70])
def test_a_command_to_be_copied_stays_on_one_line(width: int) -> None:
    text = (
        "E-SECOND-PERSON: nothing is closed yet; next: cops approve close-2025-07 --reason 'TICKET-1 says so'"
    )
    found = layout.wrapped(text, width, cell_len, hang=2)
    assert [line.strip() for line in found][-1].endswith(
        "cops approve close-2025-07 --reason 'TICKET-1 says so'"
    )
    assert all(len(line) <= width for line in found[:-1])


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("month")
    write(folder / "cur", [lines(MONTH)])
    books = home(folder)
    run(books)
    books.admin.close()
    return folder


def on_terminal(folder: Path, width: int, *arguments: str) -> list[str]:
    """The lines of a command in a terminal of that width, without what moves and colours."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, width))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    started = subprocess.Popen(
        [sys.executable, "-m", "cops_dagster.cli.start", *arguments],
        cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
        env={**env, "COPS_HOME": str(folder / "home"), "COPS_CUR": str(folder / "cur"), "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    read = b""
    while True:
        try:
            some = os.read(ours, 65536)
        except OSError:  # what a terminal answers once nobody writes to it any more
            break
        if not some:
            break
        read += some
    started.wait(timeout=60)
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", read.decode()).replace("\r", "").split("\n")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_status_on_a_terminal_keeps_every_number_and_month_whole(month: Path, width: int) -> None:
    found = on_terminal(month, width, "status")
    for cell in ("2025-09", "40.88", "candidate"):
        assert any(cell in line for line in found), found
    assert all(cell_len(line) <= width for line in found)
    assert any(re.match(r"period +2025-09$", line) for line in found) == (width < 100)


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    ["status 2025-09", "doctor", "runs 2025-09", "exceptions list 2025-09", "statement 2025-09", "controls"],
)
def test_ids_and_amounts_on_a_phone_can_be_copied(month: Path, command: str) -> None:
    """A word that is longer than the line stands alone in its line: the terminal carries it on, whole."""
    wide, narrow = (on_terminal(month, width, *command.split()) for width in (400, 60))
    words = {word.strip("│┃") for line in wide for word in line.split() if re.search(r"\d", word)}
    there = {word for line in narrow for word in line.split()}
    assert {one for one in words - there if not re.match(r"\d\d:\d\d:\d\d|[\d.]+$", one)} == set()


def test_what_the_demo_says_to_type_names_what_this_shell_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    books: Books = home(tmp_path)
    typed = _next(books, Period(2025, 7), Period(2025, 9))
    assert typed[-3:] == [
        "cops doctor 2025-09",
        "cops explain --tenant acme --period 2025-07",
        "cops report 2025-07 --out report",
    ]
    activate = Path(sys.executable).parent / "activate"
    assert (typed[0] == f". {activate}") == activate.exists()
    for name in ("Makefile", "workspace.yaml"):
        (tmp_path / name).touch()
    assert _next(books, Period(2025, 7), Period(2025, 9))[-1] == "make ui"
