"""The sweep: finishes what a crash left, and nothing else.

Belongs here: projecting what is published but not yet projected, closing the log rows of dead
attempts, removing files that were staged and never published, anchoring the chain's head. Each step is
harmless when repeated.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, exports
from cops_dagster.evidence.attempts import LOGS
from cops_dagster.lake import live, retention
from cops_dagster.lake.tables import APPEND_ONLY, LAKE_TABLES, TYPED
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.run import is_dead
from cops_dagster.period import Period
from cops_dagster.stores import faults, scratch
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

if TYPE_CHECKING:
    from cops_dagster.evidence.exports import Export
    from cops_dagster.lake.iceberg import Commit


@dataclass(frozen=True)
class Swept:
    """What a sweep found to do."""

    projected: int = 0
    attempts_closed: int = 0
    folders_removed: int = 0
    is_anchored: bool = False
    files_dropped: int = 0


def pending(con: sa.Connection) -> list[int]:
    """Journal numbers not yet projected, in order."""
    outbox = t.outbox
    return list(
        con.execute(
            sa.select(outbox.c.journal_seq)
            .where(outbox.c.topic == "iceberg", outbox.c.delivered_at.is_(None))
            .order_by(outbox.c.journal_seq)
        ).scalars()
    )


def sweep(books: Books) -> Swept:
    """Projects, closes and cleans up. Cheap when there is nothing to do."""
    closed = _close_dead_attempts(books)
    if books.settings.engine != "duckdb":
        from cops_dagster.lake import session

        session.sweep(books.settings)
    removed = _remove_orphans(books) + exports.remove_unnamed(books) + scratch.clear(books.settings.home)
    try:
        projected = project(books)
    except CopsError as problem:
        if problem.code != "E-DIGEST":
            raise
        projected = 0  # the run that follows makes the file again, or says what is to be done
    kept_for = timedelta(days=books.settings.lake.keep_superseded_days)
    with books.admin.read() as con:
        dropped = retention.drop(con, books.lake, now() - kept_for)
    return Swept(projected, closed, removed, _anchor(books), dropped)


def _anchor(books: Books) -> bool:
    """Writes a new head of the chain down outside the database, so that a cut shows within minutes."""
    try:
        return chain.anchor_news(books)
    except CopsError as problem:
        if problem.code not in ("E-EVIDENCE-MISSING", "E-EVIDENCE-STORE", "E-EVIDENCE-TAMPERED"):
            raise
        return (
            False  # of a store that is gone or another's, whoever writes there next is told; so is `verify`
        )


def project(books: Books) -> int:
    """Applies pending journal rows to the Iceberg tables, in order, one process at a time.

    Raises:
        CopsError: `E-DIGEST` for a published file that is lost, `E-PROJECTION` for whatever else stops it;
            what was applied before stays applied.
    """
    with books.admin.read() as con:
        if not pending(con):
            return 0
    with _one_projector(books):
        catalog = _own_catalog(books)
        if catalog is None:
            return _project_all(books)
        with books.admin.read() as con:
            todo = [_commit(con, books, seq) for seq in pending(con)]
        for commit in todo:
            _follow(books, catalog, commit)
            _apply(books, catalog, commit, "the ledger is complete; run `cops lake rebuild`")
        return len(todo)


def export(books: Books, period: Period) -> Export:
    """Makes the typed copy of a month's lines, see `exports.export`.

    Raises:
        CopsError: as there, and what `project` raises where the home has no tables of its own yet.
    """
    with _one_projector(books):
        catalog = _own_catalog(books)
        if catalog is None:
            _project_all(books)
            catalog = _own_catalog(books)
        return exports.export(books, catalog, period)


def _own_catalog(books: Books) -> Any:
    """The catalog of this home's tables; `None` where a copied, moved or new home has none of its own."""
    from cops_dagster.lake import iceberg  # 0.4 s of imports, only when there is work

    known = iceberg.is_known(books.settings)
    try:
        catalog = iceberg.open_catalog(books.settings)
        return catalog if known and not iceberg.is_elsewhere(catalog, books.lake) else None
    except CopsError:
        raise
    except Exception as problem:
        raise _unreadable(books, problem) from problem


def _follow(books: Books, catalog: Any, commit: Commit) -> None:
    """With `[lake] export` a month's typed copy follows its ingestion; until then the row stays pending."""
    if not books.settings.lake.export or commit.table_name != exports.TABLE or commit.is_replaced:
        return
    try:
        exports.export(books, catalog, Period.of(commit.period_start))
    except CopsError as problem:
        _mark(books, commit.journal_seq, error=f"{problem.code}: {problem.found}")
        raise


def _unreadable(books: Books, problem: Exception) -> CopsError:
    return CopsError(
        "E-PROJECTION",
        f"the Iceberg catalog below {books.settings.lake_root}",
        expected="a catalog and tables that can be read",
        found=f"{type(problem).__name__}: {str(problem).splitlines()[0][:300] if str(problem) else ''}",
        next_step="the ledger is complete; run `cops lake rebuild` to make the tables anew",
    )


