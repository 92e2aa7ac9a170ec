"""What one cell of an admin CSV may hold: text, ids, dates, amounts, methods, shares.

Belongs here: one function per kind of cell, from text to its typed value, refusing with a coded error.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import get_args

from cops_dagster.allocation.chain import RULE, SERVICE
from cops_dagster.errors import CopsError
from cops_dagster.inputs import account_map
from cops_dagster.money import amount, currency
from cops_dagster.period import Period
from cops_dagster.policy import ChargeBasis
from cops_dagster.reconciliation import aws_documents
from cops_dagster.words import METHODS, OPERATOR, UNALLOCATED

USAGE_MAX = Decimal(10) ** 12
IDENTIFIER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+=-]{0,127}", re.ASCII)
CURRENCY = re.compile("[A-Z]{3}", re.ASCII)
WORD = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)


def bad(
    expected: str, text: str, next_step: str = "correct the cell", code: str = "E-LOAD-VALUE"
) -> CopsError:
    """A refusal of one cell; the caller adds file, line and column."""
    shown = text if len(text) <= 80 else text[:77] + "..."
    return CopsError(code, "cell", expected=expected, found=repr(shown), next_step=next_step)


def text_cell(text: str) -> str:
    """Any text on one line."""
    # a blank at either end would never match and cannot be seen
    if text != text.strip() or CONTROL.search(text):
        raise bad("text on one line without blanks at its ends", text)
    return text


def alias_cell(text: str) -> str:
    """A tag value exactly as AWS delivers it."""
    # exactly as AWS delivers the tag, blanks at its ends included: those are what aliases repair
    if not text.strip() or CONTROL.search(text):
        raise bad("the tag value as delivered, not blank", text)
    return text


def matching_cell(pattern: re.Pattern[str], expected: str) -> Callable[[str], str]:
    """A cell that fully matches a pattern."""

    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise bad(expected, text)
        return text

    return parse


identifier_cell = matching_cell(IDENTIFIER, "an id of letters, digits and _ . : / @ + = -, 128 at most")
word_cell = matching_cell(WORD, "a lower-case name such as network")
account_cell = matching_cell(
    re.compile(r"\d{12}", re.ASCII), "an account number of 12 digits, leading zeros kept"
)


def currency_cell(text: str) -> str:
    """The code of a currency that ISO 4217 knows."""
    if not currency.is_known(text):
        refusal = currency.unknown(text)
        if not CURRENCY.fullmatch(text):  # no code at all
            raise bad("a currency code such as USD", text, refusal.next_step)
        raise refusal
    return text


def document_type_cell(text: str) -> str:
    """The type of an AWS document, as AWS or a person spells it."""
    known = (*aws_documents.COUNTED, *aws_documents.TOLD_AGAIN)
    if aws_documents.spelled(text) not in known:
        near = difflib.get_close_matches(aws_documents.spelled(text), known, n=1)
        raise bad(
            f"one of {', '.join(known)}",
            text,
            f"did you mean {near[0]}?" if near else "write the type as AWS names it",
        )
    return text_cell(text)


def bill_type_cell(text: str) -> str:
    """The kind of bill that an AWS document is about."""
    if aws_documents.spelled(text) not in aws_documents.BILL_TYPES:
        raise bad(f"one of {', '.join(aws_documents.BILL_TYPES)}", text)
    return text_cell(text)


def one_of_cell(*names: str) -> Callable[[str], str]:
    """One of the given words."""
    return matching_cell(re.compile("|".join(map(re.escape, names))), f"one of {', '.join(names)}")


def tenant_cell(text: str) -> str:
    """A tenant id; the reserved names are refused."""
    if text in (UNALLOCATED, OPERATOR):
        raise bad(
            "the id of a tenant", text, "choose another id; COPS books under this one", "E-TENANT-RESERVED"
        )
    return identifier_cell(text)


def bearer_cell(text: str) -> str:
    """A tenant id, or `service:NAME` with a service's name as AWS writes it."""
    if text.startswith(SERVICE):
        return SERVICE + present_cell(text.removeprefix(SERVICE))
    return tenant_cell(text)


def present_cell(text: str) -> str:
    """Any text on one line, but not none."""
    if not text:
        raise bad("a name", text)
    return text_cell(text)


def rule_cell(text: str) -> str:
    """The id of a rule; names with two underscores in front are COPS' own."""
    if text.startswith("__"):
        raise bad("the id of a rule that does not begin with __", text, "choose another id")
    return identifier_cell(text)


