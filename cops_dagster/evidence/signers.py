"""Who may sign by which key: the list as its events make it, and changing it.

Belongs here: beginning to sign (`cops security init`), adding and revoking keys. Does not belong here:
reading and proving the list (`evidence/signer_list.py`), signing a decision (`evidence/signatures.py`).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError, require_said
from cops_dagster.evidence import (
    adoption,
    chain,
    documents,
    signatures,
    signed_decisions,
    signer_list,
    signing,
)
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.evidence.chain import Piece
from cops_dagster.evidence.signing import Key, Problem, Signer
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


@dataclass(frozen=True)
class Changed:
    """Outcome: what was done to the list, and by which signature."""

    event: str
    principal: str
    fingerprint: str
    identity: str


def begin(books: Books, keys: Mapping[str, str]) -> list[Changed]:
    """Begins to sign: from now on every decision needs a signature, and there is no way back.

    What was decided before is listed in the evidence and stays `claimed`.

    Args:
        keys: public keys by the name that their owners decide under; two people with two keys at least.

    Raises:
        CopsError: `E-SIGNERS` for a list that two people cannot decide with and for books that sign already;
            `E-SIGNER` for a name that cannot stand in the list; what `signatures.require` raises: whoever
            begins is on the list and signs it, and the policy of the books when there was none.
    """
    require_policy(books)
    at, books_id = now(), secrets.token_hex(16)
    made = [_signer(name, text, at) for name, text in keys.items()]
    for number, one in enumerate(made):
        _require_fresh(made[:number], one)
    if problem := signing.without_one_key(
        made, next_step=f"give another person's key as well: {signing.BEGIN}"
    ):
        raise _refused(problem, "the list of signers")
    with books.admin.write() as con:
        if signer_list.listed(con).is_on:
            raise _refused(_SIGNED, "the books")
        events = [
            _event(books, "added", one, at, books_id, reason="the list that signing begins with")
            for one in made
        ]
        for event in events:
            _insert(books, con, event)
        document = documents.document(
            {
                "books_id": books_id,
                "signers": [event["event_id"] for event in events],
                "before": [one.key for one in signed_decisions.of(con)],
            }
        )
        piece = Piece(signer_list.BEGIN, "books", books_id, "application/json", data=document)
        kept = chain.store(books, [piece])
        chain.index(con, books, kept)
        identity = signatures.require(
            books, con, "security", ("books", books_id), kept[0].sha256, must_sign=True
        )
    if books.look_up_policy() is None:  # else the first run would adopt one, and a run signs nothing
        adoption.adopt(books, books.settings.given_policy, origin="cops security init")
    return [Changed("added", one.principal, one.fingerprint, identity) for one in made]


def add(
    books: Books,
    principal: str,
    key: str,
    *,
    reason: str,
    valid_from: datetime | None = None,
    valid_before: datetime | None = None,
) -> Changed:
    """Lets a person sign by a key; a signed decision of somebody on the list.

    Raises:
        CopsError: `E-SIGNERS` in books that do not sign, for a key that is or was somebody's, for a validity
            that is none; `E-SIGNER`, `E-PARAM`; what `signatures.require` raises.
    """
    require_policy(books)
    _require_reason(reason)
    at = now()
    one = replace(
        _signer(principal, key, at), valid_from=max(valid_from or at, at), valid_before=valid_before
    )
    if valid_before is not None and valid_before <= one.valid_from:
        raise _refused(
            Problem("E-SIGNERS", f"an end after {one.valid_from}", str(valid_before), "give a later end"),
            f"the validity of the key of {principal}",
        )
    with books.admin.write() as con:
        listed = _require_on(books, con)
        _require_fresh(listed.signers, one)
        return _change(books, con, "added", one, at, listed.books_id, reason)


def revoke(books: Books, fingerprint: str, *, reason: str) -> Changed:
    """Takes a key off the list; what it signed before stays signed.

    Raises:
        CopsError: `E-SIGNERS` for a key that is not on the list, or when fewer than two people would be left;
            `E-PARAM`; what `signatures.require` raises.
    """
    require_policy(books)
    _require_reason(reason)
    with books.admin.write() as con:
        listed = _require_on(books, con)
        found = [one for one in listed.in_force if one.fingerprint == fingerprint]
        if len(found) != 1:
            raise _refused(
                Problem(
                    "E-SIGNERS",
                    "the fingerprint of a key on the list",
                    "none of them",
                    "take it from `cops security show`",
                ),
                f"key {fingerprint}",
            )
        left = [one for one in listed.in_force if one.fingerprint != fingerprint]
        if problem := signing.without_one_key(
            left, next_step="add another person's key first: cops security add NAME KEY.pub --reason …"
        ):
            raise _refused(problem, "the list of signers")
        return _change(books, con, "revoked", found[0], now(), listed.books_id, reason)


def _change(
    books: Books, con: sa.Connection, event: str, one: Signer, at: datetime, books_id: str, reason: str
) -> Changed:
    values = _event(books, event, one, at, books_id, reason=reason.strip())
    # signed before it is in force: nobody lets himself in, and a key may take itself off
    identity = signatures.require(books, con, "signer", ("signer", values["event_id"]), values["event_id"])
    _insert(books, con, values)
    return Changed(event, one.principal, one.fingerprint, identity)


def _signer(principal: str, text: str, at: datetime) -> Signer:
    if not signing.is_principal(principal):
        raise _refused(
            Problem(
                "E-SIGNER",
                "a name of letters, digits and . _ @ + -, as COPS_ACTOR gives it",
                repr(principal),
                "give a plain name, and let its owner set COPS_ACTOR to it",
            ),
            "the name of a signer",
        )
    key: Key | None = signing.public_key(text)
    if key is None:
        raise _refused(
            Problem(
                "E-SIGNATURE-KEY",
                "a public key of OpenSSH, one line such as ssh-ed25519 AAAA…",
                "something else",
                "give the .pub file of the key",
            ),
            f"the key of {principal}",
        )
    return Signer(principal, key.text, key.fingerprint, at, None, 0)


def _require_fresh(known: Sequence[Signer], one: Signer) -> None:
    """A key is one person's for ever: also one that was revoked."""
    for other in known:
        if other.fingerprint == one.fingerprint:
            raise _refused(
                Problem(
                    "E-SIGNERS",
                    "a key of their own for everybody",
                    f"{one.fingerprint}: it {'is' if other.revoked is None else 'was'} {other.principal}'s",
                    "let its owner make another: ssh-keygen -t ed25519",
                ),
                f"the key of {one.principal}",
            )


