"""Lines that look odd and are real: money without a span, split rows, one name in two spellings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cops_dagster.lake.duck import DuckDB
from cops_dagster_tests.lake.csv_lines import SPAN_HEADER, USAGE, csv_lines
from cops_dagster_tests.lake.odd import Odd, table

TENANT = "resource_tags_user_tenant_id"
NOON, DAY, NEXT = datetime(2025, 9, 1, 12), datetime(2025, 9, 1), datetime(2025, 9, 2)


@pytest.fixture(scope="module")
def shared() -> Iterator[DuckDB]:
    with DuckDB() as made:
        yield made


@pytest.fixture
def odd(shared: DuckDB, tmp_path: Path) -> Odd:
    return Odd(shared, tmp_path)


# --- spans ---------------------------------------------------------------------------------------------

SPANS: dict[str, tuple[Any, Any]] = {
    "one instant": (NOON, NOON),
    "no end": (NOON, None),
    "no start": (None, NOON),
    "neither": (None, None),
    "backwards": (NEXT, DAY),
}
KINDS = """
Usage                   E-TIME
DiscountedUsage         E-TIME
SavingsPlanCoveredUsage E-TIME
SavingsPlanNegation     E-TIME
Refund                  .
Credit                  .
Fee                     .
RIFee                   .
SavingsPlanUpfrontFee   .
SavingsPlanRecurringFee .
Tax                     .
EdpDiscount             .
SomethingNew            .
"""


def csv_time(value: datetime | None) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if value else ""


@pytest.mark.parametrize("packed", ["Parquet", "CSV"])
def test_only_what_is_about_a_span_of_time_needs_one(packed: str, odd: Odd) -> None:
    """A refund that AWS dated with one instant stood in quarantine, and its month could not close."""
    wanted = [
        (kind, *span, None if code == "." else code)
        for kind, code in (row.split() for row in KINDS.strip().splitlines())
        for span in SPANS.values()
    ]
    if packed == "CSV":
        odd.take_csv(
            csv_lines(SPAN_HEADER, *(f"{kind},{csv_time(a)},{csv_time(b)}" for kind, a, b, _ in wanted))
        )
    else:
        starts, ends = [one[1] for one in wanted], [one[2] for one in wanted]
        odd.take(
            table(
                len(wanted),
                identity_line_item_id=[f"{n:02d}" for n in range(len(wanted))],
                line_item_line_item_type=[one[0] for one in wanted],
                line_item_usage_start_date=starts,
                line_item_usage_end_date=ends,
            )
        )
    found = odd.lines()
    if packed == "CSV":  # a report without a start, or with one instant, is judged alike
        found.sort(key=lambda row: int(row["identity_line_item_id"]))
    for row, (kind, start, end, code) in zip(found, wanted, strict=True):
        if code and start is not None and end is None:
            code = None  # begun and not ended: nothing says that it is wrong
        assert row["quarantine_code"] == code, (kind, start, end)
        assert (row["line_item_usage_start_date"], row["lost_values"]) == (start, False)


def test_a_refund_whose_date_cannot_be_read_is_booked_and_the_date_counted_as_lost(odd: Odd) -> None:
    lines = csv_lines(SPAN_HEADER, "Refund,2025-09-01 noon,", "Usage,2025-09-01 noon,", USAGE)
    found = odd.take_csv(lines).lines()
    assert [row["quarantine_code"] for row in found] == [None, "E-TIME", None]
    assert found[1]["quarantine_reason"] == "line_item_usage_start_date = 2025-09-01 noon"
    assert [row["lost_values"] for row in found] == [True, False, False]


def test_every_lost_value_of_a_converted_line_is_counted_and_bytes_that_are_no_text_are_found(
    odd: Odd,
) -> None:
    """One column whose value was fine, or empty, hid every other column's fault."""
    header = f"{SPAN_HEADER},lineItem/UsageAmount,lineItem/NormalizationFactor,lineItem/Operation"
    found = odd.take_csv(csv_lines(header, f"{USAGE},many,1,", f"{USAGE},1,1,", f"{USAGE},1,,")).lines()
    assert [row["lost_values"] for row in found] == [True, False, False]
    text = csv_lines(header, f"{USAGE},1,,?", f"{USAGE},1,,").encode().replace(b"?", b"\xff")
    assert [row["quarantine_code"] for row in odd.take_csv(text).lines()] == ["E-UTF8", None]


# --- split rows ----------------------------------------------------------------------------------------

SPLITS = """
# parent  operation    cost  booked  code
i-1       EKSPod-EC2   .     0       .
i-1       BatchJob-EC2 .     0       .
i-1       .            .     0       .
i-1       BatchJob-EC2 0     0       .
i-1       BatchJob-EC2 0.25  0.25    .
.         ECSTask-EC2  .     0       .
.         RunInstances .     .       E-COST-NULL
.         .            .     .       E-COST-NULL
.         RunInstances 4     4       .
"""


