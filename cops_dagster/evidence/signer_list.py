"""The list of signers as the books hold it, and whether a stored signature holds against it.

Belongs here: reading `allowed_signers` with the proof of every event, the verdict over one signature with
that of OpenSSH. Does not belong here: changing the list (`evidence/signers.py`), `evidence/signatures.py`.

A row counts when the chain has it and, behind the beginning, when somebody who was on the list signed it: a
row that was only inserted makes nobody a signer, it makes every decision stop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import documents, signing, ssh_keygen
from cops_dagster.evidence.signing import Decision, Problem, Signer
from cops_dagster.stores import tables as t

BEGIN = "signing_begins"
SIGNER = "allowed_signer"
SIGNATURE = "signature"
_EVENT = (
    "event", "books_id", "principal", "public_key", "fingerprint", "valid_from", "valid_before", "reason",
    "actor", "occurred_at",
)  # fmt: skip
_SIGNED = (
    "kind", "subject_type", "subject_id", "digest", "period_start", "principal", "fingerprint", "namespace",
    "signed_at", "text", "signature",
)  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """The list of signers as its events make it; `begun` is the chain's entry that signing begins with."""

    books_id: str
    begun: int
    signers: tuple[Signer, ...] = ()

    @property
    def is_on(self) -> bool:
        """Whether these books sign."""
        return bool(self.signers or self.begun)

    @property
    def in_force(self) -> list[Signer]:
        """Keys that are not revoked, valid by now or not."""
        return [one for one in self.signers if one.revoked is None]


def is_on(con: sa.Connection) -> bool:
    """Whether these books sign: an emptied list leaves its beginning in the chain."""
    entries = t.evidence_index
    return (
        con.execute(sa.select(t.allowed_signers.c.event_id).limit(1)).first() is not None
        or con.execute(sa.select(entries.c.evidence_seq).where(entries.c.kind == BEGIN).limit(1)).first()
        is not None
    )


def listed(con: sa.Connection) -> Listed:
    """The list of signers, every event of it proved: it is in the chain, and somebody on the list signed it.

    Raises:
        CopsError: `E-EVIDENCE-TAMPERED` for an event that is not; `E-SIGNATURE-TOOL`.
    """
    try:
        found, wrong = read_list(con)
    except (ValueError, TypeError):  # a number or a time that is none
        wrong = [_untrue("events that can be read", "one that cannot")]
    if wrong:
        raise CopsError(
            "E-EVIDENCE-TAMPERED",
            "the list of allowed signers",
            expected=wrong[0].expected,
            found=wrong[0].found,
            next_step="stop: run `cops evidence verify`",
        )
    return found


def read_list(con: sa.Connection) -> tuple[Listed, list[Problem]]:
    """The list as far as it is proved, and what is wrong with the rest of it."""
    evidence_index, allowed_signers, signatures = t.evidence_index, t.allowed_signers, t.signature
    entries = {
        row.evidence_seq: row
        for row in con.execute(
            sa.select(
                evidence_index.c.evidence_seq,
                evidence_index.c.kind,
                evidence_index.c.subject_id,
                evidence_index.c.sha256,
            )
            .where(evidence_index.c.kind.in_((BEGIN, SIGNER)))
            .order_by(evidence_index.c.evidence_seq)
        )
    }
    events = sorted(con.execute(sa.select(allowed_signers)).all(), key=lambda row: int(row.evidence_id))
    begins = [row for row in entries.values() if row.kind == BEGIN]
    wrong = []
    if len(begins) > 1 or (events and not begins):
        wrong.append(_untrue("one beginning of signing in the chain", str(len(begins))))
    unlisted = {seq for seq, row in entries.items() if row.kind == SIGNER}
    unlisted -= {int(row.evidence_id) for row in events}
    if unlisted:
        wrong.append(_untrue("a row of allowed_signers for every entry of the chain", f"none for {unlisted}"))
    begun = begins[0].evidence_seq if begins else 0
    books_id = begins[0].subject_id if begins else ""
    signers: list[Signer] = []
    for row in events:
        position = int(row.evidence_id)
        entry = entries.get(position)
        sha = hashlib.sha256(document_of(row._mapping)).hexdigest()
        if entry is None or entry.kind != SIGNER or not row.event_id == entry.sha256 == sha:
            wrong.append(
                _untrue(f"{row.principal} {row.event} as in the chain", "an event that is not in it")
            )
            continue
        if row.books_id != books_id:
            wrong.append(_untrue(f"signers of the books {books_id}", f"{row.principal} of {row.books_id}"))
            continue
        if position > begun:
            about = (
                signatures.c.kind == "signer",
                signatures.c.subject_type == "signer",
                signatures.c.subject_id == row.event_id,
            )
            signed = con.execute(
                sa.select(signatures).where(*about, signatures.c.digest == row.event_id)
            ).first()
            if signed is None or any(of_row(signed, books_id, signers)):
                wrong.append(
                    _untrue(f"{row.principal} {row.event} by a signer's decision", "nobody's signature")
                )
                continue
        _apply(signers, row, position)
    return Listed(books_id, begun, tuple(signers)), wrong


def _apply(signers: list[Signer], row: Any, position: int) -> None:
    if row.event == "added":
        signers.append(
            Signer(row.principal, row.public_key, row.fingerprint, row.valid_from, row.valid_before, position)
        )
        return
    for number, one in enumerate(signers):
        if one.fingerprint == row.fingerprint and one.revoked is None:
            signers[number] = replace(one, revoked=position)


def of_row(row: Any, books_id: str, signers: Sequence[Signer]) -> Iterator[Problem]:
    """What is wrong with a stored signature, held against the list as it was when it was recorded."""
    wanted = Decision(
        books_id, row.kind, row.subject_type, row.subject_id, row.digest, row.signed_at, row.principal
    )
    return problems(wanted, row.text, row.signature, signers, int(row.evidence_id))


def problems(
    wanted: Decision, text: str, armored: str, signers: Sequence[Signer], position: int
) -> Iterator[Problem]:
    """What is wrong with a signature of a decision, OpenSSH's own verdict last.

    Raises:
        CopsError: `E-SIGNATURE-TOOL`.
    """
    envelope = signing.envelope(armored)
    is_right = True
    for problem in signing.problems(wanted, text, envelope, signers, position):
        is_right = False
        yield problem
    if is_right and envelope is not None:
        line = next(one.line for one in signers if one.fingerprint == envelope.fingerprint)
        if not ssh_keygen.is_good(text, armored, line, wanted.principal):
            yield Problem(
                "E-SIGNATURE",
                f"a signature that ssh-keygen takes for {wanted.principal}'s",
                "one that it refuses",
                "sign the decision anew",
            )


def document_of(values: Mapping[Any, Any]) -> bytes:
    """An event of the list, or a signature, as the evidence holds it: made from its row alone."""
    names = _EVENT if "event" in values else _SIGNED
    return documents.document({name: documents.plain(values[name]) for name in names})


def _untrue(expected: str, found: str) -> Problem:
    return Problem("E-EVIDENCE-TAMPERED", expected, found, "stop: run `cops evidence verify`")
