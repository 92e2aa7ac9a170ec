"""Packed reports: what else a zip may hold, what is one report in several chunks, what is refused and how."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cops_dagster.errors import CopsError
from cops_dagster.lake import archives
from cops_dagster.lake.duck import DuckDB
from cops_dagster_tests.lake.csv_lines import SPAN_HEADER, USAGE, csv_lines
from cops_dagster_tests.lake.odd import Odd

REPORT = csv_lines(SPAN_HEADER, USAGE, USAGE)
HEADER, ONE, TWO = REPORT.split("\n")
FORK = b"\x00\x05\x16\x07Mac OS X, this is no report"


@pytest.fixture(scope="module")
def shared() -> Iterator[DuckDB]:
    with DuckDB() as made:
        yield made


@pytest.fixture
def odd(shared: DuckDB, tmp_path: Path) -> Odd:
    return Odd(shared, tmp_path)


def zipped(members: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return made.getvalue()


READ: dict[str, dict[str, str | bytes]] = {
    "one file": {"r.csv": REPORT},
    "a resource fork before it": {"__MACOSX/._r.csv": FORK, "r.csv": REPORT},
    "a resource fork behind it": {"r.csv": REPORT, "__MACOSX/x/._r.csv": FORK, "._r.csv": FORK},
    "what a desktop leaves": {"x/.DS_Store": b"\0", "x/Thumbs.db": b"\0", "x/r.CSV": REPORT},
    "folders": {"a/": "", "a/b/": "", "a/b/r.csv": REPORT},
    "a readme and a manifest": {"README.txt": "read me", "r-Manifest.json": "{}", "r.csv": REPORT},
    "a name that leads elsewhere": {"/../../r.csv": REPORT},
    "a name without an ending": {"20250901": REPORT},
    "chunks of one report": {"r-00002.csv": f"{HEADER}\n{TWO}", "r-00001.csv": f"{HEADER}\n{ONE}"},
    "chunks with and without a last line end": {
        "r-1.csv": f"{HEADER}\n{ONE}\n",
        "r-2.csv": f"{HEADER}\n{TWO}\n",
    },
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", READ)
def test_the_report_in_a_zip_is_read_whatever_lies_beside_it(case: str, odd: Odd) -> None:
    found = odd.take_csv(zipped(READ[case]), "csv.zip").lines()
    assert [row["identity_line_item_id"] for row in found] == ["00", "01"]
    assert list(odd.folder.glob("*.csv")) == []


def encrypted() -> bytes:
    body = bytearray(zipped({"r.csv": REPORT}, zipfile.ZIP_STORED))
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.index(magic) + place] |= 1
    return bytes(body)


def unknown_method() -> bytes:
    body = bytearray(zipped({"r.csv": REPORT}, zipfile.ZIP_STORED))
    for magic, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        body[body.index(magic) + place] = 97
    return bytes(body)


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "two reports": (
        zipped({"june.csv": REPORT, "july.csv": REPORT + "\n"}), "E-FORMAT", "2 files in the zip",
    ),
    "the same report twice": (
        zipped({"r-1.csv": REPORT, "r-2.csv": REPORT}), "E-FORMAT", "2 files in the zip",
    ),
    "a copy beside it": (
        zipped({"r.csv": REPORT, "r copy.csv": f"{HEADER}\n{ONE}"}), "E-FORMAT", "'r copy.csv'",
    ),
    "a chunk that is missing": (
        zipped({"r-1.csv": f"{HEADER}\n{ONE}", "r-3.csv": f"{HEADER}\n{TWO}"}), "E-FORMAT", "2 files",
    ),
    "chunks with two headers": (
        zipped({"r-1.csv": REPORT, "r-2.csv": f"{HEADER},x\n{ONE},1"}), "E-FORMAT", "different headers",
    ),
    "a zip behind a zip": (
        zipped({"r.csv": REPORT}) + zipped({"s.csv": REPORT}), "E-FORMAT", "before the zip",
    ),
    "a zip in a zip": (zipped({"r.csv.zip": zipped({"r.csv": REPORT})}), "E-FORMAT", "no CSV in the zip"),
    "a gzip in a zip": (zipped({"r.csv.gz": gzip.compress(REPORT.encode())}), "E-FORMAT", "no CSV"),
    "nothing but forks": (zipped({"__MACOSX/._r.csv": FORK}), "E-FORMAT", "but nothing"),
    "a password": (encrypted(), "E-FORMAT", "password"),
    "an unknown method": (unknown_method(), "E-FORMAT", "compression"),
    "a flipped bit": (
        zipped({"r.csv": REPORT}, zipfile.ZIP_STORED).replace(b"AmazonEC2", b"AmazonEC3", 1),
        "E-FILE-TRUNC", "CRC",
    ),
    "a cut end": (zipped({"r.csv": REPORT})[:-30], "E-FILE-TRUNC", "BadZipFile"),
    "a bomb": (zipped({"r.csv": HEADER + "\n" + " " * (64 << 20)}), "E-RESOURCE", "bytes of text per byte"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_zip_that_holds_no_one_report_is_refused_in_its_own_words(case: str, odd: Odd) -> None:
    body, code, found = REFUSED[case]
    with pytest.raises(CopsError) as refusal:
        odd.take_csv(body, "csv.zip")
    assert refusal.value.code == code
    assert found in refusal.value.found
    assert list(odd.folder.glob("*.csv")) == []


def test_what_the_refusal_of_several_files_advises_works(odd: Odd) -> None:
    with pytest.raises(CopsError, match="unpack it and deliver"):
        odd.take_csv(zipped({"june.csv": REPORT, "july.csv": REPORT + "\n"}), "csv.zip")
    assert len(odd.take_csv(REPORT).lines()) == 2


def member(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


@pytest.mark.parametrize(
    "body",
    [
        member(REPORT),
        member(f"{HEADER}\n{ONE}\n") + member(TWO),
        member(REPORT) + member(""),
        member(REPORT) + b"\0" * 1024,
    ],
    ids=["one member", "two members", "an empty member", "padding"],
)
def test_gzip_in_several_members_or_padded_is_read_whole(body: bytes, odd: Odd) -> None:
    assert len(odd.take_csv(body, "csv.gz").lines()) == 2


@pytest.mark.parametrize(
    "body",
    [
        member(REPORT) + b"garbage",
        member(REPORT)[:-4],
        member(REPORT)[:-8] + zlib.crc32(b"other").to_bytes(4, "little") + member(REPORT)[-4:],
        member(f"{HEADER}\n{ONE}\n") + member(TWO)[:-5],
    ],
    ids=["garbage behind it", "a cut end", "a wrong checksum", "a cut second member"],
)
def test_gzip_that_is_not_whole_is_refused(body: bytes, odd: Odd) -> None:
    with pytest.raises(CopsError, match="E-FILE-TRUNC"):
        odd.take_csv(body, "csv.gz")


def test_the_header_is_read_without_reading_the_report(tmp_path: Path) -> None:
    path = tmp_path / "r.csv.zip"
    path.write_bytes(zipped({"__MACOSX/._r.csv": FORK, "r.csv": REPORT}))
    assert archives.head(path, "csv.zip", "d").decode().startswith(HEADER)
