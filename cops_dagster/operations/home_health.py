"""The health of a home: its files, its evidence, its seals and guards, its clock.

Belongs here: findings about the stores that every answer rests on, also when the books cannot be opened. Does
not belong here: findings about a month (`operations/doctor.py`).
"""

from __future__ import annotations

import shutil
from itertools import pairwise

import sqlalchemy as sa

from cops_dagster.closing import proof, repair
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, standing
from cops_dagster.ledger.books import Books
from cops_dagster.operations import controls
from cops_dagster.operations.diagnosis import Finding, Step
from cops_dagster.period import Period
from cops_dagster.settings import Settings
from cops_dagster.stores import tables as t
from cops_dagster.stores.places import open_objects

HOME_IS_ILL = frozenset(
    {"E-DB-CORRUPT", "E-DB-IO", "E-DB-READONLY", "E-DB-UNREACHABLE", "E-DISK", "E-DISK-IO", "E-DISK-READONLY",
     "E-HOME-TORN"}
)  # fmt: skip
"""Refusals of books that cannot be opened, though there is a home: what does not need them is asked."""


def without_books(settings: Settings, problem: CopsError) -> list[Finding]:
    """What can be found out about a home whose admin database cannot be opened; nothing is written."""
    found = [refused("home", problem)]
    home = settings.home if settings.home.is_dir() else settings.home.parent
    free = shutil.disk_usage(home)
    is_full = free.free < _LEAST_FREE
    found.append(
        Finding(
            "home",
            "red" if is_full else "green",
            "the disk is full" if is_full else "the disk has room",
            f"{free.free:,} of {free.total:,} bytes are free",
            f"df {home}",
            "free disk" if is_full else "",
        )
    )
    files = sum(1 for _ in settings.lake_root.glob("*/*/*/*.parquet"))
    found.append(Finding("home", "green" if files else "unknown", "lake", f"{files} file(s) in the home"))
    try:
        anchors = len(open_objects(settings.evidence_uri).anchors())
        there = f"{settings.evidence_uri}: {anchors} anchor(s)"
        found.append(Finding("home", "green" if anchors else "unknown", "evidence", there))
    except CopsError as other:
        found.append(refused("home", other))
    return found


_GUARDS_TOLD = 3
"""Whoever drops all of them drops hundreds; `cops evidence verify` names each."""


_LEAST_FREE = 1 << 20


def findings(books: Books, period: Period) -> list[Finding]:
    """What is wrong with the stores that every answer rests on; said only when something is."""
    with books.admin.read() as con:
        found = [
            Finding(
                "home",
                "red",
                f"a published file is lost: {file.table_name} {file.path.name}",
                wrong,
                f"cops runs {period}",
                repair.way_out(books, con, file),
            )
            for file, wrong in repair.lost(books, con, period)
        ]
    with books.admin.read() as con:  # anew: anchors are listed before the chain is read
        found += [
            Finding(
                "home",
                "red",
                f"evidence: {one.what}",
                f"expected {one.expected}, found {one.found}",
                "cops evidence verify",
                standing.OTHER_CHAIN if one.status == "mismatch" else standing.RESTORE,
            )
            for one in standing.look(con, chain.objects(books), books.settings.evidence_uri)
        ]
        found += _clock(con, period)
    return found + _proof(books, period)


def _proof(books: Books, period: Period) -> list[Finding]:
    """The month against its seal if it is closed, guards and decisions; said only when something is wrong."""
    with books.admin.read() as con:
        last = next((row for row in controls.newest(con) if row.control == controls.SEALS), None)
    guards = proof.guard_findings(books, thorough=False)
    wrong = [
        *(one for month in proof.closed_months(books, period) for one in month.findings),
        *guards[:_GUARDS_TOLD],
        *proof.decisions(books),
    ]
    found = [
        Finding(
            "home",
            "red",
            one.what,
            f"expected {one.expected}, found {one.found}",
            f"cops evidence verify {period}",
            one.next_step,
        )
        for one in wrong
    ]
    if len(guards) > _GUARDS_TOLD:
        more = f"{len(guards) - _GUARDS_TOLD} more guards"
        found.append(
            Finding(
                "home",
                "red",
                more,
                "not as migrations made them",
                "cops evidence verify",
                guards[0].next_step,
            )
        )
    if last is not None and last.status == "failed" and not wrong:
        found.append(
            Finding(
                "home",
                "red",
                "closed months are not as sealed",
                last.measured,
                "cops evidence verify",
                last.next_step,
            )
        )
    return found


def _clock(con: sa.Connection, period: Period) -> list[Finding]:
    journal = t.publish_journal
    rows = con.execute(
        sa.select(journal.c.journal_seq, journal.c.period_start, journal.c.published_at).order_by(
            journal.c.journal_seq
        )
    ).all()
    back = [
        (before, row)
        for before, row in pairwise(rows)
        if row.published_at < before.published_at and period.start in (row.period_start, before.period_start)
    ]
    return [
        Finding(
            "home",
            "amber",
            "the clock went back",
            f"journal row {row.journal_seq} of {row.published_at:%Y-%m-%d %H:%M} comes after row"
            f" {before.journal_seq} of {before.published_at:%Y-%m-%d %H:%M}",
            "cops sql -q 'SELECT journal_seq, published_at FROM publish_journal ORDER BY 1'",
            "check the machine's clock; the ledger goes by journal numbers, its amounts are right",
        )
        for before, row in back[-1:]
    ]


def refused(step: Step, problem: CopsError) -> Finding:
    """A question that could not be asked."""
    return Finding(
        step,
        "red",
        f"{problem.code}: {problem.subject}",
        f"expected {problem.expected}, found {problem.found}",
        "cops docs troubleshooting",
        problem.next_step,
    )