def _require_on(books: Books, con: sa.Connection) -> signer_list.Listed:
    listed = signer_list.listed(con)
    if not listed.is_on:
        raise _refused(
            Problem("E-SIGNERS", "books that sign", "books that do not", signing.BEGIN), "the books"
        )
    return listed


def _require_reason(reason: str) -> None:
    require_said(
        reason,
        subject="reason",
        expected="why, in words",
        next_step="add --reason '…'; it stands beside the decision for ever",
    )


def _event(
    books: Books, event: str, one: Signer, at: datetime, books_id: str, *, reason: str
) -> dict[str, Any]:
    values = {
        "event": event, "books_id": books_id, "principal": one.principal, "public_key": one.public_key,
        "fingerprint": one.fingerprint, "valid_from": one.valid_from, "valid_before": one.valid_before,
        "reason": reason, "actor": books.actor, "occurred_at": at,
    }  # fmt: skip
    return {"event_id": hashlib.sha256(signer_list.document_of(values)).hexdigest(), **values}


def _insert(books: Books, con: sa.Connection, values: dict[str, Any]) -> None:
    document = signer_list.document_of(values)
    piece = Piece(signer_list.SIGNER, "signer", values["event_id"], "application/json", data=document)
    number = chain.index(con, books, chain.store(books, [piece]))[0]
    con.execute(sa.insert(t.allowed_signers).values(**values, evidence_id=str(number)))


def _refused(problem: Problem, subject: str) -> CopsError:
    return CopsError(
        problem.code, subject, expected=problem.expected, found=problem.found, next_step=problem.next_step
    )


_SIGNED = Problem(
    "E-SIGNERS",
    "books that do not sign yet",
    "a list of signers",
    "change it with `cops security add` and `cops security revoke`; signed books stay signed",
)
