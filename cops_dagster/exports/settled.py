"""Months that drafts and packs are made of: reconciled as they stand, and no document in doubt.

Belongs here: the refusal of a month whose documents are in conflict, and of a tenant that it does not have.
Does not belong here: whether a month was reconciled (`exports/ready.py`), what is made of it
(`exports/drafts.py`, `exports/packs.py`).
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.exports import ready
from cops_dagster.exports.ready import Ready
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import documents


def require(books: Books, con: sa.Connection, period: Period) -> Ready:
    """A month with a reconciliation of the entries and documents that stand.

    Raises:
        CopsError: what `ready.require` raises; `E-INV-CONFLICT` while a document waits for a decision.
    """
    try:
        found = ready.require(books, con, period)
    except CopsError as refusal:  # a draft of a draft there is not
        raise CopsError(
            refusal.code,
            refusal.subject,
            expected=refusal.expected,
            found=refusal.found,
            next_step=f"{refusal.next_step.removesuffix(ready.AS_DRAFT)}, then again",
        ) from None
    waiting = [] if lock.is_sealed(con, period) else documents.conflicts(con, period)
    if waiting:
        raise CopsError(
            "E-INV-CONFLICT",
            f"documents of {period}",
            expected="one version of every document",
            found=f"{waiting[0].document_id} came twice with other content",
            next_step=f"decide which one stands: cops exceptions list {period}",
        )
    return found


def require_tenant(subject: str, period: Period, tenant_id: str | None, known: Collection[str]) -> None:
    """Refuses to answer for a tenant that the month does not have; `None` asks for all of them.

    Raises:
        CopsError: `E-PARAM` for an empty id, which a script may give by mistake;
            `E-TENANT-UNKNOWN`.
    """
    if tenant_id is None or tenant_id in known:
        return
    require_some(subject, tenant_id)
    raise CopsError(
        "E-TENANT-UNKNOWN",
        subject,
        expected="a tenant of the month",
        found=repr(tenant_id),
        next_step=f"take one of `cops statement {period}`",
    )


def require_some(subject: str, tenant_id: str | None) -> None:
    """Refuses an empty id, which must not mean everybody; `None` asks for all of them.

    Raises:
        CopsError: `E-PARAM`.
    """
    if tenant_id is not None and not tenant_id.strip():
        raise CopsError(
            "E-PARAM",
            f"{subject}, --tenant",
            expected="the id of a tenant",
            found=repr(tenant_id),
            next_step="leave --tenant out for all of them",
        )
