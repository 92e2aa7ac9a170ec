"""The functions that SQL of this package may call beyond the shared dialect, each one SQL expression.

Belongs here: how delivered doubles and texts become exact money, times and faults. They are expanded
before a statement reaches the engine (`lake/statements.py`), so every engine sees plain SQL.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import sqlglot
from sqlglot import exp

# The decimal of a delivered double is the one with fewest decimals that reads back as the same
# double. Below 100,000 and with at most 10 decimals (15 digits) that decimal is unique, so the
# cheap cast is right whenever it reads back (0.12 s for 10 M values; the text route takes 0.9 s).
# Otherwise the engine's shortest text of the double is parsed. What needs more than 18 decimals
# is set aside before (`delivered_lines.quarantine_code`), so nothing is rounded here unseen.
_EXACT_USD = """
CASE WHEN x IS NULL THEN NULL
     WHEN CAST(TRY_CAST(x AS DECIMAL(15, 10)) AS DOUBLE) = x
     THEN CAST(TRY_CAST(x AS DECIMAL(15, 10)) AS DECIMAL(38, 18))
     ELSE TRY_CAST(CAST(x AS VARCHAR) AS DECIMAL(38, 18)) END
"""
# The same, but NULL instead of a rounded amount.
_CARRIED_USD = """
CASE WHEN x IS NULL THEN NULL
     WHEN CAST(TRY_CAST(x AS DECIMAL(15, 10)) AS DOUBLE) = x
     THEN CAST(TRY_CAST(x AS DECIMAL(15, 10)) AS DECIMAL(38, 18))
     WHEN CAST(CAST(TRY_CAST(CAST(x AS VARCHAR) AS DECIMAL(38, 18)) AS VARCHAR) AS DOUBLE) = x
     THEN TRY_CAST(CAST(x AS VARCHAR) AS DECIMAL(38, 18)) END
"""
# True for NULL: absence is judged elsewhere. Through text, because decimal → double divides and may
# miss the double by one unit.
_IS_EXACT_USD = """
CASE WHEN x IS NULL THEN TRUE
     WHEN COALESCE(CAST(TRY_CAST(x AS DECIMAL(15, 10)) AS DOUBLE) = x, FALSE) THEN TRUE
     ELSE COALESCE(
         CAST(CAST(TRY_CAST(CAST(x AS VARCHAR) AS DECIMAL(38, 18)) AS VARCHAR) AS DOUBLE) = x, FALSE) END
"""
# Text keeps every digit, so no double stands between it and the decimal. The first form is what AWS
# writes; the second allows an exponent and trailing zeros. A cast alone would round the 19th decimal.
_EXACT_TEXT_USD = """
CASE WHEN REGEXP_FULL_MATCH(x, '[+-]?[0-9]{1,20}([.][0-9]{1,18})?') THEN TRY_CAST(x AS DECIMAL(38, 18))
     WHEN REGEXP_FULL_MATCH(x, '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?')
          AND LENGTH(RTRIM(REGEXP_EXTRACT(x, '[.]([0-9]*)', 1), '0'))
              - COALESCE(TRY_CAST(REGEXP_EXTRACT(x, '[eE]([+-]?[0-9]+)', 1) AS INTEGER), 0) <= 18
     THEN TRY_CAST(x AS DECIMAL(38, 18)) END
"""
# Why a text is no exact amount.
_TEXT_FAULT = """
CASE WHEN REGEXP_FULL_MATCH(LOWER(x), '[+-]?(nan|inf|infinity)') THEN 'E-COST-NAN'
     WHEN NOT REGEXP_FULL_MATCH(x, '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?')
     THEN 'E-COST-PARSE'
     WHEN COALESCE(ABS(TRY_CAST(x AS DOUBLE)) >= 1e20, TRUE) THEN 'E-COST-RANGE'
     ELSE 'E-COST-SCALE' END
"""
_DOUBLE_FAULT = """
CASE WHEN NOT ISFINITE(x) THEN 'E-COST-NAN' WHEN ABS(x) >= 1e20 THEN 'E-COST-RANGE' ELSE 'E-COST-SCALE' END
"""
# A time of day in UTC, from text that names its zone. Text without zone is no instant. A cast to a
# timestamp would drop the offset without a word (measured), so an offset goes by way of the instant.
_UTC_TIME = """
CASE WHEN REGEXP_FULL_MATCH(x, '[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?Z')
     THEN TRY_CAST(x AS TIMESTAMP)
     WHEN REGEXP_FULL_MATCH(
         x, '[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?[+-][0-9]{2}(:?[0-9]{2})?')
     THEN MAKE_TIMESTAMP(EPOCH_US(TRY_CAST(x AS TIMESTAMPTZ))) END