def _apply(books: Books, catalog: Any, commit: Commit, next_step: str) -> None:
    from cops_dagster.lake import iceberg

    try:
        try:
            if commit.uris or commit.replaces:
                iceberg.project(catalog, commit)
        except Exception:
            if not commit.is_replaced:
                raise
            iceberg.project(catalog, replace(commit, uris=()))  # nobody reads it: its loss stops nothing
    except Exception as problem:
        is_lost = isinstance(problem, FileNotFoundError)
        if not is_lost and (fault := faults.of(problem, "the Iceberg tables")):
            raise fault from problem
        _mark(books, commit.journal_seq, error=f"{type(problem).__name__}: {problem}")
        month = f"{commit.period_start:%Y-%m}"
        raise CopsError(
            "E-DIGEST" if is_lost else "E-PROJECTION",
            f"journal row {commit.journal_seq} ({commit.table_name} {month})",
            expected="the published files in the Iceberg table",
            found=f"{type(problem).__name__}: {problem}",
            next_step=f"run `cops doctor {month}`: it names the file and what brings it back"
            if is_lost
            else next_step,
        ) from problem
    _mark(books, commit.journal_seq)


def rebuild(books: Books) -> int:
    """Drops every Iceberg table and projects the whole journal again; the number of rows applied.

    Raises:
        CopsError: `E-DIGEST` when a file that readers see is lost: the tables stay as they were.
    """
    with _one_projector(books):
        return _project_all(books)


def _project_all(books: Books) -> int:
    from cops_dagster.lake import iceberg

    with books.admin.read() as con:
        _require_whole(books, con)
        journal = t.publish_journal
        numbers = con.execute(sa.select(journal.c.journal_seq).order_by(journal.c.journal_seq)).scalars()
        todo = [_commit(con, books, seq) for seq in numbers]
        news = set(pending(con))
    catalog = iceberg.fresh_catalog(books.settings)
    exports.put_back(books, catalog)
    for commit in todo:
        if commit.journal_seq in news:
            _follow(books, catalog, commit)
        _apply(books, catalog, commit, "the ledger is complete; correct what was found, run it again")
    return len(todo)


def _require_whole(books: Books, con: sa.Connection) -> None:
    """Every file that readers see is there, by size and time; a lake in S3 is read where it lies."""
    if books.lake.place is not None:
        return
    for table in LAKE_TABLES:
        live.verify(live.live_files(con, books.lake, table), digests=False)


def _commit(con: sa.Connection, books: Books, seq: int) -> Commit:
    from cops_dagster.lake.iceberg import Commit

    journal, files = t.publish_journal, t.lake_file
    row = con.execute(sa.select(journal).where(journal.c.journal_seq == seq)).one()
    # delivered bytes are no rows of a table: other engines read them through the lens (`cops lake views`)
    paths = con.execute(
        sa.select(files.c.path)
        .where(files.c.run_id == row.run_id, files.c.schema_version == TYPED)
        .order_by(files.c.path)
    ).scalars()
    lake = books.lake
    return Commit(
        seq,
        row.run_id,
        row.table_name,
        row.period_start,
        row.source_id,
        _has_rows(con, row.predecessor_run_id),
        [lake.uri(path) for path in paths],
        _is_replaced(con, row),
    )


def _has_rows(con: sa.Connection, run_id: str | None) -> bool:
    """Whether a run is rows in an Iceberg table; one of delivered bytes, or of nothing, is not."""
    files = t.lake_file
    return bool(
        con.execute(
            sa.select(files.c.path).where(files.c.run_id == run_id, files.c.schema_version == TYPED).limit(1)
        ).first()
    )


def _is_replaced(con: sa.Connection, run: Any) -> bool:
    heads = t.period_head
    head = con.execute(
        sa.select(heads.c.run_id).where(
            heads.c.table_name == run.table_name,
            heads.c.period_start == run.period_start,
            heads.c.source_id == run.source_id,
        )
    ).scalar_one_or_none()
    return run.table_name not in APPEND_ONLY and head != run.run_id


def _mark(books: Books, seq: int, error: str | None = None) -> None:
    outbox = t.outbox
    with books.admin.write() as con:
        con.execute(
            sa.update(outbox)
            .where(outbox.c.topic == "iceberg", outbox.c.journal_seq == seq)
            .values(delivered_at=None if error else now(), attempts=outbox.c.attempts + 1, last_error=error)
        )


@contextmanager
def _one_projector(books: Books) -> Iterator[None]:
    path = books.settings.lake_root / ".projection.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _close_dead_attempts(books: Books) -> int:
    closed = 0
    with books.admin.read() as con:
        running = {
            table: list(
                con.execute(sa.select(table.c.attempt_id).where(table.c.status == "running")).scalars()
            )
            for table in LOGS
        }
    for table, attempts in running.items():
        dead = [attempt_id for attempt_id in attempts if is_dead(books, attempt_id)]
        if dead:
            with books.admin.write() as con:
                con.execute(
                    sa.update(table)
                    .where(table.c.attempt_id.in_(dead), table.c.status == "running")
                    .values(
                        status="failed",
                        error_code="E-CRASH",
                        finished_at=now(),
                        error_detail="the process ended before the attempt did; nothing was published",
                    )
                )
            closed += len(dead)
    return closed


def _remove_orphans(books: Books) -> int:
    root = books.settings.lake_root
    with books.admin.read() as con:
        known = {str(Path(path).parent) for path in con.execute(sa.select(t.lake_file.c.path)).scalars()}
    removed = 0
    for table in LAKE_TABLES:
        for folder in root.glob(f"{table}/*/*"):
            if folder.relative_to(root).as_posix() not in known and is_dead(books, folder.name):
                # published between the two looks? Then lake_file names it now.
                with books.admin.read() as con:
                    files = t.lake_file
                    prefix = folder.relative_to(root).as_posix() + "/"
                    if con.execute(sa.select(files.c.path).where(files.c.path.startswith(prefix))).first():
                        continue
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
    return removed
