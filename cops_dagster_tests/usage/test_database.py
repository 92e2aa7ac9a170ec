"""A database as a source: one SELECT, on PostgreSQL and on SQLite; it writes nothing and tells no secret."""

from __future__ import annotations

import socket
import sqlite3
import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.stores import tables as t
from cops_dagster.usage import database
from cops_dagster_tests import postgres
from cops_dagster_tests.usage.declaring import day_of, declaring, take

TEXT = """
[measures.network]
unit = "GB"
[measures.network.source]
kind = "database"
server = "warehouse"
query = "{query}"
"""
SUM = "SELECT tenant, SUM(gb) FROM used WHERE day >= :day AND day < :next_day GROUP BY tenant"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = f"sqlite:///{tmp_path / 'other.db'}" if request.param == "sqlite" else postgres.database()
    engine = sa.create_engine(place)
    with engine.begin() as con:
        con.execute(sa.text("CREATE TABLE used (day DATE, tenant TEXT, gb NUMERIC(38,3))"))
        for day, tenant, gb in ((1, "acme", 3), (1, "acme", 4), (1, "globex", 2), (2, "acme", 9)):
            given = {"day": day_of(day), "tenant": tenant, "gb": gb}
            con.execute(sa.text("INSERT INTO used VALUES (:day, :tenant, :gb)"), given)
    engine.dispose()
    return place


def code(folder: Path, url: str, query: str) -> str:
    books = declaring(folder, TEXT.format(query=query), sources={"warehouse": url})
    with pytest.raises(CopsError) as caught:
        take(books, day_of(1))
    return caught.value.code


def test_one_select_gives_the_day_and_nothing_else_is_taken(tmp_path: Path, url: str) -> None:
    books = declaring(tmp_path, TEXT.format(query=SUM), sources={"warehouse": url})
    take(books, day_of(1))
    with books.admin.read() as con:
        assert {row.tenant_id: row.value for row in con.execute(sa.select(t.tenant_usage))} == {
            "acme": 7,
            "globex": 2,
        }
    for number, query in enumerate(
        (
            "DELETE FROM used",
            "SELECT 1; DELETE FROM used",
            "WITH gone AS (DELETE FROM used RETURNING tenant) SELECT tenant, 1 FROM gone",
            "SELECT tenant, gb FROM nothing",
            "SELECT tenant FROM used",
            "SELECT tenant, gb FROM used; SELECT 1",
            "SELECT tenant, gb INTO copied FROM used",
            "CREATE TABLE copied AS SELECT tenant, gb FROM used",
            "DROP TABLE used",
            "-- nothing",
            "(" * 2000 + "SELECT 1" + ")" * 2000,
            "SELECT 'a\\u0000', 1",
        )
    ):
        assert code(tmp_path / str(number), url, query) == "E-USAGE-QUERY", query
    assert (
        code(tmp_path / "twice", url, "SELECT tenant, gb FROM used WHERE tenant = 'acme'") == "E-USAGE-TWICE"
    )
    engine = sa.create_engine(url)
    with engine.connect() as con:
        assert con.execute(sa.text("SELECT COUNT(*) FROM used")).scalar() == 4
    engine.dispose()


def test_a_semicolon_or_a_comment_behind_it_makes_no_second_statement(tmp_path: Path, url: str) -> None:
    books = declaring(tmp_path, TEXT.format(query=f"{SUM}; -- by day"), sources={"warehouse": url})
    assert take(books, day_of(1)).wrote


def test_a_join_that_multiplies_rows_is_not_read_to_its_end(tmp_path: Path, url: str) -> None:
    """All of PostgreSQL's answer was fetched before it was found to be too long."""
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000000)"
    assert code(tmp_path, url, f"{many} SELECT 'acme', i FROM n") == "E-USAGE-QUERY"


