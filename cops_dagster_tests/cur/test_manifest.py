"""What a manifest says, and that anything else is refused with a code, whatever the bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.cur import manifest
from cops_dagster.errors import CopsError
from cops_dagster.period import Period

GOOD: dict[str, Any] = {
    "assemblyId": "a1",
    "account": "000000000042",
    "reportName": "report",
    "compression": "Parquet",
    "billingPeriod": {"start": "20250901T000000.000Z", "end": "20251001T000000.000Z"},
    "reportKeys": ["prefix/report/20250901-20251001/a1/report-1.parquet"],
}


def body(**changed: object) -> bytes:
    return json.dumps(GOOD | changed).encode()


def code(content: bytes) -> str:
    with pytest.raises(CopsError) as refusal:
        manifest.parse(content, subject="manifest x")
    assert refusal.value.subject == "manifest x"
    return refusal.value.code


def test_a_manifest_gives_its_assembly_period_and_file_names() -> None:
    found = manifest.parse(body(), subject="x")
    assert found == manifest.Manifest(
        "a1", "report", "000000000042", Period(2025, 9), "Parquet",
        ("prefix/report/20250901-20251001/a1/report-1.parquet",),
    )  # fmt: skip
    assert found.file_names == ("report-1.parquet",)


@pytest.mark.parametrize(
    "start", ["20250901T000000.000Z", "2025-09-01T00:00:00.000Z", "20250901T", "2025-09-01T00:00:00Z"]
)
def test_a_billing_period_may_be_written_with_and_without_hyphens(start: str) -> None:
    assert manifest.parse(body(billingPeriod={"start": start}), subject="x").period == Period(2025, 9)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("/prefix/report-1.parquet", "report-1.parquet"),
        ("//report-1.parquet", "report-1.parquet"),
        ("report-1.parquet", "report-1.parquet"),
        ("p/ä ö.parquet", "ä ö.parquet"),
        ("p/a\nb.parquet", "a\nb.parquet"),
        ("p/%2e%2e%2fx.parquet", "%2e%2e%2fx.parquet"),
        ("../../etc/passwd", "passwd"),
        ("p/..", ".."),
        ("p\\q.parquet", "p\\q.parquet"),
    ],
)
def test_of_a_key_only_the_last_part_counts_and_it_is_opaque(key: str, name: str) -> None:
    assert manifest.parse(body(reportKeys=[key]), subject="x").file_names == (name,)


def test_files_keep_the_order_of_the_manifest() -> None:
    keys = [f"p/r-{number}" for number in (3, 1, 2)]
    assert manifest.parse(body(reportKeys=keys), subject="x").file_names == ("r-3", "r-1", "r-2")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"{}",
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        body(reportKeys=[]),
        body(reportKeys="report-1.parquet"),
        body(reportKeys=None),
        body(reportKeys={"a": 1}),
        body(reportKeys=[1]),
        body(reportKeys=[None]),
        body(reportKeys=[""]),
        body(reportKeys=["folder/"]),
        body(billingPeriod=None),
        body(billingPeriod="2025-09"),
        body(billingPeriod={}),
        body(billingPeriod={"start": 20250901}),
        body(billingPeriod={"start": "20250902T000000.000Z"}),
        body(billingPeriod={"start": "September"}),
        body(billingPeriod={"start": ""}),
    ],
    ids=lambda content: content[:40].decode("ascii", "replace") + f"… {len(content)} bytes",
)
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    assert code(content) == "E-MANIFEST"


@pytest.mark.parametrize("start", ["20251301T000000.000Z", "20250001T0", "19990101T0", "२०२५0901T0"])
def test_a_manifest_of_a_month_that_is_none_is_refused_as_a_manifest(start: str) -> None:
    assert code(body(billingPeriod={"start": start})) == "E-MANIFEST"


def test_a_number_of_five_thousand_digits_is_refused_as_a_manifest() -> None:
    """Python refuses such a number with a plain ValueError, which must not end the whole look."""
    assert code(body().replace(b'"a1"', b"1" * 5_000)) == "E-MANIFEST"


def test_a_file_named_twice_is_refused_and_two_files_are_allowed() -> None:
    assert code(body(reportKeys=["p/r-1", "p/r-2", "p/r-1"])) == "E-CHUNK-DUP"
    assert code(body(reportKeys=["p/r-1", "/p/r-1"])) == "E-CHUNK-DUP"
    assert len(manifest.parse(body(reportKeys=["p/r-1", "p/r-2"]), subject="x").file_names) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def outcome(content: bytes) -> str:
    """`read`, or the code of the refusal."""
    try:
        found = manifest.parse(content, subject="x")
    except CopsError as refusal:
        return refusal.code
    return "read" if found.file_names and not any("/" in name for name in found.file_names) else "?"


def parses_or_refuses(content: bytes) -> None:
    assert outcome(content) in ("read", "E-MANIFEST", "E-CHUNK-DUP")


@given(st.dictionaries(st.sampled_from(list(GOOD)), JSON))
def test_any_value_in_any_field_is_read_or_refused_never_a_crash(changed: Mapping[str, object]) -> None:
    parses_or_refuses(body(**changed))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_never_a_crash(content: bytes) -> None:
    parses_or_refuses(content)


@given(st.integers(0, len(body()) - 1), st.integers(0, 255))
def test_a_manifest_with_one_wrong_byte_is_read_or_refused(position: int, byte: int) -> None:
    parses_or_refuses(body()[:position] + bytes([byte]) + body()[position + 1 :])
