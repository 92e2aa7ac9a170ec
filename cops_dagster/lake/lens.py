"""The lens: `fact_cost_raw` and `cur_quarantine` over the delivered bytes that the lake keeps, one SQL text.

Belongs here: the two queries, and what they need that stands in no delivered byte. Does not belong here: the
delivered columns under their names and with exact money (`lake/delivered.py`), the text itself
(sql/lens.sql), keeping the bytes (`lake/keeping.py`). Only the columns asked for are read and computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlglot import exp

from cops_dagster.cur import schema
from cops_dagster.cur.schema import Sent
from cops_dagster.lake import statements
from cops_dagster.lake.delivered import USD, DeliveredFiles, added_columns
from cops_dagster.lake.judged import lines_query
from cops_dagster.lake.tables import CUR_QUARANTINE, FACT_COST_RAW

NET_UNUSED = ("unused_usd", "gross_usd", "net_usd", "net_unused_usd")
"""Columns of what SQL may not compute of a discounted commitment, since it would divide money."""
_MENDED = {name: Sent("varchar", ((name, None),)) for name in (schema.FAULT, schema.FAULT_TEXT, schema.LOST)}


@dataclass(frozen=True)
class Lens:
    """How one delivery is read, as `lake_file.columns_json` says it of kept bytes.

    Attributes:
        has_faults: some lines stand aside.
        is_mended: text that is no UTF-8 was marked in the kept bytes, with its fault beside the line.
        is_first: the month is read by the first revision of the rules (`revision.py`).
        accounts: account ids whose lines stand aside.
        net_unused: rows of `NET_UNUSED`.
    """

    has_faults: bool = False
    is_mended: bool = False
    is_first: bool = False
    accounts: tuple[str, ...] = ()
    net_unused: tuple[tuple[Decimal, ...], ...] = ()

    @classmethod
    def from_json(cls, text: str) -> Lens:
        """The lens that was recorded."""
        said = json.loads(text)["lens"]
        rows = tuple(tuple(map(Decimal, row)) for row in said.pop("net_unused"))
        return cls(**{**said, "accounts": tuple(said["accounts"])}, net_unused=rows)

    def as_json(self) -> dict[str, Any]:
        """What is recorded of it."""
        return {
            "has_faults": self.has_faults,
            "is_mended": self.is_mended,
            "is_first": self.is_first,
            "accounts": list(self.accounts),
            "net_unused": [[format(value, "f") for value in row] for row in self.net_unused],
        }

    def columns_of(self, delivered: Mapping[str, Sent]) -> dict[str, Sent]:
        """The columns of the bytes that are read."""
        return {**delivered, **(_MENDED if self.is_mended else {})}


def booked(files: DeliveredFiles, lens: Lens, period_start: date) -> exp.Query:
    """`fact_cost_raw` of one delivery: the lines that can be booked."""
    query = _over(files, lens, period_start, selected(files.columns))
    if lens.has_faults:
        query = query.where(exp.column("quarantine_code").is_(exp.null()), copy=False)
    return query


def set_aside(files: DeliveredFiles, lens: Lens, period_start: date) -> exp.Query:
    """`cur_quarantine` of one delivery: the lines that cannot be booked, each with why."""
    wanted = {name for name, _ in CUR_QUARANTINE}
    names = [name for name in booked_columns(files.columns) if name in wanted]
    columns = [exp.column(name, quoted=True) for name in (*names, "quarantine_code", "quarantine_reason")]
    query = _over(files, lens, period_start, columns)
    return query.where(exp.column("quarantine_code").is_(exp.null()).not_(), copy=False)


def _over(files: DeliveredFiles, lens: Lens, period_start: date, columns: Sequence[exp.Expr]) -> exp.Select:
    lines = judged(files, lens, period_start).subquery("lines", copy=False)
    return exp.Select().from_(lines, copy=False).select(*columns, copy=False)


def judged(files: DeliveredFiles, lens: Lens, period_start: date, *more: exp.Expr) -> exp.Select:
    """Every line of a delivery with all that the lens makes of it, sql/lens.sql.

    Args:
        more: further columns of the delivered files.
    """
    return over(lines_query(files, lens.accounts, *more), lens, period_start)


def over(lines: exp.Query, lens: Lens, period_start: date) -> exp.Select:
    """The lens over typed lines; whatever columns they have beside those of a delivery pass through."""
    tree = statements.parsed("lens")
    for table in list(tree.find_all(exp.Table)):
        if table.name == "delivered_lines":
            table.replace(exp.Subquery(this=lines, alias=exp.TableAlias(this=exp.to_identifier(table.alias))))
    _give_net_unused(tree, lens)
    given: dict[str, exp.Expr] = {
        "period_start": exp.Literal.string(period_start.isoformat()),
        "first_revision": exp.Boolean(this=lens.is_first),
    }
    for parameter in list(tree.find_all(exp.Placeholder)):
        parameter.replace(given[parameter.name].copy())
    return tree


def _give_net_unused(tree: exp.Select, lens: Lens) -> None:
    """Puts the rows into the text; without any there is nothing to join."""
    if not lens.net_unused:
        tree.set("joins", [])
        for column in list(tree.find_all(exp.Column)):
            if column.name == NET_UNUSED[-1]:
                column.replace(exp.cast(exp.null(), USD))
        return
    rows = [
        exp.Tuple(expressions=[exp.cast(exp.Literal.string(format(value, "f")), USD) for value in row])
        for row in lens.net_unused
    ]
    for table in list(tree.find_all(exp.Table)):
        if table.name == "net_unused_commitments":
            named = exp.TableAlias(
                this=exp.to_identifier(table.alias), columns=[exp.to_identifier(name) for name in NET_UNUSED]
            )
            table.replace(exp.Values(expressions=rows, alias=named))


def booked_columns(delivered: Mapping[str, Sent]) -> tuple[str, ...]:
    """Expected columns that AWS sent, COPS' own, what AWS added; every view supplies the rest as NULL."""
    sent = {name.lower() for name in delivered}
    made = sent | {"product_servicecode"}  # a service is never empty, even where AWS sent no such column
    expected = [name for name, _ in FACT_COST_RAW if name not in schema.BY_NAME or name in made]
    return (*expected, *map(schema.kept_as, added_columns(dict(delivered))))


def selected(delivered: Mapping[str, Sent]) -> list[exp.Expr]:
    """The columns of `fact_cost_raw` that a delivery has, of what the lens makes."""
    return [_written(name) for name in booked_columns(delivered)]


def _written(name: str) -> exp.Expr:
    if name == "product_servicecode":
        return exp.alias_(exp.column("service"), name, quoted=True)
    return exp.column(name, quoted=True)
