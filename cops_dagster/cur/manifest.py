"""Manifests, parsed once and checked at the edge: legacy CUR and Data Exports.

Belongs here: what a manifest says (keys as in real ones). Does not belong here: whether the files it
names exist (`cur/layout.py`).
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
        assembly_id: AWS' id of this assembly or execution.
        report_name, account: whose report it is; Data Exports put both into `exportArn`.
        period: the billing period from `billingPeriod`; `None` in Data Exports, whose path says it.
        compression: `GZIP`, `ZIP`, `Parquet`, or '' where the manifest does not say.
        keys: bucket keys of the data files, in order, each once, without a leading slash.
    """

    assembly_id: str
    report_name: str
    account: str
    period: Period | None
    compression: str
    keys: tuple[str, ...]

    @property
    def file_names(self) -> tuple[str, ...]:
        """Last part of each key."""
        return tuple(key.rsplit("/", 1)[-1] for key in self.keys)

    @property
    def folder(self) -> str:
        """Name of the folder that the data files share; '' when they share none."""
        folders = {key.rsplit("/", 2)[-2] if key.count("/") else "" for key in self.keys}
        return folders.pop() if len(folders) == 1 else ""


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
    if "dataFiles" in fields and "reportKeys" not in fields:
        return _data_exports(fields, subject)
    keys = _keys(fields, "reportKeys", subject)
    return Manifest(
        assembly_id=str(fields.get("assemblyId", "")),
        report_name=str(fields.get("reportName", "")),
        account=str(fields.get("account", "")),
        period=_period(fields, subject),
        compression=str(fields.get("compression", "")),
        keys=keys,
    )


def _data_exports(fields: dict[str, Any], subject: str) -> Manifest:
    arn = str(fields.get("exportArn", ""))  # arn:aws:bcm-data-exports:us-east-1:<account>:export/<name>-<id>
    parts = arn.split(":", 5)
    return Manifest(
        assembly_id=str(fields.get("executionId", "")),
        report_name=parts[5] if len(parts) == 6 else "",
        account=parts[4] if len(parts) == 6 else "",
        period=None,
        compression="",
        keys=_keys(fields, "dataFiles", subject),
    )


def _keys(fields: dict[str, Any], name: str, subject: str) -> tuple[str, ...]:
    value = fields.get(name)
    if not isinstance(value, list) or not value:
        raise _refused(subject, f"a non-empty list {name}", repr(value)[:80])
    keys = tuple(_key(key, name, subject) for key in value)
    names = Counter(key.rsplit("/", 1)[-1] for key in keys)
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise CopsError(
            "E-CHUNK-DUP",
            subject,
            expected="every file named once",
            found=f"{twice[0]!r} named {names[twice[0]]} times",
            next_step="wait for the next delivery, or ask AWS to deliver the month again",
        )
    return keys


def _key(key: object, name: str, subject: str) -> str:
    # A key is an opaque bucket key. Only its last parts are compared with names that a folder itself
    # lists, so no delivered text ever becomes a path.
    if not isinstance(key, str) or not key.rsplit("/", 1)[-1]:
        raise _refused(subject, f"bucket keys in {name}", repr(key)[:80])
    return re.sub(r"^s3://[^/]*/", "", key).lstrip("/")


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
