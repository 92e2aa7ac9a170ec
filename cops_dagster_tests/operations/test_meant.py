"""A name with a typing error is answered with the name that was likely meant; the refusal stays as it was."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster import settings
from cops_dagster.cli import start
from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.operations import meant
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster_tests.deliveries import give, home


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Books:
    return home(tmp_path_factory.mktemp("books"))


def refusal(code: str, found: str, subject: str = "it") -> CopsError:
    return CopsError(code, subject, expected="one that is known", found=found, next_step="look it up")


@pytest.mark.parametrize(
    ("given", "meaning"),
    [
        (refusal("E-TENANT-UNKNOWN", "'acm'"), "acme"),
        (refusal("E-TENANT-UNKNOWN", "'GLOBEX'"), "globex"),
        (refusal("E-ENTRY-UNKNOWN", "none", "acmee in 2025-09"), "acme"),
    ],
)
def test_the_name_that_was_meant_comes_before_the_next_step(
    books: Books, given: CopsError, meaning: str
) -> None:
    found = meant.hinted(books, given)
    assert found.next_step == f"did you mean {meaning}? else: look it up"
    assert (found.code, found.subject, found.found) == (given.code, given.subject, given.found)


@pytest.mark.parametrize(
    "given",
    [
        refusal("E-TENANT-UNKNOWN", "'nothing-like-it'"),
        refusal("E-TENANT-UNKNOWN", "'acme'"),  # it is there: something else is wrong
        refusal("E-ENTRY-UNKNOWN", "none", "entry 'acm'"),  # no tenant was asked for
        refusal("E-PARAM", "'acm'"),
        refusal("E-RUN-UNKNOWN", "0 runs", "run 'beefbeefbeef'"),
    ],
)
def test_where_nothing_is_alike_the_refusal_stays_as_it_was(books: Books, given: CopsError) -> None:
    assert meant.hinted(books, given) is given


@pytest.mark.parametrize("typed", ["Bright Harbour Ltd", "bright harbor ltd", "Acme of the North"])
def test_the_name_of_a_tenant_that_is_typed_for_its_id_is_answered_with_the_id(
    tmp_path: Path, typed: str
) -> None:
    books = home(tmp_path)
    give(books, tmp_path, tenants=(
        "tenant_id,name,plan_id,active_from\nt-17,Bright Harbor Ltd,team,2025-01-01\n"
        "t-18,Acme of the North,team,2025-01-01\n"
        "t-19,Twin,team,2025-01-01\nt-20,Twin,team,2025-01-01\n"
    ))  # fmt: skip
    meaning = "t-18" if typed.startswith("Acme") else "t-17"
    found = meant.hinted(books, refusal("E-TENANT-UNKNOWN", repr(typed)))
    assert found.next_step.startswith(f"did you mean {meaning}?")
    of_two = refusal("E-TENANT-UNKNOWN", "'Twin'")
    assert meant.hinted(books, of_two) is of_two


def test_an_id_is_found_by_its_beginning_with_a_letter_wrong(books: Books) -> None:
    digest = "67e2576a8a8d22eb" * 4
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.cur_delivery_hold).values(
                delivery_id=digest, source_id="s", period_start=date(2025, 9, 1), error_code="E-SHRINK",
                found="f", requested_by="kim", held_at=now(),
            )
        )  # fmt: skip
    given = refusal("E-APPROVAL-UNKNOWN", "none of this id", "id '67e2576a8a8d23eb'")
    assert meant.hinted(books, given).next_step.startswith("did you mean 67e2576a8a8d22eb? ")
    other = refusal("E-APPROVAL-UNKNOWN", "none of this id", "id '0123456789abcdef'")
    assert meant.hinted(books, other) is other


@pytest.mark.parametrize(
    ("typed", "found"),
    [("tag_coverage_at_target", None), ("tag_coverage_at_targt", "tag_coverage_at_target"), ("zzz", "")],
)
def test_a_silence_of_a_rule_that_is_none_names_the_one_that_was_meant(
    books: Books, typed: str, found: str | None
) -> None:
    assert meant.alert_rule(books, typed) == found


def test_a_command_that_ends_refused_says_it(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPS_HOME", str(books.settings.home))
    settings.current.cache_clear()
    assert start._hinted(refusal("E-TENANT-UNKNOWN", "'acm'")).next_step.startswith("did you mean acme?")


def test_a_home_that_is_ill_takes_nothing_from_the_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "admin.db").write_text("no database at all")
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    settings.current.cache_clear()
    given = refusal("E-TENANT-UNKNOWN", "'acm'")
    assert start._hinted(given) is given
