"""Homes that earlier versions made are opened, migrated, verified and replayed by this one.

Each `schema_NNNN/` holds one (`make.py` says how they are made). What is closed says the same for ever; what
is final or open says the same until somebody runs it again.
"""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.cli.main import app
from cops_dagster.evidence import conversions
from cops_dagster.evidence.home import open_books
from cops_dagster.period import Period
from cops_dagster.stores.admin import HEAD, VERSION_TABLE
from cops_dagster.stores.tables import evidence_index
from cops_dagster_tests.cli.called import cops, cops_json
from cops_dagster_tests.deliveries import run
from cops_dagster_tests.golden import stored
from cops_dagster_tests.golden.make import ANSWERS
from cops_dagster_tests.golden.stored import Home


@dataclass(frozen=True)
class Golden:
    """A kept home, what was said of it when it was made, and where it is unpacked."""

    source: Path
    home: Home
    said: dict[str, Any]

    def months(self, *states: str) -> list[str]:
        return [period for period, state in self.said["states"].items() if state in states]

    def statements(self, *states: str) -> dict[str, str]:
        return {
            period: (self.source / f"statement-{period}.csv").read_text(encoding="utf-8")
            for period in self.months(*states)
        }


def restored(which: tuple[str, str], folder: Path, *, times: bool = True) -> Golden:
    source, backend = stored.HERE / which[0], which[1]
    said = json.loads((source / "books.json").read_text(encoding="utf-8"))
    return Golden(source, stored.restore(source, folder, backend, times=times), said)


def work_in(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> Golden:
    for name, value in golden.home.settings().items():
        monkeypatch.setenv(name, value)
    settings.current.cache_clear()
    return golden


def quick_newest(params: list[tuple[str, str]]) -> list[Any]:
    """`make test` opens the newest home on SQLite alone; every other one is opened by the long run."""
    newest = [one for one in params if one[1] == "sqlite"][-1]
    marked = {True: (), False: pytest.mark.long}
    return [pytest.param(one, marks=marked[one == newest], id="-".join(one)) for one in params]


@pytest.fixture(scope="module", params=quick_newest(stored.kept()))
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    return restored(request.param, tmp_path_factory.mktemp("golden") / "home")


@pytest.fixture
def golden(opened: Golden, monkeypatch: pytest.MonkeyPatch) -> Golden:
    """A golden home that every test reads and none changes."""
    return work_in(opened, monkeypatch)


@pytest.fixture(
    params=quick_newest(stored.kept()),
)
def own(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Golden:
    """A golden home that the test may change, unpacked as docs/operations.md restores a backup."""
    return work_in(restored(request.param, tmp_path / "home"), monkeypatch)


def materialise(period: str) -> None:
    """Checks that did not hold when the home was made need not hold now; a refusal is raised."""
    done = CliRunner().invoke(app, ["materialize", period])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, 1), done.output


def answers(names: list[str]) -> dict[str, list[str]]:
    return {name: cops("sql", "-q", ANSWERS[name], "--format", "csv").splitlines() for name in names}


def of_months(said: dict[str, list[str]], periods: list[str]) -> dict[str, list[str]]:
    """The rows of answers that begin with one of the months."""
    starts = tuple(f"{period}-01," for period in periods)
    return {name: [row for row in rows if row.startswith(starts)] for name, rows in said.items()}


def states() -> dict[str, str]:
    return {one["period"]: one["state"] for one in cops_json("status")}


def test_an_old_home_opens_under_the_newest_schema_and_its_months_stand_where_they_stood(
    golden: Golden,
) -> None:
    assert states() == golden.said["states"]
    assert golden.months("closed")
    assert golden.months("final")
    assert golden.months("open", "provisional")
    with open_books(settings.current()).admin.read() as con:
        version = con.execute(sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE)))
        assert version.scalars().all() == [HEAD]


def test_every_question_has_the_answer_it_had_to_the_digit(golden: Golden) -> None:
    assert answers(list(golden.said["answers"])) == golden.said["answers"]


def test_every_statement_is_the_same_to_the_digit(golden: Golden) -> None:
    """How many zeros stand behind an amount is its currency's affair since schema 0006: 77.49 EUR."""
    assert stated(golden, *golden.said["states"].values())


