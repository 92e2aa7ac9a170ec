"""Variance notes: why a closed month differs from what was invoiced, said once, with evidence.

Belongs here: opening a note as an entry of `recon_exceptions`; it changes no amount. A second person
approves it (`closing/approve.py`).
"""

from __future__ import annotations

from decimal import Decimal

import sqlalchemy as sa

from cops_dagster.errors import CopsError, require_said
from cops_dagster.evidence import consent, decisions, signatures
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def note(
    books: Books, period: Period, *, tenant_id: str, amount_usd: Decimal, reason: str, evidence: str
) -> str:
    """Opens a variance note about a closed month; its id. The same note again is the same one.

    Raises:
        CopsError: `E-PERIOD-OPEN`, `E-PARAM` without reason or evidence, `E-TENANT-UNKNOWN`.
    """
    require_policy(books)
    require_said(reason, evidence, subject="variance note")
    exception_id = digest("variance-note-1", str(period), tenant_id, amount_usd, reason, evidence)
    exceptions = t.recon_exceptions
    with books.admin.write() as con:
        if lock.state_of(con, period) != "closed":
            raise CopsError(
                "E-PERIOD-OPEN",
                f"period {period}",
                expected="a closed period",
                found=f"period is {lock.state_of(con, period)}",
                next_step="correct an open month instead of explaining it",
            )
        known = con.execute(sa.select(t.tenants.c.tenant_id).where(t.tenants.c.tenant_id == tenant_id))
        if not known.first():
            raise CopsError(
                "E-TENANT-UNKNOWN",
                f"variance note of {period}",
                expected="a tenant of the registry",
                found=repr(tenant_id),
                next_step="correct --tenant",
            )
        if not con.execute(
            sa.select(exceptions.c.exception_id).where(exceptions.c.exception_id == exception_id)
        ).first():
            values = {
                "exception_id": exception_id, "period_start": period.start, "stage": None,
                "subject_id": None, "tenant_id": tenant_id, "class": "variance_note",
                "amount_usd": amount_usd, "owner": books.actor, "evidence_id": evidence.strip(),
                "opened_by": books.actor, "opened_at": now(), "note": reason.strip(),
            }  # fmt: skip
            form = consent.of_exception(values)
            con.execute(sa.insert(exceptions).values({**values, "subject_digest": form}))
            decisions.keep(con, books, exceptions, exception_id)
            signatures.require(
                books, con, "note", (consent.NOTE, exception_id), form, period_start=period.start
            )
    return exception_id
