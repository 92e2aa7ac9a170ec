"""One closed month held against its seal: rows, files, totals and entries, each computed anew.

Belongs here: what a seal says and whether it is still so, in database and lake. Does not belong here: the
chain that proves the seal (`evidence/chain.py`), what is bound (`evidence/binding.py`), all months together
and the guards (`closing/proof.py`). What an attacker may have written is read here: no type is trusted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from cops_dagster.errors import CopsError
from cops_dagster.evidence import binding, certificate, chain, documents, seal, sealed
from cops_dagster.evidence.standing import Finding
from cops_dagster.lake import live
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.lake.tables import LAKE_TABLES
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import ALLOCATED, head, shown
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.objects import Objects, key_of

ROW_BACK = (
    "stop: somebody wrote to a closed month; find out who, then restore the admin database from its backup,"
    " or put back what the seal holds (its `bound_rows` object), then: cops evidence verify"
)
FILE_BACK = "restore the file from backup, then: cops evidence verify"
NO_ROWS_TO_READ = (SQLAlchemyError, ValueError, TypeError, ArithmeticError)
"""What reading rows raises that hold what no act of ours ever wrote."""


@dataclass
class Month:
    """What was found out about one closed month.

    Attributes:
        binds: what its seal holds it to, in words.
    """

    period: Period
    binds: str = ""
    findings: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def note(self, what: str, expected: object, found: object, next_step: str = ROW_BACK) -> None:
        """Writes down that something is not as it was sealed."""
        self.findings.append(
            Finding(0, f"{what} of {self.period}", str(expected), str(found), next_step=next_step)
        )

    def compare(self, what: str, expected: object, found: object) -> None:
        """Notes a difference, if there is one."""
        if expected != found:
            self.note(what, _short(expected), _short(found))

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """What cannot be read is a finding, never a traceback."""
        try:
            yield
        except CopsError as problem:
            self.note(what, problem.expected, f"{problem.code}: {problem.found}", problem.next_step)
        except NO_ROWS_TO_READ as problem:
            self.note(what, "rows that can be read", f"{type(problem).__name__}")


def sealed_periods(con: sa.Connection) -> list[Period]:
    """Every month that was ever sealed: by the chain, whatever the lock says now, and by the lock."""
    entries, locks = t.evidence_index, t.period_lock
    by_chain = con.execute(
        sa.select(entries.c.subject_id).where(entries.c.kind == "seal", entries.c.subject_type == "period")
    )
    by_lock = con.execute(
        sa.select(sa.type_coerce(locks.c.period_start, sa.Text)).where(locks.c.state == "closed")
    )
    found = set()
    for text in [*by_chain.scalars(), *by_lock.scalars()]:
        try:
            found.add(Period.parse(str(text)[:7]))
        except CopsError:
            continue  # no month; the chain's own verification says that somebody wrote it
    return sorted(found)


def rows(books: Books, con: sa.Connection, period: Period, *, hourly: bool = False) -> Month:
    """A closed month's rows against its seal; no file of the lake is read.

    Args:
        hourly: only the tables that name the files, by digest.
    """
    month, at = Month(period), chain.objects(books)
    with month.reading("seal"):
        document = _seal(con, at, month)
        if document is not None:
            _rows(con, at, month, document, hourly=hourly)
    return month


def whole(books: Books, con: sa.Connection, period: Period) -> Month:
    """A closed month against its seal: rows, bytes of every file, totals, and entries by both ways."""
    month, at = Month(period), chain.objects(books)
    with month.reading("seal"):
        document = _seal(con, at, month)
        if document is None:
            return month
        _rows(con, at, month, document)
        with month.reading("files"):
            _files(books, con, month)
        with month.reading("delivered files"):
            _shown(books, con, month)
        with month.reading("certificate"):
            _certificate(books, con, month, document)
        with month.reading("entries"):
            _entries(books, con, month, document)
    return month


def logs(books: Books, con: sa.Connection, period: Period) -> Month:
    """The logs that the seal of a month binds up to a number; the newest month's holds for the earlier."""
    month, at = Month(period), chain.objects(books)
    with month.reading("logs"):
        document = _seal(con, at, Month(period)) or {}
        for log in binding.LOGS:
            bound = document.get("logs", {}).get(log.table)
            if bound is None:
                continue
            there = binding.log_digest(con, log, int(bound["up_to"]))
            if there != bound["digest"]:
                month.note(
                    f"{log.table} up to row {bound['up_to']}, at the close",
                    _short(bound["digest"]),
                    _short(there),
                )
    return month


