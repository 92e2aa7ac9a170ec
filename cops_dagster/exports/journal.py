"""The journal of a month: what finance books, recorded as it was given out.

Belongs here: which entries a month has now, which of them were given out, and what follows from a change: the
opposite of what was, and the new entry. Does not belong here: the lines of an entry (`exports/entries.py`),
reading documents (`exports/journal_documents.py`), text (`exports/journal_text.py`).

A month that is not closed is accrued: dated its last day, taken back on the first day of the next month. A
closed one is booked as it came to: on its last day, or where it had been accrued on the day of the reversal,
so that the next month bears the difference alone. Nothing that was given out is ever changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.exports import accounts, earned, entries, journal_documents
from cops_dagster.exports.entries import Entry, Line
from cops_dagster.inputs.account_map import Account
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.reconciliation.margin import Cell
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Posted:
    """An entry as it was given out, or as it would be: then `is_draft`, and nobody recorded it."""

    entry_id: str
    period: Period
    entry: Entry
    reverses: str | None
    is_draft: bool = False


@dataclass(frozen=True)
class Journal:
    """Every entry of a month that was given out, in that order, and how many of them now."""

    period: Period
    posted: Sequence[Posted]
    new: int
    is_draft: bool = False


def exports(books: Books, periods: Iterable[Period]) -> list[Journal]:
    """The journals of months. What is new in them is recorded; with the books as they were, nothing is.

    Raises:
        CopsError: and nothing of any month is recorded: `E-NOT-RECONCILED`; `E-GL-UNMAPPED` for a purpose
            without an account; `E-PLAN-UNKNOWN` when nobody can say what a tenant owes; `E-FX` for an
            invoice of AWS that is worth nothing in USD.
    """
    require_policy(books)
    months = sorted(set(periods))  # in one order: two exports never wait for each other
    with books.admin.read() as con:
        asked = [_wanted(books, con, period, draft=False) for period in months]
    made = []
    with books.admin.write() as con:
        for period, (wanted, recon_id) in zip(months, asked, strict=True):
            lock.hold(con, books, period)  # two exports at once: the second finds what the first recorded
            found = recorded(con, period)
            new = _following(found, wanted, period, _takes_changes(con, period))
            for one in new:
                _append(con, books, one, recon_id)
            made.append(Journal(period, [*found, *new], len(new)))
    return made


def draft(books: Books, period: Period) -> Journal:
    """The journal as it would be if the month were reconciled as it stands; nothing is recorded.

    Raises: as `exports`, but for the reconciliation.
    """
    with books.admin.read() as con:
        wanted, _ = _wanted(books, con, period, draft=True)
    made = [
        Posted(f"draft-{one.id_after(str(period), None)}", period, one, None, is_draft=True) for one in wanted
    ]
    return Journal(period, made, 0, is_draft=True)


@dataclass(frozen=True)
class Standing:
    """What was given out of a month, and what the next export would add; `refusal`: why there can be none."""

    given: int
    new: int
    digest: str
    refusal: CopsError | None = None

    @property
    def figures(self) -> dict[str, int | str]:
        """For people: entries, and what is to be done for one."""
        told: dict[str, int | str] = {"entries": self.given, "entries_waiting": self.new}
        if self.refusal:
            told |= {"refusal": f"{self.refusal.code}: {self.refusal.found}", "next": self.refusal.next_step}
        return told


def standing(books: Books, period: Period) -> Standing:
    """How the journal of a month stands; nothing is given out, and what stops an export is told."""
    with books.admin.read() as con:
        found = recorded(con, period)
        before = digest("journal-standing-1", [one.entry_id for one in found])
        try:
            wanted, _ = _wanted(books, con, period, draft=False)
        except CopsError as refusal:
            return Standing(len(found), 0, before, refusal)
        new = _following(found, wanted, period, _takes_changes(con, period))
    return Standing(len(found), len(new), digest(before, [one.entry_id for one in new]))


def recorded(con: sa.Connection, period: Period) -> list[Posted]:
    """The entries of a month that were given out, the oldest first."""
    heads, parts = t.journal_entry, t.journal_line
    lines: defaultdict[str, list[Line]] = defaultdict(list)
    for row in con.execute(
        sa.select(parts)
        .where(parts.c.period_start == period.start)
        .order_by(parts.c.entry_id, parts.c.line_no)
    ):
        lines[row.entry_id].append(
            Line(
                row.purpose, amount.from_decimal(row.amount), row.currency, row.tenant_id, row.service,
                row.usage_period_start, row.document_id,
                Account(row.account, row.account_name, row.account_kind),
            )
        )  # fmt: skip
    rows = con.execute(
        sa.select(heads).where(heads.c.period_start == period.start).order_by(heads.c.entry_seq)
    )
    return [
        Posted(
            row.entry_id,
            period,
            Entry(row.subject, row.kind, row.posting_date, tuple(lines[row.entry_id])),
            row.reverses_entry_id,
        )
        for row in rows
    ]


# --- what the month has now --------------------------------------------------------------------------------


def _wanted(books: Books, con: sa.Connection, period: Period, *, draft: bool) -> tuple[list[Entry], str]:
    month = earned.read(books, con, period, draft=draft)
    unpriced = sorted({cell.tenant_id for cell in month.cells if cell.markup is None})
    if unpriced:
        raise CopsError(
            "E-PLAN-UNKNOWN",
            f"journal of {period}",
            expected=f"a markup in force on {period.start} for every plan that cost is billed by",
            found=f"none for a plan of {', '.join(unpriced)}",
            next_step=f"load plans.csv with the plan from {period.start} or earlier, then run"
            f" `cops materialize {period}`; `cops doctor {period}` names plan and cost",
        )
    changes_on = _takes_changes(con, period)
    by_account = accounts.of(con, period)
    documents = journal_documents.read(con, period, Period.of(changes_on) if changes_on else period)
    # a draft knows no close: nobody may take it for what a month came to
    is_actual = month.is_closed and not draft
    kind: entries.Kind = "actual" if is_actual else "accrual"
    posted = _posted_on(con, period) if is_actual else period.end - _DAY
    billed = documents.aws if is_actual else None
    lines = entries.cost(month.cells, billed, documents.known.get(entries.AWS, {}))
    made = [entries.entry(f"{kind}/cost", kind, posted, lines, by_account)]
    charged: defaultdict[str, list[Cell]] = defaultdict(list)
    for cell in month.cells:
        if cell.is_tenants:
            charged[cell.tenant_id].append(cell)
    for tenant in sorted({*charged, *documents.tenants} if is_actual else charged):
        issued = documents.tenants.get(tenant, []) if is_actual else None
        lines = entries.recharge(tenant, charged.get(tenant, []), issued, documents.known.get(tenant, {}))
        made.append(entries.entry(f"{kind}/recharge/{tenant}", kind, posted, lines, by_account))
    for late in documents.late:
        subject = f"document/{late.document_id}/{late.tenant_id}"
        made.append(entries.entry(subject, "document", period.end - _DAY, entries.late(late), by_account))
    return [one for one in made if one is not None], month.recon_id


def _posted_on(con: sa.Connection, period: Period) -> date:
    heads = t.journal_entry
    accrued = con.execute(
        sa.select(heads.c.entry_id)
        .where(heads.c.period_start == period.start, heads.c.kind == "accrual")
        .limit(1)
    ).first()
    return period.end if accrued else period.end - _DAY


def _takes_changes(con: sa.Connection, period: Period) -> date | None:
    """The first day that takes what changes of a closed month; `None` for one that is open itself."""
    if not lock.is_sealed(con, period):
        return None
    closed = lock.closed(con)
    return max([period.next().start, *(one.next().start for one in closed)])


# --- what follows ------------------------------------------------------------------------------------------


def _following(
    found: Sequence[Posted], wanted: Sequence[Entry], period: Period, changes_on: date | None
) -> list[Posted]:
    """What has to be given out now, after what was: nothing where each entry says what it said.

    Args:
        changes_on: of a closed month, the day that what changes about it is booked on.
    """
    undone = {one.reverses for one in found if one.entry.kind == "undo"}
    made = [one for one in found if one.entry.kind in _MADE and one.entry_id not in undone]
    standing = {one.entry.subject: one for one in made}
    newest = {one.entry.subject: one.entry_id for one in found}
    reversals = {one.reverses: one for one in found if one.entry.kind == "reversal"}
    new: list[Posted] = []
    for one in wanted:
        there, before = standing.pop(one.subject, None), newest.get(one.subject)
        if there is not None and there.entry.digest == one.digest:
            continue
        if there is not None:
            new += _taken_back(there, reversals.get(there.entry_id), changes_on)
            before = new[-1].entry_id
        moved = replace(one, posted=changes_on) if changes_on and before else one
        new += _given(moved, period, before)
    of_now = ("actual" if changes_on else "accrual", "document")
    for there in standing.values():  # of a closed month its accrual stays: it has its reversal
        if there.entry.kind in of_now:
            new += _taken_back(there, reversals.get(there.entry_id), changes_on)
    return new


_MADE = ("accrual", "actual", "document")


def _given(one: Entry, period: Period, before: str | None) -> list[Posted]:
    """An entry; an accrual with its reversal."""
    made = Posted(one.id_after(str(period), before), period, one, None)
    if one.kind != "accrual":
        return [made]
    back = one.opposite("reversal", period.end)
    return [made, Posted(back.id_after(str(period), made.entry_id), period, back, made.entry_id)]


def _taken_back(there: Posted, reversal: Posted | None, changes_on: date | None) -> list[Posted]:
    """The opposite of an entry and of its reversal: each on its day, or in a closed month on `changes_on`."""
    made = []
    for one in (there, reversal):
        if one is not None:
            back = one.entry.opposite("undo", changes_on or one.entry.posted)
            key = back.id_after(str(there.period), one.entry_id)
            made.append(Posted(key, there.period, back, one.entry_id))
    return made


def _append(con: sa.Connection, books: Books, one: Posted, recon_id: str) -> None:
    lines = [
        {
            "entry_id": one.entry_id,
            "line_no": number,
            "period_start": one.period.start,
            "purpose": line.purpose,
            "account": line.account.code,
            "account_name": line.account.name,
            "account_kind": line.account.kind,
            "tenant_id": line.tenant_id,
            "service": line.service,
            "usage_period_start": line.usage,
            "document_id": line.document_id,
            "currency": line.currency,
            "amount": amount.to_decimal(line.amount),
        }
        for number, line in enumerate(one.entry.lines, start=1)
    ]
    con.execute(sa.insert(t.journal_line), lines)
    con.execute(
        sa.insert(t.journal_entry).values(
            entry_id=one.entry_id,
            period_start=one.period.start,
            posting_date=one.entry.posted,
            subject=one.entry.subject,
            kind=one.entry.kind,
            reverses_entry_id=one.reverses,
            content_digest=one.entry.digest,
            recon_id=recon_id,
            line_count=len(one.entry.lines),
            actor=books.actor,
            exported_at=now(),
        )
    )
