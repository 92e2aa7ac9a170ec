"""What a signed decision says, who may sign it, and what is wrong with a signature. Pure.

Belongs here: the text that is signed, keys and signatures as OpenSSH writes them, the verdict over one
signature. Does not belong here: the arithmetic of signatures (`evidence/ssh_keygen.py` asks OpenSSH), which
decisions there are (`evidence/signed_decisions.py`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

NAMESPACE = "cops-decision@commercial-ops"
"""Namespace of OpenSSH: a signature made for anything else, such as a git commit, is none of a decision."""
VERSION = "cops-decision-1"
"""First line of every signed text."""
CLAIMED = "claimed"
"""What proves who decided, where nothing is signed: a name that somebody gave."""
TOLERANCE = timedelta(minutes=5)
"""How far the clocks of two machines may be apart."""
PEOPLE_MIN = 2
"""Signed books need as many people with a key each: one asks, another approves."""
REFUSALS = frozenset({
    "E-SIGNATURE", "E-SIGNATURE-BOOKS", "E-SIGNATURE-KEY", "E-SIGNATURE-NAMESPACE", "E-SIGNATURE-REPLAYED",
    "E-SIGNATURE-SWAPPED", "E-SIGNATURE-TIME", "E-SIGNATURE-TOOL", "E-SIGNER", "E-SIGNERS",
})  # fmt: skip
"""Codes of a decision that was refused for its signature."""

_NAMES = ("books", "kind", "subject", "digest", "time", "principal")
_KEY_TYPES = (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa",
    "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
)  # fmt: skip
_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*", re.ASCII)
_ARMOR = re.compile(
    r"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)\n-----END SSH SIGNATURE-----\n?", re.ASCII
)


@dataclass(frozen=True)
class Decision:
    """One decision as it is signed: of which books, what kind, about what, by whom, when (UTC, no zone)."""

    books_id: str
    kind: str
    subject_type: str
    subject_id: str
    digest: str
    signed_at: datetime
    principal: str

    @property
    def subject(self) -> tuple[str, str]:
        """What it is about: a type and an id."""
        return self.subject_type, self.subject_id

    @property
    def text(self) -> str:
        """The canonical text, one fact a line. A line break within a fact would be another fact."""
        facts = (
            self.books_id, self.kind, f"{self.subject_type}/{self.subject_id}", self.digest,
            f"{self.signed_at.isoformat(timespec='microseconds')}Z", self.principal,
        )  # fmt: skip
        lines = (f"{name}: {_one_line(fact)}\n" for name, fact in zip(_NAMES, facts, strict=True))
        return f"{VERSION}\n{''.join(lines)}"


@dataclass(frozen=True)
class Key:
    """A public key: its type and its bytes in base64, and the fingerprint that people compare."""

    text: str
    fingerprint: str


@dataclass(frozen=True)
class Signer:
    """A key that a person may sign by. `added` and `revoked` are numbers of entries of the chain."""

    principal: str
    public_key: str
    fingerprint: str
    valid_from: datetime
    valid_before: datetime | None
    added: int
    revoked: int | None = None

    def is_on_list(self, position: int) -> bool:
        """Whether it stood on the list when this entry of the chain was made."""
        return self.added < position and (self.revoked is None or position < self.revoked)

    def holds(self, moment: datetime) -> bool:
        """Whether a signature of this time is within its validity."""
        return self.valid_from <= moment and (self.valid_before is None or moment < self.valid_before)

    @property
    def line(self) -> str:
        """Its line of an `allowed_signers` file."""
        return f'{self.principal} namespaces="{NAMESPACE}" {self.public_key}\n'


@dataclass(frozen=True)
class Envelope:
    """What a signature of OpenSSH says about itself."""

    fingerprint: str
    namespace: str


@dataclass(frozen=True)
class Problem:
    """What is wrong with a signature: a code, what was expected, what was found, what to do."""

    code: str
    expected: str
    found: str
    next_step: str


def public_key(text: str) -> Key | None:
    """A public key as OpenSSH writes it in a file, without its comment; `None` for anything else."""
    words = text.strip().split(None, 2)
    if "\n" in text.strip() or len(words) < 2 or words[0] not in _KEY_TYPES:
        return None
    try:
        blob = base64.b64decode(words[1], validate=True)
        kind, _ = _string(blob)
    except (ValueError, binascii.Error):
        return None
    if kind != words[0].encode():
        return None
    return Key(f"{words[0]} {base64.b64encode(blob).decode()}", _fingerprint(blob))


def envelope(armored: str) -> Envelope | None:
    """Key and namespace of an armored signature; `None` for text that is none."""
    found = _ARMOR.fullmatch(armored)
    if found is None:
        return None
    try:
        blob = base64.b64decode(found[1].replace("\n", ""), validate=True)
        if blob[:6] != b"SSHSIG":
            return None
        key, rest = _string(blob[10:])  # behind a version of four bytes
        namespace, _ = _string(rest)
        return Envelope(_fingerprint(key), namespace.decode())
    except (ValueError, binascii.Error):
        return None


def is_principal(name: str) -> bool:
    """Whether a name can stand in an `allowed_signers` file, where `*`, commas and blanks mean more."""
    return bool(_PRINCIPAL.fullmatch(name))


def told(fingerprint: str) -> str:
    """What proves who decided, where it is signed."""
    return f"signed by {fingerprint}"


def problems(
    wanted: Decision, text: str, signed: Envelope | None, signers: Sequence[Signer], position: int
) -> Iterator[Problem]:
    """What is wrong with a signature, but for its arithmetic; nothing when all is right.

    Args:
        wanted: the decision that it is to be a signature of, with the time that it claims.
        position: number of the chain's entry that it has, or would get.
    """
    if signed is None:
        yield Problem("E-SIGNATURE", "an SSH signature", "text that is none", SIGN)
        return
    if signed.namespace != NAMESPACE:
        yield Problem("E-SIGNATURE-NAMESPACE", NAMESPACE, repr(signed.namespace), SIGN)
    yield from _other_text(wanted, text)
    yield from foreign_key(wanted.principal, signed.fingerprint, wanted.signed_at, signers, position)


def _other_text(wanted: Decision, text: str) -> Iterator[Problem]:
    if text == wanted.text:
        return
    expected, found = wanted.text.splitlines(), text.splitlines()
    differing = [
        (name, right, there)
        for name, right, there in zip(("", *_NAMES), expected, [*found, *[""] * 7], strict=False)
        if right != there
    ] or [("", "nothing more", "more lines")]
    name, right, there = differing[0]
    code = "E-SIGNATURE-BOOKS" if name == "books" else "E-SIGNATURE-SWAPPED"
    yield Problem(code, right, there or "nothing", "sign this decision; a signature is about one only")


def foreign_key(
    principal: str, fingerprint: str, moment: datetime, signers: Sequence[Signer], position: int
) -> Iterator[Problem]:
    """A key that this person may not sign by at this time: not on the list, revoked, or another's."""
    own = [one for one in signers if one.fingerprint == fingerprint and one.added < position]
    listed = [one for one in own if one.is_on_list(position)]
    if any(one.principal == principal and one.holds(moment) for one in listed):
        return
    expected = f"a key of {principal} that is on the list and valid at {moment}"
    if not own:
        found = f"{fingerprint}, which was on the list for nobody"
    elif not listed:
        found = f"{fingerprint}, which was revoked"
    elif all(one.principal != principal for one in listed):
        found = f"{fingerprint}, the key of {listed[0].principal}"
    else:
        begin, end = listed[0].valid_from, listed[0].valid_before
        found = f"{fingerprint}, valid from {begin}{f' until {end}' if end else ''}"
    yield Problem("E-SIGNER", expected, found, _LIST)


