"""Which files are live, now or as of a run, and whether their bytes are the ones published.

Belongs here: reading `lake_file` with `period_head` and `publish_journal`, and the integrity check at
the read path. A Parquet reader is no integrity check: one flipped bit gave a silently wrong sum in 142
to 237 of 300 tries (measured), so digests are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.lake.kept import conversion
from cops_dagster.lake.tables import APPEND_ONLY, KEPT
from cops_dagster.stores import tables as t
from cops_dagster.stores.aws import outlines
from cops_dagster.stores.aws.outlines import Outline
from cops_dagster.stores.files import Identity, identity, sha256_all
from cops_dagster.stores.volume import Volume

if TYPE_CHECKING:  # its SQL brings the engine, which `cops status` does without
    from cops_dagster.lake.delivered import DeliveredFiles


_MADE_BY = {"cur_quarantine": "fact_cost_raw", "fact_cost_adjustment": "fact_cost_allocated"}
"""Tables whose files come with another asset's."""


@dataclass(frozen=True)
class LiveFile:
    """One published file and what was recorded of it.

    Attributes:
        lens: how kept delivered bytes are read (`lake/lens.py`); empty for a file that COPS wrote.
        elsewhere: the object that holds the bytes, where this machine has an outline of it.
    """

    table_name: str
    period_start: date
    source_id: str
    run_id: str
    path: Path
    sha256: str
    size_bytes: int
    mtime_ns: int
    delivery_id: str | None = None
    lens: str = ""
    elsewhere: Outline | None = None


def live_files(
    con: sa.Connection,
    lake: Volume,
    table_name: str,
    *,
    period_start: date | None = None,
    as_of_seq: int | None = None,
    bring: bool = True,
    whole: bool = False,
) -> list[LiveFile]:
    """The files that make up a table, on this machine: the heads' files, or all of an append-only table.

    Args:
        as_of_seq: only runs with a journal number up to this count; later ones have not happened.
        bring: fetch what a lake in S3 has and this machine has not.
        whole: lines are read on this machine, so outlines are not enough.

    Raises:
        CopsError: `E-LAKE-STORE`, `E-DIGEST` for a file that must come from S3 and cannot.
    """
    journal = t.publish_journal
    runs = sa.select(
        journal.c.run_id,
        sa.func.row_number()
        .over(
            partition_by=[journal.c.table_name, journal.c.period_start, journal.c.source_id],
            order_by=journal.c.journal_seq.desc(),
        )
        .label("age"),
    ).where(journal.c.table_name == table_name)
    if as_of_seq is not None:
        runs = runs.where(journal.c.journal_seq <= as_of_seq)
    if period_start is not None:
        runs = runs.where(journal.c.period_start == period_start)
    newest = runs.subquery()
    chosen = sa.select(newest.c.run_id)
    if table_name not in APPEND_ONLY:
        chosen = chosen.where(newest.c.age == 1)
    files = t.lake_file
    rows = con.execute(
        sa.select(files)
        .where(files.c.table_name == table_name, files.c.run_id.in_(chosen))
        .order_by(files.c.path)
    ).all()
    for row in rows if bring else ():
        lake.bring(row.path, row.sha256, row.mtime_ns, whole=whole)
        if as_of_seq is not None:
            _require_kept(con, lake, row)
    return [
        LiveFile(
            row.table_name,
            row.period_start,
            row.source_id,
            row.run_id,
            lake.root / row.path,
            row.sha256,
            row.size_bytes,
            row.mtime_ns,
            row.delivery_id,
            row.columns_json if row.schema_version == KEPT else "",
            outlines.of(lake.root, lake.root / row.path) if lake.place else None,
        )
        for row in rows
    ]


def _require_kept(con: sa.Connection, lake: Volume, row: Any) -> None:
    """Refuses to read as of a delivery that was replaced and whose bytes are gone (`lake/retention.py`)."""
    later, month = t.publish_journal, f"{row.period_start:%Y-%m}"
    if row.schema_version != KEPT or (lake.root / row.path).exists():
        return
    replaced = con.execute(
        sa.select(later.c.run_id).where(
            later.c.predecessor_run_id == row.run_id, later.c.table_name == row.table_name
        )
    ).scalar()
    if replaced is not None:
        raise CopsError(
            "E-RETIRED",
            f"{row.table_name} of {month} as of run {row.run_id[:16]}",
            expected="the bytes of a delivery that a later one replaced",
            found="dropped: replaced ones are kept for [lake] keep_superseded_days",
            next_step=f"ask as of run {replaced[:16]} or later; `cops runs {month}` lists them",
        )


