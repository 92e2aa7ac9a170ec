"""The proof held against the thing proved: the chain, every closed month, and the guards of the database.

Belongs here: what `cops evidence verify`, the close of the next month, the controls and `cops doctor` ask.
Does not belong here: the chain (`evidence/chain.py`), one month (`evidence/month_proof.py`), what guards
there should be (`stores/guards.py`). Nothing is written: who is told is the controls' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, conversions, month_proof, standing, traces
from cops_dagster.evidence.month_proof import NO_ROWS_TO_READ, Month
from cops_dagster.evidence.standing import Finding
from cops_dagster.evidence.verify import verify as verify_chain
from cops_dagster.inputs import registers
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import guards
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.stores.objects import Status

ANCHORED_WITHIN = timedelta(days=2)
"""How long an entry may be without an anchor behind it: a daily anchor, and a day for it to be late."""
GUARDS_BACK = (
    "stop: somebody changed the database's own guards, and what was written since was not guarded; find out"
    " who, restore the admin database from its backup, then: cops evidence verify"
)


@dataclass(frozen=True)
class Anchors:
    """What stands outside the database.

    Attributes:
        newest: the entry that the newest anchor is of; `newest_at` when it was written, by the store's clock.
        of: the length of the chain.
        is_late: an entry has had no anchor behind it for two days.
    """

    count: int
    newest: int
    newest_at: datetime | None
    of: int
    is_late: bool = False

    def told(self, at: datetime) -> str:
        """In words, at a moment."""
        if not self.count:
            return f"no anchor yet, {self.of} entries"
        age = "" if self.newest_at is None else f", {_age(at - self.newest_at)} old"
        return f"{self.count} anchor(s), the newest at entry {self.newest} of {self.of}{age}"


@dataclass(frozen=True)
class Proof:
    """Outcome of a verification. Incomplete is not clean: it could not read everything.

    Attributes:
        months: closed months that were held against their seals, and what each seal binds.
        warnings: what is odd and proves nothing, or has no effect.
    """

    status: Status
    entries: int
    objects: int
    findings: list[Finding]
    warnings: list[Finding]
    anchors: Anchors
    months: dict[str, str] = field(default_factory=dict)

    @property
    def next_steps(self) -> list[str]:
        """What to do, the gravest first."""
        of_chain = {"ok": "", "incomplete": standing.RESTORE, "mismatch": standing.OTHER_CHAIN}
        ordered = sorted(self.findings, key=lambda one: one.status != "mismatch")
        return list(dict.fromkeys(one.next_step or of_chain[one.status] for one in ordered))


def verify(books: Books, period: Period | None = None, *, objects_too: bool = True) -> Proof:
    """Verifies the chain, and every closed month, or one, against its seal; guards, decisions, registers.

    Args:
        objects_too: read every object of the evidence as well; of seals and bound rows always.
    """
    verified = verify_chain(books, period, objects_too=objects_too)
    months = closed_months(books, period)
    told = {one.seq for one in verified.findings}  # of a document that is gone the chain says so already
    loaded = [one for one in loads(books) if not one.seq or one.seq not in told]
    findings = [*verified.findings, *_of(months), *guard_findings(books), *decisions(books), *loaded]
    warnings = [*verified.warnings, *(one for month in months for one in month.warnings)]
    warnings += _asked(books, "conversions", lambda con: conversions.unproved(con, books)[1])
    statuses = {one.status for one in findings}
    worst: Status = "mismatch" if "mismatch" in statuses else "incomplete" if statuses else "ok"
    binds = {str(month.period): month.binds for month in months if month.binds}
    return Proof(worst, verified.entries, verified.objects, findings, warnings, anchors(books), binds)


def beside_the_chain(books: Books) -> list[Finding]:
    """What a close asks besides the evidence: every month closed before, guards, decisions, registers."""
    return [*_of(closed_months(books)), *guard_findings(books), *decisions(books), *loads(books)]


def _of(months: Sequence[Month]) -> list[Finding]:
    return [one for month in months for one in month.findings]


def closed_months(books: Books, period: Period | None = None) -> list[Month]:
    """Every sealed month, or one, computed anew from database and lake, and the logs that seals bind."""

    def whole(con: sa.Connection) -> list[Month]:
        sealed = month_proof.sealed_periods(con)
        found = [month_proof.whole(books, con, one) for one in sealed if period in (None, one)]
        return [*found, *(month_proof.logs(books, con, one) for one in sealed[-1:])]

    return _read(books, whole)


def rows_of_closed_months(books: Books) -> list[Month]:
    """The rows that name the files of every sealed month, by digest: what each hour can afford."""

    def of_rows(con: sa.Connection) -> list[Month]:
        return [month_proof.rows(books, con, one, hourly=True) for one in month_proof.sealed_periods(con)]

    return _read(books, of_rows)


def guard_findings(books: Books, *, thorough: bool = True) -> list[Finding]:
    """Guards that are not those of the migrations.

    Args:
        thorough: of SQLite's file its own consistency too, for which every page is read.
    """

    def of_guards(con: sa.Connection) -> list[Finding]:
        found = [
            Finding(0, f"guard: {one.what}", *_apart(one.expected, one.found), next_step=GUARDS_BACK)
            for one in guards.differences(con)
        ]
        if thorough and con.dialect.name == "sqlite":
            said = con.exec_driver_sql("PRAGMA integrity_check(5)").scalars().all()
            found += [
                Finding(0, "the database's own check", "ok", line, next_step=GUARDS_BACK)
                for line in said
                if line != "ok"
            ]
        return found

    return _asked(books, "guards", of_guards)


def decisions(books: Books) -> list[Finding]:
    """Approvals, alerts and converted files that stand without what they came from."""
    made = _asked(books, "conversions", lambda con: conversions.unproved(con, books)[0])
    return [*_asked(books, "decisions", traces.findings), *made]


def loads(books: Books) -> list[Finding]:
    """Rows of registers that are not what their loads say. Every load's document is read."""
    return _asked(books, "registers", lambda con: registers.findings(books, con))


