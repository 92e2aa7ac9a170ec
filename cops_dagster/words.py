"""Words that mean one thing everywhere: who bears cost, how it is split, what a charge is. Pure.

Belongs here: a reserved word that two steps need, and which word was likely meant. Does not belong here:
names of columns (`cur/`, `stores/tables.py`) and refusals (`errors.py`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

UNALLOCATED = "__unallocated__"
"""Cost that no rule claimed, whose key failed, or that a `hold` rule parks."""

OPERATOR = "__operator__"
"""Cost that a rule says we bear ourselves."""

METHODS = ("even", "fixed", "proportional_cost", "usage_key", "hold")
"""How a rule splits what it claims."""

CHARGE_CLASSES = (
    "usage", "tax", "support", "credit", "refund", "discount", "marketplace", "commitment_fee",
)  # fmt: skip
"""The field's kinds of charges, as `sql/` tells them from a line's type and product."""


def near(name: str, known: Iterable[str], *, alike_pct: int = 60) -> str | None:
    """The known name that was likely meant, compared without case; `None` when none is alike enough."""
    folded = {one.strip().casefold(): one for one in sorted(known, reverse=True)}
    found = difflib.get_close_matches(name.strip().casefold(), folded, n=1, cutoff=alike_pct / 100)
    return folded[found[0]] if found else None
