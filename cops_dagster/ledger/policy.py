"""Which policy the books follow, asked again in the transaction that publishes (ADR 26).

Does not belong here: refusing and adopting (`evidence/adoption.py`), what a policy holds (`policy.py`).
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.stores import policies


def require_same_policy(con: sa.Connection, books: Books) -> None:
    """Within the transaction that publishes: the policy is still the one that the run was planned under.

    Raises:
        CopsError: `E-POLICY`.
    """
    planned = books.adopted.version if books.adopted else None
    newest = policies.newest_version(con)
    if newest != planned:
        raise CopsError(
            "E-POLICY",
            "policy",
            expected=f"version {planned or 'none'}, under which this run was planned",
            found=f"version {newest}, adopted meanwhile",
            next_step="run again; nothing was published",
        )
