"""What two people agree to, as bare rows, for tests of the database alone."""

from __future__ import annotations

from datetime import date, datetime
from itertools import count
from typing import Any

import sqlalchemy as sa

from cops_dagster.stores import tables as t

_numbers = count(1)
AT = datetime(2025, 10, 9)


def approval(kind: str, subject: str, form: str, *, asked: str = "kim", by: str = "lee") -> dict[str, Any]:
    """The values of an approval."""
    return {
        "subject_type": kind, "subject_id": subject, "subject_digest": form, "requested_by": asked,
        "approved_by": by, "claimed_by": by, "reason": "checked", "approved_at": AT,
    }  # fmt: skip


def agree(con: sa.Connection, kind: str, subject: str, form: str, **who: str) -> None:
    """Somebody else agrees to what was asked for."""
    con.execute(sa.insert(t.approval).values(approval(kind, subject, form, **who)))


def ask_to_close(con: sa.Connection, start: date, *, by: str = "kim", **given: object) -> tuple[str, str]:
    """Asks to close a month as it is now; subject and digest of the request."""
    number = next(_numbers)
    subject, form = f"close-{start:%Y-%m}-{number}", f"digest {number}"
    newest = [
        con.execute(sa.select(sa.func.max(seq)).where(table.c.period_start == start)).scalar() or 0
        for table, seq in (
            (t.publish_journal, t.publish_journal.c.journal_seq), (t.recon_run, t.recon_run.c.recon_seq),
        )
    ]  # fmt: skip
    con.execute(
        sa.insert(t.close_request).values(
            {
                "subject_id": subject, "subject_digest": form, "period_start": start, "run_ids": "[]",
                "journal_seq": newest[0], "recon_seq": newest[1], "recon_id": "", "readiness_sha256": "x",
                "evidence_id": "1", "requested_by": by, "requested_at": AT,
            }
            | given
        )
    )  # fmt: skip
    return subject, form


def agree_to_close(con: sa.Connection, start: date) -> None:
    """Two people want a month closed as it is now."""
    agree(con, "close", *ask_to_close(con, start))


def are_agreed(con: sa.Connection, start: date) -> bool:
    """Whether two people want a month closed already."""
    requests, approvals = t.close_request, t.approval
    query = sa.select(requests.c.request_seq).join(approvals, approvals.c.subject_id == requests.c.subject_id)
    return con.execute(query.where(requests.c.period_start == start)).first() is not None
