"""Revisions of the accounting rules: a month that closed under one is made again under the same one. Pure.

Belongs here: which revision a run's document names, and what the first did otherwise. Does not belong here:
the rules themselves; ids of runs (each step's own `ALGORITHM`).

    1   negations and refunds of commitments were cost of their own, unused commitments gross in the net
        views, a plan tag without a plan a plan of its own, cost of tags that name nobody always spread
    2   docs/adr/0028 and docs/adr/0030
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIRST = 1
CURRENT = 2


def of(inputs: Mapping[str, Any]) -> int:
    """The revision that a `run_inputs` document names; the first, from before it was named."""
    return int(inputs.get("revision", FIRST))
