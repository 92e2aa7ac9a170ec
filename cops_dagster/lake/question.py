"""A person's question in SQL: exactly one SELECT, as the engine's own parser sees it, run as it was written.

Belongs here: what counts as one SELECT, which tables and parameters it names. A second parser would refuse
what only the engine knows, and print it back differently. Does not belong here: which files may be read
(`DuckDB.lock_down`), which hint an answer carries (`reports/sql.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Value

_READS = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""Kinds of query that only read. To the engine a DELETE inside WITH is a SELECT, so each part is judged."""
_PLAIN = frozenset(
    {
        exp.Select,
        exp.From,
        exp.Table,
        exp.TableAlias,
        exp.Identifier,
        exp.Column,
        exp.Alias,
        exp.Star,
        exp.Where,
        exp.Group,
        exp.Order,
        exp.Ordered,
        exp.Limit,
        exp.Union,
        exp.Max,
        exp.Min,
        exp.Count,
        exp.Sum,
        exp.Distinct,
        exp.Literal,
        exp.Placeholder,
        exp.And,
        exp.EQ,
        exp.GTE,
        exp.GT,
        exp.LTE,
        exp.LT,
        exp.Between,
        exp.Is,
        exp.Null,
        exp.Not,
    }
)
"""What a plain question is made of."""
_SPOKEN = re.compile(
    r"""
      (?:\b[eE]'(?:[^'\\]|\\.|'')*')       # text with escapes
    | '(?:[^']|'')*'                       # text
    | "(?:[^"]|"")*"                       # a name
    | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag)
    | --[^\n]*
    | /\*.*?\*/
    | ::
    | (?<![\w\])}'":]):(?P<parameter>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Question:
    """One SELECT.

    Attributes:
        text: as written, but for `:name`, which the engine spells `$name`.
        parameters: names that need a value.
        tables: (schema or '', name) of everything it reads by name, its own WITH names among them.
    """

    text: str
    parameters: frozenset[str]
    tables: frozenset[tuple[str, str]]


def question(engine: DuckDB, sql: str) -> Question:
    """The single SELECT in `sql`.

    Raises:
        CopsError: `E-SQL` for anything else that the engine finds.
    """
    text = _SPOKEN.sub(lambda found: f"${name}" if (name := found["parameter"]) else found[0], sql)
    statements = engine.statements(text)
    if len(statements) != 1:
        raise _not_select(f"{len(statements)} statements")
    kind, parameters = statements[0]
    if kind != "SELECT":
        raise _not_select(kind)
    try:
        ((said,),) = engine.run("SELECT json_serialize_sql($query)", {"query": text}).rows
        tree = json.loads(said)
    except RecursionError:
        raise _not_select("a statement nested beyond all reason") from None
    if tree.get("error") or len(tree.get("statements", ())) != 1:
        raise _not_select(str(tree.get("error_message", "no SELECT")))
    tables: set[tuple[str, str]] = set()
    for part in _parts(tree):
        node = str(part.get("type", ""))
        if (node.endswith("_NODE") and node not in _READS) or node == "SHOW_REF":
            raise _not_select(f"{node.removesuffix('_NODE').removesuffix('_QUERY')} inside it")
        if part.get("table_name"):
            tables.add((str(part.get("schema_name", "")).lower(), str(part["table_name"]).lower()))
    return Question(text, frozenset(parameters), frozenset(tables))


def is_plain(tree: exp.Expr, params: Mapping[str, Value]) -> bool:
    """Whether every engine answers it alike, in few rows: counts, sums and bounds of columns.

    The playbook's questions about freshness are such: the newest line, lines delivered against ingested.
    """
    nodes = list(tree.walk())
    compared = [one for one in nodes if isinstance(one, exp.Literal) and one.is_string]
    return (
        all(type(one) in _PLAIN for one in nodes)
        and all(any(each.find(exp.AggFunc) for each in one.expressions) for one in tree.find_all(exp.Select))
        and not any(one.find_ancestor(exp.Where) for one in compared)
        and not any(one.args.get("all") or one.name.lower() == "all" for one in nodes)  # GROUP BY ALL
        and all(isinstance(value, date) for value in params.values())
    )


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _not_select(found: str) -> CopsError:
    return CopsError(
        "E-SQL",
        "query",
        expected="exactly one SELECT statement",
        found=found,
        next_step="give one SELECT; data is changed by commands, never by SQL",
    )
