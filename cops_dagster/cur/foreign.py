"""Exports of AWS that are no report: what else a table can be, told from its columns. Pure.

Belongs here: their signs and their names. Does not belong here: the columns of a report (`cur/schema.py`),
what is done with an export that lies beside one (`ingestion/foreign.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def foreign_kind(names: Iterable[str]) -> str | None:
    """Which other export a table with these columns is; `None` for a report, whole or broken.

    A report is told by a cost of its line items, whatever else is missing: without any there is nothing to
    book. What AWS exports besides (FOCUS, recommendations, carbon, a CUR 2.0 of chosen columns for another
    purpose) has none.
    """
    known = [name.lower() for name in names]
    plain = {name.replace("_", "") for name in known}
    if any(name.startswith(("line_item_", "lineitem")) and "cost" in name for name in known):
        return None
    for kind, signs in _FOREIGN_SIGNS.items():
        if any(sign in name for sign in signs for name in plain):
            return kind
    return f"{len(known)} columns and no cost of a line item among them: {', '.join(sorted(known)[:5])}"


_FOREIGN_SIGNS: Mapping[str, tuple[str, ...]] = {
    "a FOCUS export": ("billedcost", "effectivecost"),
    "a carbon emissions export": ("emission",),
    "an export of recommendations": ("recommend", "estimatedmonthlysavings"),
}


FOREIGN = "E-EXPORT-FOREIGN"
