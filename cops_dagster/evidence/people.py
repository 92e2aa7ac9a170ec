"""Who is who among the people who decide: whether two names are one person. Pure.

Belongs here: the comparison behind every rule that asks for two people. Who may do what stands elsewhere.
"""

from __future__ import annotations

import unicodedata


def is_same_person(one: str, other: str) -> bool:
    """Whether two recorded names mean one person: case, form, invisible signs, more blanks make no two."""
    return _known_as(one) == _known_as(other)


def _known_as(name: str) -> str:
    # folding case may undo the form and the other way round, so both are done twice (Unicode, 3.13 D146)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).casefold()
    seen = "".join(char for char in text if unicodedata.category(char) not in ("Cf", "Cc") or char.isspace())
    return " ".join(unicodedata.normalize("NFKC", seen).split())
