"""Finding deliveries: legacy CUR in Parquet, create-new-version and overwrite, manifest first.

    <report>/<yyyymmdd>-<yyyymmdd>/<report>-Manifest.json                  the newest assembly
    <report>/<yyyymmdd>-<yyyymmdd>/<assemblyId>/<report>-Manifest.json     one assembly, for ever
    … with the data files beside the assembly's manifest, or beside the only one (overwrite)

Belongs here: from a report root to `Delivered` file lists. Does not belong here: reading Parquet,
digests (`ledger/deliver.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cops_dagster.cur import manifest as manifests
from cops_dagster.cur.files import Files, FileStat
from cops_dagster.errors import CopsError
from cops_dagster.period import Period

Layout = Literal["create_new_version", "overwrite"]
_RANGE = re.compile(r"(\d{4})(\d{2})01-\d{8}")


@dataclass(frozen=True)
class ReportMonth:
    """One source's month as a place: the folder that holds its manifests."""

    source_id: str
    period: Period
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Delivered:
    """One complete delivery as it lies there, not yet digested."""

    source_id: str
    period: Period
    layout: Layout
    assembly_id: str
    manifest_body: bytes
    manifest_file: FileStat
    files: tuple[FileStat, ...]


@dataclass(frozen=True)
class Found:
    """The newest complete delivery of a month, if any, and what newer ones were refused for."""

    newest: Delivered | None
    refusals: tuple[CopsError, ...]


def months(files: Files) -> list[ReportMonth]:
    """Every source and period under a report root, oldest first."""
    found = []
    for parts in files.range_folders():
        if match := _RANGE.fullmatch(parts[-1]):
            source = "/".join(parts[:-1]) or "report"
            try:
                period = Period.parse(f"{match[1]}-{match[2]}")
            except CopsError:
                continue  # a folder that only looks like a billing range
            found.append(ReportMonth(source, period, parts))
    return sorted(found, key=lambda month: (month.period, month.source_id))


def find(files: Files, month: ReportMonth) -> Found:
    """The newest complete delivery of a month: the pointer manifest first, then older assemblies."""
    refusals: list[CopsError] = []
    refused: set[bytes] = set()
    for folder, manifest_file in _candidates(files, month):
        try:
            body = files.read(manifest_file, manifests.SIZE_LIMIT)
            if body in refused:
                continue  # the pointer and its assembly's own manifest are one delivery
            refused.add(body)
            return Found(_complete(files, month, folder, manifest_file, body), tuple(refusals))
        except CopsError as refusal:
            refusals.append(refusal)
    return Found(None, tuple(refusals))


def _candidates(files: Files, month: ReportMonth) -> list[tuple[tuple[str, ...], FileStat]]:
    top = [(month.parts, file) for file in files.listing(month.parts) if _is_manifest(file)]
    assemblies = [
        ((*month.parts, name), file)
        for name in files.folders(month.parts)
        for file in files.listing((*month.parts, name))
        if _is_manifest(file)
    ]
    newest_first = sorted(assemblies, key=lambda found: (found[1].version, found[0]), reverse=True)
    return top + newest_first


def _is_manifest(file: FileStat) -> bool:
    return file.name.endswith("-Manifest.json")


def _complete(
    files: Files, month: ReportMonth, folder: tuple[str, ...], manifest_file: FileStat, body: bytes
) -> Delivered:
    subject = f"manifest {'/'.join((*folder, manifest_file.name))}"
    manifest = manifests.parse(body, subject=subject)
    if manifest.period != month.period:
        raise CopsError(
            "E-MANIFEST-SCOPE",
            subject,
            expected=f"billing period {month.period}, as its folder says",
            found=f"billing period {manifest.period}",
            next_step="move the delivery to its own period's folder",
        )
    layout: Layout = "create_new_version" if folder != month.parts else "overwrite"
    if folder == month.parts and manifest.assembly_id in files.folders(folder):
        folder, layout = (*folder, manifest.assembly_id), "create_new_version"
    listed = {file.name: file for file in files.listing(folder)}
    missing = [name for name in manifest.file_names if name not in listed]
    if missing:
        raise CopsError(
            "E-CHUNK-MISSING",
            subject,
            expected=f"{len(manifest.file_names)} regular files in {'/'.join(folder)}",
            found=f"{len(missing)} missing, first {missing[0]!r}",
            next_step="wait for the delivery to complete and run again; the ingested month stays",
        )
    return Delivered(
        source_id=month.source_id,
        period=month.period,
        layout=layout,
        assembly_id=manifest.assembly_id,
        manifest_body=body,
        manifest_file=manifest_file,
        files=tuple(listed[name] for name in manifest.file_names),
    )
