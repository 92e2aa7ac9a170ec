"""Statements that end badly, servers and stores that go: the month of before stands, the next run finishes.

Each of them leaves nothing: no table of a session, no object of its folder, no lock.
"""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.ingestion import ingest, look
from cops_dagster.lake import cluster, footers, opened, session
from cops_dagster.lake.duck import DuckDB
from cops_dagster.ledger.books import Books
from cops_dagster.stores.aws import athena_client, call, s3
from cops_dagster.stores.trino_client import Trino
from cops_dagster.tagging import tag
from cops_dagster_tests.deliveries import SEPTEMBER, acts, home, lines, write
from cops_dagster_tests.engines import refusing_s3, trino_server
from cops_dagster_tests.engines.athena_server import Athena
from cops_dagster_tests.engines.left import orphans
from cops_dagster_tests.engines.refusing_s3 import Door
from cops_dagster_tests.engines.trino_server import Servers
from cops_dagster_tests.lake.shaped import SHAPES, delivered
from cops_dagster_tests.shown import answer

SECRET = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQW"
HEADS = "SELECT * FROM period_head ORDER BY ALL"
EVERY = "SELECT * FROM fact_cost_tagged ORDER BY ALL"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "pause", lambda _: None)
    monkeypatch.setattr(call, "ATTEMPTS", 1)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)


def ingested(folder: Path, given: dict[str, Any]) -> Books:
    """A month of which the lines are in the lake, put there by DuckDB, and nothing is tagged yet."""
    SHAPES["cur 1.0"](folder / "cur")
    here = home(folder, **{**given, "engine": "duckdb"})
    look.look(here, SEPTEMBER)
    ingest.ingest(here, SEPTEMBER)
    return home(folder, inputs=None, **given)


def require_refused(books: Books, code: str) -> CopsError:
    """Tagging is refused, the month stands as before, and nothing lies about."""
    before = answer(books, HEADS)
    with pytest.raises(CopsError, match=code) as refused:
        tag.tag(books, SEPTEMBER)
    assert answer(books, HEADS) == before
    return refused.value


def require_done(books: Books) -> None:
    """The next run finishes, and nothing lies about."""
    assert orphans(books) == []
    before = answer(books, HEADS)
    assert tag.tag(books, SEPTEMBER).wrote
    assert len(answer(books, HEADS)) == len(before) + 1
    assert orphans(books) == []


RUNS: list[tuple[str, str]] = [("", "")] * 2
"""The first statements of tagging, which really run."""
ENDS: dict[str, tuple[list[tuple[str, str]], str]] = {
    "throttled for good": ([("TooManyRequestsException", "Rate exceeded")] * 3, "E-AWS-THROTTLED"),
    "without rights": ([("AccessDeniedException", f"{SECRET} is not authorized")], "E-AWS-DENIED"),
    "credentials expired": ([("ExpiredTokenException", f"The token {SECRET} is expired")], "E-AWS-DENIED"),
    "not understood": ([("InvalidRequestException", "line 1:1: mismatched input")], "E-ENGINE-FAILED"),
    "its result expired": ([("GONE", "Could not find results")], "E-ENGINE-FAILED"),
    "failed": ([("FAILED", "SYNTAX_ERROR: line 1:1")], "E-ENGINE-FAILED"),
    "cancelled": ([("CANCELLED", "Query was cancelled by the user")], "E-ENGINE-STOPPED"),
    "no room for good": ([("FAILED", "Query exhausted resources at this scale factor")] * 3, "E-ENGINE-BUSY"),
    "too many bytes": ([("CANCELLED", "Bytes scanned limit was exceeded")], "E-ENGINE-LIMIT"),
}


