"""The one commit point: journal, head, `lake_file` and outbox in one admin-database transaction.

Belongs here: the only write path to what readers follow. Verdicts are asked before the transaction;
inside it the period row is locked and the predecessor compared, so a run planned over another head
loses and is planned again. Does not belong here: computing anything; what the verdicts make of their alerts
(`alerts/publish.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.lake import live, lost
from cops_dagster.lake.tables import APPEND_ONLY, TYPED
from cops_dagster.ledger import lock, states
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import Head, head
from cops_dagster.ledger.run import Run, Superseded
from cops_dagster.period import Period
from cops_dagster.stores import policies
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.stores.files import fsync_folder
from cops_dagster.verdict import Verdict


@dataclass(frozen=True)
class Staged:
    """One staged file with what was measured of it, and its columns or how delivered bytes are read."""

    path: Path
    delivery_id: str | None
    rows: int
    cost: Decimal
    columns: object
    schema_version: int = TYPED


@dataclass(frozen=True)
class Publication:
    """A run ready to be published: what it is, what it staged, what was judged."""

    run: Run
    staged: Sequence[Staged]
    verdicts: Sequence[Verdict]
    reverses_run_id: str | None = None


def publish(
    books: Books, *publications: Publication, also: Callable[[sa.Connection], None] | None = None
) -> int:
    """Publishes a run, with others that readers must see at the same instant; its journal number.

    Args:
        also: writes that belong to the same decision (attempt log, coverage), in the same transaction.

    Raises:
        CopsError: `E-VERDICT` when a blocking verdict does not hold, `E-PERIOD-CLOSED`, `E-POLICY` when
            another policy was adopted since the run began; nothing is written in any case.
        Superseded: the head is not the predecessor a run was planned over, or it stands again: its lost
            files were made from the same inputs with the same bytes, and are back in their place.
    """
    first = publications[0].run
    for publication in publications:
        refuse(publication.verdicts, f"{publication.run.table_name} of {publication.run.period}")
    if _stands_again(books, publications):
        raise Superseded(first.id)
    recorded = [_recorded(books, publication) for publication in publications]
    with books.admin.write() as con:
        _require_writable(con, books, first.period)
        require_same_policy(con, books)
        numbers = [
            _publish_one(con, books, publication, files)
            for publication, files in zip(publications, recorded, strict=True)
        ]
        if also:
            also(con)
    return numbers[0]


def _stands_again(books: Books, publications: Sequence[Publication]) -> bool:
    pairs = []
    with books.admin.read() as con:
        if lock.is_sealed(con, publications[0].run.period):
            return False  # a closed month is restored, not made again
        for one in publications:
            before = head(con, one.run.table_name, one.run.period, one.run.source_id)
            if before is None or one.run.table_name in APPEND_ONLY or before.inputs_id != one.run.inputs_id:
                return False
            pairs.append((before.run_id, [staged.path for staged in one.staged]))
        there = all(lost.are_again(con, run_id, made) for run_id, made in pairs)
        return there and all(lost.put_back(con, books.lake, run_id, made) for run_id, made in pairs)


def _publish_one(
    con: sa.Connection, books: Books, publication: Publication, files: list[dict[str, object]]
) -> int:
    run = publication.run
    found = head(con, run.table_name, run.period, run.source_id)
    if (found.run_id if found else None) != run.predecessor:
        raise Superseded(run.id)
    # the journal row closes the run: the database takes no file of it afterwards (ADR 35)
    _require_no_file(con, run)
    if files:
        con.execute(sa.insert(t.lake_file), files)
    seq = _journal(con, books, publication)
    _move_head(con, run, seq, found)
    con.execute(sa.insert(t.outbox).values(topic="iceberg", journal_seq=seq, created_at=now(), attempts=0))
    return seq


def _require_no_file(con: sa.Connection, run: Run) -> None:
    """Files come with their journal row; one that is there before was put there by another program."""
    files = t.lake_file
    planted = con.execute(sa.select(files.c.path).where(files.c.run_id == run.id)).scalars().first()
    if planted is not None:
        raise CopsError(
            "E-UNPUBLISHED",
            f"{run.table_name} of {run.period}",
            expected="no file of a run that is not published",
            found=planted,
            next_step="nothing was published; find out who wrote to `lake_file`: COPS did not",
        )


def refuse(verdicts: Sequence[Verdict], subject: str) -> None:
    """Raises `E-VERDICT` naming every blocking verdict that does not hold."""
    failed = [verdict for verdict in verdicts if verdict.refuses]
    if failed:
        raise CopsError(
            "E-VERDICT",
            subject,
            expected="; ".join(verdict.check.replace("_", " ") for verdict in failed),
            found="; ".join(
                ", ".join(f"{name} {value}" for name, value in verdict.figures.items()) for verdict in failed
            ),
            next_step="nothing was published; the period is as it was. See `cops docs reconciliation`",
        )


def _recorded(books: Books, publication: Publication) -> list[dict[str, object]]:
    run = publication.run
    digests = live.digests(books.settings.lake_root, [one.path for one in publication.staged])
    lake = books.lake
    rows: list[dict[str, object]] = []
    for staged, sha256 in zip(publication.staged, digests, strict=True):
        info = staged.path.stat()
        fsync_folder(staged.path.parent)
        lake.keep(books.lake_path(staged.path), sha256)  # before a row speaks of it
        rows.append(
            {
                "path": books.lake_path(staged.path),
                "table_name": run.table_name,
                "period_start": run.period.start,
                "source_id": run.source_id,
                "run_id": run.id,
                "delivery_id": staged.delivery_id,
                "schema_version": staged.schema_version,
                "columns_json": json.dumps(staged.columns),
                "sha256": sha256,
                "size_bytes": info.st_size,
                "mtime_ns": info.st_mtime_ns,
                "row_count": staged.rows,
                "cost_usd": staged.cost,
            }
        )
    return rows


def _require_writable(con: sa.Connection, books: Books, period: Period) -> None:
    found = lock.hold(con, books, period)
    if found not in states.WRITABLE:
        raise CopsError(
            "E-PERIOD-CLOSED",
            f"period {period}",
            expected="an open period",
            found=f"period is {found}",
            next_step=f"`cops period mark-provisional {period} --reason …`, then run again"
            if found == "final"
            else "book the change as an adjustment in an open period",
        )


def _journal(con: sa.Connection, books: Books, publication: Publication) -> int:
    run = publication.run
    inserted = con.execute(
        sa.insert(t.publish_journal)
        .values(
            run_id=run.id,
            table_name=run.table_name,
            period_start=run.period.start,
            source_id=run.source_id,
            inputs_id=run.inputs_id,
            predecessor_run_id=run.predecessor,
            reverses_run_id=publication.reverses_run_id,
            row_count=sum(staged.rows for staged in publication.staged),
            cost_usd=sum((staged.cost for staged in publication.staged), Decimal(0)),
            verdicts_json=json.dumps(
                [as_json(one) | {"severity": one.severity} for one in publication.verdicts]
            ),
            actor=books.actor,
            dagster_run_id=books.dagster_run_id,
            published_at=now(),
            policy_version=books.adopted.version if books.adopted else None,
        )
        .returning(t.publish_journal.c.journal_seq)
    )
    return int(inserted.scalar_one())


def _move_head(con: sa.Connection, run: Run, seq: int, found: Head | None) -> None:
    heads = t.period_head
    place = {"table_name": run.table_name, "period_start": run.period.start, "source_id": run.source_id}
    values = {"run_id": run.id, "inputs_id": run.inputs_id, "journal_seq": seq}
    if found is None:
        con.execute(sa.insert(heads).values(**place, **values))
    else:
        con.execute(sa.update(heads).filter_by(**place).values(**values))


def as_json(verdict: Verdict) -> dict[str, object]:
    """A verdict as the journal and certificates hold it."""
    return {
        "check": verdict.check,
        "passed": verdict.passed,
        "figures": json.loads(json.dumps(dict(verdict.figures), default=str)),
    }


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
