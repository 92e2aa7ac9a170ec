"""What is known of a delivery that readers see, as warnings about it are judged on. Pure.

Does not belong here: measuring (`ingestion/first_sight.py`), when a check holds (`ingestion/verdicts.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True)
class Profile:
    """What is known of one shown delivery. Dimensions hold (rows, cost in USD) by value."""

    source_id: str
    rows: int
    cost_usd: Decimal
    strays: Sequence[str] = ()
    same_bytes: int = 0
    outside_rows: int = 0
    negative_usage_rows: int = 0
    negative_usage_usd: Decimal = Decimal(0)
    lost_rows: int = 0
    repeated_rows: int = 0
    repeated_usd: Decimal = Decimal(0)
    line_types: Mapping[str, tuple[int, Decimal]] = field(default_factory=dict)
    days: Mapping[str, tuple[int, Decimal]] = field(default_factory=dict)
    columns: frozenset[str] = frozenset()