@pytest.mark.parametrize("engine", ["athena"], indirect=True)
def test_a_statement_that_ends_badly_leaves_the_month_as_it_was(
    given: dict[str, Any], athena: Athena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = ingested(tmp_path, given)
    for end, (ends, code) in ENDS.items():
        athena.ends[:] = [*RUNS, *ends]
        refused = require_refused(books, code)
        assert SECRET not in str(refused), end
        assert athena.ends == [], end
        assert orphans(books) == [], end
    # one that stays queued; its time is over before AWS has taken it, so that it is stopped when it has
    athena.ends[:] = [("QUEUED", "")]
    athena.stopped.clear()
    with monkeypatch.context() as patched:
        patched.setattr(athena_client, "MINUTE", 0.0)
        require_refused(books, "E-ENGINE-LIMIT")
    assert athena.stopped
    require_done(books)


@pytest.mark.parametrize("engine", ["athena"], indirect=True)
def test_what_passes_by_itself_is_tried_again(given: dict[str, Any], athena: Athena, tmp_path: Path) -> None:
    books = ingested(tmp_path, given)
    passing = ("FAILED", "SERVER_SHUTTING_DOWN: Server is shutting down")
    athena.ends[:] = [*RUNS, passing, passing, ("", ""), ("TooManyRequestsException", "Rate exceeded")]
    assert tag.tag(books, SEPTEMBER).wrote
    assert athena.ends == []
    assert orphans(books) == []


@contextmanager
def begun(monkeypatch: pytest.MonkeyPatch, then: Callable[[str], object]) -> Iterator[None]:
    """Something happens once, when the server works at a table's statement and before its result is there."""
    from trino.client import TrinoRequest

    post, get = TrinoRequest.post, TrinoRequest.get
    waiting: list[str] = []  # the statement, then nothing more

    def posted(self: Any, sql: str, *given: Any) -> Any:
        found = post(self, sql, *given)
        if sql.startswith("CREATE TABLE") and not waiting:
            waiting.append(found.json()["id"])
        return found

    def got(self: Any, url: str) -> Any:
        found = get(self, url)
        if waiting and waiting[-1] and waiting[-1] in url and found.json()["stats"]["state"] in WORKING:
            query = waiting[-1]
            waiting.append("")
            then(query)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(TrinoRequest, "post", posted)
        patched.setattr(TrinoRequest, "get", got)
        yield
    assert waiting[-1:] == [""]


WORKING = ("PLANNING", "STARTING", "RUNNING")


@pytest.mark.parametrize("engine", ["trino"], indirect=True)
def test_a_statement_that_an_administrator_kills_leaves_the_month_as_it_was(
    given: dict[str, Any], servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(query: str) -> None:
        url = f"http://127.0.0.1:{servers.trino_port}/v1/query/{query}/killed"
        asked = urllib.request.Request(url, b"by a test", {"X-Trino-User": "admin"}, method="PUT")
        urllib.request.urlopen(asked).close()

    books = ingested(tmp_path, given)
    with begun(monkeypatch, kill):
        require_refused(books, "E-ENGINE-STOPPED.*by a test")
    require_done(books)


LIMITS = {"query_max_scan_physical_bytes": "1B", "query_max_execution_time": "1ms"}


@pytest.mark.parametrize("engine", ["trino"], indirect=True)
def test_a_statement_beyond_its_limits_leaves_the_month_as_it_was(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trino.client import TrinoRequest

    get = TrinoRequest.get

    def slowly(self: Any, url: str) -> Any:
        # Trino looks at its limits once a second, and a small statement may be over by then
        if "/executing/" in url:
            time.sleep(2)
        return get(self, url)

    books = ingested(tmp_path, given)
    real = Trino._connected
    for limit, least in LIMITS.items():

        def connected(self: Any, limit: str = limit, least: str = least) -> Any:
            self._limits[limit] = least
            return real(self)

        with monkeypatch.context() as patched:
            patched.setattr(Trino, "_connected", connected)
            patched.setattr(TrinoRequest, "get", slowly)
            require_refused(books, "E-ENGINE-LIMIT")
        assert orphans(books) == []
    require_done(books)


@pytest.fixture
def own(given: dict[str, Any], servers: Servers) -> Iterator[trino_server.Trino]:
    """A server that the test may kill; the settings name it."""
    with trino_server.trino() as server:
        trino_server.prepare(servers.aws, server.port)
        given["cluster"]["url"] = f"http://127.0.0.1:{server.port}"
        yield server


@pytest.mark.parametrize("engine", ["trino"], indirect=True)
def test_a_server_that_is_killed_and_started_in_the_middle_changes_no_digit(
    given: dict[str, Any], own: trino_server.Trino, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = ingested(tmp_path / "there", given)

    def anew(_: str) -> None:
        own.kill()
        own.start()

    with begun(monkeypatch, lambda _: own.kill()):  # for good: started when the step was refused
        require_refused(books, "E-ENGINE-BUSY")
    own.start()
    require_done(books)
    # at once, so that it does not know the statement; then while the next try is waited for
    for number, then, meanwhile in (("1", anew, lambda: None), ("2", lambda _: own.kill(), own.start)):
        monkeypatch.setattr(cluster, "pause", lambda _, act=meanwhile: act())
        place = f"{given['lake']['place']}-{number}"
        again = ingested(tmp_path / number, {**given, "lake": {"place": place}})
        with begun(monkeypatch, then):
            assert tag.tag(again, SEPTEMBER).wrote
        assert orphans(again) == []
        assert answer(again, EVERY) == answer(books, EVERY)
    here = ingested(tmp_path / "here", {})
    tag.tag(here, SEPTEMBER)
    assert answer(here, EVERY) == answer(books, EVERY)


@pytest.mark.parametrize("engine", ["trino"], indirect=True)
def test_a_server_that_is_not_there_leaves_the_month_and_the_next_run_finishes(
    given: dict[str, Any], tmp_path: Path
) -> None:
    SHAPES["cur 1.0"](tmp_path / "cur")
    nobody = f"http://127.0.0.1:{trino_server.free_port()}"
    with pytest.raises(CopsError, match="E-ENGINE-BUSY"):
        acts(home(tmp_path, **{**given, "cluster": {**given["cluster"], "url": nobody}}), SEPTEMBER)
    books = home(tmp_path, inputs=None, **given)
    acts(books, SEPTEMBER)
    assert len(answer(books, "SELECT * FROM fact_cost_raw")) == 8


@pytest.fixture
def door(given: dict[str, Any], servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """S3 behind a door, for the engine and for COPS."""
    with refusing_s3.before(servers.aws) as made:
        catalog = f"door_{made.url.rpartition(':')[2]}"
        trino_server.prepare(servers.aws, servers.trino_port, catalog=catalog, s3=made.url)
        given["cluster"]["catalog"] = catalog
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", made.url)
        yield made


REFUSED = {
    ("java", 403): "E-AWS-DENIED", ("java", 503): "E-ENGINE-BUSY",
    ("boto3", 403): "E-LAKE-STORE", ("boto3", 503): "E-LAKE-STORE",
}  # fmt: skip


@pytest.mark.parametrize("engine", ["trino"], indirect=True)
def test_an_s3_that_refuses_in_the_middle_leaves_the_month_as_it_was(
    given: dict[str, Any], door: Door, tmp_path: Path
) -> None:
    books = ingested(tmp_path, given)
    for (who, status), code in REFUSED.items():
        door.who, door.status, door.passing = who, status, 2 if who == "java" else 0
        door.refused.clear()
        require_refused(books, code)
        assert door.refused, (who, status)
        door.status = 0
        assert orphans(books) == [], (who, status)
    require_done(books)


@pytest.mark.parametrize("engine", ["trino"], indirect=True)
def test_a_refused_month_leaves_the_one_of_before_and_a_better_one_is_taken(
    given: dict[str, Any], tmp_path: Path
) -> None:
    write(tmp_path / "cur", [delivered(SEPTEMBER)], assembly="a1")
    acts(home(tmp_path, **{**given, "engine": "duckdb"}), SEPTEMBER)
    books = home(tmp_path, inputs=None, **given)
    before = answer(books, HEADS)
    foreign = lines("type service account currency cost\nUsage AmazonEC2 111111111111 EUR 1\n")
    write(tmp_path / "cur", [foreign], assembly="a2")
    assert [one.code for seen in look.look(books, SEPTEMBER) for one in seen.refusals] == ["E-CCY"]
    assert not any(one.wrote for one in ingest.ingest(books, SEPTEMBER))
    assert answer(books, HEADS) == before
    assert orphans(books) == []
    write(tmp_path / "cur", [delivered(SEPTEMBER).slice(0, 8)], assembly="a3")
    assert [one.refusals for one in look.look(books, SEPTEMBER)] == [()]
    ingest.ingest(books, SEPTEMBER)
    assert tag.tag(books, SEPTEMBER).wrote
    assert answer(books, HEADS) != before
    assert orphans(books) == []


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
