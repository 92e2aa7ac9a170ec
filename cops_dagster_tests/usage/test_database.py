"""A database as a source: one SELECT, on PostgreSQL and on SQLite; it writes nothing and tells no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.stores import tables as t
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