def test_a_select_without_an_end_is_ended(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MINUTES", 0)
    monkeypatch.setattr(database, "STATEMENT", "SET LOCAL statement_timeout = 20")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT 'acme', COUNT(*) FROM n"
    assert code(tmp_path, url, endless) == "E-USAGE-SOURCE"


def test_a_host_that_takes_the_call_and_says_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver waited for ever, and no other measure was asked."""
    for name, seconds in (("CONNECT_SECONDS", 0.2), ("MINUTES", 0), ("SPARE_SECONDS", 0)):
        monkeypatch.setattr(database, name, seconds)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://ann:geheim@127.0.0.1:{silent.getsockname()[1]}/x"
        assert code(tmp_path, url, SUM) == "E-USAGE-SOURCE"


SECRET = "geheim"
SPELLINGS = (
    "postgresql://ann:geheim@127.0.0.1:9/x",
    "postgresql://ann:1/geheim@127.0.0.1:9/x",
    "postgresql://ann:1?geheim@127.0.0.1:9/x",
    "postgresql://ann:1#geheim@127.0.0.1:9/x",
    "postgresql://ann:geheim@127.0.0.1:geheim/x",
    "postgresql://ann:geheim@[::1/x",
    "postgresql://ann:x@geheim/x",
    "postgresql:///x?host=127.0.0.1&port=9&password=geheim",
    "postgresql://a@127.0.0.1:9/x?geheim=1",
    "postgresql://a@127.0.0.1:9/x?sslpassword=geheim",
    "postgresql://a@127.0.0.1:9/x?sslpasswordd=geheim",
    "postgresql://a@127.0.0.1:9/x?sslmode=geheim",
    "postgresql://a@127.0.0.1:9/x?connect_timeout=geheim",
    "postgresql://a@127.0.0.1:9/x?keepalives_idle=geheim",
    "postgresql://a@127.0.0.1:9/x?channel_binding=geheim",
    "postgresql://a@127.0.0.1:9/x?target_session_attrs=geheim",
    "postgresql://a@127.0.0.1:9/x?service=geheim",
    "postgresql://a@127.0.0.1:9/x?plugin=geheim",
    "postgresql+geheim://a@b/c",
    "postgresql+asyncpg://ann:geheim@127.0.0.1:9/x",
    "mysql://ann:geheim@h/x",
    "sqlite:///geheim",
    "sqlite:///:memory:?password=geheim",
    "ann:geheim@127.0.0.1:9",
    "host=127.0.0.1 password=geheim",
)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_part_of_an_address_stands_in_a_refusal_a_log_or_the_books(
    tmp_path: Path, spelling: str, caplog: pytest.LogCaptureFixture
) -> None:
    """libpq quotes an option that it does not know, and the value of one that it does."""
    caplog.set_level("DEBUG")
    books = declaring(tmp_path, TEXT.format(query=SUM), sources={"warehouse": spelling})
    with pytest.raises(CopsError) as caught:
        take(books, day_of(1))
    assert caught.value.code == "E-USAGE-SOURCE"
    told = "".join(traceback.format_exception(caught.value)).replace(spelling, "")
    assert SECRET not in told + str(caught.value.as_dict()) + caplog.text
    kept = [file.read_bytes() for file in (tmp_path / "home").rglob("*") if file.is_file()]
    assert not [content for content in kept if SECRET.encode() in content]


def test_a_file_of_any_name_is_read_and_none_is_made(tmp_path: Path) -> None:
    place = tmp_path / "used? a%20b#.db"
    engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(place))
    with engine.begin() as con:
        con.execute(sa.text("CREATE TABLE used AS SELECT '2025-09-01' AS day, 'acme' AS tenant, 3 AS gb"))
    engine.dispose()
    url = sa.URL.create("sqlite", database=str(place)).render_as_string()
    books = declaring(tmp_path / "books", TEXT.format(query=SUM), sources={"warehouse": url})
    before = sorted(tmp_path.iterdir())
    assert take(books, day_of(1)).wrote
    assert sorted(tmp_path.iterdir()) == before


def test_a_database_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    books = declaring(
        tmp_path, TEXT.format(query=SUM), sources={"warehouse": "postgresql://ann:geheim@127.0.0.1:9/x"}
    )
    with pytest.raises(CopsError) as caught:
        take(books, day_of(1))
    assert caught.value.code == "E-USAGE-SOURCE"
    assert "COPS_SOURCES__WAREHOUSE" in caught.value.next_step
    assert "geheim" not in str(caught.value.as_dict())
    books = declaring(
        tmp_path / "at",
        TEXT.format(query=SUM),
        sources={"warehouse": "postgresql://ann:ge@heim@127.0.0.1:9/x"},
    )
    with pytest.raises(CopsError) as caught:
        take(books, day_of(1))
    assert "%40" in caught.value.next_step
    assert "heim" not in str(caught.value.as_dict())
    assert code(tmp_path / "file", f"sqlite:///{tmp_path / 'no.db'}", SUM) == "E-USAGE-SOURCE"
    assert not (tmp_path / "no.db").exists()
    assert code(tmp_path / "scheme", "nosuch://h/b", SUM) == "E-USAGE-SOURCE"
    assert code(tmp_path / "unset", "", SUM) in ("E-USAGE-SOURCE", "E-KEYS-SOURCE")