def _asked(books: Books, what: str, ask: Callable[[sa.Connection], list[Finding]]) -> list[Finding]:
    try:
        with books.admin.read() as con:
            return ask(con)
    except (CopsError, *NO_ROWS_TO_READ) as problem:
        said = problem.code if isinstance(problem, CopsError) else type(problem).__name__
        return [Finding(0, what, "rows that can be read", said, "incomplete", traces.NEXT)]


def _read(books: Books, ask: Callable[[sa.Connection], list[Month]]) -> list[Month]:
    try:
        with books.admin.read() as con:
            return ask(con)
    except (CopsError, *NO_ROWS_TO_READ) as problem:
        said = problem.code if isinstance(problem, CopsError) else type(problem).__name__
        unread = Finding(
            0, "closed months", "rows that can be read", said, "incomplete", month_proof.ROW_BACK
        )
        return [Month(Period.parse("1970-01"), findings=[unread])]


def anchors(books: Books) -> Anchors:
    """How far the chain is written down outside the database; what cannot be read, `evidence.verify` says."""
    at, entries = chain.objects(books), t.evidence_index
    unread = (CopsError, *NO_ROWS_TO_READ)
    try:
        with books.admin.read() as con:
            lost = standing.explained(con, at)
        written = [one for one in at.anchors() if one not in lost]
        newest = max(written, default=None)
        moment = at.anchored_at(*newest) if newest else None
    except unread:
        written, newest, moment = [], None, None
    reach = newest[0] if newest else 0
    try:
        with books.admin.read() as con:
            length = con.execute(sa.select(sa.func.max(entries.c.evidence_seq))).scalar() or 0
            oldest = con.execute(
                sa.select(sa.func.min(entries.c.recorded_at)).where(entries.c.evidence_seq > reach)
            ).scalar()
    except unread:
        length, oldest = 0, None
    is_late = oldest is not None and now() - oldest > ANCHORED_WITHIN
    return Anchors(len(written), reach, moment, int(length), is_late)


def _apart(expected: str, found: str, width: int = 200) -> tuple[str, str]:
    """Two texts from shortly before where they differ; a guard's text is long."""
    begin = next((at for at, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), 0)
    start = max(0, begin - 60)
    cut = [("…" if start else "") + text[start : start + width] for text in (expected, found)]
    return cut[0], cut[1]


def _age(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours:.1f} h" if hours < 72 else f"{age.days} days"
