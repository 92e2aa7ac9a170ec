"""Column names: from what a CSV header or a map key says to the name Athena gives it.

Belongs here: AWS's name rules, and which columns that come out alike are one. Does not belong here: which
columns are expected (`cur/schema.py`), whose value a line has (`lake/spellings.py`).
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

NAME_MAX = 255
"""Longest column name that Athena's catalog takes; longer ones lose underscores from the left."""

_UPPER = re.compile(r"(?=[A-Z])")
_OTHER = re.compile(r"[^0-9a-z]+")
_SYSTEM = ("aws_", "user_")
TAG_PREFIXES = ("resource_tags_", "account_tag_", "cost_category_")
"""How flat names of tags begin, by where the tag was put."""
MAP_COLUMNS = frozenset({"product", "resource_tags", "cost_category", "discount", "tags"})
"""Columns of CUR 2.0 that hold a map per line, in whatever type a tool wrote it."""


def athena_name(header: str) -> str:
    """The Athena name of a CSV header such as `resourceTags/user:TenantId`.

    An underscore before each upper-case letter, lower case, every other character an underscore,
    repeated ones squeezed, the ends trimmed (CUR guide, "Running Amazon Athena queries", column names).
    """
    text = _UPPER.sub("_", header).lower()
    name = _OTHER.sub("_", text).strip("_")
    while len(name) > NAME_MAX and "_" in name:
        name = name.replace("_", "", 1)
    return name[:NAME_MAX]


def map_column(column: str, key: str) -> str:
    """The flat name of one key of a CUR 2.0 map column.

    `product['region']` is `product_region`, `resource_tags['user_tenant_id']` (or `user:tenant_id`, or
    a bare `tenant_id`) is `resource_tags_user_tenant_id`; the keys of `tags` carry their kind, as in
    `resourceTags/user:tenant_id`, `accountTag/tenant_id` and `costCategory/team`.
    """
    if column == "tags" and "/" in key:
        kind, _, rest = key.partition("/")
        column, key = athena_name(kind), rest
        if column == "resource_tag":
            column = "resource_tags"
    name = athena_name(key)
    if column == "resource_tags" and not name.startswith(_SYSTEM):
        name = f"user_{name}"
    if column == "account_tag" and name.startswith("user_"):
        name = name.removeprefix("user_")
    return f"{column}_{name}" if name else column


def is_tag(name: str) -> bool:
    """Whether a flat name holds a tag: one that a person put on a resource or account, or a cost category."""
    return name.lower().startswith(TAG_PREFIXES)


def flat_names(headers: Sequence[str], known: Container[str]) -> list[str]:
    """The Athena name of each header, in order. Spellings of one tag, or of a known column, share a name.

    AWS gives `user:TenantId` and `user:tenant_id` one column and does not say whose value wins; which it is
    can be told line by line (`lake/spellings.py`). Other names that come out alike are kept apart as `…`
    and `…_2`, since nothing says that they mean the same.

    Args:
        known: names of the expected schema.
    """
    taken: set[str] = set()
    found: list[str] = []
    for header in headers:
        wanted = athena_name(header) or "unnamed"
        name, number = wanted, 1
        while name in taken and not (is_tag(wanted) or wanted in known):
            number += 1
            name = f"{wanted}_{number}"
        taken.add(name)
        found.append(name)
    return found
