"""Which policy the books follow: adopted by the first run or by a person, asked by every act (ADR 26).

Belongs here: that a run is published under the policy it was planned under, the difference. Does not belong
here: refusing and adopting (`evidence/adoption.py`), what a policy holds (`policy.py`).
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.policy import Difference, differing
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


def differences(books: Books) -> list[Difference]:
    """What is set here and is not what is in force; empty in books that follow no policy yet."""
    adopted = books.adopted
    return differing(adopted.policy, books.settings.given_policy) if adopted else []


def told(found: list[Difference]) -> str:
    """Differences in one line."""
    return "; ".join(f"{one.name} is {one.adopted}, {one.origin} says {one.given}" for one in found)
