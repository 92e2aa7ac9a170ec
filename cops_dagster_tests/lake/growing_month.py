"""Ninety deliveries of one growing month beside a closed one, swept after each; prints what lies on disk.

    python -m cops_dagster_tests.lake.growing_month

AWS writes a month anew up to three times a day, every line each time. The clock is moved: three deliveries
are a day.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from cops_dagster.evidence import sweep
from cops_dagster.ingestion import ingest, look
from cops_dagster.ledger import publish
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster_tests.closing.ready import close_by_two, month, ready
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, lines, run, write

OCTOBER = Period(2025, 10)
DELIVERIES, A_DAY, LINES = 90, 3, 300
FIRST = 2_000
"""Lines of the first delivery; each later one has `LINES` more."""


@dataclass(frozen=True)
class After:
    """What there is after one delivery was ingested and swept.

    Attributes:
        on_disk: bytes of the month's kept files that lie there, by run.
        delivered: bytes of every delivery so far, by run, in order: what it would be without retention.
        replaced_at: when the successor of a run was published.
    """

    number: int
    at: datetime
    rows: int
    cost: Decimal
    on_disk: dict[str, int]
    delivered: dict[str, int]
    replaced_at: dict[str, datetime]


def closed_september(folder: Path) -> Books:
    """A closed month, of which the lake keeps a delivery that was replaced before the close too."""
    books = ready(folder)
    first, *rest = MONTH.strip().splitlines()
    month(folder, "\n".join([first, *reversed(rest)]), assembly="a2")
    run(books)
    close_by_two(books, SEPTEMBER)
    return books


def deliveries(folder: Path, books: Books, patch: pytest.MonkeyPatch) -> Iterator[After]:
    """Delivers October ninety times; after each what lies on disk."""
    began, chosen = now() + timedelta(days=1), random.Random(90)
    table, cost = _lines(chosen, FIRST)
    for number in range(1, DELIVERIES + 1):
        at = began + timedelta(days=1) * (number - 1) / A_DAY
        for module in (publish, sweep):
            patch.setattr(module, "now", lambda at=at: at)
        write(folder / "cur", [table], period=OCTOBER, overwrite=True, assembly=f"o{number}")
        (seen,) = look.look(books, OCTOBER)
        assert not seen.refusals, seen.refusals
        ingest.ingest(books, OCTOBER)
        sweep.sweep(books)
        yield After(number, at, table.num_rows, cost, *_files(books))
        more, its_cost = _lines(chosen, LINES)
        table, cost = pa.concat_tables([table, more]), cost + its_cost


def _lines(chosen: random.Random, count: int) -> tuple[pa.Table, Decimal]:
    tags = (("acme", "api"), ("globex", "api"), (".", "network"))
    costs = [f"{chosen.randrange(1, 9_999)}e-6" for _ in range(count)]
    text = [
        f"Usage AmazonEC2 111111111111 {tenant} {component} {cost} {chosen.randbytes(8).hex()}"
        for cost, (tenant, component) in zip(costs, chosen.choices(tags, k=count), strict=True)
    ]
    made = lines("\n".join(["type service account tenant component cost resource", *text]), OCTOBER)
    return made, sum(map(Decimal, costs), Decimal(0))


def _files(books: Books) -> tuple[dict[str, int], dict[str, int], dict[str, datetime]]:
    files, journal = t.lake_file, t.publish_journal
    mine = files.c.table_name == ingest.TABLE, files.c.period_start == OCTOBER.start
    with books.admin.read() as con:
        runs = con.execute(
            sa.select(journal.c.run_id, journal.c.predecessor_run_id, journal.c.published_at)
            .where(journal.c.table_name == ingest.TABLE, journal.c.period_start == OCTOBER.start)
            .order_by(journal.c.journal_seq)
        ).all()
        recorded = {row.run_id: row for row in con.execute(sa.select(files).where(*mine))}
    there = {run_id: books.settings.lake_root / row.path for run_id, row in recorded.items()}
    return (
        {run_id: path.stat().st_size for run_id, path in there.items() if path.exists()},
        {row.run_id: recorded[row.run_id].size_bytes for row in runs},
        {row.predecessor_run_id: row.published_at for row in runs if row.predecessor_run_id},
    )


def main() -> None:
    """Prints the table, as Markdown."""
    sys.stdout.write("| deliveries | lines | files kept | kept, bytes | without retention, bytes |\n")
    sys.stdout.write("|---:|---:|---:|---:|---:|\n")
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        for after in deliveries(Path(place), closed_september(Path(place)), patch):
            if after.number % 10 == 0:
                sizes = f"{sum(after.on_disk.values()):,} | {sum(after.delivered.values()):,}"
                sys.stdout.write(f"| {after.number} | {after.rows:,} | {len(after.on_disk)} | {sizes} |\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
