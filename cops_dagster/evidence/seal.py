"""The digest of a period's entries, computed twice by different code, and what a seal says.

Belongs here: the digests that a closed month is compared with for ever. Does not belong here: when a
month may close (`closing/close.py`). A seal has no timestamp, so made again it is the same.

One path reads through the engine and encodes with `money/digest.py`; the other is a process of its own
that reads the Parquet files with Arrow and encodes with code of its own (`evidence/seal_child.py`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake import live
from cops_dagster.lake.tables import LAKE_TABLES
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period

VERSION = 2
"""The shape of a seal. 2 binds rows of the admin database; seals before it name no version and bind the
entries, the head, the newest reconciliation and the deliveries."""

SEALED = ("fact_cost_adjustment", "fact_cost_allocated")
"""The tables of entries, in the order they are digested."""

RESULT = (
    "service", "service_component", "charge_class", "tenant_id", "plan_id", "allocation_method", "rule_id",
    "rule_version", "key_name", "key_value", "key_total", "pool_cost_usd", "allocated_cost_usd",
    "allocated_amortized_cost_usd", "allocated_net_amortized_cost_usd",
)  # fmt: skip
"""What a run decided, without the ids that only say when: a replay from evidence gives the same."""


@dataclass(frozen=True)
class Digests:
    """`entries`: every posted entry of the period. `result`: what the head run decided."""

    entries: str
    row_count: int
    result: str
    totals: dict[str, str]


def name_of(period: Period) -> str:
    """The name of a period's seal in the evidence store."""
    return f"seal-{period}"


def of_period(books: Books, con: sa.Connection, period: Period, head_run_id: str) -> Digests:
    """Both digests, read through the engine; bytes are verified first.

    Raises:
        CopsError: `E-DIGEST` when a file is not the published one.
    """
    with books.engine() as engine:
        books.namespace(engine, con, period).provide(SEALED)
        tables, count, totals = [], 0, dict.fromkeys(_MONEY, Decimal(0))
        for name in SEALED:
            columns = [column for column, _ in LAKE_TABLES[name]]
            rows = engine.fetch(_in_order(name, columns)).rows
            tables.append([name, [list(row) for row in rows]])
            count += len(rows)
            for row in rows:
                for money in _MONEY:
                    totals[money] += row[columns.index(money)]
        decided = engine.fetch(
            exp.select(*RESULT)
            .from_("fact_cost_allocated")
            .where(exp.column("entry_type").eq(exp.Literal.string("allocation")))
            .where(exp.column("run_id").eq(exp.Placeholder(this="run_id"))),
            {"run_id": head_run_id},
        ).rows
    return Digests(
        digest("entries-1", tables),
        count,
        digest("result-1", [list(row) for row in sorted(decided, key=_order)]),
        {name: f"{total:f}" for name, total in totals.items()},
    )


_MONEY = ("allocated_cost_usd", "allocated_amortized_cost_usd", "allocated_net_amortized_cost_usd")


def _in_order(name: str, columns: Sequence[str]) -> exp.Select:
    return exp.select(*columns).from_(name).order_by("entry_id")


def _order(row: Sequence[Any]) -> list[tuple[bool, str]]:
    return [(cell is not None, str(cell)) for cell in row]


def elsewhere(books: Books, con: sa.Connection, period: Period) -> tuple[str, int]:
    """The digest of every posted entry once more, and their number: another process, other code."""
    found = {
        name: live.live_files(con, books.lake, name, period_start=period.start, whole=True) for name in SEALED
    }
    files = {name: [str(file.path) for file in of] for name, of in found.items()}
    columns = {name: [column for column, _ in LAKE_TABLES[name]] for name in SEALED}
    done = subprocess.run(
        [sys.executable, "-m", "cops_dagster.evidence.seal_child"],
        input=json.dumps({"tables": list(SEALED), "files": files, "columns": columns}),
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    if done.returncode != 0:
        raise CopsError(
            "E-SEAL",
            f"period {period}",
            expected="a second digest of its entries",
            found=(done.stderr.strip().splitlines() or ["no answer"])[-1][:300],
            next_step="the period is not closed; run `cops close` again",
        )
    said = json.loads(done.stdout)
    return str(said["digest"]), int(said["rows"])
