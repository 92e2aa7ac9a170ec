"""Published files that are missing or damaged, and the same bytes put back where they were.

Belongs here: finding them, and the one way back to a recorded path. Does not belong here: making the bytes
again (the acts that made them first, `closing/repair.py`). `lake_file` is never changed: what is put back has
the recorded digest, or it is not put back.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.lake import live
from cops_dagster.lake.live import LiveFile
from cops_dagster.stores import tables as t
from cops_dagster.stores.aws import outlines
from cops_dagster.stores.files import fsync_folder, sha256, sha256_all
from cops_dagster.stores.volume import Volume


def lost_files(
    con: sa.Connection, lake: Volume, table_name: str, period_start: date, *, digests: bool = False
) -> list[tuple[LiveFile, str]]:
    """The live files of a month that are not the published ones, each with what was found instead.

    A lake in S3 holds the same bytes: what this machine lost is fetched again and is not lost.

    Raises:
        CopsError: `E-LAKE-STORE` when S3 does not answer.
    """
    found = []
    for file in live.live_files(con, lake, table_name, period_start=period_start, bring=False):
        wrong = _wrong(file, digests=digests)
        if wrong and lake.place is not None:
            file.path.unlink(missing_ok=True)
            outlines.forget(file.path)
            live.forget([file.path])
            try:
                lake.bring(
                    file.path.relative_to(lake.root).as_posix(), file.sha256, file.mtime_ns, whole=True
                )
            except CopsError as problem:
                if problem.code != "E-DIGEST":
                    raise
                wrong = problem.found
            else:
                wrong = _wrong(file, digests=True)
        if wrong:
            found.append((file, wrong))
    return found


def _wrong(file: LiveFile, *, digests: bool) -> str | None:
    try:
        live.verify([file], digests=digests)
    except CopsError as problem:
        return problem.found
    return None


def _holds(target: Path, expected: str) -> bool:
    try:
        return sha256(target) == expected
    except OSError:
        return False


def are_again(con: sa.Connection, run_id: str, made: Sequence[Path]) -> bool:
    """Whether staged files have, byte for byte, what a run published."""
    recorded = con.execute(sa.select(t.lake_file.c.sha256).where(t.lake_file.c.run_id == run_id)).scalars()
    return sorted(recorded) == sorted(sha256_all(made))


def put_back(con: sa.Connection, lake: Volume, run_id: str, made: Sequence[Path]) -> bool:
    """Moves staged files to where a run published the same bytes; `False`, and nothing moved, for others.

    A file that lies there as published is not touched.

    Raises:
        CopsError: `E-LAKE-STORE` when S3 does not take a file that it lost too.
    """
    if not are_again(con, run_id, made):
        return False
    files = t.lake_file
    places = defaultdict(list)  # of a delivery two files may have the same bytes
    for row in con.execute(sa.select(files).where(files.c.run_id == run_id).order_by(files.c.path)):
        places[row.sha256].append(row)
    for path, digest in zip(made, sha256_all(made), strict=True):
        row = places[digest].pop(0)
        target = lake.root / row.path
        if _holds(target, digest):  # another process published it meanwhile: who reads it keeps its file
            continue
        os.utime(path, ns=(row.mtime_ns, row.mtime_ns))  # size and time are what later looks go by
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        fsync_folder(target.parent)
        live.forget([target])
        lake.keep(row.path, digest)
    return True
