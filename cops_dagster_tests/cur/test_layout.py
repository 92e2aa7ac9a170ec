"""Finding deliveries in real folders. Each line of a table is a file, the later one the newer one:

PATH                      a data file
PATH ASSEMBLY NAME…       a manifest of September that names these files
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cops_dagster.cur import layout, manifest
from cops_dagster.cur.layout import Found, ReportMonth
from cops_dagster.errors import CopsError
from cops_dagster.period import Period
from cops_dagster.stores.files import Folder, sha256

SEPTEMBER = ("report", "20250901-20251001")
BASE = "report/20250901-20251001"


def said(assembly: str, names: list[str], period: str = "202509") -> str:
    keys = [f"/prefix/report/20250901-20251001/{assembly}/{name}" for name in names]
    return json.dumps(
        {"assemblyId": assembly, "billingPeriod": {"start": f"{period}01T000000.000Z"}, "reportKeys": keys}
    )


def lay(root: Path, text: str) -> Path:
    """Writes the files of a table; `.` in front stands for the month's folder."""
    for age, row in enumerate(filter(None, map(str.strip, text.splitlines()))):
        name, *words = row.split()
        path = root / (BASE + name.removeprefix(".") if name.startswith("./") else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(said(words[0], words[1:]) if words else "data", encoding="utf-8")
        os.utime(path, ns=(age * 10**9, age * 10**9))
    return root


def find(root: Path, parts: tuple[str, ...] = SEPTEMBER) -> Found:
    (month,) = [found for found in layout.months(Folder(root)) if found.parts == parts]
    return layout.find(Folder(root), month)


def shown(root: Path, found: Found) -> str:
    """`LAYOUT ASSEMBLY FILE…`, then `! CODE` of each refusal."""
    newest = found.newest
    words = [newest.layout, newest.assembly_id] if newest else ["nothing"]
    words += [Path(file.path).relative_to(root / BASE).as_posix() for file in newest.files] if newest else []
    return " ".join([*words, *(f"! {refusal.code}" for refusal in found.refusals)])


TABLES = {
    "create new version: the pointer names the newest assembly": (
        """
        ./a1/r-1.parquet
        ./a1/r-Manifest.json    a1 r-1.parquet
        ./a2/r-1.parquet
        ./a2/r-Manifest.json    a2 r-1.parquet
        ./r-Manifest.json       a2 r-1.parquet
        """,
        "create_new_version a2 a2/r-1.parquet",
    ),
    "the pointer decides, not the time of an assembly": (
        """
        ./a1/r-1.parquet
        ./r-Manifest.json       a1 r-1.parquet
        ./a2/r-1.parquet
        ./a2/r-Manifest.json    a2 r-1.parquet
        """,
        "create_new_version a1 a1/r-1.parquet",
    ),
    "overwrite: the files lie beside the only manifest": (
        """
        ./r-1.parquet
        ./r-2.parquet
        ./r-Manifest.json       a1 r-1.parquet r-2.parquet
        """,
        "overwrite a1 r-1.parquet r-2.parquet",
    ),
    "files come in the manifest's order": (
        """
        ./r-1.parquet
        ./r-2.parquet
        ./r-Manifest.json       a1 r-2.parquet r-1.parquet
        """,
        "overwrite a1 r-2.parquet r-1.parquet",
    ),
    "a file that the manifest does not name is ignored": (
        """
        ./r-1.parquet
        ./r-2.parquet
        ./crawler-cfn.yml
        ./r-Manifest.json       a1 r-1.parquet
        """,
        "overwrite a1 r-1.parquet",
    ),
    "without a pointer the newest assembly is taken": (
        """
        ./b/r-1.parquet
        ./b/r-Manifest.json     b r-1.parquet
        ./a/r-1.parquet
        ./a/r-Manifest.json     a r-1.parquet
        """,
        "create_new_version a a/r-1.parquet",
    ),
    "a missing file is refused and there is nothing older": (
        """
        ./a1/r-1.parquet
        ./r-Manifest.json       a1 r-1.parquet r-2.parquet
        """,
        "nothing ! E-CHUNK-MISSING",
    ),
    "the newest is incomplete, an older assembly whole": (
        """
        ./a1/r-1.parquet
        ./a1/r-Manifest.json    a1 r-1.parquet
        ./a2/r-1.parquet
        ./a2/r-Manifest.json    a2 r-1.parquet r-2.parquet
        ./r-Manifest.json       a2 r-1.parquet r-2.parquet
        """,
        "create_new_version a1 a1/r-1.parquet ! E-CHUNK-MISSING",
    ),
    "of several older whole assemblies the newest is taken": (
        """
        ./a1/r-1.parquet
        ./a1/r-Manifest.json    a1 r-1.parquet
        ./a0/r-1.parquet
        ./a0/r-Manifest.json    a0 r-1.parquet
        ./a3/r-Manifest.json    a3 r-9.parquet
        """,
        "create_new_version a0 a0/r-1.parquet ! E-CHUNK-MISSING",
    ),
    "a file of another assembly does not stand in for a missing one": (
        """
        ./a1/r-1.parquet
        ./r-1.parquet
        ./a2/other
        ./r-Manifest.json       a2 r-1.parquet
        """,
        "nothing ! E-CHUNK-MISSING",
    ),
    "an assembly whose folder is not there yet is missing its files": (
        """
        ./r-Manifest.json       a1 r-1.parquet
        """,
        "nothing ! E-CHUNK-MISSING",
    ),
    "a file named twice is refused": (
        """
        ./r-1.parquet
        ./r-Manifest.json       a1 r-1.parquet r-1.parquet
        """,
        "nothing ! E-CHUNK-DUP",
    ),
    "a data file whose name only looks like a folder is not one": (
        """
        ./a1
        ./r-1.parquet
        ./r-Manifest.json       a1 r-1.parquet
        """,
        "overwrite a1 r-1.parquet",
    ),
    "files without a manifest are no delivery": (
        """
        ./r-1.parquet
        ./a1/r-1.parquet
        """,
        "nothing ! E-MANIFEST-MISSING",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_newest_complete_delivery_is_found(name: str, tmp_path: Path) -> None:
    text, expected = TABLES[name]
    assert shown(tmp_path, find(lay(tmp_path, text))) == expected


def test_a_delivery_carries_its_manifest_as_read_and_each_file_as_listed(tmp_path: Path) -> None:
    lay(tmp_path, "./a1/r-1.parquet\n./r-Manifest.json a1 r-1.parquet")
    found = find(tmp_path).newest
    assert found is not None
    assert found.manifest_body == (tmp_path / BASE / "r-Manifest.json").read_bytes()
    assert found.manifest_file.path == str(tmp_path / BASE / "r-Manifest.json")
    assert [(file.name, file.size, file.version) for file in found.files] == [("r-1.parquet", 4, 0)]
    assert (found.source_id, found.period) == ("report", Period(2025, 9))


def test_a_missing_file_is_named_in_the_refusal(tmp_path: Path) -> None:
    lay(tmp_path, "./r-1\n./r-Manifest.json a1 r-1 r-2 r-3")
    (refusal,) = find(tmp_path).refusals
    assert "2 missing" in refusal.found
    assert "r-2" in refusal.found


def test_a_manifest_of_another_period_is_refused_and_of_its_own_allowed(tmp_path: Path) -> None:
    lay(tmp_path, "./r-1\n./r-Manifest.json a1 r-1")
    assert find(tmp_path).newest
    (tmp_path / BASE / "r-Manifest.json").write_text(said("a1", ["r-1"], period="202508"))
    assert shown(tmp_path, find(tmp_path)) == "nothing ! E-MANIFEST-SCOPE"


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "{}"], ids=["empty", "cut", "deep", "bare"])
def test_a_broken_pointer_does_not_hide_the_whole_assembly_below_it(content: str, tmp_path: Path) -> None:
    lay(tmp_path, "./a1/r-1\n./a1/r-Manifest.json a1 r-1")
    (tmp_path / BASE / "r-Manifest.json").write_text(content)
    assert shown(tmp_path, find(tmp_path)) == "create_new_version a1 a1/r-1 ! E-MANIFEST"


@pytest.mark.parametrize(("size", "taken"), [(manifest.SIZE_LIMIT, True), (manifest.SIZE_LIMIT + 1, False)])
def test_a_manifest_of_the_largest_size_is_read_and_one_byte_more_is_not(
    size: int, taken: bool, tmp_path: Path
) -> None:
    lay(tmp_path, "./r-1\n./r-Manifest.json a1 r-1")
    path = tmp_path / BASE / "r-Manifest.json"
    path.write_bytes(path.read_bytes().ljust(size))
    assert shown(tmp_path, find(tmp_path)) == ("overwrite a1 r-1" if taken else "nothing ! E-MANIFEST")


ODD_NAMES = ["ä ö ü.parquet", " r.parquet ", "a\nb.parquet", "%2e%2e", "..parquet", "a'b\"c;--.parquet",
             "-rf", "r\u202e.parquet", "😀"]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_file_name_is_only_a_name(name: str, tmp_path: Path) -> None:
    folder = tmp_path / BASE
    folder.mkdir(parents=True)
    (folder / name).write_text("data")
    (folder / "r-Manifest.json").write_text(said("a1", [name]))
    found = find(tmp_path).newest
    assert found is not None
    assert [file.name for file in found.files] == [name]
    assert Folder(tmp_path).sha256(found.files[0]) == sha256(folder / name)


@pytest.mark.parametrize("name", ["..", ".", "../secret", "../../secret", "a1/../../secret"])
def test_a_name_never_leads_out_of_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("data")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "secret").write_text("data")
    lay(tmp_path, "./a1/other")
    (tmp_path / BASE / "r-Manifest.json").write_text(said("a1", [name]))
    assert shown(tmp_path, find(tmp_path)) == "nothing ! E-CHUNK-MISSING"


