"""The conformance list on a real Trino, and on Athena's protocol in front: DuckDB's digits, or it fails.

`make test-trino` runs it. What a month asks is asked of both engines (`engines/both.py`), with the relations
that it really has; what no step of this month asks stands in `BESIDE`.
"""

from __future__ import annotations

import os
import random
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
import sqlglot
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.ingestion import ingest, look
from cops_dagster.lake import alike, cluster, footers, inlined, opened, session, statements
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Value
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster.stores.aws import athena_client
from cops_dagster.tagging import tag
from cops_dagster_tests.deliveries import SEPTEMBER, acts, home, lines, write
from cops_dagster_tests.engines import athena_server, trino_server
from cops_dagster_tests.engines.athena_server import Athena
from cops_dagster_tests.engines.both import comparing
from cops_dagster_tests.engines.trino_server import BUCKET, KEYS, Servers
from cops_dagster_tests.lake.shaped import SHAPES as SHAPED
from cops_dagster_tests.lake.shaped import delivered
from cops_dagster_tests.shown import answer

SQL = Path(__file__).parents[2] / "sql"
DOUBLES = 400_000
LIVE = "fact_cost_raw", "fact_cost_tagged", "fact_cost_allocated", "period_head", "recon_summary", "lake_file"


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with trino_server.serving() as found:
        yield found


@pytest.fixture(scope="session")
def athena(servers: Servers) -> Iterator[Athena]:
    with athena_server.serving(servers.trino_port) as found:
        yield found


@pytest.fixture(params=["trino", "athena"])
def engine(
    request: pytest.FixtureRequest, servers: Servers, athena: Athena, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The environment of a cluster; its name is what `COPS_ENGINE` says."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", servers.aws)
    monkeypatch.setenv("AWS_ENDPOINT_URL_ATHENA", athena.url)
    monkeypatch.setattr(athena_client, "POLL_SECONDS", 0.02)
    return str(request.param)


@pytest.fixture
def given(engine: str, servers: Servers) -> dict[str, Any]:
    place = uuid.uuid4().hex[:12]
    return {
        "engine": engine, "catalog": "glue", "lake": {"place": f"s3://{BUCKET}/{place}"},
        "cluster": {"url": f"http://127.0.0.1:{servers.trino_port}", "catalog": "glue"},
    }  # fmt: skip


def digits(books: Books) -> dict[str, list[Any]]:
    return {name: sorted(map(str, answer(books, f"SELECT * FROM {name}"))) for name in LIVE}


def ran_statements() -> set[str]:
    return {path.stem for path in SQL.glob("*.sql")}


def hard(root: Path) -> None:
    """Doubles that are no money, or none that can be carried; costs as text come in CSV, read here."""
    doubles = [
        0.1,
        -0.0,
        float("nan"),
        float("inf"),
        1e20,
        1e-19,
        5e-324,
        1.87e16,
        0.1 + 0.2,
        9.9e19,
        12.5,
        None,
    ]
    write(root, [put(odd(["acme"] * 12), "line_item_unblended_cost", pa.array(doubles, pa.float64()))])


def blanks(root: Path) -> None:
    """Tags that engines trim, fold and compose otherwise, and amounts at the edge of what can be carried."""
    spelled = [
        "acme",
        " acme",
        "\u00a0acme",
        "\tacme",
        "acme\n",
        "\u2003",
        "",
        None,
        "ÀÉİ",
        "e\u0301",
        "o'?",
        "x" * 300,
    ]
    amounts = [
        0.1,
        -0.0,
        1e-18,
        1.5e-17,
        1.87e16,
        0.1 + 0.2,
        12.5,
        1 / 3,
        4.35,
        2.5e-05,
        9007199254740993.0,
        7.0,
    ]
    write(root, [put(odd(spelled), "line_item_unblended_cost", pa.array(amounts, pa.float64()))])


def odd(tags: list[str | None]) -> pa.Table:
    table = lines("type service account cost\n" + "Usage AmazonEC2 111111111111 1\n" * len(tags))
    ids = pa.array([f"id-{number}" for number in range(len(tags))])
    table = table.append_column("identity_line_item_id", ids)
    return table.append_column("resource_tags_user_tenant_id", pa.array(tags, pa.string()))


