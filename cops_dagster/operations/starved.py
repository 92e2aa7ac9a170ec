"""Pipelines that give a key no figures: which, since when, why, and what to run.

Belongs here: a pipeline that stands still as a line of the diagnosis. Does not belong here: asking one
(`usage/`, which this folder never imports), whether a key is stale or empty (`allocation/checks.py`).
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.allocation import key_versions
from cops_dagster.operations.diagnosis import Finding
from cops_dagster.period import Period


def findings(con: sa.Connection, period: Period) -> list[Finding]:
    """Every pipeline of a month that was refused and has not answered since."""
    return [
        Finding(
            "allocation",
            "red",
            f"the pipeline of {one.measure} gives no figures since {one.day}",
            f"{one.code}: {one.detail}"[:300],
            f"cops keys explain {one.measure} --period {period}",
            f"mend the {one.source_kind}, then: cops keys refresh {one.measure} --period {period}",
        )
        for one in key_versions.stalled(con, period)
    ]


def told(con: sa.Connection, period: Period) -> str:
    """The same in a few words, for a control; empty where every pipeline answers."""
    silent = key_versions.stalled(con, period)
    return ", ".join(f"{one.measure} since {one.day} ({one.code})" for one in silent)