def stated(golden: Golden, *states: str) -> bool:
    """Whether the statements of these months are those of then."""
    return all(
        cells(cops("statement", period, "--format", "csv")) == cells(then)
        for period, then in golden.statements(*states).items()
    )


def cells(statement: str) -> list[list[str | Decimal]]:
    """A statement's cells, amounts by their value."""
    return [[amount(cell) for cell in row] for row in csv.reader(io.StringIO(statement))]


def amount(cell: str) -> str | Decimal:
    return Decimal(cell) if re.fullmatch(r"-?\d+\.\d+", cell) else cell


def test_the_evidence_of_an_old_home_proves_what_it_proved(golden: Golden) -> None:
    found = cops_json("evidence", "verify")
    said = golden.said["evidence"] | {"warnings": found["warnings"]}
    assert {name: found[name] for name in said} == said
    assert found["findings"] == []
    # before schema 8 no conversion of a CSV was proved: that it may be another's is said, and what proves it
    unproved = {one["expected"] for one in found["warnings"]}
    assert unproved == (set() if golden.source.name >= "schema_0008" else {conversions.UNPROVED})


def test_every_closed_month_is_made_again_from_its_evidence_as_it_was_sealed(golden: Golden) -> None:
    assert golden.said["replayed"]
    for period, sealed in golden.said["replayed"].items():
        assert cops_json("evidence", "replay", period) == sealed


def only_a_policy_was_added(golden: Golden, names: list[str], *also: str) -> bool:
    """Every answer is that of then, but for the proof of the policy that a home's first run adopts.

    Args:
        also: kinds of evidence that may have come as well.
    """
    now, then = answers(names), {name: golden.said["answers"][name] for name in names}
    known = len(then["chain"])
    with open_books(settings.current()).admin.read() as con:
        e = evidence_index
        added = con.execute(sa.select(e.c.kind).where(e.c.evidence_seq >= known)).scalars().all()
    return set(added) <= {"policy", *also} and now | {"chain": now["chain"][:known]} == then


def test_a_closed_month_materialised_again_leaves_ledger_files_and_evidence_as_they_are(
    golden: Golden,
) -> None:
    for period in golden.months("closed"):
        materialise(period)
    assert only_a_policy_was_added(golden, ["heads", "journal", "chain"])
    recorded = {name: digest for name, (_, _, digest) in stored.digests(golden.source).items()}
    for below in ("lake", "evidence", "deliveries", "converted"):
        here = stored.digests_of(golden.home.folder, below)
        kept = {name: digest for name, digest in recorded.items() if name.startswith(f"{below}/")}
        assert kept
        assert {name: here.get(name) for name in kept} == kept


def test_what_waited_for_a_second_person_still_waits(golden: Golden) -> None:
    waiting = [one for one in cops_json("adjust", "list") if not one["booked_in"] and one["line_count"]]
    assert len(waiting) == 1
    decided = [
        one["status"]
        for period in golden.months("final")
        for one in cops_json("exceptions", "list", period, code=1)
    ]
    assert decided == ["decided"]


def test_open_months_of_an_old_home_are_taken_on_and_closed_ones_stay(own: Golden) -> None:
    cops("lake", "rebuild")
    closed = own.months("closed")
    for period in own.months("open", "provisional"):
        materialise(period)
        assert period in states()
    assert cops_json("evidence", "verify")["status"] == "ok"
    assert stated(own, "closed")
    said = own.said["answers"]
    assert of_months(answers(list(said)), closed) == of_months(said, closed)
    assert {period: state for period, state in states().items() if period in closed} == dict.fromkeys(
        closed, "closed"
    )


@pytest.mark.parametrize("which", quick_newest([one for one in stored.kept() if one[1] == "sqlite"]))
def test_a_home_whose_files_lost_their_times_says_the_same(
    which: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a copy that keeps no times: every delivered file looks as if AWS had just written it."""
    golden = work_in(restored(which, tmp_path / "home", times=False), monkeypatch)
    books = open_books(settings.current())
    for period in golden.months("closed"):
        run(books, Period.parse(period))
    # what was converted before is converted and proved anew: nobody knows any more whether it is what it was
    assert only_a_policy_was_added(golden, list(golden.said["answers"]), conversions.KIND)
    assert cops_json("evidence", "verify")["findings"] == []