def out_of_time(signed_at: datetime, moment: datetime, newest: datetime | None) -> Problem | None:
    """A signature whose time is not that of the act, or lies before a decision that was made earlier.

    Args:
        moment: when it was given or recorded.
        newest: the time of the newest decision before it.
    """
    if abs(signed_at - moment) > TOLERANCE:
        expected = f"{moment} give or take {TOLERANCE.seconds // 60} minutes"
    elif newest is not None and signed_at < newest - TOLERANCE:
        expected = f"not before {newest}, the time of the newest decision"
    else:
        return None
    return Problem(
        "E-SIGNATURE-TIME",
        expected,
        str(signed_at),
        "correct the clock of this machine (and see `cops security show` for the newest decision), sign anew",
    )


def without_one_key(events: Sequence[Signer], *, next_step: str) -> Problem | None:
    """A list of signers that cannot have two people decide, now that nothing more is changed."""
    people = {one.principal.casefold() for one in events}
    keys = {one.fingerprint for one in events}
    if len(people) >= PEOPLE_MIN and len(keys) >= PEOPLE_MIN:
        return None
    return Problem(
        "E-SIGNERS",
        f"{PEOPLE_MIN} people at least, with a key each",
        f"{len(people)} with {len(keys)} key(s)",
        next_step,
    )


BEGIN = "cops security init --signer NAME=KEY.pub --signer OTHER=OTHERS.pub"
"""How books begin to sign: `cops security add` needs a list that there is, and so cannot come first."""
SIGN = "set COPS_SIGNING_KEY to your key, or to the public half of a key that your SSH agent holds"
_LIST = "see `cops security show`; somebody on the list adds a key: cops security add NAME KEY.pub --reason …"


def _one_line(fact: str) -> str:
    return fact.encode("unicode_escape").decode() if not fact.isprintable() or "\\" in fact else fact


def _string(blob: bytes) -> tuple[bytes, bytes]:
    """The first string of SSH's wire format, and what follows it."""
    size = int.from_bytes(blob[:4], "big")
    if len(blob) < 4 + size or len(blob) < 4:
        raise ValueError("cut short")
    return blob[4 : 4 + size], blob[4 + size :]


def _fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