@pytest.mark.parametrize("packed", ["Parquet", "CSV"])
@pytest.mark.parametrize("with_operation", [True, False])
def test_a_row_that_names_its_parent_is_a_split_row_whatever_its_operation(
    packed: str, with_operation: bool, odd: Odd
) -> None:
    rows = [
        [None if cell == "." else cell for cell in row.split()]
        for row in SPLITS.strip().splitlines()
        if not row.startswith("#")
    ]
    if not with_operation:
        rows = [row for row in rows if row[0] or row[2]]
    named = ["split_line_item_parent_resource_id", *(["line_item_operation"] if with_operation else [])]
    cells = [row[: len(named)] for row in rows]
    if packed == "CSV":
        usual = csv_lines(f"{SPAN_HEADER},{','.join(named)}", *[
            f"{USAGE},{','.join(cell or '' for cell in line)}" for line in cells
        ]).splitlines()  # fmt: skip
        lines = [
            usual[0],
            *(line.replace(",1.5,", f",{row[2] or ''},") for line, row in zip(usual[1:], rows, strict=True)),
        ]
        odd.take_csv("\n".join(lines))
    else:
        odd.take(
            table(
                len(rows),
                line_item_unblended_cost=[float(row[2]) if row[2] else None for row in rows],
                **{name: [line[n] for line in cells] for n, name in enumerate(named)},
            )
        )
    for found, row in zip(odd.lines(), rows, strict=True):
        assert found["line_item_unblended_cost"] == (Decimal(row[3]) if row[3] else None), row
        assert found["quarantine_code"] == row[4], row


# --- spellings -----------------------------------------------------------------------------------------

TWO = """
# user:tenant_id  user:TenantId  value
acme              .              acme
.                 globex         globex
acme              acme           acme
acme              ~acme~         acme
~~                globex         globex
.                 .              .
acme              globex         E-TAG-CLASH~acme~|~globex
globex            acme           E-TAG-CLASH~acme~|~globex
acme              ACME           E-TAG-CLASH~ACME~|~acme
"""


@pytest.mark.parametrize("packed", ["Parquet", "CSV"])
def test_a_tag_in_two_spellings_is_one_unless_a_line_says_two_things(packed: str, odd: Odd) -> None:
    """It was refused by the names of its columns alone, and AWS never delivers a past month anew."""
    rows = [
        [None if cell == "." else cell.replace("~", " ") for cell in row.split()]
        for row in TWO.strip().splitlines()
        if not row.startswith("#")
    ]
    if packed == "CSV":
        odd.take_csv(
            csv_lines(
                f"{SPAN_HEADER},resourceTags/user:tenant_id,resourceTags/user:TenantId",
                *(f"{USAGE},{row[0] or ''},{row[1] or ''}" for row in rows),
            )
        )
    else:
        from pyarrow import array, map_, string

        pairs = [
            [(k, v) for k, v in (("user:tenant_id", row[0]), ("user:TenantId", row[1])) if v] for row in rows
        ]
        odd.take(table(len(rows), resource_tags=array(pairs, map_(string(), string()))))
    found = odd.lines()
    assert [(row[TENANT] or "").strip() or None for row in found] == [row[2] for row in rows]
    assert {row["quarantine_code"] for row in found} == {None}


def test_a_flat_column_and_a_key_of_a_map_are_one_column(odd: Odd) -> None:
    odd.take(table(3, **{TENANT: ["acme", None, "acme"]}, resource_tags=[
        '{"user_tenant_id": "acme"}', '{"user_tenant_id": "globex"}', '{"user_tenant_id": "globex"}',
    ]))  # fmt: skip
    assert odd.column(TENANT) == ["acme", "globex", "E-TAG-CLASH acme | globex"]


def test_a_cost_that_is_told_twice_is_booked_where_both_agree_and_stands_aside_where_not(odd: Odd) -> None:
    text = csv_lines(
        f"{SPAN_HEADER},line_item_unblended_cost,product/region,product_region",
        f"{USAGE},1.5,eu,us", f"{USAGE},,eu,", f"{USAGE},2.5,,us",
    )  # fmt: skip
    found = odd.take_csv(text).lines()
    assert [row["quarantine_code"] for row in found] == [None, None, "E-TAG-CLASH"]
    assert found[2]["quarantine_reason"] == "line_item_unblended_cost = 1.5 | 2.5"
    assert [row["product_region"] for row in found] == ["eu", "eu", "us"]
    assert [row["lost_values"] for row in found] == [True, False, False]
