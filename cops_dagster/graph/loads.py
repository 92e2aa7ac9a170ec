"""Loads as Dagster sees them: an observation of the table, with its rows, who loaded them, from which files.

They are read off `load_log` and reported from there, by a sensor and by each run of a command: whoever loads,
by whatever way, imports no Dagster and cannot fail for it (docs/adr/0057). Does not belong here: the log
(`inputs/load_log.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from cops_dagster.graph import outcome
from cops_dagster.inputs import load_log
from cops_dagster.inputs.load_log import Logged
from cops_dagster.ledger.books import Books

USAGE = ("tenant_network_usage", "tenant_compute_usage", "tenant_storage_usage")
INPUTS = ("tenants", "tag_aliases", "allocation_rules", *USAGE, "invoice_detail", "budgets")
"""The assets that people load."""
AT_ONCE = 20
"""Loads of a table that are reported at once: the newest of a home that Dagster never saw."""


def report(
    books: Books, instance: dg.DagsterInstance, key: Callable[[str], dg.AssetKey] = dg.AssetKey
) -> int:
    """Reports the loads that Dagster does not have yet, the oldest first; how many."""
    with books.admin.read() as con:
        logged = load_log.history(con)
    done = 0
    for name in INPUTS:
        of_table = [one for one in logged if name in _assets(one)]
        known = _newest(instance, key(name))
        ids = [one.load_id for one in of_table]
        new = of_table[: ids.index(known)] if known in ids else of_table
        for one in reversed(new[:AT_ONCE]):
            instance.report_runless_asset_event(_observation(one, key(name)))
            done += 1
    return done


def last(books: Books, name: str) -> dg.AssetObservation | None:
    """The newest load of a table, as it is reported; `None` if there was none."""
    with books.admin.read() as con:
        found = next((one for one in load_log.history(con) if name in _assets(one)), None)
    return None if found is None else _observation(found, dg.AssetKey(name))


def newest(books: Books) -> str:
    """The newest load, by which a sensor knows that there is nothing new; '' for none."""
    with books.admin.read() as con:
        return next((one.load_id for one in load_log.history(con)), "")


def _assets(one: Logged) -> tuple[str, ...]:
    """The assets that a load was of. Key figures lie in one table; their files say of which kind they are."""
    if one.table != "tenant_usage":
        return (one.table,)
    return tuple(name for name in USAGE if any(file["name"].startswith(name) for file in one.files))


def _newest(instance: dg.DagsterInstance, key: dg.AssetKey) -> str | None:
    for record in instance.fetch_observations(key, limit=1).records:
        seen = record.asset_observation
        return str(seen.metadata["load_id"].value) if seen and "load_id" in seen.metadata else None
    return None


def _observation(one: Logged, key: dg.AssetKey) -> dg.AssetObservation:
    files = [{"file": file["name"], "sha256": file["sha256"]} for file in one.files]
    return dg.AssetObservation(
        key,
        description=f"{one.inserted} row(s) loaded by {one.actor}",
        metadata=outcome.metadata(
            {
                "loaded_by": one.actor,
                "identity": one.identity,
                "loaded_at": f"{one.loaded_at:%Y-%m-%d %H:%M:%S} UTC",
                "rows": one.inserted,
                "rows_replaced": len(one.replaced),
                "rows_unchanged": one.unchanged,
                "files": files,
                "load_id": one.load_id,
            }
        ),
    )
