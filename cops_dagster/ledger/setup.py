"""The first day: the files that a new user starts from, and whether everything that is set can be reached.

Belongs here: writing what is not there yet, asking each store once. Does not belong here: asking people
(`cli/setup.py`) and what the files mean (`settings.py`, `ledger/load.py`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cops_dagster.errors import CopsError
from cops_dagster.ledger import places
from cops_dagster.ledger.books import Books
from cops_dagster.stores.objects import open_objects

INPUTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "plans": (("plan_id", "effective_from", "markup_bps"), ("standard", "{first}-01", "0")),
    "tenants": (("tenant_id", "name", "plan_id", "active_from"),),
    "allocation_rules": (
        (
            "rule_id", "version", "effective_from", "priority", "match_service", "match_charge_class",
            "method", "key_name", "shares", "on_zero_key", "approved_by",
        ),
        ("by_direct_cost", "1", "{first}-01", "100", "", "", "proportional_cost", "", "", "hold", "{actor}"),
    ),
}  # fmt: skip
"""Default inputs: one plan without markup, no tenant yet, one rule that splits every pool by direct cost."""


@dataclass(frozen=True)
class Reached:
    """One thing that is set, and whether it answers."""

    what: str
    is_good: bool
    found: str
    next_step: str = ""


def write_config(path: Path, *, cur: str, home: str, actor: str, first_period: str | None) -> bool:
    """Writes `cops.toml` unless there is one."""
    lines = [
        "# Settings of COPS; the README lists all. Secrets stand in the environment, never here.",
        f"cur = {json.dumps(cur, ensure_ascii=False)}",
        f"home = {json.dumps(home, ensure_ascii=False)}",
        f"actor = {json.dumps(actor, ensure_ascii=False)}",
    ]
    if first_period:
        lines.append(f"first_period = {json.dumps(first_period)}")
    return _write(path, "\n".join(lines) + "\n")


def write_inputs(folder: Path, *, first_period: str, actor: str) -> list[Path]:
    """Writes default plans, tenants and rules as CSV; those that are there already stay as they are."""
    written = []
    for name, rows in INPUTS.items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            [cell.format(first=first_period, actor=actor) for cell in row] for row in rows
        )
        if _write(folder / f"{name}.csv", text.getvalue()):
            written.append(folder / f"{name}.csv")
    return written


def reach(books: Books) -> list[Reached]:
    """Asks the report roots, the lake and the evidence store, each once; nothing is written there."""
    found = [
        _asked("admin database", lambda: _database(books)),
        _asked("report roots", lambda: _roots(books)),
    ]
    place = books.lake.place
    if place is not None:
        found.append(_asked("lake", lambda: _listed(place.uri(""), list(place.listed("")))))
    evidence = books.settings.evidence_uri
    found.append(
        _asked("evidence", lambda: f"{evidence}: {len(open_objects(evidence).anchors())} closed month(s)")
    )
    return found


def _database(books: Books) -> str:
    with books.admin.read():
        return books.admin.engine.url.render_as_string(hide_password=True)


def _roots(books: Books) -> str:
    if not books.settings.report_roots:
        raise CopsError(
            "E-SOURCE-UNKNOWN", "report roots", expected="where AWS delivers the report", found="none is set",
            next_step="set cur in cops.toml, such as s3://bucket/prefix or a folder",
        )  # fmt: skip
    lying = places.lying(books)
    if lying.unreachable:
        raise next(iter(lying.unreachable.values()))
    months = sorted((place.month for place in lying.places), key=lambda month: month.period)
    if not months:
        return "no delivery yet"
    sources = {month.source_id for month in months}
    return f"{months[0].period} to {months[-1].period} from {len(sources)} source(s)"


def _listed(place: str, names: list[str]) -> str:
    return f"{place}: {'in use' if names else 'empty'}"


def _asked(what: str, ask: Callable[[], str]) -> Reached:
    try:
        return Reached(what, True, ask())
    except CopsError as problem:
        return Reached(what, False, f"{problem.code}: {problem.found}", problem.next_step)


def _write(path: Path, text: str) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError:
        return False
    return True
