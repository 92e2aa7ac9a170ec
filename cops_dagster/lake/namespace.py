"""One SQL namespace over the three stores: live lake files, delivered files, admin tables.

Belongs here: the views and small tables that a statement needs, made only when it names them.
Identifiers and paths enter SQL as quoted trees, never as formatted text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.cur import schema
from cops_dagster.lake import lens, pools, statements
from cops_dagster.lake.alike import COUNT, Asked, Joined, Only, Part, alike, bare, by
from cops_dagster.lake.delivered import DeliveredFiles, master_query
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.lens import Lens
from cops_dagster.lake.live import (
    Held,
    LiveFile,
    delivered_files,
    fetch_whole,
    kept,
    live_files,
    require_same,
    verify,
)
from cops_dagster.lake.statements import Written
from cops_dagster.lake.tables import CUR_BILLING_MASTER, FACT_COST_RAW, LAKE_TABLES
from cops_dagster.lake.views import (
    admin_columns,
    empty,
    over_files,
    read_parquet,
    union_by_name,
    view,
    written_by_name,
)
from cops_dagster.policy import Tags
from cops_dagster.settings import Settings
from cops_dagster.stores import tables as t
from cops_dagster.stores.places import open_volume
from cops_dagster.stores.volume import Volume

LINES = frozenset({"fact_cost_raw", "cur_quarantine", "cur_billing_master", "missing_tenant_tags"})
"""Names behind which delivered bytes are read: what asks for one uses an engine apart (`Books.lines`)."""
LensQuery = Callable[[DeliveredFiles, Lens, date], exp.Query]
LENS: dict[str, LensQuery] = {
    "fact_cost_raw": lens.booked,
    "cur_quarantine": lens.set_aside,
}
LINE_POOL = "line_pool"
"""What the lines of the one period cost by service and charge class, as measured (`lake/pools.py`)."""
MISSING_TAGS = "missing_tenant_tags"
"""A table that is a question: `sql/missing_tenant_tags.sql` over the live lines."""
ENTRIES = ("fact_cost_allocated", "fact_cost_adjustment")
QUESTIONS = {"cost_as_reported": ENTRIES, "cost_restated": ENTRIES}
"""Further tables that are questions (`sql/<name>.sql`), with the tables they ask."""


@dataclass
class Namespace:
    """Every table of the contract, on one engine, over one state of the admin database.

    Attributes:
        paths: the files behind each table that was provided, for the lock-down.
        digests: verify each live file's sha256 before it is read (the pipeline does).
    """

    engine: Engine
    con: sa.Connection
    settings: Settings
    tags: Tags
    period_start: date | None = None
    as_of_seq: int | None = None
    digests: bool = False
    paths: dict[str, list[Path]] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All tables and views that can be asked for."""
        usage = [f"tenant_{measure}_usage" for measure in self._measures()]
        return sorted(
            {
                "cur_billing_master",
                MISSING_TAGS,
                *QUESTIONS,
                *LAKE_TABLES,
                *t.metadata.tables,
                *t.VIEWS,
                *usage,
            }
        )

    def provide(self, wanted: Iterable[str]) -> None:
        """Makes the wanted names available; names it does not know are left to the engine's error."""
        makers: dict[str, Callable[[str], None]] = {"cur_billing_master": self._cur_billing_master}
        makers |= dict.fromkeys(LAKE_TABLES, self._lake_table)
        makers |= dict.fromkeys(QUESTIONS, self._question)
        makers |= dict.fromkeys(t.metadata.tables, self._admin_table)
        makers |= {view.lower(): self._admin_view for view in t.VIEWS}
        for name in sorted(set(wanted)):
            if maker := makers.get(name.lower()):
                maker(name.lower())
            elif name.lower() == MISSING_TAGS:
                self._missing_tenant_tags()
            elif name.lower() == LINE_POOL:
                self._line_pool()
            elif name.lower().startswith("tenant_") and name.lower().endswith("_usage"):
                self._usage_view(name.lower())

    def _lake_table(self, name: str) -> None:
        self.lake_view(name, self._live(name))

    def _live(self, name: str, *, reads: bool = True) -> list[LiveFile]:
        return live_files(
            self.con,
            self._volume(),
            name,
            period_start=self.period_start,
            as_of_seq=self.as_of_seq,
            whole=reads and not self.engine.reads_elsewhere,
        )

    def _volume(self) -> Volume:
        return open_volume(
            self.settings.lake_root, self.settings.lake.place, outlined=self.engine.reads_elsewhere
        )

    def lake_view(self, name: str, found: Sequence[LiveFile]) -> None:
        """A lake table over the given files, digests checked first."""
        self._hold_to_read(found)
        if any(file.lens for file in found):
            self._require_apart()
        self.paths[name] = [file.path for file in found]
        view(self.engine, name, _written(self.con, name, found))

    def lines_by(self, *columns: str) -> None:
        """`alike_lines`: `fact_cost_raw`, lines in one row that agree in these columns (`lake/alike.py`)."""
        self.alike_lines("alike_lines", by(*columns), ("plain", "single"))

    def alike_lines(
        self,
        name: str,
        asked: Asked,
        parts: Sequence[Part],
        only: Only | None = None,
        joined: Joined | None = None,
    ) -> None:
        """`fact_cost_raw` under another name, with lines that are alike in one row; see `lake/alike.py`."""

        def grouped(files: DeliveredFiles, through: Lens, period_start: date) -> exp.Query:
            in_one = self.engine.reads_elsewhere
            return alike(files, through, period_start, asked, parts, only=only, joined=joined, in_one=in_one)

        self._lines(name, grouped, f"*, 1 AS {COUNT}", joined[1] if joined else None)

    def bare_lines(self, columns: Sequence[str], name: str = "bare_lines") -> None:
        """`bare_lines`: these columns of the lines that can be booked, read without the lens."""
        self._lines(name, lambda files, through, _: bare(files, through, columns))

    def _lines(
        self,
        name: str,
        query_of: LensQuery,
        of_typed: str = "*",
        join: Callable[[exp.Subquery, Collection[str]], exp.Select] | None = None,
    ) -> None:
        found = self._live("fact_cost_raw")
        self._hold_to_read(found)
        self._require_apart()
        self.paths[name] = [file.path for file in found]
        typed = over_files(FACT_COST_RAW, [file.path for file in found if not file.lens])
        queries = [
            Written(
                f"SELECT {of_typed} FROM ({typed.text})",
                lambda: exp.select(*of_typed.split(", ")).from_(typed.tree().subquery("typed")),
            )
        ]
        if join is not None:
            make_typed, names = queries[0].tree, [column for column, _ in FACT_COST_RAW]
            queries = [statements.written(lambda: join(make_typed().subquery("typed"), names))]
        for files in _deliveries(found):
            through = Lens.from_json(files[0].lens)
            kept_bytes = kept_delivery(self.con, files, through)
            make = partial(query_of, kept_bytes, through, files[0].period_start)
            queries.append(statements.written(make))
        view(self.engine, name, written_by_name(queries))

    def _require_apart(self) -> None:
        """Delivered bytes are read by an engine in a process of its own, and by no other."""
        if not self.engine.is_apart:
            raise AssertionError("delivered bytes are read by `Books.lines`")

    def _line_pool(self) -> None:
        found = self._live("fact_cost_raw", reads=False)  # what was measured stands in their rows
        self._hold(verify(found, digests=self.digests))
        pools.provide(self.engine, found)

    def _hold_to_read(self, found: Sequence[LiveFile]) -> None:
        if not self.engine.reads_elsewhere and any(file.elsewhere for file in found):
            raise AssertionError("an outline is read where its object lies")
        self._hold(verify(found, digests=self.digests))

    def _hold(self, held: Held) -> None:
        self.engine.relies_on(lambda: require_same(held))

    def _question(self, name: str) -> None:
        self.provide(QUESTIONS[name])
        view(self.engine, name, statements.parsed(name))

    def _missing_tenant_tags(self) -> None:
        from cops_dagster.lake import tag_columns

        self.provide(["fact_cost_tagged"])
        asked, only = tag_columns.asked_of_missing(self.tags), tag_columns.is_missing(self.tags)
        self.alike_lines("missing_lines", asked, ("plain", "single"), only)
        tag_columns.provide_cost_lines(
            self.engine, self.tags, inherit=False, name="missing_cost_lines", of="missing_lines"
        )
        view(self.engine, MISSING_TAGS, statements.parsed(MISSING_TAGS))

    def _cur_billing_master(self, name: str) -> None:
        head, delivery = t.cur_billing_head, t.cur_delivery
        query = (
            sa.select(head.c.location_json, delivery)
            .join(delivery, delivery.c.delivery_id == head.c.delivery_id)
            .order_by(head.c.period_start, head.c.source_id)
        )
        if self.period_start is not None:
            query = query.where(head.c.period_start == self.period_start)
        queries: list[exp.Query] = [empty(CUR_BILLING_MASTER)]
        whole = not self.engine.reads_elsewhere
        held = kept(self.con, self._volume(), self.period_start, whole=whole)
        for row in self.con.execute(query):
            self._require_apart()
            if files := held.get(row.delivery_id):
                self._hold_to_read(files)
                self.paths.setdefault(name, []).extend(file.path for file in files)
                queries.append(master_query(kept_delivery(self.con, files, Lens.from_json(files[0].lens))))
                continue
            conversions = t.cur_read_file
            converted = self.con.execute(
                sa.select(conversions).where(conversions.c.delivery_id == row.delivery_id)
            ).all()
            found = DeliveredFiles.recorded(row, self.settings.home, converted)
            found.verify_unchanged()
            if whole:
                fetch_whole(self.settings.home, found.reading)
            self._hold_to_read(delivered_files(self.con, self.settings.home, found))
            self.paths.setdefault(name, []).extend(found.reading)
            queries.append(master_query(found))
        view(self.engine, name, union_by_name(queries))

    def _admin_table(self, name: str) -> None:
        table = t.metadata.tables[name]
        rows = [tuple(row) for row in self.con.execute(sa.select(table))]
        self.engine.table(name, admin_columns(table), rows)

    def _admin_view(self, name: str) -> None:
        # the admin database evaluates its own view; the base table gives the column types
        spelled = next(view for view in t.VIEWS if view.lower() == name)
        base = t.metadata.tables[t.VIEW_OF[spelled]]
        result = self.con.execute(
            sa.text(t.VIEWS[spelled]).columns(
                *[column for column in base.columns if _in_view(spelled, column)]
            )
        )
        columns = [pair for pair in admin_columns(base) if _in_view(spelled, base.c[pair[0]])]
        self.engine.table(name, columns, [tuple(row) for row in result])

    def _usage_view(self, name: str) -> None:
        measure = name.removeprefix("tenant_").removesuffix("_usage")
        self.provide(["tenant_usage"])
        query = (
            exp.select("period_start", "tenant_id", "value", "refreshed_at")
            .from_(exp.to_table("tenant_usage"))
            .where(exp.column("measure").eq(exp.Literal.string(measure)))
        )
        view(self.engine, name, query)

    def _measures(self) -> list[str]:
        return list(self.con.execute(sa.select(t.tenant_usage.c.measure).distinct()).scalars())