@pytest.mark.parametrize("assembly", ["..", ".", "../20250801-20250901", "", "/"])
def test_an_assembly_id_never_leads_out_of_its_folder(assembly: str, tmp_path: Path) -> None:
    lay(tmp_path, "report/20250801-20250901/r-1\nreport/r-1\n./other")
    (tmp_path / BASE / "r-Manifest.json").write_text(said(assembly, ["r-1"]))
    assert shown(tmp_path, find(tmp_path)) == "nothing ! E-CHUNK-MISSING"


def test_a_link_is_not_taken_for_a_data_file_and_a_regular_file_is(tmp_path: Path) -> None:
    lay(tmp_path, "elsewhere\n./other\n./r-Manifest.json a1 r-1")
    place = tmp_path / BASE / "r-1"
    place.symlink_to(tmp_path / "elsewhere")
    assert shown(tmp_path, find(tmp_path)) == "nothing ! E-CHUNK-MISSING"
    place.unlink()
    place.write_text("data")
    assert shown(tmp_path, find(tmp_path)) == "overwrite a1 r-1"


def test_a_pipe_is_not_taken_for_a_data_file_nor_waited_for(tmp_path: Path) -> None:
    lay(tmp_path, "./r-Manifest.json a1 r-1")
    os.mkfifo(tmp_path / BASE / "r-1")
    assert shown(tmp_path, find(tmp_path)) == "nothing ! E-CHUNK-MISSING"


