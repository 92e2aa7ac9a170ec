"""The conformance list asked of DuckDB, of Trino and of Athena's protocol, and the table that says so.

`python -m cops_dagster_tests.engines.conformance` writes the table into docs/scale.md; `make test-trino`
holds it. Belongs here: asking and comparing. Does not belong here: what is asked (`told.py`, `recorded.py`).
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake import footers, functions, opened
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Engine
from cops_dagster.ledger.books import Books
from cops_dagster_tests import remembered
from cops_dagster_tests.engines import told
from cops_dagster_tests.engines.both import in_order
from cops_dagster_tests.engines.doubles import hard_doubles
from cops_dagster_tests.engines.recorded import SQL, Case, Recorder, recording

DOC = Path(__file__).parents[2] / "docs/scale.md"
BEGIN, END = "<!-- conformance: begin -->\n", "<!-- conformance: end -->\n"
ENGINES = ("trino", "athena")
WORDING = ("quarantine_reason",)
"""Columns of evidence for people, which each engine words: a double's text is another."""
TEXTS = (
    "", " ", ".5", "5.", "1,5", "1E+2", "5E2", "1e-19", " 1", "1 ", "+1", "-.5", "NaN", "-inf", "Infinity",
    "1\n", "1.123456789012345678", "1.1234567890123456789", "12345678901234567890", "123456789012345678901",
    "1e20", "1e400", "0.1000000000000000000000", "1.50e-3", "0x1", "１", "2025-09-01T00:00:00Z",
    "2025-09-01 00:00:00.123456Z", "2025-09-01T00:00:00+02:00", "2025-09-01T00:00:00-0530",
    "2025-09-01T23:59:59.5+02", "2025-09-01T00:00:00", "2025-02-30T00:00:00Z", "2025-09-01T25:00:00Z",
    "2025-09-01T00:00:00Z\n", "Hrs", "hours", "second", "GB-Mo", "vCPU-Hours", "LCU-Hrs", "ACU-Hr",
    "GB-Hour", "Requests", "10K Requests", "Lambda-GB-Second", "Sign up charge for subscription: 1",
    "One-time fee for Savings Plan x", "upfront fee", "USD 0.1 hourly fee per Linux", "No Upfront",
    "arn:aws:savingsplans::1:savingsplan/x", "arn:aws:ec2:eu-central-1:1:reserved-instances/r",
    "arn:aws:rds:eu:1:ri:x", "\u00a0acme\u2003", "\tacme", "ÀÉİ", "e\u0301", "o'?", "x" * 300,
)  # fmt: skip
"""Texts that engines read otherwise."""
ZONED = (
    "2025-09-01T00:00:00+00:00", "2025-09-01T00:00:00+02:00", "2025-09-01T00:00:00.500000-05:30",
    "2025-09-01T23:59:59.123456+00:00", "1969-12-31T23:59:59.000001+00:00", None,
)  # fmt: skip
"""Times with a zone, which a column holds as instants."""
OF_DOUBLES = ("EXACT_USD", "CARRIED_USD", "IS_EXACT_USD", "DOUBLE_FAULT", "IS_FINITE", "DOUBLE_TEXT")


@dataclass
class Line:
    """What was compared of one name.

    Attributes:
        rows: of DuckDB, over all cases.
        wrong: by engine, what differs or was refused; empty if nothing.
    """

    name: str
    cases: int
    rows: int
    wrong: dict[str, str]


def every_statement() -> list[str]:
    """The names of `sql/`."""
    return sorted(path.relative_to(SQL).with_suffix("").as_posix() for path in SQL.rglob("*.sql"))


def recorded(folder: Path) -> Recorder:
    """The list, its rows below a folder."""
    made = Recorder(folder / "rows")
    made.folder.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        # a month that is copied from the one of before asks nothing
        patched.setattr(remembered, "run", lambda books, period, acts: acts(books, period))
        with recording(made):
            told.live(folder / "life")
    made.cases |= {case.name: [case] for case in of_functions(made.folder)}
    return made


