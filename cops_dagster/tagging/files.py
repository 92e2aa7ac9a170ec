"""Files that say which tags there are: a Terraform plan, a list of resources, the payer's tag keys.

Belongs here: reading such a file within bounds, refusing what has another shape, and which column of the
report a key becomes. Does not belong here: what is wrong with a tag (`tagging/policy.py`), what is active
(`tagging/active.py`).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cops_dagster.cur.names import athena_name
from cops_dagster.errors import CopsError

FILE_BYTES_MAX = 64 << 20
"""Most bytes of one file."""
NESTING_MAX = 200
"""Most objects and lists within each other; a Terraform plan of nested modules stays below 60."""

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_KEY_CHARS_MAX = 1024  # AWS allows 128 on a resource
_TAG_ATTRIBUTES = ("tags", "tag", "tags_all")  # of a planned resource, the later one wins
_SHAPES = (
    "`terraform show -json PLAN`, a list of {resource, tags}, the answer of `aws resourcegroupstaggingapi"
    " get-resources`, or a CSV file with a column resource"
)


@dataclass(frozen=True)
class Resource:
    """One resource and its tags as they are, or will be, in AWS.

    Attributes:
        name: address or ARN.
        tags: key → value, both as written.
        unknown: keys whose value Terraform learns only when it applies; `*` stands for all of them.
    """

    name: str
    tags: Mapping[str, str]
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True)
class CostTag:
    """One cost allocation tag of the payer, as AWS lists it.

    Attributes:
        key: as on the resource, without `user:`; keys that AWS generates begin with `aws:`.
        kind: `UserDefined` or `AWSGenerated`.
        status: `Active` or `Inactive`.
        last_updated_at: when it was last activated or deactivated, as AWS writes it.
        last_used_on: the last month it was used in, as AWS writes it.
    """

    key: str
    kind: str
    status: str
    last_updated_at: str | None = None
    last_used_on: str | None = None


def resources(path: Path) -> list[Resource]:
    """The tagged resources of a file.

    Raises:
        CopsError: `E-TAGS-FILE`, when it cannot be read or its shape is none that is known.
    """
    text = _text(path)
    if text.lstrip()[:1] not in ("{", "["):
        return list(_of_csv(path, text))
    document = _json(path, text)
    if isinstance(document, list):
        return [_listed(path, number, item) for number, item in enumerate(document, start=1)]
    if "ResourceTagMappingList" in document:
        return _of_tagging_api(path, document)
    if "resource_changes" in document or "planned_values" in document:
        return list(_of_plan(path, document))
    if "values" in document:
        raise bad_file(path, "a plan", "Terraform's state", "give the plan: terraform show -json PLAN > FILE")
    raise bad_file(path, _SHAPES, f"an object with {_some(document)}")


@lru_cache(maxsize=4096)
def column_of(key: str) -> str:
    """The name in `[tags]` of a tag key: `tenant_id` and `TenantId` are both `user_tenant_id`."""
    key = key[:_KEY_CHARS_MAX]
    return athena_name(key if key.startswith("aws:") else f"user:{key}")


def cost_tags(path: Path) -> list[CostTag]:
    """The cost allocation tags in what `aws ce list-cost-allocation-tags` printed.

    Raises:
        CopsError: `E-TAGS-FILE`; an answer that is only the first of several pages is refused too.
    """
    document = _json(path, _text(path))
    if not isinstance(document, dict) or "CostAllocationTags" not in document:
        raise bad_file(path, "an object with CostAllocationTags", _some(document), _LIST_AGAIN)
    if document.get("NextToken"):
        raise bad_file(path, "all pages of the list", "a page with a NextToken", _LIST_AGAIN)
    return parse_cost_tags(document["CostAllocationTags"], f"file {path}")


_LIST_AGAIN = "run `aws ce list-cost-allocation-tags --output json > FILE` in the payer account"


def parse_cost_tags(entries: object, subject: str, code: str = "E-TAGS-FILE") -> list[CostTag]:
    """Entries of ListCostAllocationTags, each key and kind once (the last one wins).

    Raises:
        CopsError: `code`, naming the entry.
    """
    found: dict[tuple[str, str], CostTag] = {}
    for number, entry in enumerate(entries if isinstance(entries, list) else [None], start=1):
        fields = entry if isinstance(entry, dict) else {}
        tag = CostTag(
            *(_safe(fields.get(name)) for name in ("TagKey", "Type", "Status")),
            *(_safe(fields.get(name)) or None for name in ("LastUpdatedDate", "LastUsedDate")),
        )
        if (
            not tag.key
            or tag.kind not in ("UserDefined", "AWSGenerated")
            or tag.status not in ("Active", "Inactive")
        ):
            raise CopsError(
                code,
                f"{subject}, entry {number} of CostAllocationTags",
                expected="TagKey, Type UserDefined or AWSGenerated, Status Active or Inactive",
                found=_some(entry),
                next_step=_LIST_AGAIN,
            )
        found[tag.key, tag.kind] = tag
    return list(found.values())


def bad_file(path: Path, expected: str, found: str, next_step: str = "") -> CopsError:
    """The refusal of a file."""
    return CopsError(
        "E-TAGS-FILE",
        f"file {path}",
        expected=expected,
        found=found,
        next_step=next_step or "correct the file, or make it anew",
    )


# --- text and JSON ------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    if not path.is_file():
        raise bad_file(path, "a regular file", "none of this name", "check the path")
    if (size := path.stat().st_size) > FILE_BYTES_MAX:
        raise bad_file(path, f"at most {FILE_BYTES_MAX} bytes", f"{size} bytes", "split the file")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise bad_file(path, "UTF-8 text", f"byte {problem.start} is not", "save it as UTF-8") from None
    except OSError as problem:
        raise bad_file(path, "a file that can be read", str(problem.strerror)) from None


def _json(path: Path, text: str) -> Any:
    depth = 0
    for token in _TOKEN.finditer(text):
        first = token[0][0]
        depth += (first in "[{") - (first in "]}")
        if depth > NESTING_MAX:
            raise bad_file(path, f"JSON nested at most {NESTING_MAX} deep", "more than that")
    try:
        # a number is the text it was written as: a tag has no other, and a huge one costs no time
        return json.loads(text, object_pairs_hook=_once, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError) as problem:
        raise bad_file(path, "JSON", str(problem)[:200]) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        raise ValueError(f"name {twice[0][:80]!r} stands twice in one object")
    return made


def _some(value: object) -> str:
    """What a value is, for a message, without its content."""
    if isinstance(value, dict):
        return ", ".join(repr(name[:40]) for name in list(value)[:5]) or "nothing in it"
    return {list: "a list", str: "text", type(None): "null"}.get(type(value), "another value")


def _safe(text: object) -> str:
    """Text, with half a surrogate pair (JSON can write it, no output can show it) as its escape."""
    if not isinstance(text, str):
        return ""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# --- shapes -------------------------------------------------------------------------------------------


def _listed(path: Path, number: int, item: object) -> Resource:
    if not isinstance(item, dict) or not isinstance(item.get("resource"), str) or "tags" not in item:
        raise bad_file(path, 'items such as {"resource": "…", "tags": {…}}', f"item {number}: {_some(item)}")
    return Resource(_safe(item["resource"]), _tags(path, item["resource"], item["tags"]))


def _of_tagging_api(path: Path, document: Mapping[str, Any]) -> list[Resource]:
    if document.get("PaginationToken"):
        raise bad_file(
            path, "all pages of the list", "a page with a PaginationToken", "let the AWS CLI read all pages"
        )
    entries = document["ResourceTagMappingList"]
    made = []
    for number, entry in enumerate(entries if isinstance(entries, list) else [None], start=1):
        name = entry.get("ResourceARN") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise bad_file(path, "entries with a ResourceARN", f"entry {number}: {_some(entry)}")
        made.append(Resource(_safe(name), _tags(path, name, entry.get("Tags"))))
    return made


def _tags(path: Path, resource: str, given: object) -> dict[str, str]:
    """A map of tags, or AWS's list of keys and values, as one map; a null value is no tag."""
    pairs: Sequence[tuple[object, object]] | None = None
    if given is None or isinstance(given, dict):
        pairs = list((given or {}).items())
    elif isinstance(given, list) and all(isinstance(one, dict) for one in given):
        pairs = [(one.get("Key", one.get("key")), one.get("Value", one.get("value"))) for one in given]
    if pairs is None or not all(
        isinstance(key, str) and (value is None or isinstance(value, str)) for key, value in pairs
    ):
        raise bad_file(
            path, "tags that are text: a map, or a list of Key and Value", f"others at {resource[:200]!r}"
        )
    tags = {_safe(key): _safe(value) for key, value in pairs if value is not None}
    if len(tags) < sum(value is not None for _, value in pairs):
        raise bad_file(path, "each key once on a resource", f"one twice on {resource[:200]!r}")
    return tags


