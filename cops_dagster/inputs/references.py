"""What must hold between rows and tables of a load: references, documents, versions in time.

Belongs here: the refusals of `inputs/load.py` that look at more than one row. Pure but for reads on the
load's own connection. Does not belong here: cells (`inputs/cells.py`), conflicts with stored rows.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import combinations
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.inputs.files import Row
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.policy import Tags
from cops_dagster.stores import tables as t
from cops_dagster.tagging.spelling import spelled
from cops_dagster.words import OPERATOR, UNALLOCATED

DOCUMENTS = ("invoice_detail", "aws_invoices")
FOREVER = date.max
_IDS_PER_QUERY = 500

Key = tuple[Any, ...]
Rows = dict[Key, Row]


def key_names(table: str) -> list[str]:
    """Columns of a table's primary key."""
    return [column.name for column in t.metadata.tables[table].primary_key.columns]


def known(con: sa.Connection, given: Mapping[str, Sequence[Row]], column: sa.Column[Any]) -> set[Any]:
    """Values of a column, stored or in this load."""
    stored = con.execute(sa.select(column).distinct()).scalars()
    return {*stored, *(row.values[column.name] for row in given.get(column.table.name, ()))}


def shown(table: str, values: Mapping[str, Any]) -> str:
    """A row as people find it again: its table and key."""
    return f"{table} " + ", ".join(f"{name}={plain(values[name])}" for name in key_names(table))


def plain(value: object) -> str:
    """A value as it would stand in the CSV."""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


# --- references ---------------------------------------------------------------------------------------


def check_references(con: sa.Connection, given: Mapping[str, Sequence[Row]]) -> None:
    """Every tenant, plan, key and rule that a row names exists, stored or in this load."""
    tenants = known(con, given, t.tenants.c.tenant_id)
    for name in ("account_tenants", "tenant_usage", "invoice_detail"):
        for row in given.get(name, ()):
            _require_tenant(row, "tenant_id", row.values["tenant_id"], tenants)
    for row in given.get("tag_aliases", ()):
        if row.values["tag_name"] == "tenant_id":
            _refuse_reserved(row)
            _require_tenant(row, "canonical", row.values["canonical"], tenants)
    plans = known(con, given, t.plans.c.plan_id)
    for row in given.get("tenants", ()):
        if row.values["plan_id"] is not None and row.values["plan_id"] not in plans:
            raise _unknown("E-PLAN-UNKNOWN", row, "plan_id", row.values["plan_id"], "plans")
    for row in given.get("tag_aliases", ()):
        if row.values["tag_name"] == "plan_id" and plans and row.values["canonical"] not in plans:
            raise _unknown("E-PLAN-UNKNOWN", row, "canonical", row.values["canonical"], "plans")
    keys = known(con, given, t.allocation_keys.c.key_name)
    rules = known(con, given, t.allocation_rules.c.rule_id)
    for row in given.get("allocation_rules", ()):
        _check_rule(row, tenants, keys, rules)


def _refuse_reserved(row: Row) -> None:
    for column in ("alias", "canonical"):
        if row.values[column].strip() in (UNALLOCATED, OPERATOR):
            raise CopsError(
                "E-TENANT-RESERVED",
                row.where(column),
                expected="the name of a tenant",
                found=repr(row.values[column]),
                next_step="remove the row; COPS books under this name, and no tag may ask for it",
            )


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


def in_dollars(con: sa.Connection, given: Mapping[str, Sequence[Row]]) -> list[Row]:
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
        rounded = amount.converted(dollars, rate)
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


# --- names of tenants ---------------------------------------------------------------------------------


def check_names_of_tenants(con: sa.Connection, given: Mapping[str, Sequence[Row]], tags: Tags) -> None:
    """No tag value names two tenants on one day, as an alias or as the id itself.

    Asked of the tables as the load leaves them, since either side may be the new one. After a tenant
    has ended (`active_to`), its id may become an alias: that is how a merger is told.

    Raises:
        CopsError: `E-MAP-DUP` naming both tenants.
    """
    places = {
        (row.table, _key_of(row)): row
        for table in ("tag_aliases", "tenants")
        for row in given.get(table, ())
        if row.values.get("tag_name", "tenant_id") == "tenant_id"
    }
    if not places:
        return
    names: defaultdict[str, list[_Name]] = defaultdict(list)
    for one in _names_of_tenants(con):
        names[spelled(one.text, tags, "tenant_id")].append(one)
    for same in names.values():
        for one, other in combinations(same, 2):
            here, there = (one, other) if (one.row.table, _key_of(one.row)) in places else (other, one)
            row = places.get((here.row.table, _key_of(here.row)))
            # what an older COPS took, and this load does not give, blocks no other row
            if row and one.tenant != other.tenant and one.begin < other.end and other.begin < one.end:
                raise CopsError(
                    "E-MAP-DUP",
                    f"{row.where('alias' if row.table == 'tag_aliases' else 'tenant_id')} ({here})",
                    expected="a tag value that names one tenant on any day",
                    found=f"the same value in {there}",
                    next_step="remove one of them; if a tenant was merged, end it (active_to) where the"
                    " alias begins",
                )


@dataclass(frozen=True)
class _Name:
    """A value that names a tenant over [begin, end)."""

    text: str
    tenant: str
    begin: date
    end: date
    row: Row

    def __str__(self) -> str:
        until = "open" if self.end == FOREVER else self.end
        return f"{self.row.table} {self.text} → {self.tenant}, from {self.begin} to {until}"


def _key_of(row: Row) -> Key:
    return tuple(row.values[name] for name in key_names(row.table))


