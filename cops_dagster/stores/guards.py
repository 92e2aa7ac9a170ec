"""The guards that stand in the admin database, held against those that the migrations make.

Belongs here: reading triggers, functions, constraints, unique indexes and views out of both dialects'
catalogues, and the shipped list of what they should be (`guards_<dialect>.json`, made by
`python -m cops_dagster_tests.stores.make_guards`). Does not belong here: what becomes of a difference
(`closing/proof.py`). Only what stands on tables of ours is judged: Dagster may live in the same database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.stores import tables as t

_OURS = frozenset({*t.metadata.tables, *t.VIEWS})


@dataclass(frozen=True)
class Difference:
    """One thing that is not as the migrations made it; `-` stands for what is not there."""

    what: str
    expected: str
    found: str


def expected(dialect: str) -> dict[str, str]:
    """What the migrations make, by name: `trigger lake_file.lake_file_no_update` → its text."""
    return dict(_shipped(dialect))


@cache
def _shipped(dialect: str) -> Mapping[str, str]:
    found: dict[str, str] = json.loads(
        Path(__file__).with_name(f"guards_{dialect}.json").read_text(encoding="utf-8")
    )
    return found


def differences(con: sa.Connection) -> list[Difference]:
    """What is missing, other than it was made, disabled, or was never made by a migration."""
    should, there = expected(con.dialect.name), standing(con)
    found = [
        Difference(name, text, there.get(name, "-"))
        for name, text in should.items()
        if there.get(name) != text
    ]
    return found + [Difference(name, "-", text) for name, text in there.items() if name not in should]


def standing(con: sa.Connection) -> dict[str, str]:
    """What stands in this database, in the form of `expected`."""
    return _postgresql(con) if con.dialect.name == "postgresql" else _sqlite(con)


# --- SQLite -----------------------------------------------------------------------------------------------


def _sqlite(con: sa.Connection) -> dict[str, str]:
    """Texts of `sqlite_master`: who hollows a trigger by `writable_schema` writes another one there."""
    found = {}
    for kind, name, table, text in con.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master"):
        if kind in ("table", "view"):
            if name in _OURS:
                found[f"{kind} {name}"] = _one_line(text)
        elif table in _OURS and (kind != "index" or _is_unique(text)):
            found[f"{kind} {table}.{name}"] = _one_line(text)
    return found


def _is_unique(text: object) -> bool:
    return str(text or "").upper().startswith("CREATE UNIQUE")


def _one_line(text: object) -> str:
    """Layout and quotes of names are the library's that made it, and no part of what it says."""
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(str(text).replace('"', "").split()))


# --- PostgreSQL -------------------------------------------------------------------------------------------

_TRIGGERS = """
SELECT 'trigger ' || c.relname || '.' || g.tgname, pg_get_triggerdef(g.oid)
  || CASE g.tgenabled::text WHEN 'O' THEN '' WHEN 'D' THEN ' DISABLED'
     ELSE ' ENABLED ' || g.tgenabled::text END
FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
WHERE NOT g.tgisinternal AND c.relnamespace = %(schema)s AND c.relname = ANY(%(ours)s)"""
_FUNCTIONS = """
SELECT 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
  'LANGUAGE ' || l.lanname || CASE WHEN p.prosecdef THEN ' SECURITY DEFINER' ELSE '' END
  || coalesce(' SET ' || array_to_string(p.proconfig, ' SET '), '')
  || CASE WHEN p.proowner = %(owner)s THEN '' ELSE ' OWNER ' || pg_get_userbyid(p.proowner) END
  || ' AS ' || p.prosrc
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE (p.pronamespace = %(schema)s AND p.proname LIKE 'cops\\_%%') OR p.oid IN (
  SELECT g.tgfoid FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
  WHERE NOT g.tgisinternal AND c.relnamespace = %(schema)s AND c.relname = ANY(%(ours)s))"""
_CONSTRAINTS = """
SELECT 'constraint ' || c.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
  || CASE WHEN k.convalidated THEN '' ELSE ' NOT VALID' END
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE k.contype IN ('p', 'u', 'c', 'f', 'x') AND c.relnamespace = %(schema)s AND c.relname = ANY(%(ours)s)"""
_INDEXES = """
SELECT 'index ' || c.relname || '.' || n.relname, pg_get_indexdef(i.indexrelid)
  || CASE WHEN i.indisvalid AND i.indisready THEN '' ELSE ' INVALID' END
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class n ON n.oid = i.indexrelid
WHERE i.indisunique AND c.relnamespace = %(schema)s AND c.relname = ANY(%(ours)s)"""
_TABLES = """
SELECT CASE c.relkind::text WHEN 'v' THEN 'view ' ELSE 'table ' END || c.relname,
  CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) ELSE coalesce((
    SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
      || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END, ', ' ORDER BY a.attnum)
    FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '') END
  || CASE WHEN c.relkind IN ('r', 'v') THEN '' ELSE ' KIND ' || c.relkind::text END
  || CASE WHEN c.relpersistence = 'p' THEN '' ELSE ' UNLOGGED' END
  || CASE WHEN c.relrowsecurity THEN ' ROW SECURITY' ELSE '' END
  || CASE WHEN c.relowner = %(owner)s THEN '' ELSE ' OWNER ' || pg_get_userbyid(c.relowner) END
  || coalesce((SELECT ' INHERITED BY ' || string_agg(h.inhrelid::regclass::text, ', ')
     FROM pg_inherits h WHERE h.inhparent = c.oid), '')
FROM pg_class c
WHERE c.relkind IN ('r', 'v', 'p', 'f', 'm') AND c.relnamespace = %(schema)s AND c.relname = ANY(%(ours)s)"""
_RULES = """
SELECT 'rule ' || c.relname || '.' || r.rulename, pg_get_ruledef(r.oid)
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
WHERE r.rulename <> '_RETURN' AND c.relnamespace = %(schema)s AND c.relname = ANY(%(ours)s)"""
_ROLE_SETTINGS = """
SELECT 'setting of ' || coalesce((SELECT rolname::text FROM pg_roles WHERE oid = s.setrole), 'all roles'), one
FROM pg_db_role_setting s, unnest(s.setconfig) AS one
WHERE one LIKE 'session\\_replication\\_role=%%' AND one <> 'session_replication_role=origin'
  AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"""
_CATALOGUE = (_TRIGGERS, _FUNCTIONS, _CONSTRAINTS, _INDEXES, _TABLES, _RULES, _ROLE_SETTINGS)


def _postgresql(con: sa.Connection) -> dict[str, str]:
    place = con.exec_driver_sql(
        "SELECT c.relnamespace, c.relowner, n.nspname FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('period_lock')"
    ).one_or_none()
    if place is None:
        return {}
    asked = {
        "schema": place.relnamespace,
        "owner": place.relowner,
        "ours": sorted({name.lower() for name in _OURS}),
    }  # as PostgreSQL spells them
    found: dict[str, str] = {}
    for query in _CATALOGUE:
        rows = con.exec_driver_sql(query, asked)
        found |= {str(name): _said(str(name), str(text), str(place.nspname)) for name, text in rows}
    role = con.exec_driver_sql("SELECT current_setting('session_replication_role')").scalar()
    if role != "origin":
        found["setting session_replication_role"] = str(role)
    return found


def _said(name: str, text: str, schema: str) -> str:
    said = " ".join(text.replace(schema + ".", "").split())
    if not name.startswith("view "):
        return said
    # releases before 16 name the table before each column
    return re.sub(r"\b\w+\.(?=\w)", "", said)
