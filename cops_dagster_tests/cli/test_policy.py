"""`cops policy`, and what every other command says when settings here are not those of the books."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.cli.main import app
from cops_dagster.errors import CopsError
from cops_dagster.evidence import sweep
from cops_dagster_tests.deliveries import MONTH, home, lines, run, write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A September that was made, and a folder beside it whose cops.toml says something else."""
    folder = tmp_path_factory.mktemp("policy-cli")
    write(folder / "cur", [lines(MONTH)])
    books = home(folder)
    run(books)
    sweep.sweep(books)
    books.admin.close()
    (folder / "work").mkdir()
    (folder / "work" / "cops.toml").write_text('[charge]\nbasis = "amortized"\n')
    return folder


@pytest.fixture
def elsewhere(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Standing in the folder beside the home; to be read only."""
    return stand(made, monkeypatch)


@pytest.fixture
def copied(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "x")
    return stand(tmp_path / "x", monkeypatch)


def stand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder / "work")
    monkeypatch.setenv("COPS_HOME", str(folder / "home"))
    monkeypatch.setenv("COPS_CUR", str(folder / "cur"))
    monkeypatch.setenv("COPS_ACTOR", "kim")
    settings.current.cache_clear()
    return folder


def cops(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, arguments)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def cops_json(*arguments: str, code: int = 0) -> Any:
    return json.loads(cops(*arguments, "--json", code=code).stdout)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "command",
    [("status",), ("runs", "2025-09"), ("statement", "2025-09"), ("period", "show", "2025-09"),
     ("report", "2025-09"), ("adjust", "list"), ("explain", "--tenant", "acme", "--period", "2025-09")],
    ids=" ".join,
)  # fmt: skip
def test_reading_answers_from_the_books_and_says_that_settings_differ(
    elsewhere: Path, command: tuple[str, ...]
) -> None:
    said = [line for line in cops(*command).stderr.splitlines() if "differ" in line]
    place = elsewhere / "work" / "cops.toml"
    assert said == [
        "settings here differ from the policy of the books: charge.basis is unblended, "
        f"{place}, [charge] basis says amortized; see `cops policy diff`"
    ]


def test_where_nothing_differs_nothing_is_said(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(elsewhere)
    settings.current.cache_clear()
    assert "differ" not in cops("status").stderr


@pytest.mark.parametrize(
    "command",
    [("materialize", "2025-09"), ("allocate", "2025-09"), ("close", "2025-09"), ("controls", "--evaluate"),
     ("budgets", "refresh"), ("admin", "load", "."), ("reverse", "x", "--reason", "x"),
     ("approve", "x", "--reason", "x"), ("period", "mark-delayed", "2025-09", "--reason", "x"),
     ("exceptions", "decide", "x", "--decision", "x", "--evidence", "x"),
     ("deliver", "cops.toml", "--period", "2025-09")],
    ids=" ".join,
)  # fmt: skip
def test_an_act_is_refused_where_settings_differ(elsewhere: Path, command: tuple[str, ...]) -> None:
    with pytest.raises(CopsError) as refusal:
        cops(*command)
    assert refusal.value.code == "E-POLICY"
    assert "charge.basis = amortized (" in refusal.value.found


@pytest.mark.parametrize("command", [("freeze", "check", "2025-09"), ("alerts", "tick")], ids=" ".join)
def test_freezes_and_alerts_need_no_policy(elsewhere: Path, command: tuple[str, ...]) -> None:
    assert "E-POLICY" not in cops(*command).output


def test_the_policy_is_shown_with_who_and_when(elsewhere: Path) -> None:
    found = cops_json("policy", "show")
    assert (found["version"], found["policy"]["charge"]) == (1, {"basis": "unblended"})
    assert [one["adopted_by"] for one in found["history"]] == ["test"]
    assert "unblended" in cops("policy", "show").stdout


def test_a_difference_is_shown_and_ends_with_1(elsewhere: Path, tmp_path: Path) -> None:
    (one,) = cops_json("policy", "diff", code=1)
    assert (one["name"], one["adopted"], one["given"]) == ("charge.basis", "unblended", "amortized")
    same = tmp_path / "same.toml"
    same.write_text('actor = "x"\ncur = "x"\n[charge]\nbasis = "unblended"\n')
    assert cops_json("policy", "diff", str(same)) == []
    assert cops("policy", "diff", str(same)).stdout == ""


def test_the_advice_of_the_refusal_leads_on(copied: Path) -> None:
    with pytest.raises(CopsError, match="cops policy adopt"):
        cops("close", "2025-09")
    cops("policy", "diff", code=1)
    done = cops_json("policy", "adopt", "--note", "agreed")
    assert (done["version"], done["was_new"]) == (2, True)
    assert not cops_json("policy", "adopt")["was_new"]
    assert "stays" in cops("policy", "adopt").stderr
    cops("policy", "diff")
    assert "E-POLICY" not in cops("budgets", "refresh").output


def test_a_file_is_adopted_without_what_is_no_policy(copied: Path, tmp_path: Path) -> None:
    file = tmp_path / "agreed.toml"
    file.write_text(
        'cur = "/elsewhere"\n[recon]\nwarning_usd = "0.5"\n[budgets]\naws_account_id = "111111111111"\n'
    )
    done = cops_json("policy", "adopt", str(file))
    assert [(one["name"], one["given"]) for one in done["changes"]] == [("recon.warning_usd", "0.5")]
    assert cops_json("policy", "show")["history"][0]["origin"] == str(file)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[tag]\n", "did you mean [tags]?"),
        ('[charge]\nbasis = "x"\n', "'x'"),
        ("= 1", "line 1"),
        (None, "x.toml"),
    ],
)
def test_a_file_that_is_no_policy_changes_nothing(copied: Path, text: str | None, found: str) -> None:
    file = copied / "x.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(CopsError) as refusal:
        cops("policy", "adopt", str(file))
    assert refusal.value.code == "E-SETTING"
    assert found in refusal.value.found
    assert cops_json("policy", "show")["version"] == 1