"""
# What a fee, refund or credit is about where its description must say it. The first is AWS's own English
# sentence for a purchase; the others are asked only of lines that name a reservation or savings plan.
_SAYS_PURCHASE = """
LOWER(x) LIKE '%sign up charge for subscription%' OR LOWER(x) LIKE '%one-time fee for savings plan%'
"""
_SAYS_UPFRONT = """
LOWER(x) LIKE '%sign up%' OR LOWER(x) LIKE '%sign-up%' OR LOWER(x) LIKE '%one-time%'
OR LOWER(x) LIKE '%upfront fee%' OR LOWER(x) LIKE '%upfront payment%'
"""
_SAYS_RECURRING = """
LOWER(x) LIKE '%recurring%' OR LOWER(x) LIKE '%hourly%' OR LOWER(x) LIKE '%per hour%'
OR LOWER(x) LIKE '%monthly%' OR LOWER(x) LIKE '%no upfront%'
"""
# Older reports name a reservation or savings plan as the resource of the line.
_IS_COMMITMENT = """
x LIKE 'arn:%:savingsplan/%' OR x LIKE 'arn:%:reserved-instance%' OR x LIKE 'arn:%:rds:%:ri:%'
"""

# AWS's unit of a price in the spelling of the FOCUS unit format; what has none there is counted in units.
_FOCUS_UNIT = """
CASE WHEN LOWER(x) IN ('hrs', 'hour', 'hours') THEN 'Hours'
     WHEN LOWER(x) IN ('second', 'seconds') THEN 'Seconds'
     WHEN LOWER(x) IN ('day', 'days') THEN 'Days'
     WHEN REGEXP_FULL_MATCH(x, '[A-Za-z][A-Za-z0-9]*-Mo') THEN LEFT(x, LENGTH(x) - 3) || '-Months'
     WHEN REGEXP_FULL_MATCH(x, '[A-Za-z][A-Za-z0-9]*-Hrs') THEN LEFT(x, LENGTH(x) - 4) || '-Hours'
     WHEN REGEXP_FULL_MATCH(x, '[A-Za-z][A-Za-z0-9]*-Hour') THEN LEFT(x, LENGTH(x) - 5) || '-Hours'
     WHEN REGEXP_FULL_MATCH(x, '[A-Za-z][A-Za-z0-9]*( [A-Za-z][A-Za-z0-9]*)*') THEN x
     ELSE 'Units' END
"""

FUNCTIONS: dict[str, str] = {
    "EXACT_USD": _EXACT_USD,
    "CARRIED_USD": _CARRIED_USD,
    "IS_EXACT_USD": _IS_EXACT_USD,
    "EXACT_TEXT_USD": _EXACT_TEXT_USD,
    "TEXT_FAULT": _TEXT_FAULT,
    "DOUBLE_FAULT": _DOUBLE_FAULT,
    "UTC_TIME": _UTC_TIME,
    "SAYS_PURCHASE": _SAYS_PURCHASE,
    "SAYS_UPFRONT": _SAYS_UPFRONT,
    "SAYS_RECURRING": _SAYS_RECURRING,
    "IS_COMMITMENT": _IS_COMMITMENT,
    "IS_FINITE": "ISFINITE(x)",
    "NFC": "NFC_NORMALIZE(x)",
    "FOCUS_UNIT": _FOCUS_UNIT,
    "JSON_TEXT": "CAST(TO_JSON(x) AS VARCHAR)",
    "TIME_TEXT": "CAST(x AS VARCHAR)",
    "ZONED_TEXT": "CAST(MAKE_TIMESTAMP(EPOCH_US(x)) AS VARCHAR) || '+00'",
    "DOUBLE_TEXT": "CAST(x AS VARCHAR)",
    "TEXT_DOUBLE": "TRY_CAST(x AS DOUBLE)",
}
"""Name → the text of the expression over the column `x` that it stands for, as DuckDB reads it."""


ROW_HASH = "ROW_HASH"
"""A hash of any number of columns, as a whole number from 0 to 2^63 − 1."""


READ_WHOLE = "READ_WHOLE"
"""An aggregate that looks at every value of any number of columns; only that it answers means anything."""


@cache
def meaning(name: str) -> exp.Expr:
    """The expression of one of `FUNCTIONS`, to be copied; read when it is first asked for."""
    return sqlglot.parse_one(FUNCTIONS[name], read="duckdb")


def call(name: str, value: exp.Expr) -> exp.Expr:
    """A call of one of `FUNCTIONS`, or of one the engine has."""
    return exp.Anonymous(this=name, expressions=[value.copy()])


def joined(separator: str, parts: Iterable[exp.Expr]) -> exp.Expr:
    """The parts that are not NULL as one text, the separator between them; empty if there is none.

    By the engine's own name: sqlglot's CONCAT_WS is NULL as soon as one part is, and hid every lost value.
    """
    given = [part.copy() for part in parts]
    return exp.Anonymous(this="concat_ws", expressions=[exp.Literal.string(separator), *given])


def expanded(tree: exp.Expr) -> exp.Expr:
    """The tree, itself changed, with every call of `FUNCTIONS` replaced by its expression."""
    # no copy, and only calls are looked at: trees are made for one statement, and walking and copying wide
    # ones took a quarter of a small month. The innermost calls come first, so no call is met twice.
    for node in reversed(list(tree.find_all(exp.Anonymous, bfs=False))):
        name = node.name.upper()
        meant: exp.Expr | None = None
        if name in (ROW_HASH, READ_WHOLE):
            hashed = exp.Anonymous(this="hash", expressions=node.expressions)
            # half of the unsigned hash: against a signed number the engine would compute in 128 bits, 1.7 s
            half = exp.BitwiseRightShift(this=hashed, expression=exp.Literal.number(1))
            meant = exp.cast(half, "BIGINT", copy=False)
            meant = exp.Max(this=meant) if name == READ_WHOLE else meant
        elif name in FUNCTIONS:
            meant = exp.Paren(this=_of(meaning(name), node.expressions[0]))
        if meant is not None and node is tree:
            return meant
        if meant is not None:
            node.replace(meant)
    return tree


def _of(function: exp.Expr, argument: exp.Expr) -> exp.Expr:
    """A function's expression over a value."""
    made = function.copy()
    for column in list(made.find_all(exp.Column)):
        column.replace(argument.copy())
    return made
