"""Packed files as a stream of bytes: which member of a zip is the report, and what else it may hold.

Belongs here: unpacking, what is passed over, the refusals of archives that cannot be read, and how much an
archive may unpack to. A member's name is never part of a path. Does not belong here: CSV (`lake/convert.py`).
"""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cops_dagster.cur.formats import Format
from cops_dagster.errors import CopsError
from cops_dagster.lake.footers import too_large, truncated

RATIO_MAX = 200
"""CUR text compresses 20 to 40 times; a file that unpacks to more than this is a bomb."""
BLOCK = 1 << 20
HEADER_MAX = 1 << 20
_BROKEN = (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError)
_CHUNK = re.compile(r"(.*[-_.])(\d+)\.csv", re.IGNORECASE | re.DOTALL)
"""AWS's chunks are `name-1.csv`, `name-00001.csv`; `name-v2.csv` or `name 2.csv` is another copy."""
_NOT_FILES = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
_PACKED = (".zip", ".gz", ".7z", ".tar", ".tgz", ".bz2", ".xz", ".zst", ".rar", ".parquet")
_ENCRYPTED = 0x1


def head(path: Path, kind: Format, subject: str) -> bytes:
    """The first bytes of the report: its header line and more."""
    with _whole(path, subject), _opened(path, kind, subject) as streams:
        return next(streams).read(HEADER_MAX)


def blocks(path: Path, kind: Format, subject: str) -> Iterator[bytes]:
    """The report's bytes. A report that lies in a zip in several chunks has one header line here.

    Raises:
        CopsError: `E-FILE-TRUNC`, `E-FORMAT` (no report inside, or more than one), `E-RESOURCE`.
    """
    allowed = RATIO_MAX * path.stat().st_size + (BLOCK << 4)
    with _whole(path, subject), _opened(path, kind, subject) as streams:
        ended, header = True, b""
        for number, stream in enumerate(streams):
            if not ended:
                yield b"\n"
            line = stream.readline(HEADER_MAX)
            if number == 0:
                header = line.strip()
                yield line
            elif line.strip() != header:
                raise _several(path, subject, "chunks with different headers")
            ended = line.endswith(b"\n")
            while block := stream.read(BLOCK):
                allowed -= len(block)
                if allowed < 0:
                    raise too_large(path, subject, f"more than {RATIO_MAX} bytes of text per byte")
                ended = block.endswith(b"\n")
                yield block


def check_whole(path: Path, kind: Format, subject: str) -> None:
    """Unpacks a file to nowhere: its end is there, its checksum fits, and it is no bomb."""
    for _ in blocks(path, kind, subject):
        pass


def check_stated_size(path: Path, subject: str) -> None:
    """The last four bytes of gzip state what it unpacks to. Too much is a bomb, or the end is missing."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(size - 4, 0))
        stated = int.from_bytes(stream.read(4), "little")
    if stated > RATIO_MAX * size + (BLOCK << 4):
        check_whole(path, "csv.gz", subject)


@contextmanager
def _whole(path: Path, subject: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as problem:
        raise truncated(path, subject, f"{type(problem).__name__}: {problem}") from None
    except NotImplementedError as problem:
        raise _unusable(path, subject, str(problem), "pack it anew with the usual method (deflate)") from None


@contextmanager
def _opened(path: Path, kind: Format, subject: str) -> Iterator[Iterator[IO[bytes]]]:
    if kind == "csv.gz":
        with gzip.open(path, "rb") as stream:
            yield iter([stream])  # type: ignore[list-item]
    elif kind == "csv.zip":
        with zipfile.ZipFile(path) as archive:
            members = _members(archive.infolist(), path, subject)
            yield (_member(archive, one) for one in members)
    else:
        with path.open("rb") as stream:
            yield iter([stream])


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    return archive.open(info)


def _members(found: list[zipfile.ZipInfo], path: Path, subject: str) -> list[zipfile.ZipInfo]:
    """The report among what a zip holds: one CSV, or the numbered chunks of one."""
    files = [one for one in found if not one.is_dir() and not _NOT_FILES.search(one.filename)]
    reports = [one for one in files if one.filename.lower().endswith(".csv")]
    if not reports and len(files) == 1 and not files[0].filename.lower().endswith(_PACKED):
        reports = files  # a report without extension
    if not reports:
        named = ", ".join(repr(one.filename[:80]) for one in files[:3]) or "nothing"
        raise _unusable(
            path, subject, f"no CSV in the zip, but {named}", "unpack it and deliver the report that is in it"
        )
    if len(reports) > 1 and not _are_chunks(reports):
        named = ", ".join(repr(one.filename[:80]) for one in reports[:3])
        raise _several(path, subject, f"{len(reports)} files in the zip: {named}")
    if min(one.header_offset for one in found) > 0:  # of archives behind each other only the last one is seen
        raise _several(path, subject, "other bytes before the zip, perhaps another zip")
    if any(one.flag_bits & _ENCRYPTED for one in reports):
        raise _unusable(path, subject, "a zip with a password", "unpack it and deliver what is in it")
    return reports


def _are_chunks(reports: list[zipfile.ZipInfo]) -> bool:
    """Whether several files are one report, numbered as by AWS: else the same cost may lie here twice."""
    named = [_CHUNK.fullmatch(one.filename) for one in reports]
    stems = {match[1] for match in named if match}
    numbers = [int(match[2]) for match in named if match]
    bytes_of = {(one.CRC, one.file_size) for one in reports}
    if (
        not all(named)
        or len(stems) != 1
        or len(set(numbers)) != len(reports)
        or len(bytes_of) != len(reports)
    ):
        return False
    reports.sort(key=lambda one: int(_CHUNK.fullmatch(one.filename)[2]))  # type: ignore[index]
    return sorted(numbers) == list(range(min(numbers), min(numbers) + len(numbers)))


def _unusable(path: Path, subject: str, found: str, next_step: str) -> CopsError:
    return CopsError(
        "E-FORMAT",
        f"{subject}, file {path.name!r}",
        expected="one report in CSV, packed or not",
        found=found,
        next_step=f"{next_step}; the ingested month stays",
    )


def _several(path: Path, subject: str, found: str) -> CopsError:
    return _unusable(
        path,
        subject,
        found,
        "unpack it and deliver the report of the month alone; chunks of one report are named alike but for"
        " their numbers and have the same header",
    )
