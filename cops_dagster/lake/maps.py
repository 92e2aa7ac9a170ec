"""Maps that came as JSON, lists of pairs or structs, as the maps of text that COPS reads.

Belongs here: the expressions that make such a map, and whether a text can be read as one. Does not belong
here: which columns are written anew (`lake/shapes.py`).
"""

from __future__ import annotations

import sqlglot
from sqlglot import exp

from cops_dagster.lake.spellings import CLASH, CLASH_MAX

# Lists of keys and values as a map. A key that stands twice with two values shows both, as a tag does that
# came in two columns; twice with the same value it is once.
_MAP_OF = f"""
CASE WHEN k IS NULL THEN NULL
     WHEN LENGTH(LIST_DISTINCT(k)) = LENGTH(k) THEN MAP(k, v)
     ELSE MAP_FROM_ENTRIES([
         {{'key': one, 'value': CASE
             WHEN LENGTH(LIST_DISTINCT([TRIM(p[2]) FOR p IN LIST_ZIP(k, v) IF p[1] = one AND TRIM(p[2]) <> ''])) > 1
             THEN LEFT(CONCAT('{CLASH} ', ARRAY_TO_STRING(LIST_SORT(LIST_DISTINCT(
                 [TRIM(p[2]) FOR p IN LIST_ZIP(k, v) IF p[1] = one AND TRIM(p[2]) <> ''])), ' | ')), {CLASH_MAX})
             ELSE [p[2] FOR p IN LIST_ZIP(k, v) IF p[1] = one AND TRIM(p[2]) <> ''][1] END}}
         FOR one IN LIST_DISTINCT(k)]) END
"""  # noqa: E501
_JSON = "TRY_CAST(NULLIF(TRIM(x), '') AS JSON)"
# An object, or a list of objects with key and value, each having both.
_JSON_KEYS = f"""
CASE JSON_TYPE({_JSON})
     WHEN 'OBJECT' THEN JSON_KEYS({_JSON})
     WHEN 'ARRAY' THEN CASE
         WHEN LENGTH(JSON_EXTRACT_STRING({_JSON}, '$[*].key')) = JSON_ARRAY_LENGTH({_JSON})
              AND LENGTH(JSON_EXTRACT_STRING({_JSON}, '$[*].value')) = JSON_ARRAY_LENGTH({_JSON})
         THEN JSON_EXTRACT_STRING({_JSON}, '$[*].key') END END
"""
_JSON_VALUES = f"""
CASE JSON_TYPE({_JSON})
     WHEN 'OBJECT' THEN JSON_EXTRACT_STRING({_JSON}, '$.*')
     WHEN 'ARRAY' THEN JSON_EXTRACT_STRING({_JSON}, '$[*].value') END
"""
_PAIR_KEYS = "[CAST(e['key'] AS VARCHAR) FOR e IN x IF e['key'] IS NOT NULL]"
_PAIR_VALUES = "[CAST(e['value'] AS VARCHAR) FOR e IN x IF e['key'] IS NOT NULL]"
_MAP_VALUES = "[CAST(e AS VARCHAR) FOR e IN MAP_VALUES(x)]"


def of_json(text: exp.Expr) -> exp.Expr:
    """JSON text as a map of text; NULL where it is no object."""
    return _map_of(_filled(_JSON_KEYS, x=text), _filled(_JSON_VALUES, x=text))


def is_unreadable(text: exp.Expr) -> exp.Expr:
    """Whether a text is given that says no map. `null` says none on purpose."""
    given = exp.NEQ(
        this=exp.func("COALESCE", exp.func("TRIM", text.copy()), exp.Literal.string("")),
        expression=exp.Literal.string(""),
    )
    kind = _filled(f"COALESCE(JSON_TYPE({_JSON}), '')", x=text)
    no_keys = _filled(_JSON_KEYS, x=text).is_(exp.null())
    return exp.and_(given, exp.NEQ(this=kind, expression=exp.Literal.string("NULL")), no_keys)


def of_kind(kind: str, engine_type: str, column: exp.Expr) -> exp.Expr:
    """A column of one of the odd kinds (`lake/shapes.py`) as a map of text."""
    if kind == "json":
        return of_json(exp.cast(column, "VARCHAR"))
    if kind == "pairs":
        return _map_of(_filled(_PAIR_KEYS, x=column), _filled(_PAIR_VALUES, x=column))
    if kind == "struct":
        fields = _fields(engine_type)
        values: list[exp.Expr] = [
            exp.cast(exp.func("STRUCT_EXTRACT", column.copy(), exp.Literal.string(field)), "VARCHAR")
            for field in fields
        ]
        keys = exp.Array(expressions=[exp.Literal.string(field) for field in fields])
        given = exp.Case().when(column.is_(exp.null()).not_(), keys)
        return _map_of(given, exp.Array(expressions=values))
    return _map_of(exp.func("MAP_KEYS", column.copy()), _filled(_MAP_VALUES, x=column))


def _fields(engine_type: str) -> list[str]:
    """The names of a struct's fields, read as the engine prints them."""
    built = exp.DataType.build(engine_type, dialect="duckdb")
    return [str(field.this.name if field.this else "") for field in built.expressions]


def _map_of(keys: exp.Expr, values: exp.Expr) -> exp.Expr:
    return _filled(_MAP_OF, k=keys, v=values)


def _filled(text: str, **parts: exp.Expr) -> exp.Expr:
    """The expression with its one-letter columns replaced."""
    by_column = {exp.column(name): part for name, part in parts.items()}
    tree = sqlglot.parse_one(text, read="duckdb")
    return exp.Paren(this=tree.transform(lambda node: by_column[node].copy() if node in by_column else node))