def put(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


SHAPES = {**SHAPED, "blanks": blanks}


BESIDE = (
    "cost_as_reported", "cost_restated", "fetch_allocated_by_scope", "fetch_cost_by_account", "fetch_entries",
    "fetch_held_tags", "fetch_line_groups", "fetch_missing_tenant_tags", "fetch_posted_by_grain",
    "fetch_quarantined_by_code", "fetch_usage_by_day", "find_matched_values", "find_unfollowed",
    "gather_reposted_entries", "measure_fact_cost_adjustment", "measure_fact_cost_raw",
)  # fmt: skip
"""Statements that other months and commands ask, over the same tables."""


def ask_beside(books: Books) -> None:
    start = SEPTEMBER.start
    given: dict[str, Value] = dict.fromkeys(
        ("tenant_id", "entry_id", "run_id", "reposted_run_id", "reversed_run_id", "head_run_id"), "acme"
    )
    given |= {"period_start": start, "usage_period_start": start, "period_end": SEPTEMBER.end}
    given |= {"service": "AmazonEC2", "charge_class": "usage", "delivery_id": "none", "with_one_time": True}
    with books.admin.read() as con, books.lines(SEPTEMBER) as engine:
        names = books.namespace(engine, con, SEPTEMBER)
        head = engine_heads(con)
        names.lines_by("line_item_usage_account_id", alike.DAY)
        for name in BESIDE:
            tree = statements.parsed(name)
            names.provide(inlined.asked_names(tree))
            wanted = {one.name for one in tree.find_all(exp.Placeholder)}
            engine.fetch(name, {**given, **head, "period_start": start} if wanted else None)


def engine_heads(con: sa.Connection) -> dict[str, Value]:
    """The allocation's run, where a statement wants one, and the delivery."""
    heads = t.period_head
    run = con.execute(
        sa.select(heads.c.run_id).where(heads.c.table_name == "fact_cost_allocated")
    ).scalar_one()
    delivery = con.execute(sa.select(t.cur_billing_head.c.delivery_id)).scalars().first()
    return {"head_run_id": run, "reposted_run_id": run, "reversed_run_id": run, "delivery_id": delivery}


COMPARED = [
    ("trino", "cur 2.0"), ("trino", "csv"), ("trino", "times and numbers as text"), ("trino", "blanks"),
    ("athena", "cur 2.0"), ("athena", "blanks"),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "shape"), COMPARED, indirect=["engine"])
