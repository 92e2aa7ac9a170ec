"""Whether a month may leave COPS, and which books an export of it was made from.

Belongs here: the refusal of a month that is not reconciled as it stands, and the digest of what decides an
export. Does not belong here: any export, its record (`exports/record.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import sqlalchemy as sa

from cops_dagster.closing import current
from cops_dagster.errors import CopsError, unknown_month
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import Field, digest
from cops_dagster.period import Period
from cops_dagster.reconciliation import record
from cops_dagster.stores import tables as t

AS_DRAFT = "; to see it as it is, add --draft"
"""The end of a next step where the export has drafts."""
_WRITERS = ("duckdb", "pyarrow")
"""Who writes the files: another version may give other bytes from the same books."""


@dataclass(frozen=True)
class Ready:
    """A month that may leave, with its newest reconciliation; `None` in a draft of one that has none.

    `moved_at` is when it came into its state, UTC: a month that went and came back has another. `seal` is the
    digest of its seal, empty until it is closed.
    """

    period: Period
    state: str
    moved_at: Any
    seal: str
    recon: Any
    head: month.Head
    is_draft: bool


def require(books: Books, con: sa.Connection, period: Period, *, draft: bool = False) -> Ready:
    """The month, if it was reconciled as it stands; as a draft, whatever was allocated.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` for a month without reconciliation, in a draft without entries;
            `E-EXPORT-STALE` when something changed since it was reconciled.
    """
    month.require_known(con, period)
    run, recon = month.head(con, month.ALLOCATED, period), record.newest(con, period)
    if run is None or (recon is None and not draft):
        raise unknown_month(
            period,
            expected="a reconciled month" if not draft else "an allocated month",
            found="none",
            next_step=f"run `cops materialize {period}`" + ("" if draft or run is None else AS_DRAFT),
            subject=f"export of {period}",
        )
    locks = t.period_lock
    state = lock.state_of(con, period)
    locked = con.execute(sa.select(locks).where(locks.c.period_start == period.start)).one_or_none()
    if not draft and not current.stands(con, books.policy, period):
        raise CopsError(
            "E-EXPORT-STALE",
            f"export of {period}",
            expected="a month that was reconciled as it stands",
            found="entries, usage, rules, tags, documents or another input changed since",
            next_step=_again(period, state) + AS_DRAFT,
        )
    seal = locked.seal_digest if locked and state == "closed" else ""
    return Ready(period, state, locked.changed_at if locked else None, seal, recon, run, draft)


def _again(period: Period, state: str) -> str:
    opened = f"`cops period mark-provisional {period} --reason …`, then " if state == "final" else ""
    return f"run {opened}`cops materialize {period}`"


def made_from(con: sa.Connection, ready: Ready, name: str, algorithm: str, *more: Field) -> str:
    """The digest of the books that an export is made from: runs, reconciliation, state, tenants.

    Args:
        algorithm: the version of what makes the export.
        more: what decides it besides.
    """
    tenants = con.execute(sa.select(t.tenants).order_by(t.tenants.c.tenant_id)).all()
    return digest(
        name,
        algorithm,
        str(ready.period),
        ready.state,
        ready.moved_at,
        ready.recon.recon_id if ready.recon else None,
        month.read(con, ready.period).heads,
        [tuple(row) for row in tenants],
        [version(one) for one in _WRITERS],
        list(more),
    )