def _seal(con: sa.Connection, at: Objects, month: Month) -> dict[str, Any] | None:
    """The month's seal, if lock, chain and the store's name agree on one."""
    evidence_index, locks = t.evidence_index, t.period_lock
    lock = con.execute(sa.select(locks).where(locks.c.period_start == month.period.start)).one_or_none()
    entries = con.execute(
        sa.select(evidence_index)
        .where(
            evidence_index.c.kind == "seal",
            evidence_index.c.subject_type == "period",
            evidence_index.c.subject_id == str(month.period),
        )
        .order_by(evidence_index.c.evidence_seq)
    ).all()
    state = lock.state if lock is not None else "no row"
    if state != "closed":
        month.note("period_lock", "closed, since it was sealed", state)
    if len(entries) != 1:
        month.note("seals in the chain", 1, len(entries))
    first = entries[0] if entries else None
    if lock is None or first is None:
        return None
    month.compare("period_lock: seal digest", first.sha256, lock.seal_digest)
    try:
        named = at.named(seal.name_of(month.period))
    except CopsError as problem:
        month.findings.append(
            Finding(
                0,
                f"name of the seal of {month.period}",
                key_of(first.sha256),
                problem.found,
                "incomplete",
                f"cops close {month.period} finishes a close that was cut short; else"
                " restore the evidence store from its copy",
            )
        )
    else:
        month.compare("name of the seal", key_of(first.sha256), named)
    document: dict[str, Any] = json.loads(at.get(first.object_key, first.object_version_id))
    month.compare("period in the seal", str(month.period), document.get("period"))
    _close_itself(con, month, document, lock, first)
    return document


def _close_itself(
    con: sa.Connection, month: Month, document: Mapping[str, Any], lock: Any, entry: Any
) -> None:
    period_lock_event = t.period_lock_event
    moves = con.execute(
        sa.select(period_lock_event)
        .where(period_lock_event.c.period_start == month.period.start)
        .order_by(period_lock_event.c.state_seq)
    ).all()
    closes = [one for one in moves if one.to_state == "closed"]
    month.compare("period_lock: seal_journal_seq", document["journal_seq"], lock.seal_journal_seq)
    month.compare("period_lock: state_seq", len(moves), lock.state_seq)
    if len(closes) != 1 or moves[-1] is not closes[-1]:
        month.note("period_lock_event: moves to closed", "one, the last", f"{len(closes)}")
        return
    close = closes[0]
    month.compare("period_lock_event: evidence of the close", str(entry.evidence_seq), close.evidence_id)
    month.compare("period_lock_event: who closed it", entry.actor, close.actor)
    month.compare("period_lock: time of the close", close.changed_at, lock.changed_at)
    if document.get("seal_version"):
        month.compare("period_lock_event: time of the close", entry.recorded_at, close.changed_at)


def _rows(
    con: sa.Connection, at: Objects, month: Month, document: Mapping[str, Any], *, hourly: bool = False
) -> None:
    _named_by_every_seal(con, month, document)
    if not document.get("seal_version"):
        month.binds = "entries, head, reconciliation and deliveries: sealed before a seal bound rows"
        return
    bound: Mapping[str, Mapping[str, Any]] = document["bound"]
    month.binds = f"entries and the rows of {len(bound)} tables"
    held: Mapping[str, list[dict[str, Any]]] | None = None
    for name, said in bound.items():
        how = binding.of(name)
        if how is None:
            month.warnings.append(
                Finding(0, f"{name} of {month.period}", f"{said['rows']} rows", "a table not bound any more")
            )
            continue
        if hourly and not how.hourly:
            continue
        with month.reading(name):
            there = binding.rows(con, how, month.period)
            if binding.digest_of(there) == said["digest"]:
                continue
            if held is None:
                held = json.loads(at.get(document["bound_rows_key"]))["tables"]
            _table(con, month, how, held[name], there)


def _table(
    con: sa.Connection,
    month: Month,
    how: binding.Bound,
    held: list[dict[str, Any]],
    there: list[dict[str, Any]],
) -> None:
    explained = _explained(con) if how.later == "explained" else set()
    changes = sealed.compare(
        held, there, binding.key_of(how), how.later, lambda row: row.get("invoice_id") in explained
    )
    for one in changes:
        note = Finding(
            0, f"{how.table} of {month.period}: {one.row}", one.expected, one.found, next_step=ROW_BACK
        )
        (month.warnings if one.is_warning else month.findings).append(note)


def _explained(con: sa.Connection) -> set[str]:
    """Documents that an exception or a conflict names, so that people know of them."""
    exceptions, conflicts = t.recon_exceptions, t.document_conflict
    by_exception = con.execute(
        sa.select(exceptions.c.subject_id).where(exceptions.c.subject_id.is_not(None))
    ).scalars()
    return {*by_exception, *con.execute(sa.select(conflicts.c.document_id)).scalars()}


