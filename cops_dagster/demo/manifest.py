"""The legacy CUR manifest of a generated month.

Belongs here: the JSON that AWS writes beside the files (CUR guide; keys as in real ones). Does not
belong here: the files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from cops_dagster.cur.schema import BY_NAME
from cops_dagster.demo import catalogue
from cops_dagster.period import Period

_CATEGORIES = (
    "identity", "bill", "line_item", "product", "pricing", "reservation", "savings_plan", "resource_tags",
)  # fmt: skip
_TYPES = {"varchar": "OptionalString", "double": "OptionalBigDecimal", "timestamp": "DateTime"}


def text(period: Period, assembly_id: str, keys: Sequence[str], columns: Sequence[str]) -> str:
    """The manifest as JSON text. `keys` are bucket keys; the end of the billing period is exclusive."""
    return json.dumps(
        {
            "assemblyId": assembly_id,
            "account": catalogue.PAYER,
            "columns": [_column(name) for name in columns],
            "charset": "UTF-8",
            "compression": "Parquet",
            "contentType": "Parquet",
            "reportId": "7d0b3f5c2e9a4861b0c4d8e2f6a1937550c8e4d2b6fa91373e5c7a9b1d3f5e70",
            "reportName": catalogue.REPORT,
            "billingPeriod": {"start": _stamp(period), "end": _stamp(period.next())},
            "bucket": catalogue.BUCKET,
            "reportKeys": list(keys),
            "additionalArtifactKeys": [],
        },
        indent=1,
    )


def billing_range(period: Period) -> str:
    """The folder of a month, e.g. `20250701-20250801`."""
    return f"{period.start:%Y%m%d}-{period.end:%Y%m%d}"


def _stamp(period: Period) -> str:
    return f"{period.start:%Y%m%d}T000000.000Z"


def _column(name: str) -> dict[str, str]:
    category = next(category for category in _CATEGORIES if name.startswith(category + "_"))
    known = BY_NAME.get(name)
    return {
        "category": category,
        "name": name.removeprefix(category + "_"),
        "type": _TYPES[known.data_type if known else "varchar"],
    }
