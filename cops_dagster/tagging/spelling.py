"""How a tenant, a plan or a component is spelled where tags are compared. Pure.

Belongs here: one name as tagging compares it. Does not belong here: whole columns (SQL), which
tags are mapped.
"""

from __future__ import annotations

import unicodedata

from cops_dagster.policy import Tags


def spelled(name: str, tags: Tags, setting: str) -> str:
    """A tag value or a registered name as tagging compares it (`lake/tag_columns.py` does it in SQL)."""
    text = name.strip(" ")
    if tags.unicode_form == "NFC":
        text = unicodedata.normalize("NFC", text)
    return text.lower() if tags.fold_case and setting != "service_component" else text
