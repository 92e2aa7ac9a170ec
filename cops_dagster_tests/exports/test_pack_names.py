"""Names in packs: folders that every file system takes, and texts that name somebody else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.exports.pack_names import Names, folder_of

IDS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+=-]{0,127}", fullmatch=True)

FOLDERS = {
    "acme": "acme", "acme-eu": "acme-eu", "Acme": "acme.", "a/../../b": "a_b.", "..": None, "con": "con_.",
    "x" * 128: "x" * 40 + ".", "a:b": "a_b.", "com1": "com1_.", "a_b": "a_b", "A=1": "a_1.",
}  # fmt: skip


@pytest.mark.parametrize("tenant_id", [name for name in FOLDERS if name != ".."])
def test_a_safe_id_is_a_folder_and_any_other_gets_a_digest(tenant_id: str) -> None:
    folder = folder_of(tenant_id)
    expected = FOLDERS[tenant_id]
    assert folder == expected or (str(expected).endswith(".") and folder.startswith(str(expected)))
    assert re.fullmatch(r"[a-z0-9_][a-z0-9_-]*(\.[0-9a-f]{12})?", folder)


@pytest.mark.parametrize("tenant_id", ["con", "CON", "Nul", "com1", "COM1", "lpt9", "aux.", "con=", "prn"])
def test_no_folder_is_a_name_that_windows_keeps_whatever_follows_its_dot(tenant_id: str) -> None:
    """`con.89771558a5ae` is the console there, as `con` is."""
    assert not re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d", folder_of(tenant_id).partition(".")[0])


@given(st.sets(IDS, max_size=8))
def test_no_two_tenants_share_a_folder_even_where_capitals_are_not_told(ids: set[str]) -> None:
    assert len({folder_of(one).lower() for one in ids}) == len(ids)


TENANTS = {"acme": "Acme", "acme-eu": "Acme Europe", "globex": "שמות Inc", "x1": "x1"}
SHOWN = {
    # a text: who may read it as it is
    "other-usage": {"acme", "acme-eu", "globex", "x1"},
    "acme-support": {"acme"},
    "ACME_support": {"acme"},
    "acme-eu-support": {"acme-eu"},
    "acmee": {"acme", "acme-eu", "globex", "x1"},
    "for Acme Europe": {"acme-eu"},
    "acme-eu and globex": set(),
    "the part of שמות inc.": {"globex"},
    "ｇｌｏｂｅｘ": {"globex"},
    "glo\u200bbex": {"globex"},
    "x1": {"x1"},
    "x12": {"acme", "acme-eu", "globex", "x1"},
}


@pytest.mark.parametrize("text", SHOWN)
def test_a_text_that_names_another_tenant_is_shown_by_its_digest(text: str) -> None:
    names = Names(TENANTS)
    shown = {tenant: names.shown(text, tenant) for tenant in TENANTS}
    assert {tenant for tenant, told in shown.items() if told == text} == SHOWN[text]
    hidden = {told for told in shown.values() if told != text}
    assert len(hidden) <= 1, "the same text has the same digest for everybody"
    assert all(re.fullmatch(r"name [0-9a-f]{12}", told) for told in hidden)


def test_signs_that_turn_the_direction_of_text_are_spelled_out() -> None:
    assert Names(TENANTS).shown("\u202elive\u2069", "acme") == "<U+202E>live<U+2069>"


@pytest.mark.parametrize("name", ["\u200b", " \u200b", "\u2060\u00ad"])
def test_a_tenant_whose_name_nobody_sees_is_named_nowhere(name: str) -> None:
    """It was found in every text with two blanks, which all others then saw as a digest."""
    assert Names({"acme": "Acme", "x1": name}).shown("two  blanks - there", "acme") == "two  blanks - there"


def test_nothing_is_nothing() -> None:
    assert Names(TENANTS).shown(None, "acme") == Names({"a": " "}).shown("", "a") == ""
