"""The invoice freeze: while a month's reconciliation has failed, no new invoice is issued (rule 5.13).

Belongs here: setting it beside the alert that causes it, what it refuses, its release by two people. Credit
notes, and reissues that name the invoice they correct, are never refused: they are the way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger import recon_log, signatures, signed_decisions
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.policy import require_policy
from cops_dagster.period import Period
from cops_dagster.rules.people import is_same_person
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def name_of(row: Any) -> str:
    """What people call a freeze."""
    return f"freeze-{row.freeze_seq}"


def in_force(con: sa.Connection, period: Period | None = None) -> Sequence[Any]:
    """Freezes that are not released; of a period those that reach it: its own and earlier ones."""
    f = t.invoice_freeze
    query = sa.select(f).where(f.c.released_at.is_(None)).order_by(f.c.freeze_seq)
    if period is not None:
        query = query.where(f.c.period_start <= period.start)
    return con.execute(query).all()


def requested(con: sa.Connection) -> list[Any]:
    """Freezes whose release somebody asked for and nobody approved yet."""
    return [row for row in in_force(con) if row.release_requested_by]


def of(con: sa.Connection, period: Period) -> Sequence[Any]:
    """Every freeze that a month itself ever had, released ones too, in order."""
    f = t.invoice_freeze
    return con.execute(sa.select(f).where(f.c.period_start == period.start).order_by(f.c.freeze_seq)).all()


def put(con: sa.Connection, period: Period, *, cause: str, reason: str, actor: str) -> None:
    """Freezes a month for one cause, once; another cause is another freeze, released by itself."""
    f = t.invoice_freeze
    if con.execute(sa.select(f.c.freeze_seq).where(f.c.cause == cause)).first():
        return
    con.execute(
        sa.insert(f).values(
            period_start=period.start, reason=reason, cause=cause, set_by=actor, set_at=now()
        )
    )  # fmt: skip


def require_none(con: sa.Connection, where: str, row: dict[str, Any]) -> None:
    """Refuses a new invoice of a frozen month or later; what corrects another document passes.

    Raises:
        CopsError: `E-FREEZE`.
    """
    if row["document_type"] != "invoice" or row["corrects_invoice_id"] is not None:
        return
    found = in_force(con, Period.of(row["period_start"]))
    if found:
        raise CopsError(
            "E-FREEZE", where, expected="no new invoice while invoices are frozen",
            found=f"{name_of(found[0])} since {found[0].set_at:%Y-%m-%d %H:%M} UTC: {found[0].reason}",
            next_step="find the cause (`cops docs reconciliation`); a credit note, or a reissue that names"
            " the invoice it corrects, is taken",
        )  # fmt: skip


def request_release(books: Books, period: Period, *, reason: str, evidence: str) -> list[str]:
    """Asks for the release of a month's own freezes; the names for the second person to approve.

    What somebody else has asked for already stays theirs: it waits for an approval, not for another request.

    Raises:
        CopsError: `E-PARAM`; `E-FREEZE-CAUSE` while the newest reconciliation does not pass.
    """
    require_policy(books)
    if not reason.strip() or not evidence.strip():
        raise CopsError(
            "E-PARAM", "release", expected="a reason and evidence (a link or a ticket)", found="nothing",
            next_step="add --reason '…' and --evidence LINK",
        )  # fmt: skip
    f = t.invoice_freeze
    with books.admin.write() as con:
        mine = [row for row in in_force(con, period) if row.period_start == period.start]
        if mine:
            _require_passing(con, period)
        for row in mine:
            if row.release_requested_by and not is_same_person(row.release_requested_by, books.actor):
                continue
            con.execute(
                sa.update(f)
                .where(f.c.freeze_seq == row.freeze_seq)
                .values(
                    release_requested_by=books.actor, release_reason=reason.strip(),
                    release_evidence_id=evidence.strip(),
                )
            )  # fmt: skip
            asked = con.execute(sa.select(f).where(f.c.freeze_seq == row.freeze_seq)).one()
            signatures.require(
                books, con, "request", ("invoice_freeze", name_of(row)),
                signed_decisions.of_freeze(name_of(row), asked), period_start=period.start,
            )  # fmt: skip
        return [name_of(row) for row in mine]


def release(con: sa.Connection, row: Any, *, by: str, at: datetime) -> None:
    """Releases one freeze; the caller has seen to it that two people agree.

    Raises:
        CopsError: `E-FREEZE-CAUSE` when its cause is back.
    """
    _require_passing(con, Period.of(row.period_start))
    f = t.invoice_freeze
    con.execute(
        sa.update(f)
        .where(f.c.freeze_seq == row.freeze_seq, f.c.released_at.is_(None))
        .values(released_by=by, released_at=at)
    )


def _require_passing(con: sa.Connection, period: Period) -> None:
    newest = recon_log.newest(con, period)
    if newest is None or newest.status not in ("ok", "warning"):
        raise CopsError(
            "E-FREEZE-CAUSE", f"invoice freeze of {period}",
            expected="a newest reconciliation that is ok or warning",
            found=newest.status if newest else "none",
            next_step=f"correct the invoices or the ledger, then run `cops materialize {period}`",
        )  # fmt: skip
