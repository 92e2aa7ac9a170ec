"""An engine on other machines, Trino or Athena: the verbs of `lake/engine.py` over delivered bytes in S3.

Belongs here: how each verb is done, retried and counted. Does not belong here: the transport
(`stores/queries.py`), the words (`lake/trino.py`), the views within a statement (`lake/inlined.py`), what a
session leaves and takes away (`lake/session.py`). What files say of themselves is read by the locked child of
this machine, so no delivered byte is parsed in this process.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake import declared_files, footers, inlined, statements, trino
from cops_dagster.lake.bill import Bill
from cops_dagster.lake.declared_files import Files
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Asked, Row, Rows, Value
from cops_dagster.lake.session import Session
from cops_dagster.lake.statements import Written
from cops_dagster.stores.queries import BUSY, Queries, Ran

TRIES = 3
LONGEST = 262_144
"""Bytes of a statement that Athena takes; Trino's own limit is a million characters."""
VALUES_MAX = 20_000
"""Characters of a small table that go as text within a statement; more go as a file."""
AWKWARD = (
    0.1, 1 / 3, 1.1119251172134838e18, 5.447096888737691e16, 1.8700000000000004e16, 9.1e18, 2.5e-05, 1e-10,
    123456789.123, 4.35, 9007199254740993.0, 99999.99999999999,
)  # fmt: skip
"""Doubles whose text is not the shortest in some engines."""


def pause(seconds: float) -> None:
    """Waits before a statement is tried again."""
    time.sleep(seconds)


