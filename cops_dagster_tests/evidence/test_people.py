"""Who is one person: what blanks, case and form of a name do not change."""

from __future__ import annotations

import pytest

from cops_dagster.evidence.people import is_same_person


@pytest.mark.parametrize(
    "other",
    ["anna", "anna ", " anna", "ANNA", "Anna\n", "an\u200bna", "\uff41nna", "anna\u00a0", "\ufeffanna"],
)
def test_a_name_written_differently_is_the_same_person(other: str) -> None:
    assert is_same_person("anna", other)
    assert is_same_person(other, "anna")


@pytest.mark.parametrize(
    ("one", "other"),
    [("Ju\u0308rgen", "JÜRGEN"), ("strasse", "Straße"), ("kim  lee", "kim lee"), ("ΣΟΦΟΣ", "σοφος")],
)
def test_form_and_case_of_any_script_do_not_make_two_people(one: str, other: str) -> None:
    assert is_same_person(one, other)


@pytest.mark.parametrize(
    ("one", "other"), [("anna", "anne"), ("kim lee", "kimlee"), ("a.b", "ab"), ("", "x")]
)
def test_other_names_are_other_people(one: str, other: str) -> None:
    assert not is_same_person(one, other)
