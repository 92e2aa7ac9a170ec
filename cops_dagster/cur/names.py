"""Column names: from what a CSV header or a map key says to the name Athena gives it.

Belongs here: AWS's name rules and what to do when two columns come out alike. Does not belong here:
which columns are expected (`cur/schema.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

from cops_dagster.errors import CopsError

NAME_MAX = 255
"""Longest column name that Athena's catalog takes; longer ones lose underscores from the left."""

_UPPER = re.compile(r"(?=[A-Z])")
_OTHER = re.compile(r"[^0-9a-z]+")
_SYSTEM = ("aws_", "user_")


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


def flat_names(headers: Sequence[str], mapped: Set[str], *, subject: str) -> dict[str, str]:
    """Each header with its Athena name, all different.

    AWS merges columns that come out alike and does not say whose value wins. A pair of which the ledger
    uses none is kept apart (`…`, `…_2`); where a tag mapping or the expected schema reads the name, no
    value can be chosen.

    Args:
        mapped: names that must not be ambiguous.

    Raises:
        CopsError: `E-TAG-CLASH` naming both spellings.
    """
    taken: dict[str, str] = {}
    names: dict[str, str] = {}
    for header in headers:
        wanted = athena_name(header) or "unnamed"
        name, number = wanted, 1
        while name in taken:
            if wanted in mapped:
                raise CopsError(
                    "E-TAG-CLASH",
                    f"{subject}, column {wanted}",
                    expected="one active spelling of the key",
                    found=f"{taken[wanted]!r} and {header!r}, which AWS gives one name",
                    next_step="deactivate one of the two cost allocation tags in the payer account (or map"
                    " another tag in [tags]), then wait for the next delivery",
                )
            number += 1
            name = f"{wanted}_{number}"
        taken[name] = header
        names[header] = name
    return names
