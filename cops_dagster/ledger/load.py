"""Loading admin data from CSV (design rule 5.11): all files or none, and nothing is overwritten.

Belongs here: which files, what holds between rows and tables, conflicts, the one write transaction.
Does not belong here: what one cell may hold (`ledger/frames.py`), allocation (`rules/allocation.py`).

The checks run inside the write transaction, so what they saw stays true until the rows are stored.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger import frames
from cops_dagster.ledger.frames import Row
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.rules.allocation import OPERATOR
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import Admin, now

_REPLACEABLE: dict[str, frozenset[str]] = {
    "tenants": frozenset({"name", "plan_id", "active_to"}),
    "tag_aliases": frozenset({"canonical"}),
    "account_tenants": frozenset({"effective_to", "tenant_id"}),
    "tenant_usage": frozenset({"value", "refreshed_at"}),
    # only while no evaluation has used the version, see `_check_budget_unused`
    "budgets": frozenset(
        {"scope_type", "scope_value", "effective_from", "effective_to", "basis", "target_usd"}
    ),
}
_DOCUMENTS = ("invoice_detail", "aws_invoices")
_FOREVER = date.max
_EXACT = Context(prec=120, rounding=ROUND_HALF_EVEN)
_IDS_PER_QUERY = 500

Key = tuple[Any, ...]
Rows = dict[Key, Row]


@dataclass(frozen=True)
class Replaced:
    """One stored row that was replaced: its key, and the changed columns before and after."""

    key: dict[str, Any]
    old: dict[str, Any]
    new: dict[str, Any]


@dataclass(frozen=True)
class TableReport:
    """What a load did to one table, in rows."""

    inserted: int
    unchanged: int
    replaced: tuple[Replaced, ...] = ()


@dataclass(frozen=True)
class LoadReport:
    """What a load did, by whom and when; only tables that files were given for are listed."""

    actor: str
    loaded_at: datetime
    tables: dict[str, TableReport]


def load(admin: Admin, paths: Sequence[Path], *, actor: str, replace: bool = False) -> LoadReport:
    """Loads CSV files, each named after its table; a folder stands for the `*.csv` in it.

    An identical row is unchanged. With `replace`, descriptive columns of stored rows may change, never
    for a closed period; the report holds both versions.

    Raises:
        CopsError: nothing was written. `E-LOAD-FILE`, `E-LOAD-COLUMN`, `E-LOAD-VALUE` and the codes of
            single cells (see `frames.read`); `E-LOAD-CONFLICT`, `E-INV-CONFLICT`, `E-INV-DUP`,
            `E-LOAD-IMMUTABLE`, `E-PERIOD-CLOSED`; `E-TENANT-UNKNOWN`, `E-PLAN-UNKNOWN`,
            `E-KEY-UNKNOWN`, `E-ACCOUNT-OVERLAP`, `E-BUDGET-OVERLAP`, `E-RULE-METHOD`, `E-RULE-SUM`,
            `E-RULE-DATES`, `E-RULE-OVERLAP`, `E-RULE-CYCLE`, `E-INV-LINK`, `E-FX`.
    """
    given: defaultdict[str, list[Row]] = defaultdict(list)
    for path in _files(paths):
        table, rows = frames.read(path)
        given[table].extend(rows)
    reports = {}
    with admin.write() as con:
        stored = {name: _stored(con, name, given[name]) for name in frames.FIELDS if name in given}
        if given.get("invoice_detail"):
            given["invoice_detail"] = _in_dollars(con, given)
        _check_references(con, given)
        for name in stored:  # in the order of FIELDS
            new, changed, unchanged = _compared(con, name, given[name], stored[name], replace)
            after = {**stored[name], **new, **changed}
            if new or changed:
                _check_versions(name, after)
            replaced = tuple(_write(con, name, new.values(), changed, stored[name]))
            reports[name] = TableReport(len(new), unchanged, replaced)
    return LoadReport(actor, now(), reports)


# --- files and stored rows ----------------------------------------------------------------------------


def _files(paths: Sequence[Path]) -> list[Path]:
    found: dict[Path, Path] = {}
    for path in paths:
        files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        if not files:
            raise CopsError(
                "E-LOAD-FILE",
                f"folder {path}",
                expected="CSV files named after their tables, such as tenants.csv",
                found="no *.csv file",
                next_step="give another folder, or the files themselves",
            )
        found |= {file.resolve(): file for file in files}  # a file named twice is loaded once
    return list(found.values())


def _key_names(table: str) -> list[str]:
    return [column.name for column in t.metadata.tables[table].primary_key.columns]


def _key(table: str, values: Mapping[str, Any]) -> Key:
    return tuple(values[name] for name in _key_names(table))


def _stored(con: sa.Connection, name: str, rows: Sequence[Row]) -> Rows:
    """Stored rows that `rows` may meet: the whole table, or its months where the month is in the key."""
    if not rows:
        return {}
    table = t.metadata.tables[name]
    query = sa.select(table)
    if "period_start" in _key_names(name):
        months = [row.values["period_start"] for row in rows]
        query = query.where(table.c.period_start.between(min(months), max(months)))
    found = (Row(name, dict(values), "stored") for values in con.execute(query).mappings())
    return {_key(name, row.values): row for row in found}


def _known(con: sa.Connection, given: Mapping[str, Sequence[Row]], column: sa.Column[Any]) -> set[Any]:
    """Values of a column, stored or in this load."""
    stored = con.execute(sa.select(column).distinct()).scalars()
    return {*stored, *(row.values[column.name] for row in given.get(column.table.name, ()))}


# --- references ---------------------------------------------------------------------------------------


def _check_references(con: sa.Connection, given: Mapping[str, Sequence[Row]]) -> None:
    tenants = _known(con, given, t.tenants.c.tenant_id)
    for name in ("account_tenants", "tenant_usage", "invoice_detail"):
        for row in given.get(name, ()):
            _require_tenant(row, "tenant_id", row.values["tenant_id"], tenants)
    for row in given.get("tag_aliases", ()):
        if row.values["tag_name"] == "tenant_id":
            _require_tenant(row, "canonical", row.values["canonical"], tenants)
    plans = _known(con, given, t.plans.c.plan_id)
    for row in given.get("tenants", ()):
        if row.values["plan_id"] is not None and row.values["plan_id"] not in plans:
            raise _unknown("E-PLAN-UNKNOWN", row, "plan_id", row.values["plan_id"], "plans")
    keys = _known(con, given, t.allocation_keys.c.key_name)
    rules = _known(con, given, t.allocation_rules.c.rule_id)
    for row in given.get("allocation_rules", ()):
        _check_rule(row, tenants, keys, rules)


def _require_tenant(row: Row, column: str, tenant: str, tenants: set[Any]) -> None:
    if tenant not in tenants:
        raise _unknown("E-TENANT-UNKNOWN", row, column, tenant, "tenants")


def _unknown(code: str, row: Row, column: str, value: object, table: str) -> CopsError:
    return CopsError(
        code,
        row.where(column),
        expected=f"one that is in {table}, stored or in this load",
        found=repr(value),
        next_step=f"correct the value, or load {table}.csv with it",
    )


def _check_rule(row: Row, tenants: set[Any], keys: set[Any], rules: set[Any]) -> None:
    rule = row.values
    if (rule["method"] == "fixed") != (rule["shares"] is not None):
        raise CopsError(
            "E-RULE-METHOD" if rule["shares"] else "E-RULE-SUM",
            row.where("shares"),
            expected="shares that sum to 100 for the method fixed, and none for another method",
            found=f"method {rule['method']}, shares {rule['shares'] or 'empty'}",
            next_step="correct the method or the shares",
        )
    for tenant in json.loads(rule["shares"] or "{}"):
        if tenant != OPERATOR:
            _require_tenant(row, "shares", tenant, tenants)
    if rule["method"] == "usage_key" and rule["key_name"] not in keys:
        raise _unknown("E-KEY-UNKNOWN", row, "key_name", rule["key_name"], "allocation_keys")
    allowed = {"usage_key": keys, "proportional_cost": {None, "service"}}.get(rule["method"], {None})
    if rule["key_name"] not in allowed:
        raise CopsError(
            "E-RULE-METHOD",
            row.where("key_name"),
            expected="a key for usage_key, service or nothing for proportional_cost, else nothing",
            found=f"method {rule['method']}, key_name {rule['key_name']}",
            next_step="correct the method or the key",
        )
    fallback = _fallback(rule)
    if fallback is not None and fallback not in rules:
        raise CopsError(
            "E-RULE-METHOD",
            row.where("on_zero_key"),
            expected="rule:ID of a rule that is stored or in this load",
            found=repr(rule["on_zero_key"]),
            next_step="correct the id, or load that rule",
        )


def _fallback(rule: Mapping[str, Any]) -> str | None:
    named: str = rule["on_zero_key"]
    return named.removeprefix("rule:") if named.startswith("rule:") else None


# --- documents ----------------------------------------------------------------------------------------


def _in_dollars(con: sa.Connection, given: Mapping[str, Sequence[Row]]) -> list[Row]:
    """The invoices with `amount_usd`, once their links, signs and exchange rates are good."""
    rows = given["invoice_detail"]
    documents = _documents_named(con, rows)
    rates = {
        (row["base"], row["period_start"]): row["rate"]
        for row in con.execute(sa.select(t.fx_rates).where(t.fx_rates.c.quote == "USD")).mappings()
    }
    for row in given.get("fx_rates", ()):
        if row.values["quote"] == "USD":  # a stored rate wins; a differing one is a conflict later
            rates.setdefault((row.values["base"], row.values["period_start"]), row.values["rate"])
    return [_with_dollars(row, documents, rates) for row in rows]


def _documents_named(
    con: sa.Connection, rows: Sequence[Row]
) -> Mapping[tuple[str, str], set[tuple[date, str]]]:
    """Documents that `rows` say they correct: (invoice, tenant) → {(month, document type)}."""
    table = t.invoice_detail
    named = sorted({row.values["corrects_invoice_id"] for row in rows} - {None})
    found: defaultdict[tuple[str, str], set[tuple[date, str]]] = defaultdict(set)
    for begin in range(0, len(named), _IDS_PER_QUERY):
        batch = named[begin : begin + _IDS_PER_QUERY]
        columns = (table.c.invoice_id, table.c.tenant_id, table.c.period_start, table.c.document_type)
        for invoice, tenant, month, kind in con.execute(
            sa.select(*columns).where(table.c.invoice_id.in_(batch))
        ):
            found[invoice, tenant].add((month, kind))
    for row in rows:
        values = row.values
        found[values["invoice_id"], values["tenant_id"]].add(
            (values["period_start"], values["document_type"])
        )
    return found


def _with_dollars(
    row: Row,
    documents: Mapping[tuple[str, str], set[tuple[date, str]]],
    rates: Mapping[tuple[str, date], Decimal],
) -> Row:
    values = row.values
    is_credit = values["document_type"] == "credit_note"
    if values["amount"] != 0 and (values["amount"] < 0) != is_credit:
        raise CopsError(
            "E-INV-LINK",
            row.where("amount"),
            expected="an amount of 0 or less on a credit note, of 0 or more on an invoice",
            found=f"{values['amount'].normalize():f} on a {values['document_type']}",
            next_step="correct the sign or the document type",
        )
    month = _corrected_month(row, documents) if is_credit else values["period_start"]
    if not is_credit and values["corrects_invoice_id"] is not None:
        _require_corrected(row, documents)
    dollars = values["amount"]
    if values["currency"] != "USD":
        rate = rates.get((values["currency"], month))
        if rate is None:
            raise CopsError(
                "E-FX",
                row.where("currency"),
                expected=f"a rate {values['currency']} to USD for {Period.of(month)} in fx_rates",
                found="none",
                next_step="load fx_rates.csv with it; rates are never guessed",
            )
        product = _EXACT.multiply(dollars, rate)
        rounded = product.quantize(Decimal(1).scaleb(-amount.SCALE), context=_EXACT)
        dollars = amount.to_decimal(amount.from_decimal(rounded, subject=row.where("amount_usd")))
    if values["amount_usd"] not in (None, dollars):
        raise CopsError(
            "E-FX",
            row.where("amount_usd"),
            expected=f"{dollars.normalize():f}, the amount at the frozen rate",
            found=f"{values['amount_usd'].normalize():f}",
            next_step="leave the column out, or correct the amount or the rate",
        )
    return Row(row.table, {**values, "amount_usd": dollars}, row.file, row.line)


def _require_corrected(row: Row, documents: Mapping[tuple[str, str], set[tuple[date, str]]]) -> set[date]:
    """Months of the invoice that this document corrects, for the same tenant."""
    named, tenant = row.values["corrects_invoice_id"], row.values["tenant_id"]
    months = {month for month, kind in documents.get((named, tenant), ()) if kind == "invoice"}
    if named is None or named == row.values["invoice_id"] or not months:
        raise CopsError(
            "E-INV-LINK",
            row.where("corrects_invoice_id"),
            expected=f"another invoice of tenant {tenant}, stored or in this load",
            found="an empty cell" if named is None else repr(named),
            next_step="name the invoice that this document corrects, and load it first or with it",
        )
    return months


def _corrected_month(row: Row, documents: Mapping[tuple[str, str], set[tuple[date, str]]]) -> date:
    """The month whose exchange rate a credit note uses: that of the invoice it corrects."""
    months = _require_corrected(row, documents)
    own: date = row.values["period_start"]
    if len(months) == 1:
        return next(iter(months))
    if own in months:
        return own
    raise CopsError(
        "E-INV-LINK",
        row.where("corrects_invoice_id"),
        expected="an invoice of one month, or one that has a line in the credit note's own month",
        found=f"{row.values['corrects_invoice_id']!r} covers "
        + ", ".join(str(Period.of(month)) for month in sorted(months)),
        next_step="split the credit note by month",
    )


# --- conflicts ----------------------------------------------------------------------------------------


def _compared(
    con: sa.Connection, name: str, rows: Sequence[Row], stored: Rows, replace: bool
) -> tuple[Rows, Rows, int]:
    """Rows to insert, rows to replace, and how many are there already."""
    first: Rows = {}
    unchanged = 0
    for row in rows:
        key = _key(name, row.values)
        earlier = first.setdefault(key, row)
        if earlier is not row:
            if earlier.values != row.values:
                raise _conflict(row, earlier, earlier.where(), "give the row once; a load has no order")
            if name in _DOCUMENTS and earlier.file == row.file:
                raise CopsError(
                    "E-INV-DUP",
                    row.where(),
                    expected="each document once in a file",
                    found=f"the same as line {earlier.line}",
                    next_step="remove one of them, and check why the source wrote it twice",
                )
            unchanged += 1
    new, changed = {}, {}
    for key, row in first.items():
        if key not in stored:
            new[key] = row
        elif stored[key].values == row.values:
            unchanged += 1
        elif replace:
            _check_replaceable(con, row, stored[key])
            changed[key] = row
        else:
            raise _conflict(row, stored[key], "the stored row", _way_out(name))
    return new, changed, unchanged


def _differing(row: Row, other: Row) -> list[str]:
    return [column for column in other.values if other.values[column] != row.values[column]]


def _shown(table: str, values: Mapping[str, Any]) -> str:
    return f"{table} " + ", ".join(f"{name}={_plain(values[name])}" for name in _key_names(table))


def _plain(value: object) -> str:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def _conflict(row: Row, other: Row, whose: str, next_step: str) -> CopsError:
    columns = _differing(row, other)
    first = columns[0]
    return CopsError(
        "E-INV-CONFLICT" if row.table in _DOCUMENTS else "E-LOAD-CONFLICT",
        f"{row.where(first)} ({_shown(row.table, row.values)})",
        expected=f"{_plain(other.values[first])} as in {whose}",
        found=_plain(row.values[first]) + (f", and {len(columns) - 1} more differ" if columns[1:] else ""),
        next_step=next_step,
        details={
            "table": row.table,
            "key": {name: _plain(row.values[name]) for name in _key_names(row.table)},
            "columns": {
                name: {"stored": _plain(other.values[name]), "given": _plain(row.values[name])}
                for name in columns
            },
        },
    )


def _way_out(name: str) -> str:
    if name in _DOCUMENTS:
        return "documents are immutable: load a credit note or a document that corrects this one"
    if name in _REPLACEABLE:
        return "leave the row out, or load with --replace to replace it; both versions are reported"
    return "leave the row out, or give it a new key (a new version, month or effective_from)"


def _check_replaceable(con: sa.Connection, row: Row, old: Row) -> None:
    columns = _differing(row, old)
    fixed = [name for name in columns if name not in _REPLACEABLE.get(row.table, ())]
    if fixed or (row.table == "budgets" and _budget_is_used(con, old.values)):
        column = (fixed or columns)[0]
        raise CopsError(
            "E-LOAD-IMMUTABLE",
            f"{row.where(column)} ({_shown(row.table, row.values)})",
            expected=f"{_plain(old.values[column])}: what has been used is never replaced",
            found=_plain(row.values[column]),
            next_step=_way_out(row.table)
            if fixed and row.table not in _REPLACEABLE
            else "leave the row out, or give it a new key (a new version, id or effective_from)",
        )
    for begin, end in _months_touched(row, old):
        closed = con.execute(
            sa.select(t.period_lock.c.period_start)
            # the seal is being computed while a period is closing
            .where(t.period_lock.c.state.in_(("closing", "closed")))
            .where(t.period_lock.c.period_start >= begin.replace(day=1))
            .where(t.period_lock.c.period_start < end)
            .order_by(t.period_lock.c.period_start)
        ).scalars()
        for month in closed:
            raise CopsError(
                "E-PERIOD-CLOSED",
                f"{row.where(columns[0])} ({_shown(row.table, row.values)})",
                expected="values of open periods only",
                found=f"a change that reaches {Period.of(month)}, which is closed",
                next_step="a closed period never changes; book an adjustment in an open one",
            )


def _budget_is_used(con: sa.Connection, budget: Mapping[str, Any]) -> bool:
    history = t.budget_history
    return con.execute(
        sa.select(
            sa.exists()
            .where(history.c.budget_id == budget["budget_id"])
            .where(history.c.period_start >= budget["effective_from"].replace(day=1))
        )
    ).scalar_one()


def _months_touched(row: Row, old: Row) -> list[tuple[date, date]]:
    """Half-open ranges of days whose figures a replacement can change; names and aliases have none."""
    was, will = old.values, row.values
    if row.table == "tenant_usage":
        return [(will["period_start"], Period.of(will["period_start"]).end)]
    until = {"tenants": "active_to", "account_tenants": "effective_to"}.get(row.table)
    if until is None:
        return []
    ends = sorted((was[until] or _FOREVER, will[until] or _FOREVER))
    if row.table == "account_tenants" and was["tenant_id"] != will["tenant_id"]:
        return [(will["effective_from"], ends[1])]
    return [(ends[0], ends[1])] if ends[0] < ends[1] else []


# --- versions in time ---------------------------------------------------------------------------------


def _check_versions(name: str, rows: Rows) -> None:
    """Dates of the rows as the table would hold them after the load."""
    if name == "tenants":
        for row in rows.values():
            _require_forward(row, "active_from", "active_to", "E-LOAD-VALUE")
    elif name == "account_tenants":
        # the mapping is joined by its dates, so an open end lasts until it is replaced by a date
        _spans(rows, "usage_account_id", "E-ACCOUNT-OVERLAP", open_end_yields=False)
    elif name == "budgets":
        _spans(rows, "budget_id", "E-BUDGET-OVERLAP")
    elif name == "allocation_rules":
        spans = _spans(rows, "rule_id", "E-RULE-DATES")
        _check_priorities(spans)
        _check_cycles(spans)


@dataclass(frozen=True)
class _Span:
    """A version and the days it is in force, half-open."""

    begin: date
    end: date
    row: Row


def _require_forward(row: Row, since: str, until: str, code: str) -> None:
    if row.values[until] is not None and row.values[until] <= row.values[since]:
        raise CopsError(
            code,
            f"{row.where(until)} ({_shown(row.table, row.values)})",
            expected=f"a day after {since} {row.values[since]}",
            found=str(row.values[until]),
            next_step="correct the dates; the last day is exclusive",
        )


def _spans(rows: Rows, owner: str, code: str, *, open_end_yields: bool = True) -> list[_Span]:
    """Every version's days. An empty `effective_to` lasts until the next version (or for ever).

    Raises:
        CopsError: `code` when a version ends before it begins, or two of one owner overlap.
    """
    versions: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows.values():
        _require_forward(row, "effective_from", "effective_to", code)
        versions[row.values[owner]].append(row)
    spans = []
    for same in versions.values():
        same.sort(key=lambda row: row.values["effective_from"])
        for row, following in zip(same, [*same[1:], None], strict=True):
            begin, end = row.values["effective_from"], row.values["effective_to"]
            takeover = following.values["effective_from"] if following else _FOREVER
            if following and (
                begin == takeover or (end or (begin if open_end_yields else _FOREVER)) > takeover
            ):
                here, other = (following, row) if following.line else (row, following)
                raise CopsError(
                    code,
                    f"{here.where('effective_from')} ({_shown(here.table, here.values)})",
                    expected=f"no day in common with {_shown(other.table, other.values)}",
                    found=f"{begin} to {end or 'open'}, then from {takeover}",
                    next_step="end the earlier one where the later one begins, or move the later one",
                )
            spans.append(_Span(begin, min(end or _FOREVER, takeover), row))
    return spans


def _check_priorities(spans: Sequence[_Span]) -> None:
    latest: dict[int, _Span] = {}  # per priority, the span seen so far that ends last
    for span in sorted(spans, key=lambda span: span.begin):
        priority = span.row.values["priority"]
        other = latest.get(priority)
        if other and span.begin < other.end:
            here, there = (span.row, other.row) if span.row.line else (other.row, span.row)
            raise CopsError(
                "E-RULE-OVERLAP",
                f"{here.where('priority')} ({_shown(here.table, here.values)})",
                expected="strict priorities among the rules in force at any time",
                found=f"priority {priority} also in {_shown(there.table, there.values)} from {span.begin}",
                next_step="give one of them another priority",
            )
        if not other or span.end > other.end:
            latest[priority] = span


def _check_cycles(spans: Sequence[_Span]) -> None:
    for day in sorted({span.begin for span in spans}):
        in_force = {span.row.values["rule_id"]: span.row for span in spans if span.begin <= day < span.end}
        for begin in in_force:
            path, at = [begin], _fallback(in_force[begin].values)
            while at in in_force and at not in path:
                path.append(at)
                at = _fallback(in_force[at].values)
            if at == begin:
                rows = [in_force[rule] for rule in path]
                here = next((row for row in rows if row.line), rows[0])
                raise CopsError(
                    "E-RULE-CYCLE",
                    f"{here.where('on_zero_key')} ({_shown(here.table, here.values)})",
                    expected="fallbacks that end",
                    found=f"{' → '.join([*path, begin])} on {day}",
                    next_step="let one of them fall back to hold, even or fail",
                )


# --- writing ------------------------------------------------------------------------------------------


def _write(
    con: sa.Connection, name: str, new: Iterable[Row], changed: Rows, stored: Rows
) -> Iterable[Replaced]:
    table = t.metadata.tables[name]
    inserted = [row.values for row in new]
    if inserted:
        con.execute(sa.insert(table), inserted)
    keys = _key_names(name)
    for key, row in changed.items():
        columns = _differing(row, stored[key])
        update = {column: row.values[column] for column in columns}
        con.execute(sa.update(table).where(*(table.c[k] == row.values[k] for k in keys)).values(update))
        yield Replaced(
            key={k: row.values[k] for k in keys},
            old={column: stored[key].values[column] for column in columns},
            new=update,
        )