def _of_plan(path: Path, plan: Mapping[str, Any]) -> Iterator[Resource]:
    if plan.get("errored") is True:
        raise bad_file(path, "a complete plan", "one that Terraform could not finish", "repair the plan")
    changes = plan.get("resource_changes") or []
    for change in changes if isinstance(changes, list) else [None]:
        what = change.get("change") if isinstance(change, dict) else None
        if not isinstance(change, dict) or not isinstance(what, dict):
            raise bad_file(path, "resource_changes with a change each", _some(change))
        after, unknown = what.get("after"), what.get("after_unknown")
        kind = str(change.get("type", "aws"))
        if not isinstance(after, dict) or change.get("mode") == "data" or not kind.startswith("aws"):
            continue  # deleted or forgotten, only read, or not AWS's
        unknown = unknown if isinstance(unknown, dict) else {}
        if not any(name in after or unknown.get(name) for name in _TAG_ATTRIBUTES):
            continue  # this type has no tags
        name = str(change.get("address", kind))
        tags: dict[str, str] = {}
        for attribute in _TAG_ATTRIBUTES:
            tags |= _tags(path, name, after.get(attribute))
        yield Resource(_safe(name), tags, _unknown_keys(unknown))


def _unknown_keys(unknown: Mapping[str, Any]) -> frozenset[str]:
    keys: set[str] = set()
    for attribute in _TAG_ATTRIBUTES:
        marks = unknown.get(attribute)
        if isinstance(marks, dict):
            keys |= {_safe(key) for key, mark in marks.items() if mark is True}
        # the AWS provider marks all of tags_all where a resource has no tags: that says nothing
        elif marks and attribute != "tags_all":
            keys.add("*")
    return frozenset(keys)


def _of_csv(path: Path, text: str) -> Iterator[Resource]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if "resource" not in header:
            raise bad_file(path, _SHAPES, "a CSV header without resource" if header else "an empty file")
        if len(set(header)) < len(header) or "" in header:
            raise bad_file(path, "a CSV header with every name once", "a name twice, or an empty one")
        spellings = Counter(column_of(name) for name in header if name != "resource")
        for record in reader:
            if not record:
                continue
            if len(record) != len(header) or not (row := dict(zip(header, record, strict=True)))["resource"]:
                raise bad_file(path, "every field of the header and a resource", f"line {reader.line_num}")
            name = row.pop("resource")
            # where a key has two columns, an empty cell means that this resource has the other spelling
            yield Resource(
                name,
                {key: cell for key, cell in row.items() if cell or spellings[column_of(key)] == 1},
            )
    except csv.Error as problem:
        raise bad_file(path, "CSV text", f"line {reader.line_num}: {problem}") from None