def lake_query(con: sa.Connection, name: str, found: Sequence[LiveFile]) -> exp.Query:
    """A lake table over exactly these files: rows that COPS wrote, and delivered bytes through the lens."""
    typed = [file.path for file in found if not file.lens]
    queries = [empty(LAKE_TABLES[name]), *([read_parquet(typed)] if typed else [])]
    for files in _deliveries(found):
        queries.append(_through(name, tuple(files), _columns(con, files[0])))
    return union_by_name(queries)


def _written(con: sa.Connection, name: str, found: Sequence[LiveFile]) -> Written:
    """The same for DuckDB."""
    typed = over_files(LAKE_TABLES[name], [file.path for file in found if not file.lens])
    kept_bytes = [_lens(name, tuple(files), _columns(con, files[0])) for files in _deliveries(found)]
    return written_by_name([typed, *kept_bytes])


def _deliveries(found: Sequence[LiveFile]) -> list[list[LiveFile]]:
    """Kept bytes by the run that published them."""
    by_run: dict[str, list[LiveFile]] = {}
    for file in found:
        if file.lens:
            by_run.setdefault(file.run_id, []).append(file)
    return list(by_run.values())


@lru_cache(maxsize=16)
def _lens(name: str, files: tuple[LiveFile, ...], columns: str) -> Written:
    """The lens over one delivery as text: five steps of a month ask it, and it takes 0.1 s to write."""
    return statements.written(lambda: _through(name, files, columns))