class Cluster:
    """A session on a cluster.

    Args:
        beside: a reader on this machine that may read the files, and below the lake write.
        origins: files of this machine whose bytes lie where those of another do.
    """

    is_apart = True
    reads_elsewhere = True

    def __init__(
        self,
        queries: Queries,
        session: Session,
        beside: DuckDB,
        bill: Bill,
        *,
        work: Path,
        origins: Mapping[Path, Path] | None = None,
    ) -> None:
        self._queries, self._session, self._beside, self._bill = queries, session, beside, bill
        self._work, self._origins = work / session.id, origins or {}
        self._views: dict[str, exp.Query] = {}
        self._tables: dict[str, tuple[str, list[str]]] = {}
        self._files: dict[str, tuple[Files, list[str]]] = {}
        self._still: list[Callable[[], None]] = [session.require_same]
        self._is_probed = False

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            if not any(raised):
                self._check()
        finally:
            shutil.rmtree(self._work, ignore_errors=True)
            self._session.close()

    def relies_on(self, still: Callable[[], None]) -> None:
        """See `Engine`."""
        self._still.append(still)

    def fetch(self, statement: Asked, params: Mapping[str, Value] | None = None) -> Rows:
        """See `Engine`."""
        ran = self._ask(lambda: self._text(self._tree(statement), params), _named(statement))
        return Rows(ran.columns, ran.rows)

    def each(self, statement: Asked, params: Mapping[str, Value] | None = None) -> Iterator[Row]:
        """Rows of a statement; the client has them all at once."""
        yield from self.fetch(statement, params).rows

    def keep(self, name: str, statement: Asked, params: Mapping[str, Value] | None = None) -> None:
        """See `Engine`: a table in the session's folder."""
        tree = self._tree(statement)
        columns = self._columns_of(tree.copy())
        made: list[str] = []

        def text() -> str:
            table, location = self._session.new_table()  # each try its own: a failed one may have begun
            made.append(table)
            query = self._text(tree.copy(), params)
            return f"CREATE TABLE {table} WITH ({self._queries.kept_as(location)}) AS {query}"

        self._session.prepare()
        self._ask(text, f"keep {name}")
        self._views.pop(name.lower(), None)
        self._tables[name.lower()] = made[-1], columns

    def stage(self, statement: Asked, target: Path, params: Mapping[str, Value] | None = None) -> int:
        """See `Engine`: kept there, brought here, written as every published file is."""
        tree = self._tree(statement)
        order = tree.args.get("order")
        self.keep("cops_staged", tree, params)
        table, columns = self._tables.pop("cops_staged")
        self._check()
        folder = self._work / target.stem
        brought = self._session.brought(table, folder)
        try:
            source = footers.parquet(brought, by_name=len(brought) > 1)
            wanted = [exp.column(name, quoted=True) for name in columns]
            query = exp.select(*wanted).from_(source)
            query.set("order", _ordered(order, columns))  # no table has one: the file's bytes are DuckDB's
            return self._beside.stage(query, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def table(self, name: str, columns: Sequence[tuple[str, str]], rows: Iterable[Row]) -> None:
        """See `Engine`: as text in each statement that asks it, or as a file."""
        given = list(rows)
        self._tables.pop(name.lower(), None)
        if sum(len(str(value)) + 20 for row in given for value in row) <= VALUES_MAX:
            self._views[name.lower()] = _values(columns, given)
            return
        self._beside.table("cops_upload", columns, given)
        target = self._work / f"{len(self._files)}-{name}.parquet"
        self._beside.stage(exp.select("*").from_("cops_upload"), target)
        self.view(name, exp.select("*").from_(footers.parquet([target])))

    def view(self, name: str, query: exp.Query | Written) -> None:
        """See `Engine`."""
        self._tables.pop(name.lower(), None)
        self._views[name.lower()] = self._tree(query)

    def columns(self, name: str) -> list[str]:
        """See `Engine`."""
        return self._columns_of(exp.select("*").from_(exp.to_table(name)))

    def _check(self) -> None:
        for still in self._still:
            still()

    def _tree(self, statement: Asked) -> exp.Query:
        if isinstance(statement, str):
            return statements.parsed(statement)
        tree = statement.tree() if isinstance(statement, Written) else statement
        assert isinstance(tree, exp.Query)
        return tree

    def _columns_of(self, query: exp.Query) -> list[str]:
        whole, known = self._whole(query)
        return inlined.columns_of(whole, known)

    def _whole(self, query: exp.Query) -> tuple[exp.Query, dict[str, Sequence[str]]]:
        """The statement with its views and its files in it, and the columns of what stands on the cluster."""
        known: dict[str, Sequence[str]] = {name: columns for name, (_, columns) in self._tables.items()}
        views = {name: self._over_files(tree, known) for name, tree in self._needed(query).items()}
        return inlined.inlined(self._over_files(query, known), views, known), known

    def _needed(self, query: exp.Query) -> dict[str, exp.Query]:
        found: dict[str, exp.Query] = {}
        waiting = [query]
        while waiting:
            for name in inlined.asked_names(waiting.pop()):
                if name in self._views and name not in found:
                    found[name] = self._views[name].copy()
                    waiting.append(found[name])
        return found

    def _text(self, query: exp.Query, params: Mapping[str, Value] | None) -> str:
        whole, _ = self._whole(query)
        for parameter in list(whole.find_all(exp.Placeholder)):
            parameter.replace(_literal((params or {})[parameter.name]))
        written = trino.expanded(whole, self._queries.dialect)
        for table in list(written.find_all(exp.Table)):
            found = self._tables.get(table.name.lower()) if isinstance(table.this, exp.Identifier) else None
            if found and not _is_own(table):
                alias = table.args.get("alias") or exp.TableAlias(this=table.this.copy())
                table.set("this", exp.to_identifier(found[0]))
                table.set("alias", alias)
        text = written.sql(dialect=self._queries.dialect, comments=False)
        if len(text.encode()) > LONGEST:
            raise CopsError(
                "E-DIALECT",
                f"statement for {self._queries.dialect}",
                expected=f"at most {LONGEST} bytes",
                found=f"{len(text.encode())} bytes",
                next_step="make this month with COPS_ENGINE=duckdb, or activate fewer tags in AWS",
            )
        return text

    def _over_files(self, query: exp.Query, known: dict[str, Sequence[str]]) -> exp.Query:
        """In place of files a table of exactly these."""
        for table in list(query.find_all(exp.Table)):
            call = table.this
            if not isinstance(call, exp.Anonymous):
                continue
            listed, *options = call.expressions
            paths = [Path(re.sub(r"\[([*?\[])\]", r"\1", one.name)) for one in listed.expressions]
            files, tables = self._declared(paths)
            known.update(zip(tables, [part.columns for part in files.parts], strict=True))
            named = {option.this.name: option.expression for option in options}
            alias = table.args.get("alias")
            asked = named["filename"].name if "filename" in named else None
            where = {
                path: (self._session.uri_of(self._origins.get(path, path)), str(path))
                for path in (paths if asked else ())
            }
            rows = declared_files.rows(files, tables, where, asked)
            made: exp.Expr = exp.to_table(tables[0]) if rows is None else exp.Subquery(this=rows)
            if alias is not None:
                made.set("alias", alias)
            table.replace(made)
        return query

    def _declared(self, paths: Sequence[Path]) -> tuple[Files, list[str]]:
        key = "\0".join(map(str, paths))
        if key not in self._files:
            files = declared_files.agreed(footers.survey(self._beside, paths, "files of this machine"))
            tables = []
            for part in files.parts:
                where = [self._origins.get(one.path, one.path) for one in part.files]
                counts = [one.rows for one in part.files]
                tables.append(self._session.declare(where, counts, part.types))
            self._files[key] = files, tables
        return self._files[key]

    def _ask(self, text: Callable[[], str], name: str) -> Ran:
        if not self._is_probed:
            self._is_probed = True
            self._probe()
        for left in reversed(range(TRIES)):
            self._bill.require_room()
            try:
                ran = self._queries.run(text())
            except CopsError as problem:
                self._bill.failed(name, problem.code)
                if problem.code not in BUSY or not left:
                    raise
                pause(2.0 ** (TRIES - left))
            else:
                self._bill.ran(name, ran)
                return ran
        raise AssertionError("the last try returns or raises")

    def _probe(self) -> None:
        """Refuses an engine that writes a double otherwise than shortest: its money would differ."""
        rows = exp.Values(
            expressions=[
                exp.Tuple(
                    expressions=[
                        exp.Literal.number(number),
                        exp.cast(exp.Literal.string(repr(value)), "DOUBLE"),
                    ]
                )
                for number, value in enumerate(AWKWARD)
            ],
            alias=exp.TableAlias(
                this=exp.to_identifier("t"), columns=[exp.to_identifier("n"), exp.to_identifier("x")]
            ),
        )
        exact = exp.alias_(exp.Anonymous(this="EXACT_USD", expressions=[exp.column("x")]), "usd")
        found = self.fetch(exp.select("n", exact).from_(rows).order_by("n")).rows
        wrong = [
            repr(value) for value, (_, usd) in zip(AWKWARD, found, strict=True) if usd != Decimal(repr(value))
        ]
        if wrong:
            raise CopsError(
                "E-DIALECT",
                f"engine {self._queries.dialect}",
                expected="the shortest text of a double",
                found=f"another for {', '.join(wrong)}",
                next_step="use COPS_ENGINE=duckdb: this engine's Java is too old for exact money",
            )


def _ordered(order: exp.Order | None, columns: Sequence[str]) -> exp.Order | None:
    """The order of a statement, over what it shows: by place and by name."""
    if order is None:
        return None
    made = order.copy()
    for one in made.expressions:
        of = one.this
        name = columns[int(of.name) - 1] if isinstance(of, exp.Literal) else of.name
        one.set("this", exp.column(name, quoted=True))
    return made


def _is_own(table: exp.Table) -> bool:
    """A WITH name of a query around it hides the table."""
    above = table.parent
    while above is not None:
        with_ = above.args.get("with_")
        if with_ and any(cte.alias.lower() == table.name.lower() for cte in with_.expressions):
            return True
        above = above.parent
    return False


def _named(statement: Asked) -> str:
    return statement if isinstance(statement, str) else "query"


def _literal(value: Value) -> exp.Expr:
    if value is None:
        return exp.null()
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, int):
        return exp.Literal.number(value) if value >= 0 else exp.Neg(this=exp.Literal.number(-value))
    if isinstance(value, Decimal):
        return exp.cast(exp.Literal.string(format(value, "f")), "DECIMAL(38, 18)")
    if isinstance(value, datetime):
        return exp.cast(exp.Literal.string(value.isoformat(sep=" ")), "TIMESTAMP")
    if isinstance(value, date):
        return exp.cast(exp.Literal.string(value.isoformat()), "DATE")
    return exp.Literal.string(value)


def _values(columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> exp.Query:
    """Rows as a query; every value goes as text and is cast, as DuckDB gets it."""
    if not rows:
        nulls = [exp.alias_(exp.cast(exp.null(), kind), name, quoted=True) for name, kind in columns]
        return exp.Select().select(*nulls, copy=False).where(exp.false(), copy=False)
    given = [
        exp.Tuple(
            expressions=[
                exp.null()
                if value is None
                else exp.Literal.string(format(value, "f") if isinstance(value, Decimal) else str(value))
                for value in row
            ]
        )
        for row in rows
    ]
    names = [exp.to_identifier(f"c{number}") for number in range(len(columns))]
    source = exp.Values(
        expressions=given, alias=exp.TableAlias(this=exp.to_identifier("given"), columns=names)
    )
    cast = [
        exp.alias_(exp.cast(exp.column(f"c{number}"), kind), name, quoted=True)
        for number, (name, kind) in enumerate(columns)
    ]
    return exp.Select().select(*cast, copy=False).from_(source, copy=False)
