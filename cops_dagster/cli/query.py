"""`cops sql`: one SELECT over everything, read-only, results exact."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer


def sql(
    file: Annotated[Path | None, typer.Argument(help="File with one SELECT.")] = None,
    q: Annotated[str | None, typer.Option("-q", help="The SELECT itself.")] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="name=value; 2025-09 and dates bind as DATE.")
    ] = None,
    format: Annotated[  # noqa: A002  the option is named --format
        Literal["table", "csv", "json"], typer.Option(help="How to print rows.")
    ] = "table",
    as_of: Annotated[str | None, typer.Option(help="Run id: as the ledger was after that run.")] = None,
    verify: Annotated[bool, typer.Option(help="Digest every file before it is read.")] = False,
) -> None:
    """Run exactly one SELECT over the ledger, the deliveries and the admin tables."""
    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.errors import CopsError
    from cops_dagster.ledger import ask
    from cops_dagster.ledger.books import require_books

    if (file is None) == (q is None):
        raise CopsError(
            "E-PARAM", "query", expected="a FILE or -q SQL", found="both" if file else "neither",
            next_step="give one of them",
        )  # fmt: skip
    text = q if q is not None else _read(file)
    answer = ask.ask(
        require_books(settings.current()), text, ask.parameters(param or []), as_of=as_of, verify=verify
    )
    if answer.hint:
        output.say(answer.hint)
    if format == "json":
        output.as_json(answer.rows.dicts())
    elif format == "csv":
        _csv(answer.rows.columns, answer.rows.rows)
    else:
        numbers = [
            name
            for index, name in enumerate(answer.rows.columns)
            if any(not isinstance(row[index], (str, type(None), bool)) for row in answer.rows.rows[:50])
        ]
        output.table("", list(answer.rows.columns), answer.rows.rows, right=numbers)


def _read(path: Path | None) -> str:
    from cops_dagster.errors import CopsError

    try:
        return (path or Path()).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise CopsError(
            "E-FILE", f"file {path}", expected="a readable text file with one SELECT",
            found=type(problem).__name__, next_step="check the path",
        ) from None  # fmt: skip


def _csv(columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """CSV for spreadsheets: text that a spreadsheet would run as a formula is prefixed, numbers are not."""
    import csv
    from decimal import Decimal

    from cops_dagster.money import amount

    def cell(value: object) -> object:
        if isinstance(value, Decimal):
            return amount.plain(value)
        if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
            return f"'{value}"
        return value

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
