"""For any month of any line types, signs and scales: the sums do not depend on files, order or layout."""

from __future__ import annotations

import shutil
import tempfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cops_dagster.cur.schema import LINE_TYPES
from cops_dagster.ingestion import ingest, look
from cops_dagster_tests.deliveries import SEPTEMBER, home, lines
from cops_dagster_tests.examples import examples
from cops_dagster_tests.layouts import LAYOUTS
from cops_dagster_tests.shown import answer

COSTS = (
    "line_item_unblended_cost", "line_item_net_unblended_cost", "reservation_effective_cost",
    "reservation_unused_recurring_fee", "savings_plan_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date", "savings_plan_used_commitment",
)  # fmt: skip
VIEWS = (
    "line_item_unblended_cost amortized_cost net_unblended_cost net_amortized_cost true_up_cost upfront_cost"
)
EXACT = st.decimals(-(10**9), 10**9, allow_nan=False, places=6) | st.decimals(-1, 1, places=12)
# what a double can say with its shortest text, as AWS does; 15 digits always come back
AMOUNT = EXACT.map(float).filter(lambda value: abs(Decimal(repr(value)).as_tuple().exponent) <= 18)


@st.composite
def months(draw: st.DrawFn) -> list[dict[str, object]]:
    kinds = st.sampled_from([*sorted(LINE_TYPES), "SomethingNew"])
    rows = []
    for number in range(draw(st.integers(1, 12))):
        row: dict[str, object] = {"id": f"l{number}", "type": draw(kinds)}
        row |= {name: draw(AMOUNT if name == COSTS[0] else st.none() | AMOUNT) for name in COSTS}
        row["tenant"] = draw(st.sampled_from([None, "acme", "globex", 'a "quoted", tag', "zwei\nzeilen"]))
        rows.append(row)
    return rows


def table(rows: list[dict[str, object]]) -> pa.Table:
    names = ("id", "type", "tenant")
    text = " ".join(["id", "type", "tenant", "account", *COSTS])
    body = "\n".join(" ".join(["x", "Usage", "t", "111111111111", *["0"] * len(COSTS)]) for _ in rows)
    made = lines(f"{text}\n{body}")
    full = {"id": "identity_line_item_id", "type": "line_item_line_item_type",
            "tenant": "resource_tags_user_tenant_id"}  # fmt: skip
    for name in (*names, *COSTS):
        column = full.get(name, name)
        index = made.column_names.index(column)
        values = pa.array([row[name] for row in rows], made.field(index).type)
        made = made.set_column(index, made.field(index), values)
    return made


def sums(layout: str, tables: list[pa.Table]) -> list[tuple[object, ...]]:
    folder = Path(tempfile.mkdtemp())
    try:
        LAYOUTS[layout](folder / "cur", tables, SEPTEMBER, "a1")
        books = home(folder, inputs=None)
        (seen,) = look.look(books, SEPTEMBER)
        assert not seen.refusals
        ingest.ingest(books, SEPTEMBER)
        totals = ", ".join(f"SUM({name})" for name in VIEWS.split())
        found = answer(books, f"SELECT COUNT(*), {totals} FROM fact_cost_raw")
        kept = answer(
            books,
            "SELECT identity_line_item_id, resource_tags_user_tenant_id, "
            f"{', '.join(VIEWS.split())} FROM fact_cost_raw ORDER BY 1",
        )
        books.admin.close()
        return [*found, *kept]
    finally:
        shutil.rmtree(folder)


@settings(max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(months(), st.integers(0, 12), st.randoms(use_true_random=False), st.sampled_from(sorted(LAYOUTS)))
@pytest.mark.long
def test_sums_are_the_same_to_the_last_digit_in_any_files_order_and_layout(
    rows: list[dict[str, object]], cut: int, chance: object, layout: str
) -> None:
    plain = sums("legacy parquet, overwrite", [table(rows)])
    unblended = sum((Decimal(repr(row[COSTS[0]])) for row in rows), Decimal(0))
    assert plain[0][:2] == (len(rows), unblended)
    mixed = list(rows)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    parts = [part for part in (mixed[:cut], mixed[cut:]) if part]
    assert sums(layout, [table(part) for part in parts]) == plain
