"""The signature that a decision carries: made, held against the list of signers, kept, verified again.

Belongs here: `require`, which every act that decides calls within its transaction, and `verify`, which finds
afterwards what got into the database past it. Does not belong here: the list (`evidence/signer_list.py`),
which rows are decisions (`evidence/signed_decisions.py`), the verdict over one signature
(`evidence/signing.py`).

Books sign from `cops security init` on, whatever the settings of a process say. Before, a name is claimed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, signed_decisions, signer_list, signing, ssh_keygen
from cops_dagster.evidence.chain import Piece
from cops_dagster.evidence.signed_decisions import Made
from cops_dagster.evidence.signer_list import Listed
from cops_dagster.evidence.signing import CLAIMED, NAMESPACE, Decision, Problem
from cops_dagster.evidence.standing import Finding
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def identity(books: Books, con: sa.Connection) -> str:
    """What will prove who decides: `claimed`, or by which key this process signs; nothing is signed yet.

    Raises:
        CopsError: `E-SIGNATURE` in signed books without a key, `E-SIGNER` for one that is not the actor's;
            `E-SIGNATURE-KEY`, `E-SIGNATURE-TOOL`, `E-EVIDENCE-TAMPERED`.
    """
    if not signer_list.is_on(con):
        return CLAIMED
    fingerprint, position = ssh_keygen.key_of(_place(books)).fingerprint, _next(con)
    signers = signer_list.listed(con).signers
    for problem in signing.foreign_key(books.actor, fingerprint, now(), signers, position):
        raise _refused(problem, f"decision of {books.actor}")
    return signing.told(fingerprint)


def require(
    books: Books,
    con: sa.Connection,
    kind: str,
    subject: tuple[str, str],
    digest: str,
    *,
    period_start: date | None = None,
    must_sign: bool = False,
) -> str:
    """Signs a decision within the transaction that makes it; what proves who decided.

    In books that do not sign the actor is `claimed`, and nothing is written.

    Args:
        kind: one of `signed_decisions.KINDS`.
        subject: what it is about, a type and an id.
        digest: of what is decided; whoever approves signs the digest that was asked for.
        must_sign: the decision begins to sign.

    Raises:
        CopsError: `E-SIGNATURE` and the other codes of `admit`; `E-SIGNERS` where settings ask for signatures
            and the books do not sign; `E-POLICY` where they say that these do not; `E-SIGNATURE-KEY`,
            `E-SIGNATURE-TOOL`; `E-EVIDENCE-TAMPERED` for a list that nobody signed.
    """
    signed = books.settings.security.signed
    if not must_sign and not signer_list.is_on(con):
        if signed:
            raise CopsError(
                "E-SIGNERS",
                "[security] signed",
                expected="a list of signers",
                found="none yet",
                next_step=signing.BEGIN,
            )
        return CLAIMED
    if signed is False:
        raise CopsError(
            "E-POLICY",
            "[security] signed",
            expected="true, as these books do since their list of signers",
            found="false in the settings of this process",
            next_step="take it out of cops.toml and COPS_SECURITY__SIGNED; signed books stay signed",
        )
    place, listed_ = _place(books), signer_list.listed(con)
    wanted = Decision(listed_.books_id, kind, *subject, digest, now(), books.actor)
    armored = ssh_keygen.sign(wanted.text, place)
    made_by = signing.envelope(armored)
    meant = ssh_keygen.key_of(place).fingerprint
    if made_by is not None and made_by.fingerprint != meant:
        raise _refused(
            Problem(
                "E-SIGNATURE-KEY",
                meant,
                f"{made_by.fingerprint}: key and .pub file are not one pair",
                "correct COPS_SIGNING_KEY",
            ),
            f"signing key of {books.actor}",
        )
    return admit(books, con, wanted, wanted.text, armored, listed_, period_start=period_start)


def admit(
    books: Books,
    con: sa.Connection,
    wanted: Decision,
    text: str,
    armored: str,
    listed_: Listed,
    *,
    period_start: date | None = None,
) -> str:
    """Takes a signature for a decision, or refuses it; what proves who decided.

    Raises:
        CopsError: `E-SIGNATURE` (none, or one that OpenSSH does not take), `E-SIGNATURE-NAMESPACE`,
            `E-SIGNATURE-BOOKS` (of another home), `E-SIGNATURE-SWAPPED` (of another decision),
            `E-SIGNATURE-REPLAYED`, `E-SIGNATURE-TIME`, `E-SIGNER` (a key that is not on the list, or is
            revoked, or not valid then), `E-APPROVER` (one key on both sides).
    """
    position, signatures = _next(con), t.signature
    newest = _newest(con)
    subject = f"{wanted.kind} of {wanted.subject_type} {wanted.subject_id[:16]} by {wanted.principal}"
    for problem in signer_list.problems(wanted, text, armored, listed_.signers, position):
        raise _refused(problem, subject)
    signature_id = hashlib.sha256(text.encode()).hexdigest()
    same = sa.or_(signatures.c.signature_id == signature_id, signatures.c.signature == armored)
    if con.execute(sa.select(signatures.c.signature_id).where(same)).first():
        raise _refused(_REPLAYED, subject)
    if problem_ := signing.out_of_time(wanted.signed_at, now(), newest):
        raise _refused(problem_, subject)
    envelope = signing.envelope(armored)
    assert envelope is not None
    other = con.execute(
        sa.select(signatures.c.kind, signatures.c.principal).where(
            signatures.c.subject_type == wanted.subject_type,
            signatures.c.subject_id == wanted.subject_id,
            signatures.c.digest == wanted.digest,
            signatures.c.fingerprint == envelope.fingerprint,
            signatures.c.kind != wanted.kind,
        )
    ).first()
    if other:
        raise _refused(_both_sides(envelope.fingerprint, other.kind, other.principal), subject)
    values = {
        "kind": wanted.kind, "subject_type": wanted.subject_type, "subject_id": wanted.subject_id,
        "digest": wanted.digest, "period_start": period_start, "principal": wanted.principal,
        "fingerprint": envelope.fingerprint, "namespace": envelope.namespace, "signed_at": wanted.signed_at,
        "text": text, "signature": armored,
    }  # fmt: skip
    piece = Piece(
        signer_list.SIGNATURE,
        "decision",
        signature_id,
        "application/json",
        data=signer_list.document_of(values),
    )
    number = chain.index(con, books, chain.store(books, [piece]))[0]
    con.execute(sa.insert(signatures).values(signature_id=signature_id, **values, evidence_id=str(number)))
    return signing.told(envelope.fingerprint)


def told(con: sa.Connection, kind: str, subject: tuple[str, str]) -> str:
    """What proves who made a decision that stands: `claimed`, or the key that signed it."""
    signatures = t.signature
    found = con.execute(
        sa.select(signatures.c.fingerprint)
        .where(
            signatures.c.kind == kind,
            signatures.c.subject_type == subject[0],
            signatures.c.subject_id == subject[1],
        )
        .order_by(signatures.c.signed_at.desc())
    )
    fingerprint = found.scalars().first()
    return signing.told(fingerprint) if fingerprint else CLAIMED


def verify(books: Books, period: Period | None = None) -> list[Finding]:
    """What is wrong with the signatures of all decisions, or of one month's and of those of no month.

    A decision that was made after signing began and has no signature is found by what it did, whoever wrote
    it and whenever it says that it was made.

    Returns:
        findings as those of `evidence.verify`; nothing for books that do not sign.
    """
    with books.admin.read() as con:
        if not signer_list.is_on(con):
            return []
        signatures, evidence_index = t.signature, t.evidence_index
        listed_, wrong = signer_list.read_list(con)
        stored = con.execute(sa.select(signatures)).all()
        entries = {
            row.evidence_seq: row
            for row in con.execute(
                sa.select(evidence_index).where(evidence_index.c.kind == signer_list.SIGNATURE)
            )
        }
        made = signed_decisions.of(con)
    found = [Finding(0, "list of signers", one.expected, one.found) for one in wrong]
    rows = sorted(stored, key=lambda row: int(row.evidence_id))
    found += _chained(rows, entries)
    found += _in_order(rows, entries)
    for row in rows:
        if period is None or row.period_start in (None, period.start):
            found += [
                Finding(int(row.evidence_id), f"{one.code}: {_told(row)}", one.expected, one.found)
                for one in signer_list.of_row(row, listed_.books_id, listed_.signers)
            ]
    wanted = [one for one in made if period is None or one.period_start in (None, period.start)]
    return [*found, *_unsigned(wanted, rows, _before(books, listed_))]


def _chained(rows: Sequence[Any], entries: Mapping[int, Any]) -> list[Finding]:
    """Every signature is in the chain as it stands in its row, and nothing in the chain lost its row."""
    found, seen = [], set()
    for row in rows:
        seq = int(row.evidence_id)
        entry, sha = entries.get(seq), hashlib.sha256(signer_list.document_of(row._mapping)).hexdigest()
        right = hashlib.sha256(row.text.encode()).hexdigest()
        if entry is None or entry.sha256 != sha or not row.signature_id == entry.subject_id == right:
            found.append(Finding(seq, _told(row), "a signature as it is in the chain", "another or none"))
        if seq in seen:
            found.append(Finding(seq, f"E-SIGNATURE-REPLAYED: {_told(row)}", "one use of it", "another"))
        seen.add(seq)
    return found + [
        Finding(seq, "signature", "its row in the table", "none") for seq in entries if seq not in seen
    ]


def _in_order(rows: Sequence[Any], entries: Mapping[int, Any]) -> list[Finding]:
    """Times that are not those of the act, one signature used twice, one key on both sides."""
    found: list[Finding] = []
    newest: datetime | None = None
    used: set[str] = set()
    sides: dict[tuple[str, ...], Any] = {}
    for row in rows:
        seq, what = int(row.evidence_id), _told(row)
        entry = entries.get(seq)
        recorded = entry.recorded_at if entry is not None else row.signed_at
        if late := signing.out_of_time(row.signed_at, recorded, newest):
            found.append(Finding(seq, f"{late.code}: {what}", late.expected, late.found))
        if row.signature in used:
            found.append(Finding(seq, f"{_REPLAYED.code}: {what}", _REPLAYED.expected, _REPLAYED.found))
        side = sides.setdefault((row.subject_type, row.subject_id, row.digest, row.fingerprint), row)
        if side.kind != row.kind:
            both = _both_sides(row.fingerprint, side.kind, side.principal)
            found.append(Finding(seq, f"{both.code}: {what}", both.expected, both.found))
        used.add(row.signature)
        newest = max(newest or row.signed_at, row.signed_at)
    return found


def _unsigned(made: Sequence[Made], rows: Sequence[Any], before: set[tuple[str, ...]]) -> list[Finding]:
    """Decisions that nobody signed, or another person than the books say; those before signing are known."""
    by: dict[tuple[str, ...], str] = {
        (row.kind, row.subject_type, row.subject_id, row.digest): row.principal for row in rows
    }
    found = []
    for one in made:
        key = tuple(one.key)
        if key in before or by.get(key) == one.actor:
            continue
        what = f"{one.kind} of {one.subject_type} {one.subject_id[:16]}"
        there = f"{by[key]}'s" if key in by else "none"
        found.append(Finding(0, f"E-SIGNATURE: {what}", f"a signature of {one.actor or 'somebody'}", there))
    return list(dict.fromkeys(found))


def _before(books: Books, listed_: Listed) -> set[tuple[str, ...]]:
    """Decisions that stood when signing began, as the evidence lists them."""
    if not listed_.begun:
        return set()
    return {tuple(one) for one in json.loads(chain.read(books, listed_.begun))["before"]}


def _told(row: Any) -> str:
    return f"{row.kind} of {row.subject_type} {str(row.subject_id)[:16]}"


def export(books: Books, signature_id: str, folder: Path) -> str:
    """Writes a signed text, its signature and the signers of that moment; the command that verifies them.

    Nothing of COPS is needed for it: OpenSSH alone redoes it.

    Raises:
        CopsError: `E-PARAM` for an id that is no signature's.
    """
    signatures = t.signature
    with books.admin.read() as con:
        row = con.execute(
            sa.select(signatures).where(signatures.c.signature_id == signature_id)
        ).one_or_none()
        if row is None:
            raise CopsError(
                "E-PARAM",
                f"signature {signature_id!r}",
                expected="the id of a signature",
                found="none of this id",
                next_step="take it from `cops security show --json`",
            )
        signers = signer_list.read_list(con)[0].signers
    folder.mkdir(parents=True, exist_ok=True)
    valid = [one for one in signers if one.is_on_list(int(row.evidence_id)) and one.holds(row.signed_at)]
    for name, text in (
        ("decision.txt", row.text),
        ("decision.txt.sig", row.signature),
        ("allowed_signers", "".join(one.line for one in valid)),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    return (
        f"ssh-keygen -Y verify -f allowed_signers -I {row.principal} -n {NAMESPACE} -s decision.txt.sig"
        " < decision.txt"
    )


def history(con: sa.Connection) -> list[dict[str, Any]]:
    """Every signature, the newest first, without its text."""
    signatures = t.signature
    columns = [column for column in signatures.c if column.name not in ("text", "signature")]
    rows = con.execute(sa.select(*columns)).mappings().all()
    return [dict(row) for row in sorted(rows, key=lambda row: -int(row["evidence_id"]))]


def _next(con: sa.Connection) -> int:
    """The number that the chain's next entry gets."""
    return (con.execute(sa.select(sa.func.max(t.evidence_index.c.evidence_seq))).scalar() or 0) + 1


