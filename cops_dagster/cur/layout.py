"""Finding deliveries: every way AWS lays a month of cost and usage into a bucket, manifest first.

    legacy, create new version    <report>/<yyyymmdd>-<yyyymmdd>/<assemblyId>/…     manifest beside, and above
    legacy, overwrite             <report>/<yyyymmdd>-<yyyymmdd>/…                  manifest beside
    legacy with Athena            <report>/<report>/year=2025/month=9/…             manifest beside, and
                                  <report>/<report>/cost_and_usage_data_status/…    READY or UPDATING
    Data Exports, overwrite       <export>/data/BILLING_PERIOD=2025-09/…            manifest below metadata/
    Data Exports, create new      <export>/data/BILLING_PERIOD=2025-09/<time>-<executionId>/…   likewise

Belongs here: from a report root to `Delivered` file lists. Does not belong here: reading data files,
digests (`ingestion/look.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cops_dagster.cur.files import Files, FileStat
from cops_dagster.cur.manifest import SIZE_LIMIT, Manifest, parse
from cops_dagster.errors import CopsError
from cops_dagster.period import Period

Layout = Literal[
    "create_new_version", "overwrite", "athena", "data_exports_overwrite", "data_exports_create_new"
]
Kind = Literal["legacy", "athena", "data_exports"]

_RANGE = re.compile(r"(\d{4})(\d{2})01-\d{8}", re.ASCII)
_MONTH = re.compile(r"month=(\d{1,2})", re.ASCII | re.IGNORECASE)
_YEAR = re.compile(r"year=(\d{4})", re.ASCII | re.IGNORECASE)
_PARTITION = re.compile(r"billing_period=(\d{4}-\d{2})", re.ASCII | re.IGNORECASE)
_STATUS = "cost_and_usage_data_status"
_DATA = (".parquet", ".csv", ".csv.gz", ".csv.zip")
_BESIDE = ("-Manifest.json", ".yml", ".sql")  # what AWS puts beside the data files


@dataclass(frozen=True)
class ReportMonth:
    """One source's month as a place: the folder that holds its manifests.

    `pointer` is the range folder of a report with Athena integration, which may hold the only manifest.
    """

    source_id: str
    period: Period
    parts: tuple[str, ...]
    kind: Kind = "legacy"
    pointer: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delivered:
    """One complete delivery as it lies there, not yet digested.

    Attributes:
        report: whose report it is, by account and name; the same under another path is a moved report.
        compression: what the manifest promises of the files' format, or ''.
        strays: names of data files beside it that the manifest does not name.
        status_files: the Athena status table, whose one value says READY or UPDATING.
    """

    source_id: str
    period: Period
    layout: Layout
    assembly_id: str
    report: str
    compression: str
    manifest_body: bytes
    manifest_file: FileStat
    files: tuple[FileStat, ...]
    strays: tuple[str, ...] = ()
    status_files: tuple[FileStat, ...] = ()


@dataclass(frozen=True)
class Found:
    """The newest complete delivery of a month, if any, and what newer ones were refused for."""

    newest: Delivered | None
    refusals: tuple[CopsError, ...]


def is_data(name: str) -> bool:
    """Whether a file of this name may hold CUR lines."""
    return name.lower().endswith(_DATA) and not _is_beside(name)


def is_month(name: str) -> bool:
    """Whether a folder of this name holds one billing month."""
    return any(pattern.fullmatch(name) for pattern in (_RANGE, _MONTH, _PARTITION))


def months(files: Files) -> list[ReportMonth]:
    """Every source and period under a report root, oldest first.

    A report with Athena integration keeps a range folder for its manifests too; the folder with the
    data is the one that counts. Data of an export whose folder of manifests is not there counts as well:
    `find` then says what is missing.
    """
    found: dict[tuple[str, Period], ReportMonth] = {}
    named = files.folders_named(is_month)
    for parts in (*named, *_without_metadata(named)):
        month = _month(parts)
        if month is not None:
            key = (month.source_id, month.period)
            other = found.get(key)
            if month.kind == "athena" and other:
                found[key] = replace(month, pointer=other.parts)
            elif other and other.kind == "athena":
                found[key] = replace(other, pointer=month.parts)
            else:
                found[key] = month
    return sorted(found.values(), key=lambda month: (month.period, month.source_id))


def _without_metadata(named: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Where the manifests of an export's data would lie, if no folder for them is there."""
    there = {tuple(part.lower() for part in parts) for parts in named}
    missing = [
        (*parts[:-2], "metadata", parts[-1])
        for parts in named
        if _PARTITION.fullmatch(parts[-1]) and len(parts) > 1 and parts[-2].lower() == "data"
    ]
    return [parts for parts in missing if tuple(part.lower() for part in parts) not in there]