def _names_of_tenants(con: sa.Connection) -> Iterator[_Name]:
    aliases = sa.select(t.tag_aliases).where(t.tag_aliases.c.tag_name == "tenant_id")
    for values in con.execute(aliases).mappings():
        row = Row("tag_aliases", dict(values))
        end = values["effective_to"] or FOREVER
        yield _Name(values["alias"], values["canonical"], values["effective_from"], end, row)
    for values in con.execute(sa.select(t.tenants)).mappings():
        row = Row("tenants", dict(values))
        end = values["active_to"] or FOREVER
        yield _Name(values["tenant_id"], values["tenant_id"], values["active_from"], end, row)


# --- versions in time ---------------------------------------------------------------------------------


def check_versions(name: str, rows: Rows, tags: Tags, closed: Collection[date] = ()) -> None:
    """Dates of the rows as the table would hold them after the load.

    Args:
        closed: first days of the months that are closed or being closed.
    """
    if name == "tenants":
        for row in rows.values():
            _require_forward(row, "active_from", "active_to", "E-LOAD-VALUE")
    elif name == "tag_aliases":
        for row in rows.values():
            _require_forward(row, "effective_from", "effective_to", "E-LOAD-VALUE")
        _spans(
            rows,
            lambda alias: (alias["tag_name"], spelled(alias["alias"], tags, alias["tag_name"])),
            "E-MAP-DUP",
            open_end_yields=False,
            named="canonical",
        )
    elif name == "account_tenants":
        # the mapping is joined by its dates, so an open end lasts until it is replaced by a date
        _spans(rows, itemgetter("usage_account_id"), "E-ACCOUNT-OVERLAP", open_end_yields=False)
    elif name == "budgets":
        _spans(rows, itemgetter("budget_id"), "E-BUDGET-OVERLAP", closed=closed)
    elif name == "allocation_rules":
        spans = _spans(rows, itemgetter("rule_id"), "E-RULE-DATES", closed=closed)
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
            f"{row.where(until)} ({shown(row.table, row.values)})",
            expected=f"a day after {since} {row.values[since]}",
            found=str(row.values[until]),
            next_step="correct the dates; the last day is exclusive",
        )


def _spans(
    rows: Rows,
    owner: Callable[[Mapping[str, Any]], Any],
    code: str,
    *,
    open_end_yields: bool = True,
    named: str | None = None,
    closed: Collection[date] = (),
) -> list[_Span]:
    """Every version's days. An empty `effective_to` lasts until the next version (or for ever).

    Args:
        owner: what a row's versions have in common.
        named: a column that a refusal shows of both rows, besides their keys.
        closed: first days of months that no version can rule any more.

    Raises:
        CopsError: `code` when a version ends before it begins, or two of one owner overlap.
    """
    versions: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows.values():
        _require_forward(row, "effective_from", "effective_to", code)
        versions[owner(row.values)].append(row)
    spans = []
    for same in versions.values():
        same.sort(key=lambda row: row.values["effective_from"])
        for row, following in zip(same, [*same[1:], None], strict=True):
            begin, end = row.values["effective_from"], row.values["effective_to"]
            takeover = following.values["effective_from"] if following else FOREVER
            if following and (
                begin == takeover or (end or (begin if open_end_yields else FOREVER)) > takeover
            ):
                here, other = (following, row) if following.line else (row, following)
                here_is, other_is = (f" → {one.values[named]}" if named else "" for one in (here, other))
                raise CopsError(
                    code,
                    f"{here.where('effective_from')} ({shown(here.table, here.values)}{here_is})",
                    expected=f"no day in common with {shown(other.table, other.values)}{other_is}",
                    found=f"{begin} to {end or 'open'}, then from {takeover}",
                    next_step=_apart(row, following, here is row, closed),
                )
            spans.append(_Span(begin, min(end or FOREVER, takeover), row))
    return spans


def _apart(earlier: Row, later: Row, is_earlier: bool, closed: Collection[date]) -> str:
    """What keeps two versions apart. `is_earlier`: the earlier one is new, the later one stands stored."""
    begin, end = earlier.values["effective_from"], earlier.values["effective_to"]
    if begin == later.values["effective_from"] and "version" in earlier.values:
        day, month = begin + timedelta(days=1), Period.of(begin)
        if month.start in closed:
            return f"begin it in a later month: {month} is closed"
        follow = f"{month} follows it from there with `cops allocate {month} --rules-as-of {day} --note '…'`"
        if earlier.table == "budgets":
            follow = "a month is measured by the version of its first day"
        return f"begin it on {day}; {follow}"
    if is_earlier:
        return f"end it where the later one begins: effective_to {later.values['effective_from']}"
    if end:
        return f"begin it where the earlier one ends: effective_from {end}, or later"
    return "end the earlier one where the later one begins, or move the later one"


def _check_priorities(spans: Sequence[_Span]) -> None:
    latest: dict[int, _Span] = {}  # per priority, the span seen so far that ends last
    for span in sorted(spans, key=lambda span: span.begin):
        priority = span.row.values["priority"]
        other = latest.get(priority)
        if other and span.begin < other.end:
            here, there = (span.row, other.row) if span.row.line else (other.row, span.row)
            raise CopsError(
                "E-RULE-OVERLAP",
                f"{here.where('priority')} ({shown(here.table, here.values)})",
                expected="strict priorities among the rules in force at any time",
                found=f"priority {priority} also in {shown(there.table, there.values)} from {span.begin}",
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
                    f"{here.where('on_zero_key')} ({shown(here.table, here.values)})",
                    expected="fallbacks that end",
                    found=f"{' → '.join([*path, begin])} on {day}",
                    next_step="let one of them fall back to hold, even or fail",
                )
