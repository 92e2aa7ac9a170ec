"""`cops docs`: the documents where there is no checkout; it needs no home."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cops_dagster.cli import output
from cops_dagster.errors import CopsError


def docs(
    topic: Annotated[
        str | None, typer.Argument(help="Such as closing; all of them are listed without.")
    ] = None,
    path: Annotated[bool, typer.Option("--path", help="Print where the document lies.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Read a document: formatted on a terminal, as Markdown elsewhere."""
    from cops_dagster import shipped

    topics = shipped.topics()
    if topic is None:
        told = [{"topic": name, "title": shipped.first_words(file)} for name, file in topics.items()]
        if json:
            output.as_json(told)
        else:
            output.table("", ["topic", "what it is"], [list(one.values()) for one in told])
        return
    wanted = topic.lower().removeprefix("docs/").removesuffix(".md")
    file = topics.get(wanted) or topics.get(wanted[:8] if wanted.startswith("adr/") else "")
    if file is None:
        near = shipped.near(wanted, topics)
        raise CopsError(
            "E-PARAM",
            f"topic {topic!r}",
            expected=", ".join(one for one in topics if "/" not in one),
            found=repr(topic),
            next_step=f"did you mean `cops docs {near[0]}`?" if near else "`cops docs` lists them",
        )
    text = file.read_text(encoding="utf-8")
    if json:
        output.as_json({"topic": wanted, "path": str(file), "text": text})
    elif path:
        sys.stdout.write(f"{file}\n")
    elif sys.stdout.isatty():
        _formatted(text)
    else:
        sys.stdout.write(text)


def _formatted(text: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))
