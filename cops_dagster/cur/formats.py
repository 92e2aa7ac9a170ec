"""The formats a data file can have, told by its first bytes and held against what was promised.

Belongs here: magic bytes and names. Does not belong here: reading the content (`lake/`).
"""

from __future__ import annotations

from typing import Literal

from cops_dagster.errors import CopsError

Format = Literal["parquet", "csv.gz", "csv.zip", "csv"]

_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"PAR1", "parquet"),
    (b"\x1f\x8b", "csv.gz"),
    (b"PK\x03\x04", "csv.zip"),
)
_PROMISED: dict[str, Format] = {
    "parquet": "parquet",
    "gzip": "csv.gz",
    "zip": "csv.zip",
    "csv": "csv",
    "none": "csv",
}
_EXTENSIONS: tuple[tuple[str, Format], ...] = (
    (".parquet", "parquet"),
    (".gz", "csv.gz"),
    (".zip", "csv.zip"),
    (".csv", "csv"),
)
HEAD_BYTES = 512
"""How many first bytes `actual` looks at."""


def actual(head: bytes) -> Format | None:
    """The format of a file that begins with `head`; `None` for what is none of them.

    Text is taken for CSV when it is a line with commas and no control characters.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    line = head.removeprefix(b"\xef\xbb\xbf").split(b"\n")[0]
    printable = not any(byte < 32 and byte not in b"\t\r" for byte in line)
    return "csv" if b"," in line and printable else None


def promised(compression: str, name: str) -> Format | None:
    """What the manifest's `compression` or else the file's extension says; `None` when neither does."""
    by_manifest = _PROMISED.get(compression.lower())
    if by_manifest:
        return by_manifest
    return next((kind for extension, kind in _EXTENSIONS if name.lower().endswith(extension)), None)


def check(head: bytes, size: int, name: str, compression: str, *, subject: str) -> Format:
    """The format of one file.

    Raises:
        CopsError: `E-FILE-TRUNC` for an empty file, `E-FORMAT` for what is no CUR format or another than
            promised by the manifest or the file's own extension.
    """
    if size == 0:
        raise CopsError(
            "E-FILE-TRUNC",
            f"{subject}, file {name!r}",
            expected="a whole file",
            found="0 bytes",
            next_step="wait for the next delivery, or copy the file again; the ingested month stays",
        )
    kind = actual(head)
    expected = {promised(compression, name), promised("", name)} - {None}
    if kind is None or (expected and expected != {kind}):
        raise CopsError(
            "E-FORMAT",
            f"{subject}, file {name!r}",
            expected=" and ".join(sorted(str(one) for one in expected)) or "Parquet or CSV",
            found=f"{kind or 'neither'} (first bytes {head[:4]!r})",
            next_step="deliver the report as its manifest says, in one format",
        )
    return kind