def kept(
    con: sa.Connection, lake: Volume, period_start: date | None = None, *, whole: bool = True
) -> dict[str, list[LiveFile]]:
    """The delivered bytes that the lake keeps, by delivery; each in the order it was delivered in."""
    found: dict[str, list[LiveFile]] = {}
    for file in live_files(con, lake, "fact_cost_raw", period_start=period_start, whole=whole):
        if file.lens and file.delivery_id:
            found.setdefault(file.delivery_id, []).append(file)
    return found


def lying_at(delivered: DeliveredFiles, files: Sequence[LiveFile]) -> DeliveredFiles:
    """A delivery where the lake keeps its bytes."""
    return replace(
        delivered,
        paths=tuple(file.path for file in files),
        sizes=tuple(file.size_bytes for file in files),
        versions=tuple(file.mtime_ns for file in files),
        read_paths=(),
    )


def intact(con: sa.Connection, lake: Volume, table_name: str, period_start: date, run_id: str) -> bool:
    """Whether a run's files are still the published bytes; a damaged one is a reason to stage it anew."""
    try:
        found = live_files(con, lake, table_name, period_start=period_start)
        verify([file for file in found if file.run_id == run_id], digests=True)
    except CopsError:
        return False
    return True


Held = dict[LiveFile, Identity]
"""Files that were verified, and which file each was then."""

_verified: set[tuple[str, Identity, str]] = set()


def verify(files: Sequence[LiveFile], *, digests: bool) -> Held:
    """Refuses files that are not the published ones; what it saw, for `require_same` after they were read.

    With `digests` every byte is read once per process; without, size and time are compared and only
    a file whose time moved (a restored or copied home) is digested. A file that was exchanged or written to
    since its digest is digested again, also where size and time are as before.

    Raises:
        CopsError: `E-DIGEST` naming the file; nothing is summed.
    """
    held: Held = {}
    to_digest = []
    for file in files:
        held[file] = identity = _identity(file)
        if identity[2] != file.size_bytes:
            raise other_bytes(file, f"{identity[2]} bytes")
        key = (str(file.path), identity, file.sha256)
        if (digests or identity[3] != file.mtime_ns) and key not in _verified:
            to_digest.append((file, key))
    try:
        found = _sha256_all([(file.path, file.elsewhere) for file, _ in to_digest])
    except OSError as problem:
        unread = next(file for file, _ in to_digest if str(file.path) == problem.filename)
        raise other_bytes(unread, str(problem.strerror)) from None
    for (file, key), now in zip(to_digest, found, strict=True):
        if now != file.sha256:
            raise other_bytes(file, f"sha256 {now[:12]}…")
        if _identity(file) != key[1]:
            raise _exchanged(file)
        _verified.add(key)
    return held


def changed(files: Sequence[LiveFile]) -> list[tuple[LiveFile, str]]:
    """Files that are not the published bytes, with what was found; every byte is read anew."""
    found, there = [], []
    for file in files:
        try:
            size = file.path.stat().st_size
        except OSError as problem:
            found.append((file, problem.strerror or "no such file"))
            continue
        if size == file.size_bytes:
            there.append(file)
        else:
            found.append((file, f"{size} bytes"))
    digests = _sha256_all([(file.path, file.elsewhere) for file in there])
    return found + [
        (file, f"sha256 {sha256[:12]}…")
        for file, sha256 in zip(there, digests, strict=True)
        if sha256 != file.sha256
    ]


def require_same(held: Mapping[LiveFile, Identity]) -> None:
    """What was read since `verify` are the bytes that it saw; whoever reads files asks it afterwards.

    Raises:
        CopsError: `E-DIGEST` for a file that was exchanged or written to meanwhile. A file that only got
            another name or other rights has the same bytes in the same place, and passes.
    """
    for file, before in held.items():
        now = _identity(file)
        if now == before:
            continue
        if now[:4] != before[:4] or _sha256_all([(file.path, file.elsewhere)]) != [file.sha256]:
            raise _exchanged(file)


def sha256_of(root: Path, paths: Sequence[Path]) -> list[str]:
    """Digests of files as they are; of outlines below `root`, where COPS alone writes, of their objects."""
    return _sha256_all([(path, outlines.of(root, path)) for path in paths])


def _sha256_all(files: Sequence[tuple[Path, Outline | None]]) -> list[str]:
    """Digests of the bytes, also where only an outline of them is here."""
    apart = [(path, outline) for path, outline in files if outline]
    here = [path for path, outline in files if not outline]
    found = dict(zip((path for path, _ in apart), outlines.sha256_all(apart), strict=True))
    found |= dict(zip(here, sha256_all(here), strict=True))
    return [found[path] for path, _ in files]


