"""One flipped bit in any kept or stored file is found before it is summed.

300 flips with COPS_TEST_EVERY_POINT=1, as many as fit a quick run otherwise.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cops_dagster.allocation import checks as judge
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import checks, ingest
from cops_dagster.lake import live
from cops_dagster.ledger.books import Books
from cops_dagster.reports import sql
from cops_dagster.tagging import checks as judge_tagged
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, run
from cops_dagster_tests.ingestion.catalogue import flip
from cops_dagster_tests.layouts import LAYOUTS

FLIPS = 300 if os.environ.get("COPS_TEST_EVERY_POINT") else 24
MADE = (checks.raw, judge_tagged.tagged, judge.allocated)
TABLES = ("cur_billing_master", "fact_cost_raw", "fact_cost_tagged", "fact_cost_allocated")


def files(folder: Path) -> list[Path]:
    """Every file that is read: converted, kept, stored. AWS's own is not, once it is kept."""
    places = [folder / "home" / "converted"]
    places += [folder / "home" / "lake" / name for name in TABLES[1:]]
    found = [path for place in places if place.exists() for path in place.rglob("*") if path.is_file()]
    return sorted(path for path in found if path.suffix in (".parquet", ".gz", ".zip"))


def found_by(books: Books, path: Path) -> list[str]:
    """Who notices: a question with --verify, the checks, a run that reads the file again."""
    asked = [
        (f"--verify {name}", partial(sql.ask, books, f"SELECT COUNT(*) FROM {name}", {}, verify=True))
        for name in TABLES
    ]
    judged = [(judge_of.__name__, partial(judge_of, books, SEPTEMBER)) for judge_of in MADE]
    return [name for name, act in (*asked, *judged) if code(act, path) == "E-DIGEST"]


def code(act: Callable[[], object], path: Path) -> str | None:
    """What an act is refused with that sees the file for the first time."""
    live.forget([path])
    try:
        act()
    except CopsError as refusal:
        return refusal.code
    return None


@pytest.mark.long
@pytest.mark.parametrize(
    "layout",
    [
        "legacy parquet, create new version",
        pytest.param("data exports csv gzip, overwrite", marks=pytest.mark.long),
    ],
)
def test_every_flipped_bit_is_found(layout: str, tmp_path: Path) -> None:
    table = lines(MONTH)
    LAYOUTS[layout](tmp_path / "cur", [table.slice(0, 3), table.slice(3)], SEPTEMBER, "a1")
    books = home(tmp_path)
    run(books)
    chosen = random.Random(7)
    candidates = files(tmp_path)
    assert len({path.parent.parent for path in candidates}) >= 3
    for _ in range(FLIPS // 2):
        path = chosen.choice(candidates)
        at, bit = chosen.randrange(path.stat().st_size), chosen.randrange(8)
        flip(path, at, bit)
        assert found_by(books, path), f"bit {bit} of byte {at} in {path.name}"
        flip(path, at, bit)
        live.forget([path])
    assert found_by(books, candidates[0]) == []


def test_a_bit_flipped_between_first_sight_and_ingestion_is_never_summed(tmp_path: Path) -> None:
    from cops_dagster.ingestion import look

    folder = LAYOUTS["legacy parquet, overwrite"](tmp_path / "cur", [lines(MONTH)], SEPTEMBER, "a1")
    books = home(tmp_path)
    look.look(books, SEPTEMBER)
    (path,) = folder.glob("*.parquet")
    flip(path, path.stat().st_size // 2)
    live.forget([path])
    with pytest.raises(CopsError, match="E-DIGEST"):
        ingest.ingest(books, SEPTEMBER)
    flip(path, path.stat().st_size // 2)
    run(books)
