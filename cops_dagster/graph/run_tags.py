"""What every run says of itself in Dagster: in whose name it acts, and why it was made."""

from __future__ import annotations

ACTOR = "cops/actor"
REASON = "cops/reason"
PARTITION = "dagster/partition"


def said(actor: str, reason: str, **more: str) -> dict[str, str]:
    """The tags of a run: who the ledger records, why it was made, and whatever else by its name."""
    return {ACTOR: actor, REASON: reason, **{f"cops/{name}": value for name, value in more.items()}}
