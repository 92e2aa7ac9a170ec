"""How many random examples a test takes that asks for a number of its own."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> int:
    """`count` in the long run, as much less in the quick one as the others take (`conftest.py`)."""
    return max(count * settings.default.max_examples // 100, 1)
