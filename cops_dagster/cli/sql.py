"""`cops sql`: one SELECT over everything, read-only, results exact."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

_LENGTH_MAX = 1 << 20
"""Characters of a query; the longest diagnostic has a few thousand."""


def sql(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE|@NAME", help="File with one SELECT, or @NAME of a diagnostic; @ lists them."
        ),
    ] = None,
    q: Annotated[str | None, typer.Option("-q", help="The SELECT itself.")] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="name=value; 2025-09 and dates bind as DATE.")
    ] = None,
    format: Annotated[  # noqa: A002  the option is named --format
        Literal["table", "csv", "json"], typer.Option(help="How to print rows.")
    ] = "table",
    as_of: Annotated[str | None, typer.Option(help="Run id: as the ledger was after that run.")] = None,
    verify: Annotated[bool, typer.Option(help="Digest every file before it is read.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Run exactly one SELECT over the ledger, the deliveries and the admin tables."""
    from cops_dagster.reports import sql
    from cops_dagster.stores import csv_cells

    format = "json" if json else format  # noqa: A001
    if (file is None) == (q is None):
        raise CopsError(
            "E-PARAM",
            "query",
            expected="a FILE, @NAME or -q SQL",
            found="both" if file else "neither",
            next_step="give one of them",
        )
    if file == "@":
        _list(format)
        return
    text = q if q is not None else _diagnostic(str(file)) or _read(Path(str(file)))
    answer = sql.ask(desk.books(), text, sql.parameters(param or []), as_of=as_of, verify=verify)
    if answer.hint:
        output.say(answer.hint)
    if format == "json":
        output.as_json(answer.rows.dicts())
    elif format == "csv":
        csv_cells.write(sys.stdout, answer.rows.columns, answer.rows.rows)
    else:
        numbers = [
            name
            for index, name in enumerate(answer.rows.columns)
            if any(not isinstance(row[index], (str, type(None), bool)) for row in answer.rows.rows[:50])
        ]
        output.table("", list(answer.rows.columns), answer.rows.rows, right=numbers)


def _diagnostic(given: str) -> str | None:
    """A diagnostic that came with the package, by its name or by the path it has in a checkout."""
    from cops_dagster import shipped

    known = shipped.diagnostics()
    path = Path(given)
    name = given.removeprefix("@")
    if not given.startswith("@"):
        if path.exists() or path.parts[-3:-1] != ("sql", "diagnostics"):
            return None
        name = path.name
    name = name.removesuffix(".sql")
    if name not in known:
        near = shipped.near(name, known)
        raise CopsError(
            "E-PARAM",
            f"diagnostic @{name}",
            expected=", ".join(f"@{one}" for one in known),
            found=repr(given),
            next_step=f"did you mean `cops sql @{near[0]}`?" if near else "`cops sql @` lists them",
        )
    return known[name].read_text(encoding="utf-8")


def _list(format: str) -> None:  # noqa: A002
    from cops_dagster import shipped
    from cops_dagster.stores import csv_cells

    rows = [(f"@{name}", shipped.first_words(path)) for name, path in shipped.diagnostics().items()]
    if format == "json":
        output.as_json([{"name": name, "answers": text} for name, text in rows])
    elif format == "csv":
        csv_cells.write(sys.stdout, ("name", "answers"), rows)
    else:
        output.table("", ["name", "answers"], rows)


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:  # which may be a pipe, and a device may never end
            text = file.read(_LENGTH_MAX + 1)
        found = f"more than {_LENGTH_MAX} characters" if len(text) > _LENGTH_MAX else ""
    except (OSError, UnicodeDecodeError) as problem:
        found = type(problem).__name__
    if found:
        raise CopsError(
            "E-FILE",
            f"file {path}",
            expected="a readable text file with one SELECT",
            found=found,
            next_step="check the path; `cops sql @` lists what came with COPS",
        )
    return text
