"""The first day: the files that a new user starts from, and whether everything that is set can be reached.

Belongs here: writing what is not there yet, asking each store once. Does not belong here: asking people
(`cli/init.py`) and what the files mean (`settings.py`, `inputs/load.py`).
"""

from __future__ import annotations

import io
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.cur import formats, layout
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import misplaced, places
from cops_dagster.ingestion.places import Root
from cops_dagster.lake.convert import header_names
from cops_dagster.lake.footers import inspect
from cops_dagster.ledger.books import Books
from cops_dagster.settings import Settings
from cops_dagster.settings_places import is_s3
from cops_dagster.stores import csv_cells
from cops_dagster.stores import tables as t
from cops_dagster.stores.places import open_objects

TAGS_SHOWN = 8
"""Delivered tags that are named when none comes near: a real month may have hundreds."""

SINCE = "2000-01-01"
"""From when the default plan and rule hold: the oldest month there can be, so that history that is copied in
later has a rule too. A rule cannot be given an earlier date once it was used."""
INPUTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "plans": (("plan_id", "effective_from", "markup_bps"), ("standard", SINCE, "0")),
    "tenants": (("tenant_id", "name", "plan_id", "active_from"),),
    "allocation_rules": (
        (
            "rule_id",
            "version",
            "effective_from",
            "priority",
            "match_service",
            "match_charge_class",
            "method",
            "key_name",
            "shares",
            "on_zero_key",
            "approved_by",
        ),
        ("by_direct_cost", "1", SINCE, "100", "", "", "proportional_cost", "", "", "hold", "{actor}"),
    ),
}
"""Default inputs: one plan without markup, no tenant yet, one rule that splits every pool by direct cost."""


@dataclass(frozen=True)
class Reached:
    """One thing that is set, and whether it answers."""

    what: str
    is_good: bool
    found: str
    next_step: str = ""


def write_config(
    path: Path, given: Mapping[str, str], *, tenant_tag: str | None = None, has_plan_tag: bool = True
) -> bool:
    """Writes settings into `cops.toml`, or adds those that an existing one lacks; whether it changed.

    What stands in the file stays: settings go above it, a section below.

    Args:
        has_plan_tag: a delivered tag names the plan by its default name; without one no line has to.

    Raises:
        CopsError: `E-SETTING` when the file sets one of them to something else, or is no TOML.
    """
    there = path.read_text(encoding="utf-8") if path.is_file() else None
    try:
        stands = tomllib.loads(there or "")
    except (ValueError, RecursionError) as problem:
        raise _other_value(path, "", "TOML", str(problem)) from None
    for name, value in given.items():
        if stands.get(name, value) != value:
            raise _other_value(path, name, json.dumps(value, ensure_ascii=False), repr(stands[name]))
    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}"
        for name, value in given.items()
        if name not in stands
    ]
    section = []
    if tenant_tag and "tags" not in stands:
        section = ["", "[tags]", f"tenant_id = {json.dumps([tenant_tag])}"]
        if not has_plan_tag:  # else every line would lack one, and coverage be 0 %
            section.append("plan_id = []")
    if there is None:
        lines.insert(
            0,
            "# Settings of COPS; all: `cops docs settings`. Secrets stand in the environment, never here.",
        )
        if "cur" not in given:
            lines.append('# cur = "s3://bucket/prefix"   where AWS delivers the report: this, or a folder')
    if not lines and not section:
        return False
    whole = ["\n".join(lines), (there or "").strip("\n"), "\n".join(section).strip("\n")]
    unfinished = path.with_name(f".{path.name}.partial")
    unfinished.write_text("\n\n".join(part for part in whole if part) + "\n", encoding="utf-8")
    unfinished.replace(path)
    return True


def _other_value(path: Path, name: str, expected: str, found: str) -> CopsError:
    return CopsError(
        "E-SETTING",
        f"{path}{f', setting {name}' if name else ''}",
        expected=expected,
        found=found,
        next_step=f"edit {path}, or leave the option out",
    )


def write_inputs(folder: Path, *, actor: str) -> list[Path]:
    """Writes default plans, tenants and rules as CSV; those that are there already stay as they are."""
    written = []
    for name, rows in INPUTS.items():
        text = io.StringIO()
        header, *lines = [[cell.format(actor=actor) for cell in row] for row in rows]
        csv_cells.write(text, header, lines)
        if _write(folder / f"{name}.csv", text.getvalue()):
            written.append(folder / f"{name}.csv")
    return written


def has_rules(books: Books) -> bool:
    """Whether a rule was loaded: then nobody needs default inputs any more."""
    with books.admin.read() as con:
        return con.execute(sa.select(t.allocation_rules.c.rule_id).limit(1)).first() is not None


