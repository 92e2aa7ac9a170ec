"""The journal as text: CSV for a finance system, beancount and hledger for people who check the books.

Belongs here: the three texts of entries, each with every text from data made harmless. Does not belong here:
which entries there are (`exports/journal.py`).

Amounts stand exact; the CSV has debit and credit in minor units beside them. A draft says so in every entry:
it is flagged `!`, which both tools take for "not yet", and its ids begin with `draft-`.
"""

from __future__ import annotations

import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from cops_dagster.exports import entries
from cops_dagster.exports.entries import Entry, Line
from cops_dagster.exports.journal import Journal, Posted
from cops_dagster.money import amount, currency
from cops_dagster.period import Period
from cops_dagster.stores import csv_cells

COLUMNS = (
    "entry_id", "status", "period_start", "posting_date", "kind", "subject", "reverses_entry_id", "line_no",
    "account", "account_name", "purpose", "tenant_id", "service", "usage_period_start", "document_id",
    "currency", "amount", "debit", "credit",
)  # fmt: skip
_ROOTS = {
    "asset": "Assets", "liability": "Liabilities", "equity": "Equity", "income": "Income",
    "expense": "Expenses",
}  # fmt: skip


def csv(journals: Iterable[Journal]) -> str:
    """A row for each line; of debit and credit in minor units one is empty."""
    text = io.StringIO()
    csv_cells.write(
        text, COLUMNS, [row for one in journals for posted in one.posted for row in _rows(posted)]
    )
    return text.getvalue()


def _rows(posted: Posted) -> Iterator[tuple[object, ...]]:
    entry = posted.entry
    minor = entries.in_minor_units(entry.lines)
    for number, (line, units) in enumerate(zip(entry.lines, minor, strict=True), start=1):
        side = _ends(abs(units), line.currency)
        yield (
            posted.entry_id, "DRAFT" if posted.is_draft else "booked", posted.period.start, entry.posted,
            entry.kind, entry.subject, posted.reverses, number, line.account.code, line.account.name,
            line.purpose, line.tenant_id, line.service, line.usage, line.document_id, line.currency,
            amount.to_decimal(line.amount), side if units > 0 else None, side if units < 0 else None,
        )  # fmt: skip


def beancount(journals: Sequence[Journal]) -> str:
    """A file that `bean-check` takes: the accounts of these entries opened, the entries by date."""
    lines = [
        f"; {_headline(journals)}", 'option "title" "COPS journal"', 'option "operating_currency" "USD"', "",
    ]  # fmt: skip
    for name, code, title in _opened(journals):
        lines += [f"1970-01-01 open {name}", f"  code: {_quoted(code)}", f"  name: {_quoted(title)}"]
    for posted in _by_date(journals):
        lines += ["", f"{posted.entry.posted} {_flag(posted)} {_quoted(_said(posted))}"]
        lines += [f"  {key}: {_quoted(text)}" for key, text in _about(posted)]
        for line in posted.entry.lines:
            lines.append(f"  {_name(line)}  {_exact(line)} {line.currency}")
            lines += [f"    {key}: {_quoted(text)}" for key, text in _told(line)]
    return "\n".join(lines) + "\n"


def hledger(journals: Sequence[Journal]) -> str:
    """A file that `hledger check --strict` takes: accounts and currencies declared, the entries by date."""
    every = [line for one in journals for posted in one.posted for line in posted.entry.lines]
    lines = [f"; {_headline(journals)}"]
    # the decimals of a declared currency are those to which hledger holds an entry's balance
    lines += [
        f"commodity 1.{'0' * amount.SCALE} {code}" for code in sorted({line.currency for line in every})
    ]
    for name, code, title in _opened(journals):
        lines.append(f"account {name}  ; code:{_quoted(code)}, name:{_quoted(title)}")
    for posted in _by_date(journals):
        lines += ["", f"{posted.entry.posted} {_flag(posted)} {_plain(_said(posted)).replace(';', ',')}"]
        lines += [f"    ; {key}:{_quoted(text)}" for key, text in _about(posted)]
        for line in posted.entry.lines:
            told = ", ".join(f"{key}:{_quoted(text)}" for key, text in _told(line))
            lines.append(
                f"    {_name(line)}  {_exact(line)} {line.currency}" + (f"  ; {told}" if told else "")
            )
    return "\n".join(lines) + "\n"


def _headline(journals: Sequence[Journal]) -> str:
    months = ", ".join(str(one.period) for one in journals)
    draft = "DRAFT, nothing of it was booked. " if any(one.is_draft for one in journals) else ""
    return f"{draft}Journal of {months}, made by COPS. Amounts are exact."


def _by_date(journals: Sequence[Journal]) -> list[Posted]:
    return sorted((posted for one in journals for posted in one.posted), key=lambda one: one.entry.posted)


def _opened(journals: Sequence[Journal]) -> list[tuple[str, str, str]]:
    """Name, code and newest title of every account of these entries."""
    found = {
        _name(line): (line.account.code, line.account.name)
        for one in journals
        for posted in one.posted
        for line in posted.entry.lines
    }
    return [(name, *found[name]) for name in sorted(found)]


def _name(line: Line) -> str:
    """An account as both tools take it: its root, and a code in which every other sign is a number."""
    code = "".join(
        sign if sign.isascii() and sign.isalnum() else f"-{ord(sign):x}-" for sign in line.account.code
    )
    return f"{_ROOTS[line.account.kind]}:{'Code-' if code[:1].islower() else ''}{code}"


def _flag(posted: Posted) -> str:
    return "!" if posted.is_draft else "*"


def _said(posted: Posted) -> str:
    entry: Entry = posted.entry
    draft = "DRAFT " if posted.is_draft else ""
    return f"{draft}{posted.period} {entry.kind}: {entry.subject}"


def _about(posted: Posted) -> list[tuple[str, str]]:
    found = [("entry_id", posted.entry_id), ("period", str(posted.period))]
    return [*found, ("reverses", posted.reverses)] if posted.reverses else found


def _told(line: Line) -> list[tuple[str, str]]:
    found = (
        ("purpose", line.purpose), ("tenant", line.tenant_id), ("service", line.service),
        ("about", str(Period.of(line.usage)) if line.usage else ""), ("document", line.document_id),
    )  # fmt: skip
    return [(key, text) for key, text in found if text]


def _ends(units: int, code: str) -> Decimal:
    """An amount in minor units with as many decimals as its currency has."""
    return amount.to_decimal(units).quantize(Decimal(1).scaleb(-currency.places(code)))


def _exact(line: Line) -> str:
    """All digits that count, two decimals at least."""
    text = amount.to_text(line.amount).rstrip("0")
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.ljust(2, '0')}"


def _quoted(text: str) -> str:
    """Text from data on one line, in quotes; what is not seen, or turns the direction of text, is spelled."""
    return json.dumps(_plain(text), ensure_ascii=False)


def _plain(text: str) -> str:
    return "".join(
        f"<U+{ord(char):04X}>" if unicodedata.category(char)[0] in "CZ" and char != " " else char
        for char in text
    )
