"""Asking a database of somebody else: one SELECT, in a transaction that only reads, and nothing stays.

It has minutes to answer: whoever waits for a host that fell silent asks no other source.

Belongs here: the connection, what may be asked, faults as coded errors. Its URL comes from the environment
alone (`COPS_SOURCES__NAME`) and stands in no message. Does not belong here: COPS' own database
(`stores/admin.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.settings import Settings
from cops_dagster.stores.admin import without_password
from cops_dagster.usage import in_time
from cops_dagster.usage.answer import ROWS_MAX, Answer, refused, two_columns
from cops_dagster.usage.declared import Database, Measure, server_url

MINUTES = 5
"""What the SELECT may take."""
STATEMENT = f"SET LOCAL statement_timeout = '{MINUTES}min'"
CONNECT_SECONDS = 30
SPARE_SECONDS = 30
"""Beyond both, for a database that does not keep to them."""
_DIALECTS = {
    "postgresql": "postgres",
    "sqlite": "sqlite",
    "mysql": "mysql",
    "mssql": "tsql",
    "oracle": "oracle",
}
_ALIVE = {"connect_timeout": CONNECT_SECONDS, "keepalives_idle": 30, "keepalives_interval": 10}
"""Options of libpq, where the URL has none of its own."""
_SQLITE_DOWN = ("unable to open", "locked", "disk i/o", "malformed", "not a database")
_OPTION = "an option of its URL, or the value of one, that the driver does not take"
_WHY = (
    ("refused", "nobody listens there"),
    ("translate host name", "no such host"),
    ("authentication failed", "the login is not accepted"),
    ("no password supplied", "the login is not accepted"),
    ("access denied", "the login is not accepted"),
    ("pg_hba", "the login is not accepted from here"),
    ("does not exist", "no such database or role"),
    ("too many", "it has no connection left"),
    ("starting up", "it is starting up"),
    ("shutting down", "it is shutting down"),
    ("timeout expired", "no answer in time"),
    ("timed out", "no answer in time"),
    ("certificate", "its certificate is not accepted"),
    ("closed the connection", "the connection was cut"),
    ("invalid", _OPTION),
    ("option", _OPTION),
    ("ssl", "no TLS that is accepted"),
)
"""What drivers say where they cannot connect, and what is told of it: their text may hold any of the URL."""


def ask(settings: Settings, measure: Measure, day: date) -> Answer:
    """What the SELECT gives for the day; `:day` and `:next_day` are its parameters.

    Raises:
        CopsError: `E-KEYS-SOURCE`; `E-USAGE-SOURCE` for a database that cannot be reached or does not end;
            `E-USAGE-QUERY`.
    """
    source = measure.source
    assert isinstance(source, Database)
    engine = _engine(measure, day, server_url(settings, source.server))
    _require_select(measure, day, engine.dialect.name)
    try:
        columns, rows = in_time.within(
            CONNECT_SECONDS + 60 * MINUTES + SPARE_SECONDS, lambda: _rows(measure, day, engine)
        )
    except TimeoutError:
        raise _endless(measure, day) from None
    two_columns(measure.name, day, columns)
    if len(rows) > ROWS_MAX:
        raise refused(
            "E-USAGE-QUERY", measure.name, day, f"at most {ROWS_MAX} rows", "more",
            "group by the tenant's name",
        )  # fmt: skip
    read = {"server": source.server, "dialect": engine.dialect.name, "rows": len(rows)}
    return Answer([(name, value) for name, value in rows], measure.query, read)


Rows = tuple[Sequence[str], Sequence[Sequence[Any]]]


def _rows(measure: Measure, day: date, engine: sa.Engine) -> Rows:
    try:
        con = engine.connect()
    except Exception as problem:  # noqa: BLE001  a driver raises what it likes, and its text is not shown
        raise _unreachable(measure, day, problem) from None
    with con:
        try:
            _only_read(con)
            asked = sa.text(measure.query)
            params = {"day": day, "next_day": day + timedelta(days=1)}
            used = {name: value for name, value in params.items() if name in asked._bindparams}
            as_they_come = con.execution_options(stream_results=True, max_row_buffer=1000)
            result = as_they_come.execute(asked.bindparams(**used))
            columns = list(result.keys())
            rows = result.fetchmany(ROWS_MAX + 1)
            result.close()
            con.rollback()
        except Exception as problem:  # noqa: BLE001  see above
            raise _coded(measure, day, engine.url, problem) from None
    return columns, rows


def _engine(measure: Measure, day: date, url: str) -> sa.Engine:
    correct = f"correct COPS_SOURCES__{_name(measure)}"
    try:
        given = sa.make_url(url.replace("postgresql://", "postgresql+psycopg2://", 1))
        if given.get_backend_name() == "sqlite":
            file = Path(given.database or "")
            if not file.is_file():
                raise refused(
                    "E-USAGE-SOURCE", measure.name, day, "a database file", "none of this name", correct
                )
            given = given.set(database=file.absolute().as_uri(), query={"mode": "ro", "uri": "true"})
        if "@" in (given.host or ""):  # a part of the password would be taken for the host, and be shown
            raise refused(
                "E-USAGE-SOURCE", measure.name, day, "one @ in the URL, before the host", "more than one",
                f"write an @ of the login as %40 in COPS_SOURCES__{_name(measure)}",
            )  # fmt: skip
        alive = _ALIVE if given.get_driver_name() == "psycopg2" else {}
        return sa.create_engine(
            given,
            poolclass=sa.NullPool,
            connect_args={name: value for name, value in alive.items() if name not in given.query},
        )
    except CopsError:
        raise
    except Exception as problem:  # noqa: BLE001  a driver raises what it likes, and its text is not shown
        raise refused(
            "E-USAGE-SOURCE", measure.name, day, "a URL of SQLAlchemy, and its driver installed",
            f"{type(problem).__name__}", correct,
        ) from None  # fmt: skip


def _name(measure: Measure) -> str:
    return str(getattr(measure.source, "server", "")).upper()


def _only_read(con: sa.Connection) -> None:
    """What the SELECT calls may not write either; whatever it did all the same is rolled back."""
    if con.dialect.name == "postgresql":
        con.execute(sa.text("SET TRANSACTION READ ONLY"))
        con.execute(sa.text(STATEMENT))
    elif con.dialect.name == "sqlite":
        con.exec_driver_sql("PRAGMA query_only = ON")
        until = monotonic() + 60 * MINUTES
        driver: Any = con.connection.driver_connection
        driver.set_progress_handler(lambda: monotonic() > until, 100_000)


def _require_select(measure: Measure, day: date, dialect: str) -> None:
    import sqlglot
    from sqlglot import exp

    try:
        parsed = sqlglot.parse(measure.query, read=_DIALECTS.get(dialect))
    except (sqlglot.errors.SqlglotError, RecursionError) as problem:
        raise _query(measure, day, str(problem).split("\n")[0]) from None
    trees = [one for one in parsed if one is not None and not isinstance(one, exp.Semicolon)]
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        found = type(trees[0]).__name__.upper() if len(trees) == 1 else f"{len(trees)} statements"
        raise _query(measure, day, found)
    writes = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Into, exp.Command)
    if inside := trees[0].find(*writes):
        raise _query(measure, day, f"{type(inside).__name__.upper()} inside it")


def _query(measure: Measure, day: date, found: str) -> CopsError:
    return refused("E-USAGE-QUERY", measure.name, day, "one SELECT that runs", found, "correct query")


def _endless(measure: Measure, day: date) -> CopsError:
    return refused(
        "E-USAGE-SOURCE", measure.name, day, f"an answer within {MINUTES} minutes", "none",
        "does something lock the table, or is the host silent? Else make the query cheaper",
    )  # fmt: skip


def _unreachable(measure: Measure, day: date, problem: Exception) -> CopsError:
    """Of what a driver says, the kind alone: an option that it does not know is quoted, with its value."""
    said = str(getattr(problem, "orig", None) or problem).lower()
    why = next((told for sign, told in _WHY if sign in said), type(problem).__name__)
    return refused(
        "E-USAGE-SOURCE", measure.name, day, "a database that answers", why,
        f"is it up? Its address is COPS_SOURCES__{_name(measure)}",
    )  # fmt: skip


def _coded(measure: Measure, day: date, url: sa.URL, problem: Exception) -> CopsError:
    said: Any = getattr(problem, "orig", None)
    first = (str(said or problem).strip().splitlines() or [""])[0]
    if "statement timeout" in first or first == "interrupted":
        return _endless(measure, day)
    is_down = isinstance(problem, (sa.exc.OperationalError, sa.exc.InterfaceError))
    if "sqlite" in type(said).__module__:  # it calls a wrong statement by the same name
        is_down = is_down and any(sign in first.lower() for sign in _SQLITE_DOWN)
    shown = without_password(first, url)
    if is_down:
        return refused(
            "E-USAGE-SOURCE", measure.name, day, "a database that answers", shown,
            f"is it up? Its address is COPS_SOURCES__{_name(measure)}",
        )  # fmt: skip
    return _query(measure, day, shown)
