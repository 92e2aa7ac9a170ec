"""Units of usage: which become one another by powers of ten, without a rounded digit. Pure.

Belongs here: the units that are told apart. Does not belong here: which a measure declares
(`usage/declared.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

POWERS: Mapping[str, Mapping[str, int]] = {
    "bytes": {"bytes": 0, "kB": 3, "MB": 6, "GB": 9, "TB": 12, "PB": 15},
    "seconds": {"ms": -3, "seconds": 0},
}
"""Units that are told apart, each with its power of ten: between them figures move without rounding."""


def power(given: str, wanted: str) -> int:
    """The power of ten by which figures of one unit are made those of another. Raises `ValueError`."""
    if given == wanted:
        return 0
    for powers in POWERS.values():
        if given in powers and wanted in powers:
            return powers[given] - powers[wanted]
    raise ValueError(
        f"{given} cannot be made {wanted} exactly; give the same unit, or two of one kind of "
        + "; ".join(", ".join(kind) for kind in POWERS.values())
    )
