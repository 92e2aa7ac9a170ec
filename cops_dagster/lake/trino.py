"""From the trees of this package to the SQL of Trino and Athena, digit for digit.

Belongs here: what these two spell otherwise than DuckDB, and the functions of this package in their words
(`lake/functions.py` has DuckDB's). Does not belong here: which tables there are (`lake/outside.py`). Whatever
has no exact form there is refused by who builds the tree; only the wording of `quarantine_reason` may differ.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import sqlglot
from sqlglot import exp

from cops_dagster.lake.functions import FUNCTIONS as DUCKDB
from cops_dagster.lake.functions import READ_WHOLE, ROW_HASH

Dialect = Literal["trino", "athena"]

_DAY_AND_TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?"
_AMOUNT = "[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?"
# The shortest text of a double: from 1.8e16 on a cast writes another one (272 of 400,017 doubles differed, by
# FORMAT none). FORMAT makes the text `null` of NULL, whose cast costs 9 µs a row.
_TEXT = "CASE WHEN x IS NOT NULL THEN FORMAT('%s', x) END"
_CHEAP = "TRY_CAST(x AS DECIMAL(15, 10))"
_BY_TEXT = f"TRY_CAST({_TEXT} AS DECIMAL(38, 18))"
# \\A and \\z are the ends of the text; ^ and $ would let a line break behind it pass.
_EXACT_USD = f"""
CASE WHEN x IS NULL THEN NULL
     WHEN CAST({_CHEAP} AS DOUBLE) = x THEN CAST({_CHEAP} AS DECIMAL(38, 18))
     ELSE {_BY_TEXT} END
"""
_CARRIED_USD = f"""
CASE WHEN x IS NULL THEN NULL
     WHEN CAST({_CHEAP} AS DOUBLE) = x THEN CAST({_CHEAP} AS DECIMAL(38, 18))
     WHEN CAST(CAST({_BY_TEXT} AS VARCHAR) AS DOUBLE) = x THEN {_BY_TEXT} END
"""
_IS_EXACT_USD = f"""
CASE WHEN x IS NULL THEN TRUE
     WHEN COALESCE(CAST({_CHEAP} AS DOUBLE) = x, FALSE) THEN TRUE
     ELSE COALESCE(CAST(CAST({_BY_TEXT} AS VARCHAR) AS DOUBLE) = x, FALSE) END
"""
_EXACT_TEXT_USD = rf"""
CASE WHEN REGEXP_LIKE(x, '\A[+-]?[0-9]{{1,20}}([.][0-9]{{1,18}})?\z') THEN TRY_CAST(x AS DECIMAL(38, 18))
     WHEN REGEXP_LIKE(x, '\A{_AMOUNT}\z')
          AND LENGTH(COALESCE(TRIM(TRAILING '0' FROM REGEXP_EXTRACT(x, '[.]([0-9]*)', 1)), ''))
              - COALESCE(TRY_CAST(REGEXP_EXTRACT(x, '[eE]([+-]?[0-9]+)', 1) AS INTEGER), 0) <= 18
     THEN TRY_CAST(x AS DECIMAL(38, 18)) END
"""
_TEXT_FAULT = rf"""
CASE WHEN REGEXP_LIKE(LOWER(x), '\A[+-]?(nan|inf|infinity)\z') THEN 'E-COST-NAN'
     WHEN NOT REGEXP_LIKE(x, '\A{_AMOUNT}\z') THEN 'E-COST-PARSE'
     WHEN COALESCE(ABS(TRY_CAST(x AS DOUBLE)) >= 1e20, TRUE) THEN 'E-COST-RANGE'
     ELSE 'E-COST-SCALE' END
"""
_DOUBLE_FAULT = """
CASE WHEN NOT IS_FINITE(x) THEN 'E-COST-NAN' WHEN ABS(x) >= 1e20 THEN 'E-COST-RANGE' ELSE 'E-COST-SCALE' END
"""
_ZONED = r"""
REGEXP_REPLACE(REGEXP_REPLACE(REPLACE(x, 'T', ' '), '([+-][0-9]{2})\z', '$1:00'),
               '([+-][0-9]{2}):?([0-9]{2})\z', '$1:$2')
"""
_UTC_TIME = rf"""
CASE WHEN REGEXP_LIKE(x, '\A{_DAY_AND_TIME}Z\z')
     THEN TRY_CAST(REPLACE(REPLACE(x, 'T', ' '), 'Z', '') AS TIMESTAMP(6))
     WHEN REGEXP_LIKE(x, '\A{_DAY_AND_TIME}[+-][0-9]{{2}}(:?[0-9]{{2}})?\z')
     THEN CAST(AT_TIMEZONE(TRY_CAST({_ZONED} AS TIMESTAMP(6) WITH TIME ZONE), 'UTC') AS TIMESTAMP(6)) END
