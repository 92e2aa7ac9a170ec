"""Tenant packs: a folder for each tenant of a month, with its statement and everything behind it.

Belongs here: which months may be handed out, the files of a pack, their record. Does not belong here: reading
a tenant's rows (`exports/pack_facts.py`), pages (`exports/pack_pages.py`), names (`exports/pack_names.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.exports import (
    files,
    focus_services,
    pack_facts,
    pack_focus,
    pack_names,
    ready,
    record,
    settled,
)
from cops_dagster.exports.focus_services import Services
from cops_dagster.exports.pack_facts import Booked, Direct, Facts, Issued, Shared
from cops_dagster.exports.pack_names import Names
from cops_dagster.exports.pack_pages import LINES, Pages, Stamp
from cops_dagster.exports.ready import Ready
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.reconciliation import documents, statement
from cops_dagster.stores import tables as t

ALGORITHM = "pack-3"
_SETTLED = ("ok", "warning")
"""Statuses of a reconciliation whose amounts change no more by themselves."""
_FINAL = ("final", "closing", "closed")
"""States of a month that nobody holds open; before them AWS may still bill."""
_TABLES = {
    "direct.csv": ("direct", Direct), "shared.csv": ("shared", Shared),
    "corrections.csv": ("corrections", Booked), "documents.csv": ("documents", Issued),
}  # fmt: skip
_UNCHANGED = " The amounts of this pack change no more by themselves."
_DISPUTES = ("dispute_id", "tenant_id", "period_start", "about", "amount", "currency", "reason")


@dataclass(frozen=True)
class Packed:
    """One pack that was written: whose, where, and the digest of its files."""

    tenant_id: str
    folder: Path
    sha256: str


def pack(
    books: Books, period: Period, out: Path, *, tenant_id: str | None = None, draft: bool = False
) -> list[Packed]:
    """Writes the packs of a month's tenants, or of one, below `out/pack_PERIOD`: all of them or none.

    Args:
        tenant_id: whose pack; `None` for everybody's.
        draft: also a month that is not settled: each page says so, the folder is `pack_PERIOD_draft`, and
            there is no record of it.

    Raises:
        CopsError: `E-POLICY`; what `settled.require` and `statement.statement` raise; `E-EXPORT-DRAFT` for a
            month that is not settled; what `settled.require_tenant` raises; `E-EXPORT-SUM`,
            `E-EXPORT-DIFFERS`; what `files.swapped` raises.
    """
    require_policy(books)
    made: list[Packed] = []
    # folders take their places on the way out, when all are written and recorded: a refusal replaces nothing
    with ExitStack() as swaps, books.admin.read() as con:
        month = settled.require(books, con, period)
        stated = statement.stated(con, period).rows
        settled.require_tenant(f"pack of {period}", period, tenant_id, {row["tenant_id"] for row in stated})
        said = _draft(month, is_wanted=draft)
        month, stamp = replace(month, is_draft=bool(said)), _stamp(month, said)
        wanted = [row for row in stated if tenant_id in (None, row["tenant_id"])]
        below = out / f"pack_{period}{'_draft' if said else ''}"
        known = {row.tenant_id: row.name for row in con.execute(sa.select(t.tenants))}
        pages, names, issuer = Pages(), Names(known), books.settings.exports.issuer
        services = focus_services.read(books.settings.exports.focus_services)
        with pack_focus.selling(books, con, month, services, tenant_id or "") as seller:
            for facts in pack_facts.each(books, con, month, wanted, known, names):
                folder = below / pack_names.folder_of(facts.tenant_id)
                new = swaps.enter_context(files.swapped(folder, f"pack of {facts.tenant_id} for {period}"))
                (new / "statement.pdf").write_bytes(pages.pdf(period, facts, issuer, stamp))
                _write(new, period, facts, stamp)
                seller.write(new / "focus", facts, names)
                made.append(Packed(facts.tenant_id, folder, files.digest_of(new)))
        if not said:
            _record(books, con, month, services, tenant_id, made)
    return made


def pack_all(books: Books, period: Period) -> list[Packed]:
    """The packs of every tenant, into `exports` of the home; none for a month that is not settled.

    Raises:
        CopsError: as `pack`, but for `E-EXPORT-DRAFT`.
    """
    with books.admin.read() as con:
        month = settled.require(books, con, period)
    if month.recon.status in _SETTLED and month.state in _FINAL:
        return pack(books, period, books.settings.home / "exports")
    return []


def _record(
    books: Books,
    con: sa.Connection,
    month: Ready,
    services: Services,
    tenant_id: str | None,
    made: Sequence[Packed],
) -> None:
    """Records what was asked for, and of the others what went out alone before.

    That is made again with them, or it would stay behind the books for ever.

    Raises:
        CopsError: `E-EXPORT-DIFFERS`.
    """
    period = month.period
    issued = documents.invoices(con, period)  # come for a closed month as well, which nothing else tells
    writers = [version(one) for one in ("typst", "matplotlib")]
    given = (services.digest, books.settings.exports.issuer, writers)

    def made_from(whose: str | None) -> str:
        shown = [tuple(row) for row in issued if whose in (None, row.tenant_id)]
        return ready.made_from(con, month, "pack", ALGORITHM, *given, shown)

    for one in made:
        if one.tenant_id == tenant_id or record.made(con, _name(one.tenant_id), period):
            record.record(books, _name(one.tenant_id), period, made_from(one.tenant_id), one.sha256)
    if tenant_id is None:
        record.record(books, _name(""), period, made_from(None), _digest(made))


def _name(tenant_id: str) -> str:
    """What a pack is called in the record: `pack acme`; `pack` is all of a month."""
    return f"pack {tenant_id}".strip()


def _draft(month: Ready, *, is_wanted: bool) -> str:
    """What stands on every page of a draft; nothing for a settled month that is handed out."""
    period, status = month.period, month.recon.status
    is_reconciled, is_final = status in _SETTLED, month.state in _FINAL
    if is_reconciled and is_final:
        drafted = f"DRAFT, no statement: {period} is settled, and its statement is made without --draft"
        return drafted if is_wanted else ""
    if not is_wanted:
        look = f"doctor {period}" if not is_reconciled else f"close {period} --dry-run"
        raise CopsError(
            "E-EXPORT-DRAFT",
            f"pack of {period}",
            expected="a month that is reconciled with the status ok or warning, and final",
            found=status if not is_reconciled else f"{status}, but {month.state}",
            next_step=f"see `cops {look}`; with --draft every page says that it is none",
        )
    unsettled = status if not is_reconciled else month.state
    return f"DRAFT, no statement: {period} is {unsettled}, and these amounts may still change"


def _stamp(month: Ready, draft: str) -> Stamp:
    """How binding a pack is, as it stands on every page of it."""
    if draft:
        return Stamp("DRAFT", draft.removeprefix("DRAFT, "))
    if month.seal:
        return Stamp("SEALED", f"{month.period} is closed, seal {month.seal}")
    return Stamp("SETTLED", f"{month.period} is not closed yet, so it has no seal")


def _digest(made: Sequence[Packed]) -> str:
    lines = "".join(f"{one.sha256}  {one.folder.name}\n" for one in made)
    return hashlib.sha256(lines.encode()).hexdigest()


def _write(folder: Path, period: Period, facts: Facts, stamp: Stamp) -> None:
    (folder / "statement.csv").write_bytes(_statement(period, facts))
    for name, (rows, kind) in _TABLES.items():
        columns = [one.name for one in fields(kind)]
        values = [[getattr(row, column) for column in columns] for row in getattr(facts, rows)]
        (folder / name).write_bytes(files.csv_bytes(columns, values))
    (folder / "disputes.csv").write_bytes(files.csv_bytes(_DISPUTES, [_form(period, facts)]))
    (folder / "README.txt").write_text(_readme(period, facts, stamp), encoding="utf-8")


def _statement(period: Period, facts: Facts) -> bytes:
    stated = facts.stated
    columns = (
        "tenant_id", "name", "period_start", "line", "amount_usd", "amount", "currency", "fx_rate",
    )  # fmt: skip
    lines = [*(name for name, _ in LINES), "total"]
    amounts = [(name, stated[f"{name}_usd"], stated[name]) for name in lines]
    amounts.append(("rounding", None, stated["rounding"]))
    return files.csv_bytes(
        columns,
        [
            [facts.tenant_id, facts.name, period.start, name, usd, own, stated["currency"], stated["fx_rate"]]
            for name, usd, own in amounts
        ],
    )


def _form(period: Period, facts: Facts) -> list[object]:
    """A row to fill in: how much, and why."""
    name = f"{period}-{facts.tenant_id}-1"
    if len(name) > 128:  # longer than an id may be
        name = f"{period}-{digest('dispute-form-1', facts.tenant_id)[:16]}-1"
    return [name, facts.tenant_id, period.start, "total", None, facts.stated["currency"], None]


def _readme(period: Period, facts: Facts, stamp: Stamp) -> str:
    title = f"{period}, {' '.join(facts.name.split())} ({facts.tenant_id})"
    return f"""{title}
{stamp.word}: {stamp.text}.{"" if stamp.word == "DRAFT" else _UNCHANGED}

statement.pdf     the statement, to read and print
statement.csv     its lines: exact USD, and whole units of {facts.stated["currency"]}
direct.csv        cost whose tags name you, entry by entry
shared.csv        your part of what all share: share = pool * key_value / key_total
corrections.csv   what was booked in this month about closed ones
documents.csv     invoices and credit notes of the month
focus/            the same as FOCUS 1.4: charges, invoice lines, billing period, as CSV and Parquet
disputes.csv      to fill in and send back, if you do not agree; see the last page of the statement
SHA256SUMS        the digest of every file: sha256sum -c SHA256SUMS

The entries of direct.csv add up to the line direct, those of shared.csv to shared, those of corrections.csv
to adjustments, to the last digit. Nothing in this folder is about another tenant; key_total and pool are sums
over all.
"""
