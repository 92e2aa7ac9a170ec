"""The account map: which account counts, what is refused at the door, and the map that is shipped."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.cli.main import app
from cops_dagster.errors import CopsError
from cops_dagster.exports import accounts
from cops_dagster.inputs import account_map
from cops_dagster.inputs.account_map import PURPOSES, AccountMap, Mapped, NoAccount
from cops_dagster.inputs.load import load
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster_tests.deliveries import INPUTS, give, home

DAY = date(2025, 9, 1)
HEADER = (
    "purpose,tenant_id,service,version,effective_from,effective_to,account,name,kind,follows,approved_by\n"
)


def row(purpose: str, account: str = "", follows: str = "", tenant: str = "", service: str = "") -> Mapped:
    kind = "expense" if account else ""
    return Mapped(purpose, tenant, service, 1, date(2025, 1, 1), None, account, account, kind, follows)


def whole(*rows: Mapped) -> list[Mapped]:
    """A map in which these rows stand for their purposes, and every other one has an account."""
    named = {one.purpose for one in rows if not one.tenant_id and not one.service}
    return [*rows, *(row(purpose, "9999") for purpose in PURPOSES if purpose not in named)]


def put(books: Books, folder: Path, *lines: str) -> None:
    """Loads rows of a map, by the columns of `HEADER`."""
    (folder / "gl_accounts.csv").write_text(HEADER + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    load(books, [folder / "gl_accounts.csv"])


def every(**changed: str) -> list[str]:
    """A line for each purpose; `changed` says what stands after the dates, and `""` leaves one out."""
    lines = {name: f"{number},{name},asset,," for number, name in enumerate(PURPOSES, start=100)}
    return [f"{name},,,1,2025-01-01,,{rest}kim" for name, rest in (lines | changed).items() if rest]


def test_the_row_for_a_tenant_comes_before_that_for_a_service_and_both_before_that_for_all() -> None:
    there = AccountMap(
        whole(
            row("recharge_cost", "1"), row("recharge_cost", "2", service="EC2"),
            row("recharge_cost", "3", tenant="acme"), row("recharge_cost", "4", tenant="acme", service="EC2"),
        ),
        DAY,
    )  # fmt: skip
    asked = [("globex", "S3"), ("globex", "EC2"), ("acme", "S3"), ("acme", "EC2")]
    assert [there.account("recharge_cost", *one).code for one in asked] == ["1", "2", "3", "4"]


def test_a_purpose_may_follow_another_and_finds_that_ones_account_for_its_own_tenant() -> None:
    there = AccountMap(
        whole(row("own_cost", follows="recharge_cost"), row("recharge_cost", "5", service="EC2")), DAY
    )
    assert there.account("own_cost", "", "EC2").code == "5"


def test_purposes_that_follow_each_other_are_a_cycle_and_are_told_by_their_way() -> None:
    rows = whole(row("own_cost", follows="suspense"), row("suspense", follows="own_cost"))
    with pytest.raises(NoAccount) as found:
        AccountMap(rows, DAY).account("own_cost")
    assert (found.value.is_cycle, found.value.way) == (True, ("own_cost", "suspense", "own_cost"))
    assert {fault.code for fault in account_map.faults(rows)} == {"E-GL-CYCLE"}
    assert account_map.faults(whole(row("own_cost", follows="suspense"))) == []


def test_a_version_that_ends_before_the_next_begins_leaves_a_hole_on_that_day() -> None:
    ends = Mapped("fx", "", "", 1, date(2025, 1, 1), date(2025, 6, 1), "1", "fx", "equity", "")
    (fault,) = account_map.faults(whole(ends))
    assert (fault.code, fault.day) == ("E-GL-HOLE", date(2025, 6, 1))
    follows = Mapped("fx", "", "", 2, date(2025, 6, 1), None, "2", "fx", "equity", "")
    assert account_map.faults([*whole(ends), follows]) == []
    assert AccountMap([*whole(ends), follows], date(2025, 5, 31)).account("fx").code == "1"
    assert AccountMap([*whole(ends), follows], date(2025, 6, 1)).account("fx").code == "2"


def test_a_load_that_leaves_a_hole_or_a_cycle_stores_nothing_and_a_whole_map_is_taken(tmp_path: Path) -> None:
    books = home(tmp_path, inputs=INPUTS)
    cases = {
        "E-GL-HOLE": every(rounding=""),
        "E-GL-CYCLE": every(own_cost=",,,suspense,", suspense=",,,own_cost,"),
        "E-GL-ROW": every(own_cost="100,x,asset,suspense,"),
        "E-TENANT-UNKNOWN": [*every(), "own_cost,nobody,,1,2025-01-01,,100,x,asset,,kim"],
        "E-LOAD-VALUE": every(own_cost="=1+1,x,asset,,"),
    }
    for code, lines in cases.items():
        with pytest.raises(CopsError, match=code):
            put(books, tmp_path, *lines)
        with books.admin.read() as con:
            assert con.execute(sa.select(t.gl_accounts)).first() is None
    put(books, tmp_path, *every(own_cost=",,,recharge_cost,"))
    with books.admin.read() as con:
        assert accounts.of(con, Period(2025, 9)).account("own_cost").name == "recharge_cost"


def test_an_account_is_changed_by_a_later_version_and_never_overwritten(tmp_path: Path) -> None:
    books = home(tmp_path, inputs=INPUTS)
    put(books, tmp_path, *every())
    with pytest.raises(CopsError, match="E-LOAD-CONFLICT"):
        put(books, tmp_path, "fx,,,1,2025-01-01,,7,other,equity,,kim")
    with pytest.raises(CopsError, match="E-GL-OVERLAP"):
        put(books, tmp_path, "fx,,,2,2025-01-01,,7,other,equity,,kim")
    put(books, tmp_path, "fx,,,2,2025-09-01,,7,other,equity,,kim")
    with books.admin.read() as con:
        codes = [accounts.of(con, Period(2025, month)).account("fx").code for month in (8, 9)]
    assert (codes[0], codes[1]) == (str(100 + list(PURPOSES).index("fx")), "7")


def test_the_map_that_is_shipped_is_whole_and_is_taken_as_it_is_printed(tmp_path: Path) -> None:
    books = home(tmp_path, inputs=INPUTS)
    with books.admin.read() as con, pytest.raises(CopsError, match=r"E-GL-UNMAPPED.*--default"):
        accounts.of(con, Period(2025, 9))
    (tmp_path / "gl_accounts.csv").write_text(accounts.default("=kim, or lee"), encoding="utf-8")
    load(books, [tmp_path / "gl_accounts.csv"])
    with books.admin.read() as con:
        shown = accounts.shown(con, Period(2025, 9))
        approved = con.execute(sa.select(t.gl_accounts.c.approved_by).distinct()).scalars().all()
    assert [one["purpose"] for one in shown] == list(PURPOSES)
    assert len({one["account"] for one in shown}) == len(PURPOSES)
    assert approved == ["'=kim, or lee"]


def test_the_shipped_map_is_taken_again_as_printed_whoever_loaded_it_and_whatever_accounts_they_put_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COPS_ACTOR", "lee")
    settings.current.cache_clear()

    def printed() -> str:
        done = CliRunner().invoke(app, ["journal", "accounts", "--default"])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert printed() == accounts.default("lee")  # without a home
    books = home(tmp_path, inputs=INPUTS)
    theirs = accounts.default("=kim, or lee").replace(",2100,", ",2101,")
    give(books, tmp_path, gl_accounts=theirs)
    assert printed() == theirs
    give(books, tmp_path, gl_accounts=printed())
    with books.admin.read() as con:
        held = con.execute(sa.select(t.gl_accounts)).all()
    assert len(held) == len(PURPOSES)
    # another account is a row of its own: the next version, from a later day
    changed = "purpose,version,effective_from,account,name,kind,approved_by\n"
    give(books, tmp_path, gl_accounts=f"{changed}aws_payable,2,2025-09-01,2102,AWS,liability,lee\n")
    assert printed() == theirs
    with books.admin.read() as con:
        assert accounts.of(con, Period(2025, 9)).account("aws_payable").code == "2102"
