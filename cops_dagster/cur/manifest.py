"""A legacy CUR manifest, parsed once and checked at the edge.

Belongs here: what a manifest says (CUR guide, "Viewing your reports"; keys as in real ones).
Does not belong here: whether the files it names exist (`cur/layout.py`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from cops_dagster.errors import CopsError
from cops_dagster.period import Period

SIZE_LIMIT = 16 * 1024 * 1024
"""A real manifest of a 180-column month is 20 KB; 16 MiB leaves room for 100,000 files."""

_STAMP = re.compile(r"(20\d{2})-?(0[1-9]|1[0-2])-?01T", re.ASCII)


@dataclass(frozen=True)
class Manifest:
    """What one manifest promises.

    Attributes:
        assembly_id: AWS' id of this assembly; the folder of its files in create-new-version.
        period: the billing period, from `billingPeriod`, never from the folder.
        file_names: last part of each `reportKeys` entry, in order, each once.
    """

    assembly_id: str
    report_name: str
    account: str
    period: Period
    compression: str
    file_names: tuple[str, ...]


def parse(body: bytes, *, subject: str) -> Manifest:
    """The manifest in `body`.

    Raises:
        CopsError: `E-MANIFEST` for anything that is not such a manifest, `E-CHUNK-DUP` when it
            names one file twice.
    """
    try:
        fields = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise _refused(subject, "a JSON manifest", f"{type(problem).__name__}") from None
    if not isinstance(fields, dict):
        raise _refused(subject, "a JSON object", type(fields).__name__)
    names = tuple(_file_name(key, subject) for key in _list(fields, "reportKeys", subject))
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise CopsError(
            "E-CHUNK-DUP",
            subject,
            expected="every file named once",
            found=f"{twice[0]!r} named {names.count(twice[0])} times",
            next_step="wait for the next delivery, or ask AWS to deliver the month again",
        )
    return Manifest(
        assembly_id=str(fields.get("assemblyId", "")),
        report_name=str(fields.get("reportName", "")),
        account=str(fields.get("account", "")),
        period=_period(fields, subject),
        compression=str(fields.get("compression", "")),
        file_names=names,
    )


def _list(fields: dict[str, Any], name: str, subject: str) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list) or not value:
        raise _refused(subject, f"a non-empty list {name}", repr(value)[:80])
    return value


def _file_name(key: object, subject: str) -> str:
    # A key is an opaque bucket key. Only its last part is compared with names that the folder
    # itself lists, so no delivered text ever becomes a path.
    if not isinstance(key, str) or not key.rsplit("/", 1)[-1]:
        raise _refused(subject, "bucket keys in reportKeys", repr(key)[:80])
    return key.rsplit("/", 1)[-1]


def _period(fields: dict[str, Any], subject: str) -> Period:
    billing = fields.get("billingPeriod")
    start = billing.get("start") if isinstance(billing, dict) else None
    match = _STAMP.match(start) if isinstance(start, str) else None
    if not match:
        raise _refused(subject, "billingPeriod.start on the first of a month", repr(start)[:80])
    return Period.parse(f"{match[1]}-{match[2]}")


def _refused(subject: str, expected: str, found: str) -> CopsError:
    return CopsError(
        "E-MANIFEST",
        subject,
        expected=expected,
        found=found,
        next_step="wait for the next delivery; the ingested month stays as it is",
    )
