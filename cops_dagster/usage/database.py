"""Asking a database of somebody else: one SELECT, in a transaction that only reads, and nothing stays.

Belongs here: the connection, what may be asked, faults as coded errors. Its URL comes from the environment
alone (`COPS_SOURCES__NAME`) and stands in no message. Does not belong here: COPS' own database
(`stores/admin.py`).
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.settings import Settings
from cops_dagster.usage.answer import ROWS_MAX, Answer, refused, two_columns
from cops_dagster.usage.declared import Database, Measure, server_url

MINUTES = 5
_DIALECTS = {
    "postgresql": "postgres",
    "sqlite": "sqlite",
    "mysql": "mysql",
    "mssql": "tsql",
    "oracle": "oracle",
}

_SQLITE_DOWN = ("unable to open", "locked", "disk I/O", "malformed", "not a database")


def ask(settings: Settings, measure: Measure, day: date) -> Answer:
    """What the SELECT gives for the day; `:day` and `:next_day` are its parameters.

    Raises:
        CopsError: `E-KEYS-SOURCE`; `E-USAGE-SOURCE` for a database that cannot be reached; `E-USAGE-QUERY`.
    """
    source = measure.source
    assert isinstance(source, Database)
    engine = _engine(measure, day, server_url(settings, source.server))
    try:
        _require_select(measure, day, engine.dialect.name)
        with engine.connect() as con:
            _only_read(con)
            asked = sa.text(measure.query)
            params = {"day": day, "next_day": day + timedelta(days=1)}
            used = {name: value for name, value in params.items() if name in asked._bindparams}
            result = con.execute(asked.bindparams(**used))
            columns = list(result.keys())
            rows = result.fetchmany(ROWS_MAX + 1)
            con.rollback()
    except sa.exc.SQLAlchemyError as problem:
        raise _coded(measure, day, problem) from None
    finally:
        engine.dispose()
    two_columns(measure.name, day, columns)
    if len(rows) > ROWS_MAX:
        raise refused(
            "E-USAGE-QUERY", measure.name, day, f"at most {ROWS_MAX} rows", "more",
            "group by the tenant's name",
        )  # fmt: skip
    read = {"server": source.server, "dialect": engine.dialect.name, "rows": len(rows)}
    return Answer([(name, value) for name, value in rows], measure.query, read)


def _engine(measure: Measure, day: date, url: str) -> sa.Engine:
    try:
        given = sa.make_url(url.replace("postgresql://", "postgresql+psycopg2://", 1))
        if given.get_backend_name() == "sqlite":
            file = Path(given.database or "")
            if not file.is_file():
                raise refused(
                    "E-USAGE-SOURCE", measure.name, day, "a database file", "none of this name",
                    f"correct COPS_SOURCES__{_name(measure)}",
                )  # fmt: skip
            given = given.set(database=f"file:{file}", query={"mode": "ro", "uri": "true"})
        if "@" in (given.host or ""):  # a part of the password would be taken for the host, and be shown
            raise refused(
                "E-USAGE-SOURCE", measure.name, day, "one @ in the URL, before the host", "more than one",
                f"write an @ of the login as %40 in COPS_SOURCES__{_name(measure)}",
            )  # fmt: skip
        return sa.create_engine(given, poolclass=sa.NullPool)
    except (sa.exc.SQLAlchemyError, ImportError, ValueError) as problem:
        raise refused(
            "E-USAGE-SOURCE", measure.name, day, "a URL of SQLAlchemy, and its driver installed",
            f"{type(problem).__name__}", f"correct COPS_SOURCES__{_name(measure)}",
        ) from None  # fmt: skip


def _name(measure: Measure) -> str:
    return str(getattr(measure.source, "server", "")).upper()


def _only_read(con: sa.Connection) -> None:
    """What the SELECT calls may not write either; whatever it did all the same is rolled back."""
    if con.dialect.name == "postgresql":
        con.execute(sa.text("SET TRANSACTION READ ONLY"))
        con.execute(sa.text(f"SET LOCAL statement_timeout = '{MINUTES}min'"))
    elif con.dialect.name == "sqlite":
        con.exec_driver_sql("PRAGMA query_only = ON")


def _require_select(measure: Measure, day: date, dialect: str) -> None:
    import sqlglot
    from sqlglot import exp

    try:
        trees = sqlglot.parse(measure.query, read=_DIALECTS.get(dialect))
    except sqlglot.errors.SqlglotError as problem:
        raise _query(measure, day, str(problem).split("\n")[0]) from None
    writes = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Into, exp.Command)
    (tree, *more) = trees
    if more or not isinstance(tree, exp.Query):
        raise _query(measure, day, f"{len(trees)} statements" if more else type(tree).__name__.upper())
    if found := tree.find(*writes):
        raise _query(measure, day, f"{type(found).__name__.upper()} inside it")


def _query(measure: Measure, day: date, found: str) -> CopsError:
    return refused("E-USAGE-QUERY", measure.name, day, "one SELECT that runs", found, "correct query")


def _coded(measure: Measure, day: date, problem: sa.exc.SQLAlchemyError) -> CopsError:
    said: Any = getattr(problem, "orig", None)
    first = (str(said or problem).strip().splitlines() or [""])[0]
    is_down = isinstance(problem, (sa.exc.OperationalError, sa.exc.InterfaceError))
    if "sqlite" in type(said).__module__:  # it calls a wrong statement by the same name
        is_down = is_down and any(sign in first for sign in _SQLITE_DOWN)
    if is_down:
        return refused(
            "E-USAGE-SOURCE", measure.name, day, "a database that answers", first,
            f"is it up? Its address is COPS_SOURCES__{_name(measure)}",
        )  # fmt: skip
    return _query(measure, day, first)