def above_month(parts: Sequence[str]) -> tuple[str, ...] | None:
    """The report root that a path should have named: it lies in a month, a year, or an export's halves.

    `None` for a path that shows nothing of the kind.
    """
    for at, name in enumerate(parts):
        if is_month(name) and period_of(parts[: at + 1]) is not None:
            break
        if _YEAR.fullmatch(name):
            break
    else:
        at = len(parts) - 1
        if not parts or parts[at].lower() not in ("data", "metadata"):
            return None
    while at and (_YEAR.fullmatch(parts[at - 1]) or parts[at - 1].lower() in ("data", "metadata")):
        at -= 1
    return tuple(parts[:at])


def period_of(parts: Sequence[str]) -> Period | None:
    """The billing month that a path belongs to, by the first of its folders that names one; or none."""
    for at, name in enumerate(parts):
        year = _YEAR.fullmatch(parts[at - 1]) if at else None
        try:
            if match := _RANGE.fullmatch(name):
                return Period.parse(f"{match[1]}-{match[2]}")
            if match := _PARTITION.fullmatch(name):
                return Period.parse(match[1])
            if year and (match := _MONTH.fullmatch(name)):
                return Period.parse(f"{year[1]}-{int(match[1]):02d}")
        except CopsError:
            continue  # month 13 of something else
    return None


def _month(parts: tuple[str, ...]) -> ReportMonth | None:
    name = parts[-1]
    try:
        if match := _RANGE.fullmatch(name):
            period = Period.parse(f"{match[1]}-{match[2]}")
            return ReportMonth("/".join(parts[:-1]) or "report", period, parts)
        if match := _PARTITION.fullmatch(name):
            if len(parts) < 2 or parts[-2].lower() != "metadata":
                return None
            period = Period.parse(match[1])
            return ReportMonth("/".join(parts[:-2]) or "report", period, parts, "data_exports")
        match, year = _MONTH.fullmatch(name), _YEAR.fullmatch(parts[-2]) if len(parts) > 1 else None
        if match and year:
            base = parts[:-2]
            if len(base) > 1 and base[-1] == base[-2]:  # AWS doubles the report's name
                base = base[:-1]
            period = Period.parse(f"{year[1]}-{int(match[1]):02d}")
            return ReportMonth("/".join(base) or "report", period, parts, "athena")
    except CopsError:
        pass  # a folder that only looks like a billing month
    return None


def find(files: Files, month: ReportMonth) -> Found:
    """The newest complete delivery of a month: the pointer manifest first, then older assemblies."""
    refusals: list[CopsError] = []
    refused: set[bytes] = set()
    candidates = _candidates(files, month)
    if not candidates:
        return Found(None, _no_manifest(files, month))
    for folder, manifest_file in candidates:
        try:
            body = files.read(manifest_file, SIZE_LIMIT)
            if body in refused:
                continue  # the pointer and its assembly's own manifest are one delivery
            refused.add(body)
            return Found(_complete(files, month, folder, manifest_file, body), tuple(refusals))
        except CopsError as refusal:
            refusals.append(refusal)
    return Found(None, tuple(refusals))


def unclaimed(files: Files, month: ReportMonth) -> list[FileStat]:
    """Data files of a month that has no manifest at all; none when there is one, or nothing lies there."""
    return [] if _candidates(files, month) else [file for _, file in _lying(files, month)]


def _lying(files: Files, month: ReportMonth) -> list[tuple[tuple[str, ...], FileStat]]:
    place = _data_folder(files, month) if month.kind == "data_exports" else month.parts
    folders = (place, *((*place, name) for name in _folders(files, place)))
    return [
        (folder, file) for folder in folders for file in _listing(files, folder) if not _is_beside(file.name)
    ]


def _no_manifest(files: Files, month: ReportMonth) -> tuple[CopsError, ...]:
    """What to do about data files that no manifest speaks of; nothing for an empty folder."""
    lying = _lying(files, month)
    if not lying:
        return ()
    folder = "/".join(lying[0][0])
    return (
        CopsError(
            "E-MANIFEST-MISSING",
            f"delivery {month.source_id} {month.period}",
            expected="AWS's manifest beside the data files",
            found=f"{len(lying)} file(s) in {folder}, no manifest",
            next_step=f"sync the manifest too ({_manifest_place(month)}), or hand the files over:"
            f" cops deliver {folder}/* --period {month.period}",
        ),
    )


def _manifest_place(month: ReportMonth) -> str:
    return f"{'/'.join(month.parts)}/*-Manifest.json"


def manifest_files(files: Files, month: ReportMonth) -> list[FileStat]:
    """Every manifest of a month, whether or not the files that it names are there."""
    return [file for _, file in _candidates(files, month)]