"""
# DuckDB writes no digit of a second that says nothing; Trino writes as many as the type has.
_TIME_TEXT = r"""
REGEXP_REPLACE(REGEXP_REPLACE(CAST(x AS VARCHAR), '([.][0-9]*?)0+\z', '$1'), '[.]\z', '')
"""
_ZONED_TEXT = _TIME_TEXT.replace("x", "CAST(AT_TIMEZONE(x, 'UTC') AS TIMESTAMP(6))") + " || '+00'"
# DuckDB's text of a double, from Java's: the same digits, other words for what is none, and the exponent from
# 1e16 on and below 1e-4, of two digits at least. A decimal of 21 places holds what lies between whole.
_JAVA = "FORMAT('%s', x)"
_DOUBLE_TEXT = rf"""
CASE WHEN x IS NULL THEN NULL WHEN IS_NAN(x) THEN 'nan'
     WHEN IS_INFINITE(x) THEN CASE WHEN x > 0 THEN 'inf' ELSE '-inf' END
     WHEN NOT REGEXP_LIKE({_JAVA}, 'E') THEN {_JAVA}
     WHEN ABS(x) >= 1e-4 AND ABS(x) < 1e16
     THEN REGEXP_REPLACE(CAST(CAST({_JAVA} AS DECIMAL(38, 21)) AS VARCHAR), '([.][0-9]+?)0+\z', '$1')
     ELSE REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE({_JAVA}, '[.]0E', 'E'),
          'E([0-9])', 'e+$1'), 'E-', 'e-'), 'e([+-])([0-9])\z', 'e$10$2') END
"""
# A text as DuckDB reads it: blanks around and _ between digits are nothing; Java's 1d is no number.
_TEXT_DOUBLE = r"""
CASE WHEN REGEXP_LIKE(x, '\A\s*[+-]?([0-9_]+[.]?[0-9_]*|[.][0-9_]+)([eE][+-]?[0-9_]+)?\s*\z')
     THEN TRY_CAST(REGEXP_REPLACE(x, '(?<=[0-9])_(?=[0-9])', '') AS DOUBLE)
     WHEN REGEXP_LIKE(LOWER(x), '\A\s*[+-]?nan\s*\z') THEN NAN()
     WHEN REGEXP_LIKE(LOWER(x), '\A\s*[+]?inf(inity)?\s*\z') THEN INFINITY()
     WHEN REGEXP_LIKE(LOWER(x), '\A\s*-inf(inity)?\s*\z') THEN -INFINITY() END
"""
_WORD = "[A-Za-z][A-Za-z0-9]*"
_FOCUS_UNIT = rf"""
CASE WHEN LOWER(x) IN ('hrs', 'hour', 'hours') THEN 'Hours'
     WHEN LOWER(x) IN ('second', 'seconds') THEN 'Seconds'
     WHEN LOWER(x) IN ('day', 'days') THEN 'Days'
     WHEN REGEXP_LIKE(x, '\A{_WORD}-Mo\z') THEN SUBSTR(x, 1, LENGTH(x) - 3) || '-Months'
     WHEN REGEXP_LIKE(x, '\A{_WORD}-Hrs\z') THEN SUBSTR(x, 1, LENGTH(x) - 4) || '-Hours'
     WHEN REGEXP_LIKE(x, '\A{_WORD}-Hour\z') THEN SUBSTR(x, 1, LENGTH(x) - 5) || '-Hours'
     WHEN REGEXP_LIKE(x, '\A{_WORD}( {_WORD})*\z') THEN x
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
    "IS_FINITE": "IS_FINITE(x)",
    "NFC": "NORMALIZE(x, NFC)",
    "FOCUS_UNIT": _FOCUS_UNIT,
    "JSON_TEXT": "JSON_FORMAT(CAST(x AS JSON))",
    "TIME_TEXT": _TIME_TEXT,
    "ZONED_TEXT": _ZONED_TEXT,
    "DOUBLE_TEXT": _DOUBLE_TEXT,
    "TEXT_DOUBLE": _TEXT_DOUBLE,
} | {name: DUCKDB[name] for name in ("SAYS_PURCHASE", "SAYS_UPFRONT", "SAYS_RECURRING", "IS_COMMITMENT")}
"""Name → the text of its expression over the column `x`; those of LIKE and LOWER are the same text."""

# What DuckDB's TRIM cuts: blanks of every script (Zs), and no tab or line break. Trino's cuts others.
_BLANKS = r"\A\p{Zs}+|\p{Zs}+\z"


@cache
def meaning(name: str) -> exp.Expr:
    """The expression of one of `FUNCTIONS`, to be copied."""
    return sqlglot.parse_one(FUNCTIONS[name], read="trino")


def expanded(tree: exp.Expr, dialect: Dialect) -> exp.Expr:
    """The tree, itself changed, in the words of Trino; never one that DuckDB has seen already."""
    tree = tree.transform(_expand, copy=False)
    for kind, rewritten in _REWRITES:
        # the innermost first: what is made of a node may be made of copies of what stands in it
        for node in reversed(list(tree.find_all(kind, bfs=False))):
            made = rewritten(node)
            if made is not node:
                node.replace(made)
    if dialect == "trino":
        for cast in tree.find_all(exp.Cast):
            if cast.to.this == exp.DType.TIMESTAMP and not cast.to.expressions:
                cast.set("to", exp.DataType.build("TIMESTAMP(6)", dialect="trino"))  # TIMESTAMP is one of ms
    return tree


