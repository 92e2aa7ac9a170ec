"""The policies that were ever adopted, kept in versions; the newest is in force.

Belongs here: reading and appending versions. Does not belong here: what a policy holds (`policy.py`), who may
change it and when (`evidence/adoption.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cops_dagster.policy import Policy
from cops_dagster.stores import tables as t


@dataclass(frozen=True)
class Adopted:
    """One version of the policy: who adopted it, when, taken from where, and why."""

    version: int
    policy: Policy
    adopted_by: str
    adopted_at: datetime
    origin: str
    note: str | None


def newest(con: sa.Connection) -> Adopted | None:
    """The policy in force; `None` in books that never made a run."""
    policies = t.policy
    row = con.execute(sa.select(policies).order_by(policies.c.policy_version.desc()).limit(1)).one_or_none()
    return _adopted(row) if row else None


def newest_version(con: sa.Connection) -> int | None:
    """The number of the policy in force."""
    found: int | None = con.execute(sa.select(sa.func.max(t.policy.c.policy_version))).scalar_one()
    return found


def history(con: sa.Connection) -> list[Adopted]:
    """Every version, the newest first."""
    policies = t.policy
    return [
        _adopted(row) for row in con.execute(sa.select(policies).order_by(policies.c.policy_version.desc()))
    ]


def append(
    con: sa.Connection,
    policy: Policy,
    *,
    by: str,
    at: datetime,
    origin: str,
    note: str | None,
    evidence_id: int,
) -> int:
    """Appends the next version within the caller's write transaction; its number."""
    version = (newest_version(con) or 0) + 1
    con.execute(
        sa.insert(t.policy).values(
            policy_version=version,
            policy_json=policy.as_json,
            digest=policy.digest,
            adopted_by=by,
            adopted_at=at,
            origin=origin,
            note=note,
            evidence_id=str(evidence_id),
        )
    )
    return version


def _adopted(row: Any) -> Adopted:
    policy = Policy.model_validate(json.loads(row.policy_json))
    return Adopted(row.policy_version, policy, row.adopted_by, row.adopted_at, row.origin, row.note)