def _candidates(files: Files, month: ReportMonth) -> list[tuple[tuple[str, ...], FileStat]]:
    top = [
        (month.parts, file)
        for parts in ((month.parts, month.pointer) if month.pointer else (month.parts,))
        for file in _listing(files, parts)
        if _is_manifest(file)
    ]
    assemblies = [
        ((*month.parts, name), file)
        for name in _folders(files, month.parts)
        for file in files.listing((*month.parts, name))
        if _is_manifest(file)
    ]
    if month.kind == "data_exports":  # an execution's folder begins with its time
        newest_first = sorted(assemblies, key=lambda found: found[0], reverse=True)
    else:
        newest_first = sorted(assemblies, key=lambda found: (found[1].version, found[0]), reverse=True)
    return top + newest_first


def _is_manifest(file: FileStat) -> bool:
    return file.name.endswith("-Manifest.json")


def _complete(
    files: Files, month: ReportMonth, folder: tuple[str, ...], manifest_file: FileStat, body: bytes
) -> Delivered:
    subject = f"manifest {'/'.join((*folder, manifest_file.name))}"
    manifest = parse(body, subject=subject)
    if manifest.period is not None and manifest.period != month.period:
        raise CopsError(
            "E-MANIFEST-SCOPE",
            subject,
            expected=f"billing period {month.period}, as its folder says",
            found=f"billing period {manifest.period}",
            next_step="move the delivery to its own period's folder",
        )
    place, layout = _place(files, month, folder, manifest)
    listed = {file.name: file for file in _listing(files, place)}
    missing = [name for name in manifest.file_names if name not in listed]
    if missing:
        raise CopsError(
            "E-CHUNK-MISSING",
            subject,
            expected=f"{len(manifest.file_names)} regular files in {'/'.join(place)}",
            found=f"{len(missing)} missing, first {missing[0]!r}",
            next_step="wait for the delivery to complete and run again; the ingested month stays",
        )
    named = set(manifest.file_names)
    return Delivered(
        source_id=month.source_id,
        period=month.period,
        layout=layout,
        assembly_id=manifest.assembly_id,
        report=f"{manifest.account}/{manifest.report_name}",
        compression=manifest.compression,
        manifest_body=body,
        manifest_file=manifest_file,
        files=tuple(listed[name] for name in manifest.file_names),
        strays=tuple(sorted(name for name in listed if name not in named and not _is_beside(name))),
        status_files=_status_files(files, month),
    )


def _place(
    files: Files, month: ReportMonth, folder: tuple[str, ...], manifest: Manifest
) -> tuple[tuple[str, ...], Layout]:
    """The folder of the data files that a manifest in `folder` speaks of."""
    if month.kind == "athena":
        return folder, "athena"
    if month.kind == "data_exports":
        data = _data_folder(files, month)
        if manifest.folder and manifest.folder in _folders(files, data):
            return (*data, manifest.folder), "data_exports_create_new"
        if folder != month.parts:  # an execution's own manifest speaks of its own folder only
            return (*data, folder[-1]), "data_exports_create_new"
        return data, "data_exports_overwrite"
    if folder == month.parts and manifest.assembly_id in _folders(files, folder):
        return (*folder, manifest.assembly_id), "create_new_version"
    return folder, "overwrite" if folder == month.parts else "create_new_version"


def _data_folder(files: Files, month: ReportMonth) -> tuple[str, ...]:
    """`data/BILLING_PERIOD=…` beside `metadata/BILLING_PERIOD=…`; FOCUS-style lower case counts too."""
    parts: tuple[str, ...] = month.parts[:-2]
    for wanted in ("data", month.parts[-1]):
        spelled = [name for name in _folders(files, parts) if name.lower() == wanted.lower()]
        parts = (*parts, spelled[0] if spelled else wanted)
    return parts


def _status_files(files: Files, month: ReportMonth) -> tuple[FileStat, ...]:
    if month.kind != "athena":
        return ()
    base = month.parts[:-2]
    if _STATUS not in _folders(files, base):
        return ()
    return tuple(file for file in files.listing((*base, _STATUS)) if file.name.endswith(".parquet"))


def _listing(files: Files, parts: tuple[str, ...]) -> list[FileStat]:
    return files.listing(parts) if _is_there(files, parts) else []


def _folders(files: Files, parts: tuple[str, ...]) -> list[str]:
    return files.folders(parts) if _is_there(files, parts) else []


def _is_there(files: Files, parts: tuple[str, ...]) -> bool:
    """Every folder on the way is a real one, and listed."""
    return not parts or (_is_there(files, parts[:-1]) and parts[-1] in files.folders(parts[:-1]))


def _is_beside(name: str) -> bool:
    return name.startswith((".", "_")) or name.endswith(_BESIDE)
