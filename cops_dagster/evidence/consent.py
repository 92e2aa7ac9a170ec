"""Consent: the second person's row that an act depends on, and who is recorded as having given it.

Belongs here: giving it within the transaction of the act, reading it, the digest of what is agreed to. Does
not belong here: what waits for it (`closing/approve.py`), the refusal of an act without it (migration 0009).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import decisions, signatures
from cops_dagster.evidence.people import is_same_person
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

DELIVERY = "cur_delivery"
ADJUSTMENT = "adjustment"
NOTE = "variance_note"
EXCEPTION = "exception"
FREEZE = "invoice_freeze"
CLOSE = "close"


@dataclass(frozen=True)
class Asked:
    """What somebody asked another person to agree to.

    Attributes:
        digest: of everything that is agreed to; when any of it changes, it is another thing.
        requested_login: who was logged in to PostgreSQL when it was asked; `None` on SQLite.
        what: in words, for refusals.
    """

    kind: str
    subject_id: str
    digest: str
    requested_by: str
    requested_login: str | None
    what: str
    period_start: date | None = None


def of_exception(values: Mapping[str, Any]) -> str:
    """The digest of a decided exception or of a variance note: the difference, and what was decided."""
    is_note = values["stage"] is None  # its decision is the answer, and was not there when it was asked
    decided = [None if is_note else values["decision"], values["evidence_id"]]
    decided.append(None if is_note else values["decided_by"])
    return digest(
        "exception-2",
        *(
            values[name]
            for name in (
                "exception_id",
                "period_start",
                "stage",
                "subject_id",
                "tenant_id",
                "class",
                "amount_usd",
                "owner",
                "opened_by",
                "note",
            )
        ),
        *decided,
    )


def of_release(values: Mapping[str, Any]) -> str:
    """The digest of a freeze and of the reasons for its release."""
    names = (
        "freeze_seq", "period_start", "cause", "release_requested_by", "release_reason",
        "release_evidence_id",
    )  # fmt: skip
    return digest("release-2", *(values[name] for name in names))


def _deciding_login(con: sa.Connection) -> str | None:
    """The login that the database writes in the place of the actor, where PostgreSQL's roles are in use."""
    if con.dialect.name != "postgresql":
        return None
    decides, login = con.execute(sa.text("SELECT cops_session_decides(), CAST(session_user AS text)")).one()
    return str(login) if decides else None


def given(con: sa.Connection, kind: str, subject_id: str) -> Any:
    """The approval of a subject, or `None`."""
    approvals = t.approval
    return con.execute(
        sa.select(approvals).where(approvals.c.subject_type == kind, approvals.c.subject_id == subject_id)
    ).one_or_none()


def require_another(con: sa.Connection, books: Books, asked: Asked) -> None:
    """Refuses the one who asked: by name, by what is claimed, by login.

    Raises:
        CopsError: `E-APPROVER`.
    """
    login = _deciding_login(con)
    pairs = [(asked.requested_by, books.actor), (asked.requested_by, login or books.actor)]
    if login and asked.requested_login:
        pairs.append((asked.requested_login, login))
    for one, other in pairs:
        if is_same_person(one, other):
            raise CopsError(
                "E-APPROVER",
                asked.what,
                expected="somebody other than who asked for it",
                found=f"{one!r} and {other!r}, one person",
                next_step="let a second person approve, with a login of their own"
                if login
                else "let a second person approve, with COPS_ACTOR or a user of their own",
            )


def give(con: sa.Connection, books: Books, asked: Asked, *, reason: str) -> tuple[Any, bool]:
    """Records consent within the caller's write transaction; the approval, and whether it is new.

    Raises:
        CopsError: `E-APPROVER`; `E-CONSENT` when what was approved before is not this.
    """
    before = given(con, asked.kind, asked.subject_id)
    if before is not None:
        if before.subject_digest != asked.digest:
            raise CopsError(
                "E-CONSENT",
                asked.what,
                expected=f"what {before.approved_by} approved",
                found="something else under the same name",
                next_step="stop: keep everything as it is and run `cops evidence verify`",
            )
        return before, False
    require_another(con, books, asked)
    con.execute(
        sa.insert(t.approval).values(
            subject_type=asked.kind,
            subject_id=asked.subject_id,
            subject_digest=asked.digest,
            requested_by=asked.requested_by,
            approved_by=books.actor,
            claimed_by=books.actor,
            reason=reason,
            approved_at=now(),
        )
    )
    decisions.keep(con, books, t.approval, asked.kind, asked.subject_id)
    signatures.require(
        books, con, "approve", (asked.kind, asked.subject_id), asked.digest, period_start=asked.period_start
    )
    return given(con, asked.kind, asked.subject_id), True


def require_closer(con: sa.Connection, period: Period) -> None:
    """Refuses a login that may not close, where the roles of `deploy/postgresql/roles.sql` exist.

    Raises:
        CopsError: `E-ROLE`.
    """
    if con.dialect.name != "postgresql":
        return
    may = con.execute(
        sa.text(
            "SELECT coalesce(bool_and(pg_has_role(current_user, oid, 'MEMBER')), true)"
            " FROM pg_roles WHERE rolname = 'cops_closer'"
        )
    ).scalar_one()
    if not may:
        raise CopsError(
            "E-ROLE",
            f"close of {period}",
            expected="a login that is a member of cops_closer",
            found="one that is not",
            next_step="let somebody approve whose login has that role",
        )


def require_same(what: str, stored: str | None, computed: str) -> None:
    """Refuses a row that is not what was asked for: it was changed past the acts.

    Raises:
        CopsError: `E-CONSENT`.
    """
    if stored is not None and stored != computed:
        raise CopsError(
            "E-CONSENT",
            what,
            expected=f"what was asked for, digest {stored[:16]}…",
            found=f"{computed[:16]}…: the row was changed since",
            next_step="let it be decided or asked anew",
        )


def name_of(row: Any) -> str:
    """What people call a freeze."""
    return f"freeze-{row.freeze_seq}"
