"""Columns of five lines in types that AWS does not write and tables that others made of a report have."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa

_TAG = "resource_tags_user_tenant_id"
_AMOUNT = "line_item_usage_amount"
_BEGIN = "line_item_usage_start_date"
_TIMES = [
    datetime(2025, 9, 1),
    datetime(2025, 9, 1, 3, 4, 5),
    datetime(2025, 9, 1, 3, 4, 5, 120000),
    None,
    None,
]
_DOUBLES = (
    [42.0, 1.5, 1e20, 1e-7, None],
    [1e16, 9999999999999998.0, 1e15, 123456789012345.67, 1.5e300],
    [1e-4, 9.999e-5, 1.2345678901234567e-4, -0.0, 0.001],
    [float("nan"), float("inf"), -float("inf"), 12345678.9, 0.1 + 0.2],
)
_NUMBERS = (
    ["1.5", " 1.5", "1d", "nan", "1_000"],
    ["0x1p3", "inf", "Infinity", "1.5\t", "1e5"],
    [".5", "5.", "+5", "1f", "1e400"],
    ["1_0_5.5_5", ".", "", " ", "1e1_0"],
    ["-nan", "+inf", "-INF", "1__0", "1_"],
)


def columns() -> dict[str, dict[str, pa.Array]]:
    """What a column is of → the columns that a delivery has in place of its own, or beside them."""
    made = {f"tags that are numbers, {at}": {_TAG: pa.array(given)} for at, given in enumerate(_DOUBLES)}
    made |= {f"numbers that are text, {at}": {_AMOUNT: pa.array(given)} for at, given in enumerate(_NUMBERS)}
    zoned = pa.array(_TIMES, pa.timestamp("us", "Europe/Berlin"))
    return made | {
        "tags that are small numbers": {_TAG: pa.array([42.0, 0.1, 1e10, 1e16, None], pa.float32())},
        "tags that are whole numbers": {_TAG: pa.array([42, 1, -5, 10**15, None])},
        "tags that are yes or no": {_TAG: pa.array([True, False, None, True, True])},
        "tags that are amounts": {
            _TAG: pa.array([Decimal("1.50"), Decimal(0), None, None, Decimal(-3)], pa.decimal128(10, 2))
        },
        "tags that are days": {_TAG: pa.array([date(2025, 1, 2)] * 5)},
        "tags that are times": {_TAG: pa.array(_TIMES, pa.timestamp("us"))},
        "tags that are times with a zone": {_TAG: zoned},
        "times with a zone": {_BEGIN: zoned},
        "a map of numbers": {
            "resource_tags": pa.array([[("user_x", 1.0)], [("user_x", 1e20)], None, [], [("user_x", None)]],
                                      pa.map_(pa.string(), pa.float64()))
        },
        "an unknown number": {"brand_new": pa.array([42.0, 0.1, 1e20, float("nan"), None])},
        "a known text that is a number": {"product_region": pa.array([42.0, 1e17, 0.1, None, 5.0])},
        "nothing": {"bill_invoice_id": pa.nulls(5), _TAG: pa.nulls(5)},
    }  # fmt: skip
