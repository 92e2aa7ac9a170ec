"""One column from several spellings: what a line says where two columns, or two keys of a map, are one name.

Belongs here: whose value it is, and whether they contradict each other. The first that is not blank is the
value. Two different ones cannot be chosen between: a tag then names nobody and shows both, so that a person
can say by an alias whose it is; a line whose cost is told twice is set aside. Does not belong here: which
names are one (`cur/names.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from cops_dagster.cur import names

CLASH = "E-TAG-CLASH"
"""How the value of a tag begins that a line has in two spellings, with two values."""
CLASH_MAX = 256
"""Longest value shown of such a tag: what is longer names nobody for another reason (`E-TAG-LONG`)."""


def one_value(name: str, values: Sequence[exp.Expr]) -> exp.Expr:
    """The value of a name that was sent in these columns, as text if there are several."""
    if len(values) == 1:
        return values[0]
    first: exp.Expr = exp.func("COALESCE", *[_unblank(value) for value in values])
    if not names.is_tag(name):
        return first
    return exp.Case().when(contradict(values), _shown(values)).else_(first)


def contradict(values: Sequence[exp.Expr]) -> exp.Expr:
    """Whether a line has two different values that are not blank; blanks around a value do not count."""
    trimmed = [_trimmed(value) for value in values]
    first = exp.func("COALESCE", *[value.copy() for value in trimmed])
    return exp.or_(
        exp.false(),
        *[
            exp.func("COALESCE", exp.NEQ(this=value, expression=first.copy()), exp.false())
            for value in trimmed[1:]
        ],
    )


def _shown(values: Sequence[exp.Expr]) -> exp.Expr:
    """`E-TAG-CLASH one | other`, the same whatever the order of the columns."""
    said = [_trimmed(value) for value in values]
    every = exp.func("LIST_SORT", exp.func("LIST_DISTINCT", exp.Array(expressions=said)), dialect="duckdb")
    joined = exp.func("ARRAY_TO_STRING", every, exp.Literal.string(" | "))
    text = exp.func("CONCAT", exp.Literal.string(f"{CLASH} "), joined)
    return exp.func("LEFT", text, exp.Literal.number(CLASH_MAX))


def _trimmed(value: exp.Expr) -> exp.Expr:
    return exp.func("NULLIF", exp.func("TRIM", exp.cast(value.copy(), "VARCHAR")), exp.Literal.string(""))


def _unblank(value: exp.Expr) -> exp.Expr:
    return exp.Case().when(_trimmed(value).is_(exp.null()).not_(), value.copy())