def _expand(node: exp.Expr) -> exp.Expr:
    name = node.name.upper() if isinstance(node, exp.Anonymous) else ""
    if name == READ_WHOLE:
        sums: list[exp.Expr] = [_call("CHECKSUM", one) for one in node.expressions]
        return _call("CARDINALITY", exp.Array(expressions=sums))
    if name == ROW_HASH:
        return _row_hash(node)
    if name not in FUNCTIONS:
        return node
    argument = node.expressions[0].transform(_expand)
    body = meaning(name).copy()
    return exp.Paren(this=body.transform(lambda part: argument.copy() if part == exp.column("x") else part))


def _row_hash(node: exp.Expr) -> exp.Expr:
    """Another number than DuckDB's, so that it samples other lines; of the whole it finds the same."""
    nothing = exp.Literal.string("")
    parts: list[exp.Expr] = [
        exp.func("COALESCE", exp.cast(one, "VARCHAR"), nothing.copy()) for one in node.expressions
    ]
    separated: list[exp.Expr] = [parts[0]]
    for part in parts[1:]:
        separated += [_call("CHR", exp.Literal.number(31)), part]
    joined = separated[0]
    for part in separated[1:]:
        joined = exp.DPipe(this=joined, expression=part)
    hashed = _call("FROM_BIG_ENDIAN_64", _call("XXHASH64", _call("TO_UTF8", joined)))
    half = _call("BITWISE_RIGHT_SHIFT_ARITHMETIC", hashed, exp.Literal.number(1))
    return exp.Paren(this=exp.Add(this=half, expression=exp.Literal.number(1 << 62)))


def _trimmed(node: exp.Expr) -> exp.Expr:
    if node.args.get("expression") or node.args.get("position"):
        return node
    return _call("REGEXP_REPLACE", node.this, exp.Literal.string(_BLANKS), exp.Literal.string(""))


def _alone(node: exp.Expr) -> exp.Expr:
    """COALESCE of one value, which Trino does not take."""
    return node if node.expressions else node.this


def _joined(node: exp.Expr) -> exp.Expr:
    """CONCAT, which is NULL in Trino as soon as one part is; DuckDB's own leaves that part out."""
    assert not isinstance(node, exp.ConcatWs), "functions.joined says it for every engine"
    parts: list[exp.Expr] = []
    for part in node.expressions:
        text = part if isinstance(part, exp.Literal) else exp.cast(part, "VARCHAR")
        skips = node.args.get("coalesce") and text is not part  # else DuckDB is sent `||`, which is NULL too
        parts.append(exp.func("COALESCE", text, exp.Literal.string("")) if skips else text)
    return _call("CONCAT", *parts)


def _renamed(node: exp.Expr) -> exp.Expr:
    name = node.name.lower()
    if name == "map_extract_value":
        return _call("ELEMENT_AT", *node.expressions)
    if name == "make_timestamp":  # of an instant that a table here shows as its time in UTC
        return node.expressions[0].expressions[0]
    if name == "concat_ws":
        first, *rest = node.expressions
        return _call("CONCAT_WS", first, *[exp.cast(part, "VARCHAR") for part in rest])
    return node


def _same(node: exp.Expr) -> exp.Expr:
    """IS NOT DISTINCT FROM of texts: Trino's join drops every row where one side of it is NULL alone.

    Its dynamic filter of a column that has no value but NULL lets nothing pass (seen in 476: 0 of 4 rows).
    Two equalities, since a join over OR meets every row with every other.
    """
    values, nulls = [], []
    for side in (node.this, node.expression):
        text = exp.cast(side, "VARCHAR")
        values.append(exp.func("COALESCE", text, exp.Literal.string("")))
        nulls.append(exp.Paren(this=side.copy().is_(exp.null())))
    equal = exp.and_(exp.EQ(this=values[0], expression=values[1]), exp.EQ(this=nulls[0], expression=nulls[1]))
    return exp.Paren(this=equal)


def _listed(node: exp.Expr) -> exp.Expr:
    """The different values of a list in order, one text; NULLs do not count."""
    every = node.this.find(exp.Array)
    different = _call("ARRAY_SORT", _call("ARRAY_DISTINCT", every))
    return _call("ARRAY_JOIN", different, node.expression)


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))


_REWRITES: tuple[tuple[type[exp.Expr], Callable[[exp.Expr], exp.Expr]], ...] = (
    (exp.ArrayToString, _listed),
    (exp.Concat, _joined),
    (exp.NullSafeEQ, _same),
    (exp.Trim, _trimmed),
    (exp.Coalesce, _alone),
    (exp.Anonymous, _renamed),
)
