"""CSV files of admin tables, read as text and typed: which columns, and what one cell may hold.

Belongs here: everything that can be said of a file without looking at any other row or table. Does
not belong here: references, conflicts, writing (`ledger/load.py`).

The `csv` module splits the text, since pandas pads short lines and drops the end of long ones without
a word, and cannot tell a record's line number. pandera then checks the text frame lazily, so that one
refusal names every bad cell. Both are slow to import and imported where used.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

from cops_dagster.errors import CopsError
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.rules.allocation import OPERATOR, UNALLOCATED
from cops_dagster.settings import ChargeBasis

FILE_BYTES_MAX = 64 << 20
_LINE_CHARS_MAX = 1 << 20
_FAILURES_SHOWN = 20
_USAGE_MAX = Decimal(10) ** 12
_USAGE_FILE = re.compile(r"tenant_([a-z][a-z0-9_]*)_usage", re.ASCII)
_IDENTIFIER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+=-]{0,127}", re.ASCII)
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_CHARGE_CLASSES = (
    "usage", "tax", "support", "credit", "refund", "discount", "marketplace", "commitment_fee",
)  # fmt: skip
_METHODS = ("even", "fixed", "proportional_cost", "usage_key", "hold")


@dataclass(frozen=True)
class Row:
    """One typed row, and where it was read: `file` as given, `line` (the header is line 1)."""

    table: str
    values: dict[str, Any]
    file: str = ""
    line: int = 0

    def where(self, column: str = "") -> str:
        """The row, or one cell of it, for a message."""
        return f"{self.file}, line {self.line}" + (f", column {column}" if column else "")


@dataclass(frozen=True)
class Field:
    """One CSV column. An absent column or empty cell means `default`, unless it is `required`."""

    name: str
    parse: Callable[[str], Any]
    required: bool = True
    default: Any = None


def read(path: Path) -> tuple[str, list[Row]]:
    """The table a file is named after, and its rows.

    Raises:
        CopsError: `E-LOAD-FILE`, `E-LOAD-COLUMN`, or the code of the first bad cell by line and column
            (`E-LOAD-VALUE`, `E-COST-…`, `E-KEY-NEG`, `E-TENANT-RESERVED`, `E-RULE-METHOD`,
            `E-RULE-SUM`, `E-FX`); `details["failures"]` lists the first twenty.
    """
    if not path.is_file():
        raise _bad_file(path, "a regular file", "none of this name")
    table, fixed = _named_after(path)
    fields = {field.name: field for field in FIELDS[table] if field.name not in fixed}
    records = _records(path)
    line, header = next(records, (1, []))
    if not header:
        raise _bad_file(path, "a CSV file with a header", "an empty file")
    _check_header(path, header, fields)
    lines, cells = [], []
    for line, record in records:
        if len(record) != len(header):
            raise CopsError(
                "E-LOAD-COLUMN",
                f"{path}, line {line}",
                expected=f"{len(header)} fields, as in the header",
                found=f"{len(record)} fields",
                next_step='correct the line; a value with a comma is written in "quotes"',
            )
        lines.append(line)
        cells.append(record)
    if not cells:
        return table, []
    columns = _typed(path, header, lines, cells, fields)
    absent = {name: field.default for name, field in fields.items() if name not in columns}
    return table, [
        Row(table, {**fixed, **absent, **dict(zip(columns, values, strict=True))}, str(path), line)
        for line, values in zip(lines, zip(*columns.values(), strict=True), strict=True)
    ]


def _named_after(path: Path) -> tuple[str, dict[str, Any]]:
    if path.suffix == ".csv" and path.stem in FIELDS:
        return path.stem, {}
    usage = _USAGE_FILE.fullmatch(path.stem)
    if path.suffix == ".csv" and usage:
        return "tenant_usage", {"measure": usage[1]}
    near = difflib.get_close_matches(path.stem, FIELDS, n=1)
    raise _bad_file(
        path,
        f"a name such as {near[0] if near else 'tenants'}.csv, after one of {', '.join(FIELDS)} or "
        "tenant_<measure>_usage",
        repr(path.name),
    )


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Records with the line they begin on; blank lines are skipped."""
    if (size := path.stat().st_size) > FILE_BYTES_MAX:
        raise _bad_file(path, f"at most {FILE_BYTES_MAX} bytes", f"{size} bytes", "split the file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise _bad_file(path, "UTF-8 text", f"byte {problem.start} is not", "save it as CSV UTF-8") from None
    except OSError as problem:
        raise _bad_file(path, "a file that can be read", str(problem.strerror)) from None
    reader = csv.reader(_lines(path, text), strict=True)
    begin = 1
    try:
        for record in reader:
            if record:
                yield begin, record
            begin = reader.line_num + 1
    except csv.Error as problem:
        raise _bad_file(path, "CSV with commas and double quotes", f"line {begin}: {problem}") from None


def _lines(path: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if len(line) > _LINE_CHARS_MAX or "\0" in line:
            raise _bad_file(path, "CSV text", f"line {number} is too long or binary")
        yield line


def _bad_file(path: Path, expected: str, found: str, next_step: str = "") -> CopsError:
    return CopsError(
        "E-LOAD-FILE",
        f"file {path}",
        expected=expected,
        found=found,
        next_step=next_step or "correct or leave out the file, then load again; nothing was written",
    )


def _check_header(path: Path, header: Sequence[str], fields: Mapping[str, Field]) -> None:
    for position, name in enumerate(header):
        if name not in fields or name in header[:position]:
            near = difflib.get_close_matches(name, fields, n=1)
            raise CopsError(
                "E-LOAD-COLUMN",
                f"{path}, line 1, column {name!r}",
                expected=f"each of these once at most: {', '.join(fields)}",
                found="it twice" if name in fields else f"{name!r}",
                next_step=f"did you mean {near[0]}?" if near and name not in fields else "remove the column",
            )
    for name, field in fields.items():
        if field.required and name not in header:
            raise CopsError(
                "E-LOAD-COLUMN",
                f"{path}, line 1, column {name}",
                expected=f"the required column {name}",
                found=f"columns {', '.join(header)}",
                next_step="add the column",
            )


def _typed(
    path: Path, header: list[str], lines: list[int], cells: list[list[str]], fields: Mapping[str, Field]
) -> dict[str, list[Any]]:
    """Column → values, each distinct text parsed once. Raises the first bad cell."""
    import pandas as pd
    import pandera.pandas as pa

    frame = pd.DataFrame(cells, columns=header, index=lines, dtype="str")
    values: dict[str, dict[str, Any]] = {name: {} for name in header}
    faults: dict[str, dict[str, CopsError]] = {name: {} for name in header}
    for name in header:
        for text in frame[name].unique():
            try:
                values[name][text] = _cell(fields[name], text)
            except CopsError as problem:
                faults[name][text] = problem
    schema = pa.DataFrameSchema(
        {
            name: pa.Column("str", pa.Check(lambda column, bad=tuple(faults[name]): ~column.isin(bad)))
            for name in header
        },
        strict=True,
    )
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as problem:
        failed = problem.failure_cases[["index", "column", "failure_case"]].itertuples(index=False)
        cases = sorted((int(line), header.index(column), text) for line, column, text in failed)
        raise _refused(path, header, cases, faults) from None
    return {name: [values[name][text] for text in frame[name]] for name in header}


def _refused(
    path: Path,
    header: list[str],
    cases: list[tuple[int, int, str]],
    faults: dict[str, dict[str, CopsError]],
) -> CopsError:
    line, position, text = cases[0]
    first = faults[header[position]][text]
    more = f" ({len(cases)} bad cells in this file)" if len(cases) > 1 else ""
    return CopsError(
        first.code,
        f"{path}, line {line}, column {header[position]}",
        expected=first.expected,
        found=first.found + more,
        next_step=first.next_step,
        details={
            "failures": [
                {"line": line, "column": header[at], "code": faults[header[at]][text].code, "found": text}
                for line, at, text in cases[:_FAILURES_SHOWN]
            ]
        },
    )


def _cell(field: Field, text: str) -> Any:
    if text:
        return field.parse(text)
    if field.required:
        raise _bad("a value", text, "fill the cell")
    return field.default


def _bad(
    expected: str, text: str, next_step: str = "correct the cell", code: str = "E-LOAD-VALUE"
) -> CopsError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return CopsError(code, "cell", expected=expected, found=repr(shown), next_step=next_step)


# --- what one cell may hold --------------------------------------------------------------------------


def _text(text: str) -> str:
    # a blank at either end would never match and cannot be seen
    if text != text.strip() or _CONTROL.search(text):
        raise _bad("text on one line without blanks at its ends", text)
    return text


def _alias(text: str) -> str:
    # exactly as AWS delivers the tag, blanks at its ends included: those are what aliases repair
    if not text.strip() or _CONTROL.search(text):
        raise _bad("the tag value as delivered, not blank", text)
    return text


def _matching(pattern: re.Pattern[str], expected: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise _bad(expected, text)
        return text

    return parse


_identifier = _matching(_IDENTIFIER, "an id of letters, digits and _ . : / @ + = -, 128 at most")
_word = _matching(_WORD, "a lower-case name such as network")
_account = _matching(re.compile(r"\d{12}", re.ASCII), "an account number of 12 digits, leading zeros kept")
_currency = _matching(re.compile("[A-Z]{3}", re.ASCII), "a currency code such as USD")


def _one_of(*names: str) -> Callable[[str], str]:
    return _matching(re.compile("|".join(map(re.escape, names))), f"one of {', '.join(names)}")


def _tenant(text: str) -> str:
    if text in (UNALLOCATED, OPERATOR):
        raise _bad(
            "the id of a tenant", text, "choose another id; COPS books under this one", "E-TENANT-RESERVED"
        )
    return _identifier(text)


def _day(text: str) -> date:
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise _bad("a date written YYYY-MM-DD", text)


def _month(text: str) -> date:
    try:
        return Period.parse(text.removesuffix("-01") if _DAY.fullmatch(text) else text).start
    except CopsError:
        raise _bad("a month written 2025-09 or 2025-09-01", text) from None


def _time(text: str) -> datetime:
    try:
        if _TIME.fullmatch(text):
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        pass
    raise _bad("a time such as 2025-10-01T03:00:00Z (UTC where no zone is given)", text)


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII) or int(text) < least:
            raise _bad(f"a whole number, {least} or more", text)
        return int(text)

    return parse


def _money(text: str) -> Decimal:
    return amount.to_decimal(amount.parse(text))


def _rate(text: str) -> Decimal:
    rate = _money(text)
    if rate <= 0:
        raise _bad("an exchange rate above 0", text, "correct the rate", "E-FX")
    return rate


def _usage(text: str) -> Decimal:
    if text.lower() in ("nan", "inf", "-inf", "infinity", "-infinity"):
        raise _bad("a usage of 0 or more", text, "correct the value at its source", "E-KEY-NEG")
    value = _money(text)
    if value < 0:
        raise _bad("a usage of 0 or more", text, "correct the value at its source", "E-KEY-NEG")
    if value > _USAGE_MAX:
        raise _bad(
            "a usage of 10^12 at most", text, "give the measure in a bigger unit (GB, not bytes)", "E-KEY-NEG"
        )
    return value


def _method(text: str) -> str:
    if text not in _METHODS:
        raise _bad(f"one of {', '.join(_METHODS)}", text, "correct the method", "E-RULE-METHOD")
    return text


def _on_zero_key(text: str) -> str:
    if text not in ("fail", "hold", "even") and not (
        text.startswith("rule:") and _IDENTIFIER.fullmatch(text.removeprefix("rule:"))
    ):
        raise _bad("fail, hold, even or rule:ID", text, "correct on_zero_key", "E-RULE-METHOD")
    return text


def _shares(text: str) -> str:
    """Canonical JSON of tenant → percent: sorted, plain decimals, so equal shares are equal text."""
    try:
        # numbers stay text: a float would not be exact, and 1e999999999 as a number is a bomb
        pairs = json.loads(text, object_pairs_hook=tuple, parse_float=str, parse_int=str, parse_constant=str)
        shares = {name: amount.parse(share) for name, share in pairs}
        well_formed = bool(shares) and text.lstrip().startswith("{") and len(shares) == len(pairs)
    except (ValueError, TypeError, AttributeError, RecursionError):
        well_formed = False
    if not well_formed:
        raise _bad('a JSON object of distinct tenants and decimals, such as {"a": "60", "b": "40"}', text)
    if any(share < 0 for share in shares.values()) or sum(shares.values()) != 100 * amount.ATTO:
        found = amount.to_decimal(sum(shares.values()))
        raise CopsError(
            "E-RULE-SUM",
            "shares",
            expected="shares of 0 or more that sum to exactly 100",
            found=f"a sum of {found.normalize():f} in {text[:200]}",
            next_step="correct the shares; they are never scaled",
        )
    for name in sorted(shares):
        if name != OPERATOR:
            _tenant(name)
    return json.dumps(
        {name: f"{amount.to_decimal(shares[name]).normalize():f}" for name in sorted(shares)},
        ensure_ascii=False,
    )


_basis = _one_of(*get_args(ChargeBasis))

FIELDS: dict[str, tuple[Field, ...]] = {
    "plans": (
        Field("plan_id", _identifier),
        Field("effective_from", _day),
        Field("markup_bps", _whole(-10_000)),
    ),
    "tenants": (
        Field("tenant_id", _tenant),
        Field("name", _text),
        Field("plan_id", _identifier, required=False),
        Field("active_from", _day),
        Field("active_to", _day, required=False),
        Field("currency", _currency, required=False, default="USD"),
    ),
    "tag_aliases": (
        Field("tag_name", _one_of("tenant_id", "plan_id", "service_component")),
        Field("alias", _alias),
        Field("canonical", _text),
    ),
    "account_tenants": (
        Field("usage_account_id", _account),
        Field("effective_from", _day),
        Field("effective_to", _day, required=False),
        Field("tenant_id", _tenant),
    ),
    "allocation_keys": (
        Field("key_name", _word),
        Field("measure", _word),
        Field("max_age_hours", _whole(1)),
    ),
    "allocation_rules": (
        Field("rule_id", _identifier),
        Field("version", _whole(1)),
        Field("effective_from", _day),
        Field("effective_to", _day, required=False),
        Field("priority", _whole(0)),
        Field("match_service", _text, required=False),
        Field("match_service_component", _text, required=False),
        Field("match_charge_class", _one_of(*_CHARGE_CLASSES), required=False),
        Field("match_usage_account_id", _account, required=False),
        Field("match_plan_id", _text, required=False),
        Field("method", _method),
        Field("key_name", _word, required=False),
        Field("shares", _shares, required=False),
        Field("on_zero_key", _on_zero_key, required=False, default="fail"),
        Field("approved_by", _text),
        Field("note", _text, required=False),
    ),
    "tenant_usage": (
        Field("period_start", _month),
        Field("tenant_id", _tenant),
        Field("measure", _word),
        Field("value", _usage),
        Field("refreshed_at", _time),
    ),
    "fx_rates": (
        Field("base", _currency),
        Field("quote", _currency),
        Field("period_start", _month),
        Field("rate", _rate),
    ),
    "invoice_detail": (
        Field("invoice_id", _text),
        Field("tenant_id", _tenant),
        Field("period_start", _month),
        Field("amount", _money),
        Field("currency", _currency),
        Field("amount_usd", _money, required=False),  # computed; a given one must agree
        Field("status", _text),
        Field("document_type", _one_of("invoice", "credit_note")),
        Field("corrects_invoice_id", _text, required=False),
    ),
    "aws_invoices": (
        Field("invoice_id", _text),
        Field("period_start", _month),
        Field("payer_account_id", _account),
        Field("invoicing_entity", _text, required=False),
        Field("billing_entity", _text, required=False),
        Field("bill_type", _text, required=False),
        Field("invoice_type", _text),
        Field("base_currency", _currency),
        Field("amount_before_tax", _money),
        Field("tax", _money),
        Field("payment_currency", _currency, required=False),
        Field("payment_amount", _money, required=False),
        Field("exchange_rate", _rate, required=False),
        Field("corrects_invoice_id", _text, required=False),
    ),
    "budgets": (
        Field("budget_id", _identifier),
        Field("version", _whole(1)),
        Field("scope_type", _word),
        Field("scope_value", _text, required=False),
        Field("effective_from", _day),
        Field("effective_to", _day, required=False),
        Field("basis", _basis),
        Field("target_usd", _money),
    ),
}
"""Loadable tables, in the order they are written: what a row refers to comes first."""
