"""The close report as Dagster shows it, also after a close, which is an act of people and no run.

A link to a file leads nowhere from Dagster's pages, since browsers refuse it. So what the page begins with is
shown as it is, with the file's path to copy and the command that makes it anew.

Belongs here: that, and telling Dagster of reports made outside of its runs. Does not belong here: the
report (`reports/close_report.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import dagster as dg

from cops_dagster.evidence import chain
from cops_dagster.graph import outcome
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import bridge, record
from cops_dagster.reports import close_report
from cops_dagster.reports.close_report import Kept

ASSET = "close_report"
CARDS = {
    "aws_total_usd": "aws_billed",
    "unallocated_usd": "unallocated",
    "expected_usd": "expected",
    "invoiced_total_usd": "invoiced",
    "variance_usd": "variance",
}
"""Figures that are shown at once: which step of the bridge each is, by whose name it is called."""


def metadata(books: Books, period: Period, kept: Kept) -> dict[str, dg.MetadataValue]:
    """A report: its totals, what its page begins with, and where the page is."""
    with books.admin.read() as con:
        figures = record.of(con, record.newest(con, period).recon_id).amounts
    return {
        "in_short": outcome.totals(
            [(bridge.told(step, figures[name] or Decimal(0)), figures[name]) for name, step in CARDS.items()]
        ),
        "report": dg.MetadataValue.md(kept.brief),
        "page": dg.MetadataValue.path(kept.path),
        "page_anew": dg.MetadataValue.md(f"`cops report {period} --out FOLDER`"),
        **outcome.metadata(
            {"evidence": kept.evidence_seq, "sha256": kept.sha256, "size_bytes": kept.size_bytes}
        ),
    }


def newest(books: Books) -> str:
    """The newest report, by which a sensor knows that there is nothing new; '' for none."""
    with books.admin.read() as con:
        return str(chain.newest_of(con, close_report.KIND) or "")


def report(
    books: Books, instance: dg.DagsterInstance, key: Callable[[str], dg.AssetKey] = dg.AssetKey
) -> int:
    """Tells Dagster of closed months whose report it has as it was before; how many."""
    with books.admin.read() as con:
        closed = {one: chain.find(con, close_report.KIND, "period", str(one)) for one in lock.closed(con)}
    done = 0
    for period, entry in closed.items():
        known = instance.fetch_materializations(
            dg.AssetRecordsFilter(key(ASSET), asset_partitions=[str(period)]), limit=1
        ).records
        seen = known[0].asset_materialization if known else None
        if seen is None or entry is None or _sha256(seen) == entry.sha256:
            continue  # of a month that no run of this Dagster made, or as it is
        kept = close_report.keep(books, period)
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                key(ASSET),
                partition=str(period),
                description="made again by the close",
                metadata=metadata(books, period, kept),
                tags={"dagster/data_version": kept.sha256},
            )
        )
        done += 1
    return done


def _sha256(seen: dg.AssetMaterialization) -> str:
    return str(seen.metadata["sha256"].value) if "sha256" in seen.metadata else ""
