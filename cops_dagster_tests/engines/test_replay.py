"""A month that one engine made and another makes again, from evidence alone, to the digest of its seal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cops_dagster.adjustments import late, restate
from cops_dagster.closing import approve
from cops_dagster.lake.bill import recorded
from cops_dagster.ledger.books import Books
from cops_dagster.stores.places import open_objects
from cops_dagster_tests.adjustments.late_deliveries import somebody_else
from cops_dagster_tests.closing.ready import DOCUMENTS, aged, close_by_two, month
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, acts, home, lines, write
from cops_dagster_tests.engines.left import orphans
from cops_dagster_tests.shown import answer

SEALS = "SELECT period_start, seal_digest FROM period_lock ORDER BY ALL"


def closed(folder: Path, given: dict[str, Any]) -> Books:
    """A September that an engine made and two people closed."""
    write(folder / "cur", [lines(MONTH)])
    aged(folder / "cur")
    books = home(folder, inputs=INPUTS | DOCUMENTS, **given)
    acts(books, SEPTEMBER)
    close_by_two(books)
    return books


def test_a_closed_month_replays_on_another_engine_to_the_digest_of_its_seal(
    given: dict[str, Any], tmp_path: Path
) -> None:
    here, there = closed(tmp_path / "here", {}), closed(tmp_path / "there", given)
    made_here, made_there = (
        restate.replay(tmp_path / "empty", open_objects(books.settings.evidence_uri), SEPTEMBER, on.settings)
        for books, on in ((here, there), (there, here))
    )
    assert made_here.agrees
    assert made_there.agrees
    assert made_here.sealed_digest == made_there.sealed_digest
    assert made_here.entry_count == made_there.entry_count > 0
    replayed = recorded(there.settings.home)[-1]
    assert replayed["engine"] == given["engine"]
    assert "keep tag_groups" in {one["name"] for one in replayed["statements"]}
    assert orphans(there) == []


@pytest.mark.parametrize("engine", ["trino"], indirect=True)
def test_what_came_late_for_a_closed_month_is_made_again_by_the_engine_and_booked(
    given: dict[str, Any], tmp_path: Path
) -> None:
    found = []
    for name, more in (("there", given), ("here", {})):
        books = closed(tmp_path / name, more)
        late_text = MONTH + "Usage AmazonS3 111111111111 acme team api 5\n"
        month(tmp_path / name, late_text, assembly="late")
        acts(books, SEPTEMBER)
        proposed = late.propose(books, SEPTEMBER)
        assert proposed is not None
        approve.approve(somebody_else(books), proposed, reason="looked at it")
        found.append(sorted(map(str, answer(books, "SELECT * FROM fact_cost_adjustment"))))
        assert name == "here" or orphans(books) == []
    assert found[0] == found[1] != []