def day_cell(text: str) -> date:
    """A date written YYYY-MM-DD."""
    try:
        if DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise bad("a date written YYYY-MM-DD", text)


def month_cell(text: str) -> date:
    """The first of a month, written 2025-09 or 2025-09-01."""
    try:
        return Period.parse(text.removesuffix("-01") if DAY.fullmatch(text) else text).start
    except CopsError:
        raise bad("a month written 2025-09 or 2025-09-01", text) from None


def time_cell(text: str) -> datetime:
    """A time in UTC; an offset is converted, no zone means UTC."""
    try:
        if TIME.fullmatch(text):
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        pass
    raise bad("a time such as 2025-10-01T03:00:00Z (UTC where no zone is given)", text)


def whole_cell(least: int) -> Callable[[str], int]:
    """A whole number of at least `least`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII) or int(text) < least:
            raise bad(f"a whole number, {least} or more", text)
        return int(text)

    return parse


def money_cell(text: str) -> Decimal:
    """An exact amount with at most 18 decimals."""
    return amount.to_decimal(amount.parse(text))


def rate_cell(text: str) -> Decimal:
    """An exchange rate above 0."""
    rate = money_cell(text)
    if rate <= 0:
        raise bad("an exchange rate above 0", text, "correct the rate", "E-FX")
    return rate


def target_cell(text: str) -> Decimal:
    """A budget's target above 0: against nothing, no level can be told."""
    target = money_cell(text)
    if target <= 0:
        raise bad("a target above 0", text, "correct the target, or leave the budget out", "E-LOAD-VALUE")
    return target


def usage_cell(text: str) -> Decimal:
    """A usage value from 0 to 10^12 in its measure."""
    value = money_cell(text)
    if value < 0:
        raise bad("a usage of 0 or more", text, "correct the value at its source", "E-KEY-NEG")
    if value > USAGE_MAX:
        raise bad(
            "a usage of 10^12 at most",
            text,
            "give the measure in a bigger unit (GB, not bytes)",
            "E-KEY-RANGE",
        )
    return value


def method_cell(text: str) -> str:
    """An allocation method."""
    if text not in METHODS:
        raise bad(f"one of {', '.join(METHODS)}", text, "correct the method", "E-RULE-METHOD")
    return text


def on_zero_key_cell(text: str) -> str:
    """What a rule does when its key is empty."""
    if text not in ("fail", "hold", "even") and not (
        text.startswith("rule:") and IDENTIFIER.fullmatch(text.removeprefix("rule:"))
    ):
        raise bad("fail, hold, even or rule:ID", text, "correct on_zero_key", "E-RULE-METHOD")
    return text


def shares_cell(text: str) -> str:
    """Canonical JSON of tenant, `service:NAME` or `rule:ID` → percent; equal shares are equal text."""
    try:
        # numbers stay text: a float would not be exact, and 1e999999999 as a number is a bomb
        pairs = json.loads(text, object_pairs_hook=tuple, parse_float=str, parse_int=str, parse_constant=str)
        shares = {name: amount.parse(share) for name, share in pairs}
        well_formed = bool(shares) and text.lstrip().startswith("{") and len(shares) == len(pairs)
    except (ValueError, TypeError, AttributeError, RecursionError):
        well_formed = False
    if not well_formed:
        raise bad('a JSON object of distinct tenants and decimals, such as {"a": "60", "b": "40"}', text)
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
        if name.startswith(RULE):
            rule_cell(name.removeprefix(RULE))
        elif name != OPERATOR:
            bearer_cell(name)
    return json.dumps(
        {name: f"{amount.to_decimal(shares[name]).normalize():f}" for name in sorted(shares)},
        ensure_ascii=False,
    )


basis_cell = one_of_cell(*get_args(ChargeBasis))
gl_account_cell = matching_cell(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,63}", re.ASCII),
    "an account's code of letters, digits and . _ / : -, 64 at most",
)
purpose_cell = one_of_cell(*account_map.PURPOSES)

GL_ACCOUNT = (
    ("purpose", purpose_cell), ("tenant_id", tenant_cell, False, ""), ("service", text_cell, False, ""),
    ("version", whole_cell(1)), ("effective_from", day_cell), ("effective_to", day_cell, False),
    ("account", gl_account_cell, False, ""), ("name", text_cell, False, ""),
    ("kind", one_of_cell(*account_map.KINDS), False, ""), ("follows", purpose_cell, False, ""),
    ("approved_by", text_cell), ("note", text_cell, False),
)  # fmt: skip
"""The columns of `gl_accounts`: name, what it may hold, whether it is required, what else it is."""