def digests(root: Path, paths: Sequence[Path]) -> list[str]:
    """Digests of files; one that this process has digested, and that is the same since, is not read again.

    Args:
        root: a folder that COPS alone writes to; below it there may be outlines, whose objects count.
    """
    seen = [(str(path), identity(path)) for path in paths]
    known = {(path, then): digest for path, then, digest in _verified}
    unread = [path for path, one in zip(paths, seen, strict=True) if one not in known]
    known |= dict(zip((one for one in seen if one not in known), sha256_of(root, unread), strict=True))
    _verified.update((*one, known[one]) for one in seen)
    return [known[one] for one in seen]


def remember(path: Path, sha256: str, seen: Identity) -> None:
    """A file that this process has digested needs no second digest. `seen`: its identity before that."""
    _verified.add((str(path), seen, sha256))


def _identity(file: LiveFile) -> Identity:
    try:
        return identity(file.path)
    except OSError:
        raise other_bytes(file, "no such file") from None


def _exchanged(file: LiveFile) -> CopsError:
    return refused(
        file,
        "other bytes in its place while it was read",
        next_step="run it again: it takes the bytes that lie there now, if they are right",
    )


def delivered_files(con: sa.Connection, home: Path, delivered: DeliveredFiles) -> list[LiveFile]:
    """A delivery's files with their digests of first sight, and the Parquet made of CSV with its own."""
    cur_delivery_file, conversions = t.cur_delivery_file, t.cur_read_file
    digests = (
        con.execute(
            sa.select(cur_delivery_file.c.sha256)
            .where(cur_delivery_file.c.delivery_id == delivered.delivery_id)
            .order_by(cur_delivery_file.c.position)
        )
        .scalars()
        .all()
    )
    made = con.execute(
        sa.select(conversions)
        .where(conversions.c.delivery_id == delivered.delivery_id)
        .order_by(conversions.c.position)
    ).all()
    read = [(conversion(home, one.path), one.sha256, one.size_bytes, one.mtime_ns) for one in made]
    read += zip(delivered.paths, digests, delivered.sizes, delivered.versions, strict=True)
    return [
        LiveFile(
            "cur_billing_master",
            date.min,
            delivered.source_id,
            delivered.delivery_id,
            path,
            sha256,
            size,
            version,
            elsewhere=outlines.of(home, path),
        )
        for path, sha256, size, version in read
    ]


def fetch_whole(home: Path, paths: Sequence[Path]) -> None:
    """Fetches what is here as an outline: lines of these files are read on this machine.

    Raises:
        CopsError: `E-DIGEST` for an object that was exchanged; `E-AWS-…`, `E-DISK`.
    """
    for path in paths:
        if outline := outlines.of(home, path):
            outlines.whole(path, outline)


def files_read(con: sa.Connection, home: Path, delivered: DeliveredFiles) -> list[LiveFile]:
    """Of each of a delivery's files the one that is read: itself, or the Parquet made of it."""
    by_path = {file.path: file for file in delivered_files(con, home, delivered)}
    return [by_path[path] for path in delivered.reading]


def forget(paths: Sequence[Path]) -> None:
    """These files are digested again before they are believed again."""
    named = {str(path) for path in paths}
    _verified.difference_update({key for key in _verified if key[0] in named})


def _of(file: LiveFile) -> str:
    delivered = file.period_start == date.min
    return f"delivery {file.run_id[:16]}" if delivered else f"{file.period_start:%Y-%m}"


def other_bytes(file: LiveFile, found: str) -> CopsError:
    """What is said of a file that is gone or holds other bytes than were recorded, with the way out."""
    return refused(file, found, next_step=_way_out(file))


def refused(file: LiveFile, found: str, *, next_step: str) -> CopsError:
    """What is said of a file that is not the published one."""
    return CopsError(
        "E-DIGEST",
        f"{file.table_name} file {file.path.name!r} of {_of(file)}",
        expected=f"the published bytes: {file.size_bytes} bytes, sha256 {file.sha256[:12]}…",
        found=found,
        next_step=next_step,
    )


def _way_out(file: LiveFile) -> str:
    if file.period_start == date.min:
        return "restore the delivered file, or let AWS deliver the month again; see `cops docs cur-ingestion`"
    # of a file of the same size and time a run of the whole month finds nothing to do
    asset = _MADE_BY.get(file.table_name, file.table_name)
    return (
        f"`cops materialize {file.period_start:%Y-%m} --select {asset}` makes it again; of a closed month"
        " restore it from backup, see `cops docs operations`"
    )
