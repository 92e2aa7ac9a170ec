"""What kind of line a line is, as far as reading it goes: split rows, and lines that must have a span.

Belongs here: these two as expressions over delivered text, for CSV and Parquet alike. Does not belong here:
cost views and charge classes (sql/lens.sql).
"""

from __future__ import annotations

from sqlglot import exp

from cops_dagster.cur import schema

SPLIT_OPERATIONS = ("EKSPod-EC2", "ECSTask-EC2")
"""Operations of split cost allocation rows in reports without the column that names the parent."""


def needs_span(line_type: exp.Expr) -> exp.Expr:
    """Whether a line of this type is about a span of time, and broken without one."""
    spanned = [exp.Literal.string(name) for name in sorted(schema.SPANNED)]
    return exp.In(this=exp.func("COALESCE", line_type.copy(), exp.Literal.string("")), expressions=spanned)


def is_split(parent: exp.Expr | None, operation: exp.Expr | None) -> exp.Expr:
    """Whether a row repeats what its parent's line costs: it names a parent, or is of a known operation."""
    found: list[exp.Expr] = [exp.false()]
    if parent is not None:
        named = exp.func("COALESCE", parent.copy(), exp.Literal.string(""))
        found.append(exp.NEQ(this=named, expression=exp.Literal.string("")))
    if operation is not None:
        known = [exp.Literal.string(name) for name in SPLIT_OPERATIONS]
        text = exp.func("COALESCE", operation.copy(), exp.Literal.string(""))
        found.append(exp.In(this=text, expressions=known))
    return exp.or_(*found)