def test_whatever_a_month_asks_has_the_rows_of_duckdb(
    shape: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SHAPES[shape](tmp_path / "cur")
    books = home(tmp_path, **given)
    asked: list[str] = []
    with comparing(monkeypatch, asked):
        acts(books, SEPTEMBER)
        ask_beside(books)
    assert len(asked) > 40
    missing = ran_statements() - set(asked)
    print(f"{shape} on {given['engine']}: {len(asked)} answers compared, not asked: {sorted(missing)}")  # noqa: T201


@pytest.mark.parametrize("engine", ["trino", "athena"], indirect=True)
def test_hard_lines_are_judged_as_duckdb_judges_them(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard(tmp_path / "cur")
    asked: list[str] = []
    with comparing(monkeypatch, asked):
        look.look(home(tmp_path, **given), SEPTEMBER)
    assert {"measure_delivery", "measure_delivery_faults", "measure_repeated_lines"} <= set(asked)


def test_a_month_has_the_rows_and_run_ids_of_duckdb(given: dict[str, Any], tmp_path: Path) -> None:
    found = {}
    for name, more in (("there", given), ("here", {})):
        write(tmp_path / name / "cur", [delivered(SEPTEMBER)])
        books = home(tmp_path / name, **more)
        acts(books, SEPTEMBER)
        found[name] = digits(books)
    for table in ("fact_cost_raw", "fact_cost_tagged", "fact_cost_allocated"):
        assert found["there"][table] == found["here"][table]
    for books in (tmp_path / "there", tmp_path / "here"):
        assert not list((books / "home" / "sessions").glob("*"))


def test_the_decimal_of_a_double_is_that_of_duckdb(given: dict[str, Any], tmp_path: Path) -> None:
    """Rounded money, many digits, random bits, and what is no number."""
    chance = random.Random(18)
    values = [0.0, -0.0, 5e-324, float("nan"), float("inf"), float("-inf"), 1e20, 1e-19, 0.1 + 0.2]
    while len(values) < DOUBLES:
        kind = len(values) % 4
        if kind == 0:
            values.append(round(chance.uniform(-1e6, 1e6), chance.randrange(11)))
        elif kind == 1:
            values.append(chance.randrange(10**17) * 10.0 ** chance.randrange(-24, 4))
        elif kind == 2:
            values.append(struct.unpack("<d", struct.pack("<Q", chance.getrandbits(64)))[0])
        else:
            values.append(chance.uniform(1.8e16, 9.2e18))
    judged = sqlglot.parse_one(
        "SELECT n, x, IS_EXACT_USD(x) AS exact, CARRIED_USD(x) AS carried, DOUBLE_FAULT(x) AS fault,"
        " CASE WHEN IS_EXACT_USD(x) THEN EXACT_USD(x) END AS usd FROM given_doubles",
        read=statements.SOURCE_DIALECT,
    )
    books = home(tmp_path, inputs=None, **given)
    with opened.kept_files(books.settings, books.admin, None) as here:
        columns = [("n", "BIGINT"), ("x", "DOUBLE")]
        here.table("given_doubles", columns, enumerate(values))
        target = books.settings.lake_root / "judged.parquet"
        here.stage(judged.copy(), target)
        names = ("n", "x", "exact", "carried", "fault", "usd")
        with opened.scanning(books.settings, here, "doubles") as there:
            there.view("here", exp.select("*").from_(footers.parquet([target])))
            there.view("given_doubles", exp.select("n", "x").from_("here"))
            there.view("there", judged.copy())
            differing = " OR ".join(f"a.{name} IS DISTINCT FROM b.{name}" for name in names[2:])
            asked = (
                f"SELECT COUNT(*) AS n, COUNT_IF({differing}) AS wrong FROM here a JOIN there b ON a.n = b.n"
            )
            (found,) = there.fetch(sqlglot.parse_one(asked, read="trino")).rows
    assert found == (len(values), 0)


ENDS: dict[str, tuple[list[tuple[str, str]], str]] = {
    "throttled for good": ([("THROTTLED", "Rate exceeded")] * 60, "E-AWS-THROTTLED|E-ENGINE"),
    "failed": ([("FAILED", "SYNTAX_ERROR: line 1:1")], "E-ENGINE-FAILED"),
    "cancelled": ([("CANCELLED", "Query was cancelled by the user")], "E-ENGINE-STOPPED"),
    "no room for good": ([("FAILED", "Query exhausted resources at this scale factor")] * 3, "E-ENGINE"),
    "too many bytes": ([("CANCELLED", "Bytes scanned limit was exceeded")], "E-ENGINE-LIMIT"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("engine", ["athena"], indirect=True)
def test_a_statement_that_ends_badly_leaves_the_month_as_it_was(
    end: str, given: dict[str, Any], athena: Athena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "pause", lambda _: None)
    SHAPES["cur 1.0"](tmp_path / "cur")
    books = home(tmp_path, **given)
    look.look(books, SEPTEMBER)
    ingest.ingest(books, SEPTEMBER)
    before = answer(books, "SELECT * FROM period_head")
    ends, code = ENDS[end]
    athena.ends[:] = ends
    with pytest.raises(CopsError, match=code):
        tag.tag(books, SEPTEMBER)
    athena.ends.clear()
    assert answer(books, "SELECT * FROM period_head") == before
    assert tag.tag(books, SEPTEMBER).wrote
    assert not list((books.settings.home / "sessions").glob("*"))


@pytest.mark.parametrize("engine", ["athena"], indirect=True)
def test_what_passes_by_itself_is_tried_again(
    given: dict[str, Any], athena: Athena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "pause", lambda _: None)
    SHAPES["cur 1.0"](tmp_path / "cur")
    books = home(tmp_path, **given)
    athena.ends[:] = [("FAILED", "SERVER_SHUTTING_DOWN: Server is shutting down")] * 2
    acts(books, SEPTEMBER)
    assert athena.ends == []


@pytest.mark.parametrize("engine", ["trino"], indirect=True)
def test_what_a_killed_session_left_is_swept(given: dict[str, Any], tmp_path: Path) -> None:
    books = home(tmp_path, inputs=None, **given)
    child = os.fork()
    if child == 0:  # a process that is killed in the middle of its work
        held = session.Session(books.settings)
        held.prepare()
        with opened.kept_files(books.settings, books.admin, None) as here:
            target = books.settings.lake_root / "x.parquet"
            here.stage(exp.select(exp.alias_(exp.Literal.number(1), "n")), target)
        held.declare([target], [1], {"n": "INTEGER"})
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    place = session.place_of(books.settings)
    (left,) = (books.settings.home / "sessions").glob("*")
    assert list(place.listed(left.name))
    assert session.sweep(books.settings) == 1
    assert list(place.listed(left.name)) == []
    assert session.sweep(books.settings) == 0


@pytest.mark.parametrize("engine", ["trino"], indirect=True)
def test_a_server_that_is_gone_leaves_the_month_and_the_next_run_finishes(
    given: dict[str, Any], servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "pause", lambda _: None)
    SHAPES["cur 1.0"](tmp_path / "cur")
    nobody = f"http://127.0.0.1:{trino_server.free_port()}"
    with pytest.raises(CopsError, match="E-ENGINE-BUSY"):
        acts(home(tmp_path, **{**given, "cluster": {**given["cluster"], "url": nobody}}), SEPTEMBER)
    books = home(tmp_path, inputs=None, **given)
    acts(books, SEPTEMBER)
    assert len(answer(books, "SELECT * FROM fact_cost_raw")) == 8


@pytest.mark.parametrize("engine", ["trino"], indirect=True)
def test_an_object_that_is_exchanged_while_it_is_read_refuses_the_session(
    given: dict[str, Any], tmp_path: Path
) -> None:
    books = home(tmp_path, inputs=None, **given)
    target = books.settings.lake_root / "x.parquet"
    with opened.kept_files(books.settings, books.admin, None) as here:
        here.stage(exp.select(exp.alias_(exp.Literal.number(1), "n")), target)
        with pytest.raises(CopsError, match="E-DIGEST"):
            read_and_exchange(books, here, target)


def read_and_exchange(books: Books, here: DuckDB, target: Path) -> None:
    with opened.scanning(books.settings, here, "x") as there:
        there.view("x", exp.select("*").from_(footers.parquet([target])))
        assert there.fetch(exp.select("n").from_("x")).rows == [(1,)]
        (name,) = (books.settings.home / "sessions").glob("*")
        place = session.place_of(books.settings)
        (up,) = [one for one in place.listed(name.name) if "/up/" in one]
        place.client.put_object(**place.at(up), Body=b"other bytes")