def _through(name: str, files: tuple[LiveFile, ...], columns: str) -> exp.Query:
    lens_of = Lens.from_json(files[0].lens)
    return LENS[name](_kept(files, lens_of, columns), lens_of, files[0].period_start)


def _columns(con: sa.Connection, file: LiveFile) -> str:
    """The columns of the delivery that a kept file is of, as recorded."""
    delivery = t.cur_delivery
    found = sa.select(delivery.c.columns_json).where(delivery.c.delivery_id == file.delivery_id)
    return str(con.execute(found).scalar_one())


def kept_delivery(con: sa.Connection, files: Sequence[LiveFile], through: Lens) -> DeliveredFiles:
    """One delivery's kept bytes with the columns that they have."""
    return _kept(files, through, _columns(con, files[0]))


def _kept(files: Sequence[LiveFile], through: Lens, columns: str) -> DeliveredFiles:
    return DeliveredFiles(
        str(files[0].delivery_id),
        files[0].source_id,
        through.columns_of(schema.from_json(columns)),
        tuple(file.path for file in files),
        tuple(file.size_bytes for file in files),
        tuple(file.mtime_ns for file in files),
    )


def _in_view(spelled: str, column: sa.Column[Any]) -> bool:
    return not spelled.startswith("expected_") or column.name in {"column_name", "data_type", "required"}