def _named_by_every_seal(con: sa.Connection, month: Month, document: Mapping[str, Any]) -> None:
    """What seals of any version name beside the entries."""
    journal, recons = t.publish_journal, t.recon_run
    start = month.period.start
    newest = con.execute(
        sa.select(sa.func.max(journal.c.journal_seq)).where(journal.c.period_start == start)
    ).scalar()
    recon = con.execute(
        sa.select(recons.c.recon_id)
        .where(recons.c.period_start == start)
        .order_by(recons.c.recon_seq.desc())
        .limit(1)
    ).scalar()
    run = head(con, ALLOCATED, month.period)
    month.compare("publish_journal: newest row", document["journal_seq"], newest)
    month.compare("recon_run: newest", document["recon_id"], recon)
    month.compare("period_head: allocation", document["head_run_id"], run.run_id if run else None)
    with month.reading("deliveries"):
        ids = [one["delivery_id"] for one in document["deliveries"]]
        there = {one["delivery_id"]: one for one in certificate.deliveries_of(con, ids)}
        for one in document["deliveries"]:
            _same_delivery(month, one, there.get(one["delivery_id"], {}))


def _same_delivery(month: Month, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [name for name in before if now.get(name) != before[name]]
    if changed:
        what = f"delivery {str(before['delivery_id'])[:16]}"
        month.note(what, "as it was sealed", f"other {', '.join(changed[:4])}" if now else "no such row")


def _files(books: Books, con: sa.Connection, month: Month) -> None:
    """Bytes on this machine against `lake_file`; what only S3 has is fetched and digested on the way."""
    for table in LAKE_TABLES:
        files = live.live_files(con, books.lake, table, period_start=month.period.start)
        live.forget([file.path for file in files])
        for file, found in live.changed(files):
            what = f"{table} file {file.path.name}"
            month.note(what, f"{file.size_bytes} bytes, sha256 {file.sha256[:12]}…", found, FILE_BACK)


def _shown(books: Books, con: sa.Connection, month: Month) -> None:
    """What `cur_billing_master` reads of a closed month: the kept objects of its delivered files."""
    at, conversions = chain.objects(books), t.cur_read_file
    for row in shown(con, month.period):
        made = con.execute(sa.select(conversions).where(conversions.c.delivery_id == row.delivery_id)).all()
        delivered = DeliveredFiles.recorded(row, books.settings.home, made)
        files = live.delivered_files(con, books.settings.home, delivered)
        what, unread = f"file shown of delivery {row.delivery_id[:16]}", files[: len(made)]
        if delivered.is_converted:
            month.compare(f"conversions of delivery {row.delivery_id[:16]}", len(delivered.paths), len(made))
        for file in files[len(made) :]:
            kept = at.path(key_of(file.sha256))
            if kept is None or not kept.exists():
                unread.append(file)
            elif file.path.resolve() != kept.resolve():
                month.note(what, kept, file.path)
            # the bytes of a kept object are the chain's to read: twice would double the time of a close
        for file in (one for one in unread if not one.path.exists()):
            month.warnings.append(Finding(0, f"{what}: {file.path.name}", "its bytes", "not on this machine"))
        live.forget([file.path for file in unread])
        for file, found in live.changed([one for one in unread if one.path.exists()]):
            expected = f"{file.size_bytes} bytes, sha256 {file.sha256[:12]}…"
            month.note(f"{what}: {file.path.name}", expected, found, FILE_BACK)


def _certificate(books: Books, con: sa.Connection, month: Month, document: Mapping[str, Any]) -> None:
    """The head run's file as its certificate has it, which was written before the row was."""
    run_id = str(document["head_run_id"])
    entry = chain.find(con, "run_certificate", "run", run_id)
    if entry is None:
        month.note("certificate of the head", "an entry of the chain", "none")
        return
    said = json.loads(chain.objects(books).get(entry.object_key, entry.object_version_id))["file"]
    lake_file = t.lake_file
    files = con.execute(
        sa.select(lake_file.c.sha256, lake_file.c.row_count).where(
            lake_file.c.run_id == run_id, lake_file.c.table_name == ALLOCATED
        )
    ).all()
    there = [(row.sha256, row.row_count) for row in files]
    if there != [(said["sha256"], said["rows"])]:
        month.note(
            "lake_file against the run's certificate",
            f"sha256 {said['sha256'][:12]}…, {said['rows']} rows",
            "; ".join(f"sha256 {str(sha)[:12]}…, {rows} rows" for sha, rows in there) or "no file",
        )


def _entries(books: Books, con: sa.Connection, month: Month, document: Mapping[str, Any]) -> None:
    """Count, totals and digests, through the engine and by the second way."""
    by_engine = seal.of_period(books, con, month.period, str(document["head_run_id"]))
    second, count = seal.elsewhere(books, con, month.period)
    month.compare("entries: number", document["entry_count"], by_engine.row_count)
    for name, total in document["totals"].items():
        month.compare(f"entries: {name}", total, by_engine.totals.get(name))
    month.compare("entries: digest through the engine", document["entries_digest"], by_engine.entries)
    month.compare("entries: digest by the second way", document["entries_digest"], second)
    month.compare("entries: number by the second way", document["entry_count"], count)
    month.compare("entries: result of the head", document["result_digest"], by_engine.result)


def _short(value: object) -> str:
    text = str(documents.plain(value)) if value is not None else "NULL"
    return text if len(text) <= 60 else f"{text[:16]}…"