def of_functions(folder: Path) -> Iterator[Case]:
    """Every function of the package, and what a dialect writes otherwise, over hard values."""
    doubles, texts, times = (folder / f"{name}.parquet" for name in ("doubles", "texts", "times"))
    zoned = pa.array([one and datetime.fromisoformat(one) for one in ZONED], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"n": list(range(len(ZONED))), "x": zoned}), times)
    with DuckDB() as engine:
        engine.table("d", [("n", "BIGINT"), ("x", "DOUBLE")], enumerate(hard_doubles(2000)))
        engine.stage(exp.select("*").from_("d"), doubles)
        engine.table("t", [("n", "BIGINT"), ("x", "VARCHAR")], enumerate([*TEXTS, None]))
        engine.stage(exp.select("*").from_("t"), texts)
    x, n = exp.column("x"), exp.column("n")
    of: dict[str, exp.Expr] = {name: functions.call(name, x) for name in functions.FUNCTIONS}
    of |= {name: exp.func(name, x.copy()) for name in ("TRIM", "LOWER", "LENGTH")}
    of["TIME_TEXT"] = functions.call("TIME_TEXT", functions.call("UTC_TIME", x))  # of a time, not of a text
    # Java writes 5e-324 as 4.9E-324, with two digits at least
    usual = sqlglot.parse_one("CASE WHEN x = 0 OR NOT ABS(x) < 1e-300 THEN x END")
    of["DOUBLE_TEXT"] = functions.call("DOUBLE_TEXT", usual)
    several = exp.Anonymous(this=functions.ROW_HASH, expressions=[n.copy(), x.copy()])
    of[functions.ROW_HASH] = exp.func("SIGN", several)
    of["concat_ws"] = functions.joined("; ", [x, exp.func("NULLIF", x.copy(), exp.Literal.string("")), x])
    of["CONCAT"] = exp.func("CONCAT", exp.Literal.string("a"), x.copy(), exp.Literal.string("b"))
    trees = {name: exp.select("n", exp.alias_(value, "y")).from_("given") for name, value in of.items()}
    whole = exp.Anonymous(this=functions.READ_WHOLE, expressions=[n.copy(), x.copy()])
    trees[functions.READ_WHOLE] = exp.select(exp.alias_(whole.is_(exp.null()), "y")).from_("given")
    for name, tree in trees.items():
        given = times if name == "ZONED_TEXT" else doubles if name in OF_DOUBLES else texts
        yield Case(f"{name}(…)", tree, {}, {"given": given})


def compared(made: Recorder, books: Books) -> list[Line]:
    """Every case on every engine, held against DuckDB row by row.

    Args:
        books: their settings say where Trino is; the environment where Athena is.
    """
    found = []
    with (
        opened.apart(books.settings, books.admin, None) as beside,
        DuckDB() as duck,
        opened.scanning(_on(books, "trino"), beside, "conformance") as trino,
        opened.scanning(_on(books, "athena"), beside, "conformance") as athena,
    ):
        athena._files = trino._files  # type: ignore[attr-defined]  # what one declared, the other reads
        for name, cases in sorted(made.cases.items()):
            line = Line(name, len(cases), 0, {})
            for case in cases:
                ours = _asked(duck, case)
                line.rows += len(ours)
                for engine, other in zip(ENGINES, (trino, athena), strict=True):
                    if difference := _difference(ours, case, other):
                        line.wrong[engine] = difference
            found.append(line)
    return found


def _on(books: Books, engine: str) -> Any:
    return books.settings.model_copy(update={"engine": engine})


def _difference(ours: list[list[str]], case: Case, engine: Engine) -> str:
    try:
        theirs = _asked(engine, case)
    except CopsError as refused:
        return str(refused)[:600]
    if ours == theirs:
        return ""
    pairs = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]][:2]
    return f"{len(ours)} and {len(theirs)} rows: {pairs}"


def _asked(engine: Engine, case: Case) -> list[list[str]]:
    for name, path in case.relations.items():
        engine.view(name, exp.select("*").from_(footers.parquet([path])))
    rows = engine.fetch(case.tree.copy(), dict(case.params))
    compared_ = [at for at, column in enumerate(rows.columns) if column.lower() not in WORDING]
    if functions.READ_WHOLE in case.tree.sql() and not case.name.endswith("(…)"):
        return [[str(len(rows.rows))]]  # only that it answers means anything
    return in_order([tuple(row[at] for at in compared_) for row in rows.rows])


def table(lines: Iterable[Line]) -> str:
    """The table of docs/scale.md: trees as one line, each statement and function as its own."""
    given = list(lines)
    trees = [line for line in given if line.name.startswith("tree ")]
    rest = [line for line in given if not line.name.startswith("tree ")]
    rows = [_row(f"`{line.name}`", [line]) for line in rest]
    rows.append(_row(f"{len(trees)} generated trees", trees))
    head = "| statement or function | cases | rows | Trino | Athena's protocol |\n"
    return head + "| --- | ---: | ---: | --- | --- |\n" + "".join(rows)


def _row(name: str, lines: list[Line]) -> str:
    said = ["differs" if any(engine in one.wrong for one in lines) else "equal" for engine in ENGINES]
    counts = f"{sum(one.cases for one in lines)} | {sum(one.rows for one in lines):,}"
    return f"| {name} | {counts} | {said[0]} | {said[1]} |\n"


def written() -> str:
    """The table that stands in docs/scale.md."""
    return DOC.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]


def main() -> None:
    """Compares, and writes the table."""
    os.environ["COPS_TEST_TRINO"] = "1"
    os.environ["COPS_TEST_WRITE_CONFORMANCE"] = "1"
    here = Path(__file__).with_name("test_conformance.py")
    with tempfile.TemporaryDirectory() as folder:
        raise SystemExit(pytest.main([str(here), "--basetemp", f"{folder}/t", "-k", "every_statement"]))


def write(text: str) -> None:
    """Puts the table into its place."""
    said = DOC.read_text(encoding="utf-8")
    DOC.write_text(
        re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}{text}{END}", said, flags=re.DOTALL), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