def test_a_folder_is_not_taken_for_a_data_file(tmp_path: Path) -> None:
    lay(tmp_path, "./r-1/x\n./r-Manifest.json a1 r-1")
    assert shown(tmp_path, find(tmp_path)) == "nothing ! E-CHUNK-MISSING"


def test_links_to_folders_and_manifests_are_not_followed(tmp_path: Path) -> None:
    lay(tmp_path, "outside/20250801-20250901/r-Manifest.json a1 r-1\n./r-1\n./other-Manifest.txt")
    root = tmp_path / "report"
    (root / "20250801-20250901").symlink_to(tmp_path / "outside" / "20250801-20250901")
    (root / "loop").symlink_to(root)
    (root / "20250901-20251001" / "r-Manifest.json").symlink_to(
        tmp_path / "outside" / "20250801-20250901" / "r-Manifest.json"
    )
    assert [month.parts for month in layout.months(Folder(root))] == [("20250901-20251001",)]
    assert shown(tmp_path, find(root, ("20250901-20251001",))) == "nothing ! E-MANIFEST-MISSING"


def test_a_manifest_that_became_a_link_after_it_was_listed_is_not_read(tmp_path: Path) -> None:
    lay(tmp_path, "secret\n./r-Manifest.json a1 r-1")
    folder = Folder(tmp_path)
    (listed,) = folder.listing(SEPTEMBER)
    Path(listed.path).unlink()
    Path(listed.path).symlink_to(tmp_path / "secret")
    with pytest.raises((CopsError, OSError)):
        folder.read(listed, 10**6)


def test_a_data_file_that_became_a_link_after_it_was_listed_is_not_digested(tmp_path: Path) -> None:
    lay(tmp_path, "secret\n./r-1")
    folder = Folder(tmp_path)
    (listed,) = folder.listing(SEPTEMBER)
    assert folder.sha256(listed) == sha256(tmp_path / "secret")
    Path(listed.path).unlink()
    Path(listed.path).symlink_to(tmp_path / "secret")
    with pytest.raises((CopsError, OSError)):
        folder.sha256(listed)


