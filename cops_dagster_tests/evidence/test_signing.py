"""What a signed decision says and who may sign it, without any key."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from cops_dagster.evidence import signing
from cops_dagster.evidence.signing import NAMESPACE, Decision, Envelope, Signer

NOON = datetime(2025, 10, 9, 12)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPj7tA/oE2uY1AMNO8pU5NjgW9muadXZDm77cH7wei5j"
BOB = Signer("bob", KEY, "SHA256:bob", NOON - timedelta(days=1), None, added=5)
DECISION = Decision("b1", "approve", "thing", "1", "d1", NOON, "bob")


def codes(wanted: Decision, *, text: str | None = None, by: str = "SHA256:bob", at: int = 9) -> list[str]:
    envelope = Envelope(by, NAMESPACE)
    found = signing.problems(wanted, wanted.text if text is None else text, envelope, [BOB], at)
    return [one.code for one in found]


def test_the_signed_text_has_one_fact_a_line() -> None:
    assert DECISION.text == (
        "cops-decision-1\nbooks: b1\nkind: approve\nsubject: thing/1\ndigest: d1\n"
        "time: 2025-10-09T12:00:00.000000Z\nprincipal: bob\n"
    )


@pytest.mark.parametrize("id_", ["1\ndigest: d2", "1\r", "1\u2028", "\\n"])
def test_a_fact_cannot_look_like_two(id_: str) -> None:
    text = replace(DECISION, subject_id=id_).text
    assert len(text.splitlines()) == 7
    assert text != replace(DECISION, subject_id="1").text


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"subject_id": "2"}, "E-SIGNATURE-SWAPPED"),
        ({"digest": "d2"}, "E-SIGNATURE-SWAPPED"),
        ({"kind": "load"}, "E-SIGNATURE-SWAPPED"),
        ({"signed_at": NOON + timedelta(seconds=1)}, "E-SIGNATURE-SWAPPED"),
        ({"books_id": "b2"}, "E-SIGNATURE-BOOKS"),
    ],
)
def test_a_text_about_anything_else_is_no_signature_of_this(change: dict[str, object], code: str) -> None:
    assert codes(DECISION) == []
    assert codes(DECISION, text=replace(DECISION, **change).text) == [code]  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "x", DECISION.text + "\n", DECISION.text[:-1]])
def test_a_text_that_is_longer_or_shorter_is_another(text: str) -> None:
    assert codes(DECISION, text=text) == ["E-SIGNATURE-SWAPPED"]


@pytest.mark.parametrize(
    ("position", "revoked", "is_right"), [(5, None, False), (6, None, True), (9, 8, False), (7, 8, True)]
)
def test_a_key_counts_between_its_two_entries_of_the_chain(
    position: int, revoked: int | None, is_right: bool
) -> None:
    signer = replace(BOB, revoked=revoked)
    found = list(signing.foreign_key("bob", BOB.fingerprint, NOON, [signer], position))
    assert (found == []) is is_right


def test_the_end_of_a_validity_is_outside_of_it_and_its_beginning_within() -> None:
    signer = replace(BOB, valid_from=NOON, valid_before=NOON + timedelta(hours=1))
    assert signer.holds(NOON)
    assert not signer.holds(NOON + timedelta(hours=1))
    assert not signer.holds(NOON - timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (KEY, True),
        (f"{KEY} bob@laptop\n", True),
        (KEY.replace("ssh-ed25519", "ssh-rsa"), False),
        (f"{KEY}\n{KEY}", False),
        ("ssh-dss AAAA", False),
        (f'from="*" {KEY}', False),
        ("", False),
        (KEY[:-3], False),
    ],
)
def test_a_public_key_is_one_line_of_a_type_that_we_take(text: str, is_one: bool) -> None:
    found = signing.public_key(text)
    assert (found is not None) is is_one
    if found:
        assert found.text == KEY  # a comment makes no other key


@pytest.mark.parametrize("name", ["*", "a,b", "a b", "!a", "", "a\n", "-a", "a?"])
def test_a_name_that_means_more_in_a_list_of_signers_is_none(name: str) -> None:
    assert not signing.is_principal(name)
    assert signing.is_principal("kim.lee+finance@example.com")