def _newest(con: sa.Connection) -> datetime | None:
    """The time of the newest decision that was signed."""
    try:
        found: datetime | None = con.execute(sa.select(sa.func.max(t.signature.c.signed_at))).scalar()
    except (ValueError, TypeError):  # SQLite lets a time be any text
        raise _refused(
            Problem(
                "E-EVIDENCE-TAMPERED",
                "times that can be read",
                "one that cannot",
                "stop: run `cops evidence verify`",
            ),
            "signatures",
        ) from None
    return found


def _place(books: Books) -> str:
    place = books.settings.signing_key
    if not place:
        raise _refused(
            Problem("E-SIGNATURE", "an SSH signature of the decision", "no signing key", signing.SIGN),
            f"decision of {books.actor}",
        )
    return place


def _both_sides(fingerprint: str, kind: str, principal: str) -> Problem:
    return Problem(
        "E-APPROVER",
        "a key other than that of who asked for it",
        f"{fingerprint}, by which {principal} signed the {kind}",
        "let a second person sign with a key of theirs",
    )


def _refused(problem: Problem, subject: str) -> CopsError:
    return CopsError(
        problem.code, subject, expected=problem.expected, found=problem.found, next_step=problem.next_step
    )


_REPLAYED = Problem(
    "E-SIGNATURE-REPLAYED",
    "a signature that was not used yet",
    "one that the books have already",
    "sign the decision anew",
)