# --- sources and periods ------------------------------------------------------------------------------


def test_every_source_is_named_by_its_place_and_months_come_oldest_first(tmp_path: Path) -> None:
    for parts in (
        "20250901-20251001",
        "payer-b/daily/20250801-20250901",
        "payer-b/daily/20250901-20251001",
        "a/b/c/d/e/f/g/20241201-20250101",
    ):
        (tmp_path / parts).mkdir(parents=True)
    assert [(str(month.period), month.source_id) for month in layout.months(Folder(tmp_path))] == [
        ("2024-12", "a/b/c/d/e/f/g"),
        ("2025-08", "payer-b/daily"),
        ("2025-09", "payer-b/daily"),
        ("2025-09", "report"),
    ]


@pytest.mark.parametrize(
    "name",
    ["20250901", "20250902-20251001", "20251301-20260101", "20250001-20250101", "19990101-19990201",
     "2025-09", "x20250901-20251001", "20250901-20251001.bak", "２０２５0901-20251001"],
)  # fmt: skip
def test_a_folder_that_is_no_billing_range_is_no_month(name: str, tmp_path: Path) -> None:
    (tmp_path / "report" / name).mkdir(parents=True)
    assert layout.months(Folder(tmp_path)) == []


def test_a_range_inside_a_range_is_no_second_month(tmp_path: Path) -> None:
    (tmp_path / "report" / "20250901-20251001" / "20250801-20250901").mkdir(parents=True)
    assert [str(month.period) for month in layout.months(Folder(tmp_path))] == ["2025-09"]


def test_the_guides_inclusive_range_end_is_a_month_too(tmp_path: Path) -> None:
    (tmp_path / "report" / "20250901-20250930").mkdir(parents=True)
    assert layout.months(Folder(tmp_path)) == [
        ReportMonth("report", Period(2025, 9), ("report", "20250901-20250930"))
    ]


def test_a_report_root_that_is_not_there_is_refused_and_an_empty_one_allowed(tmp_path: Path) -> None:
    with pytest.raises(CopsError, match="E-SOURCE-UNKNOWN"):
        layout.months(Folder(tmp_path / "nowhere"))
    assert layout.months(Folder(tmp_path)) == []


def test_data_of_an_export_without_its_metadata_folder_is_a_month_whose_manifest_is_missing(
    tmp_path: Path,
) -> None:
    data = tmp_path / "export" / "data" / "BILLING_PERIOD=2025-09" / "x-1"
    data.mkdir(parents=True)
    (data / "e-00001.snappy.parquet").write_bytes(b"PAR1")
    (month,) = layout.months(Folder(tmp_path))
    assert (month.source_id, str(month.period), month.kind) == ("export", "2025-09", "data_exports")
    (refusal,) = layout.find(Folder(tmp_path), month).refusals
    assert refusal.found == "1 file(s) in export/data/BILLING_PERIOD=2025-09/x-1, no manifest"
    assert "export/metadata/BILLING_PERIOD=2025-09/*-Manifest.json" in refusal.next_step


def test_an_export_with_both_halves_is_one_month(tmp_path: Path) -> None:
    for half in ("data", "metadata"):
        (tmp_path / "export" / half / "BILLING_PERIOD=2025-09").mkdir(parents=True)
    assert len(layout.months(Folder(tmp_path))) == 1


def test_an_empty_folder_of_a_month_is_no_delivery_and_no_refusal(tmp_path: Path) -> None:
    tmp_path.joinpath(*SEPTEMBER).mkdir(parents=True)
    assert shown(tmp_path, find(tmp_path)) == "nothing"


@pytest.mark.parametrize(
    ("path", "above"),
    [
        ("billing/report/20250901-20251001", "billing/report"),
        ("billing/report/20250901-20251001/assembly", "billing/report"),
        ("billing/report/report/year=2025/month=9", "billing/report/report"),
        ("billing/report/report/year=2025", "billing/report/report"),
        ("billing/export/data/BILLING_PERIOD=2025-09", "billing/export"),
        ("billing/export/metadata", "billing/export"),
        ("billing/export/data", "billing/export"),
        ("20250901-20251001", ""),
        ("billing/report", None),
        ("billing/20251301-20260101", None),
        ("", None),
    ],
)
def test_the_folder_that_should_have_been_named_lies_above_the_month(path: str, above: str | None) -> None:
    found = layout.above_month(path.split("/"))
    assert (None if found is None else "/".join(found)) == above