def reach(books: Books) -> list[Reached]:
    """Asks every report root, the lake and the evidence store, each once; nothing is written there.

    Of the newest delivery in a folder one file is read, as a run reads it.
    """
    found = [_asked("admin database", lambda: _database(books))]
    for name, root in books.settings.named_roots:
        found.append(_asked("report root", partial(_root, books, name, root)))
    if not books.settings.report_roots and (own := handed_over(books.settings)):
        found.append(Reached("report root", True, f"none is set; `cops deliver` took {own} month(s)"))
    elif not books.settings.report_roots:
        found.append(
            Reached(
                "report root",
                False,
                "none is set",
                'write cur = "s3://bucket/prefix" or a folder into cops.toml, or: cops init --cur FOLDER',
            )
        )
    place = books.lake.place
    if place is not None:
        found.append(_asked("lake", lambda: _listed(place.uri(""), list(place.listed("")))))
    evidence = books.settings.evidence_uri
    found.append(
        _asked("evidence", lambda: f"{evidence}: {len(open_objects(evidence).anchors())} closed month(s)")
    )
    return found


def handed_over(settings: Settings) -> int:
    """How many months of files `cops deliver` took."""
    own = settings.deliveries_root
    return len({path.name for path in own.glob("*/*") if path.is_dir()}) if own.is_dir() else 0


def tag_question(mapped: Sequence[str], delivered: Sequence[str]) -> Reached | None:
    """What to ask when a delivery has tags, and none of those that are to name the tenant; else `None`."""
    if not delivered or set(mapped) & set(delivered) or not mapped:
        return None
    near = [name for wanted in mapped for name in get_close_matches(wanted, delivered, n=2)]
    likely = near or sorted(delivered)[:TAGS_SHOWN]
    shown = ", ".join(likely)
    return Reached(
        "tags",
        False,
        f"no delivery has {', '.join(mapped)}; {'near' if near else 'delivered'}: {shown}",
        f'say in cops.toml which tag names the tenant: [tags] tenant_id = ["{likely[0]}"]',
    )


def delivered_tags(books: Books) -> list[str]:
    """Tags on resources that the newest delivery in a folder carries, as `[tags]` names them.

    Of a report in S3 nothing is known before its first run: its files are not fetched for a question.
    """
    folders = [one for one in books.settings.named_roots if not is_s3(one[1])]
    if handed_over(books.settings):
        folders.append(("", str(books.settings.deliveries_root)))
    newest = [_newest(places.opened(books.settings, name, place)) for name, place in folders]
    found = max((one for one in newest if one), key=lambda one: one.period, default=None)
    prefix = "resource_tags_"
    names = _columns(books, found) if found else []
    return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def _newest(root: Root) -> layout.Delivered | None:
    for month in reversed(root.months()):
        newest = layout.find(root.folder, month).newest
        if newest:
            return newest
    return None


def _columns(books: Books, delivered: layout.Delivered) -> list[str]:
    """Column names of a delivery's first file, under Athena names."""
    path, subject = Path(delivered.files[0].path), f"delivery {delivered.source_id} {delivered.period}"
    with path.open("rb") as stream:
        head = stream.read(formats.HEAD_BYTES)
    kind = formats.check(head, delivered.files[0].size, path.name, delivered.compression, subject=subject)
    if kind != "parquet":
        return header_names(path, kind, subject=subject)
    with books.reader(subject, [path], books.settings.converted_root) as engine:
        columns, _ = inspect(engine, [path], subject=subject)
    return list(columns)


def _database(books: Books) -> str:
    with books.admin.read():
        return books.admin.engine.url.render_as_string(hide_password=True)


def _root(books: Books, name: str, place: str) -> str:
    root = places.opened(books.settings, name, place)
    months = root.months()
    if not months:
        said = misplaced.misplaced(root)
        if said:
            raise CopsError(
                "E-SOURCE-UNKNOWN",
                f"report root {place}",
                expected="the folder above the months' folders",
                found=said[0],
                next_step=said[1],
            )
        return f"{place}: no delivery yet"
    newest = _newest(root)
    if newest is None:
        refusals = layout.find(root.folder, months[-1]).refusals
        if refusals:
            raise refusals[0]
    elif not is_s3(place):
        _columns(books, newest)
    sources = {month.source_id for month in months}
    return f"{place}: {months[0].period} to {months[-1].period} from {len(sources)} source(s)"


def _listed(place: str, names: list[str]) -> str:
    return f"{place}: {'in use' if names else 'empty'}"


def _asked(what: str, ask: Callable[[], str]) -> Reached:
    try:
        return Reached(what, True, ask())
    except CopsError as problem:
        return Reached(what, False, f"{problem.code}: {problem.subject}: {problem.found}", problem.next_step)
    except OSError as problem:
        return Reached(
            what, False, f"{problem.filename}: {problem.strerror}", "correct the path, or the rights on it"
        )


def _write(path: Path, text: str) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError:
        return False
    return True
