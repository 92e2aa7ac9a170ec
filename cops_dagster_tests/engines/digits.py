"""What a home holds when a month went through it: rows and a checksum of every table, and every run id.

Belongs here: what two engines must agree on of whole months. Does not belong here: one statement's rows
(`both.py`).
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from cops_dagster.ledger.books import Books
from cops_dagster_tests.shown import answer

TABLES = (
    "fact_cost_raw", "cur_quarantine", "fact_cost_tagged", "fact_cost_allocated", "fact_cost_adjustment",
    "recon_summary", "tenant_statement",
)  # fmt: skip
OF_WHEN = ("reconciled_at", "recon_id", "actor")
"""Columns that say when and by whom."""
HEADS = "SELECT table_name, source_id, period_start, run_id, inputs_id FROM period_head ORDER BY ALL"
SEAL = "SELECT period_start, state, state_seq FROM period_lock ORDER BY ALL"


def sums(books: Books) -> dict[str, list[tuple[Any, ...]]]:
    """Rows and a checksum of every column of every table, every run id, and how each month stands."""
    found = {
        name: answer(
            books, f"SELECT COUNT(*), SUM(CAST(HASH({_columns(books, name)}) AS HUGEINT)) FROM {name}"
        )
        for name in TABLES
    }
    return found | {"runs": answer(books, HEADS), "seal": answer(books, SEAL)}


def _columns(books: Books, name: str) -> str:
    asked = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{name}' ORDER BY 1"
    names = [one for (one,) in answer(books, asked) if one not in OF_WHEN]
    return ", ".join(exp.column(one, quoted=True).sql("duckdb") for one in names)
