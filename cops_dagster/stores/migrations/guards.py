"""How a migration makes guards: the same refusal as a trigger of SQLite and of PostgreSQL.

Belongs here: how triggers and their functions are written, for both dialects. Does not belong here: which
table is guarded against what, which every migration says in full. What is here is never changed in a way that
changes a guard that was made: a database must have the triggers that its migrations make.

A condition is one SQL text for both dialects, about `NEW` and `OLD`; `IS DISTINCT FROM` is put as SQLite says
it. A guard holds whoever connects, so it leaves nothing to the session of the guarded: on PostgreSQL every
function runs as its owner and finds names in the catalogue, in the schema of the tables, and in temporary
tables last (ADR 35); on SQLite a key that is there already is refused before the row comes, so that REPLACE
deletes nothing, whatever the connection says of recursive triggers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

WRITABLE = (
    "EXISTS (SELECT 1 FROM period_lock l WHERE l.period_start = {month} "
    "AND l.state IN ('open','delayed','provisional'))"
)
"""The month takes runs; `{month}` is `NEW.period_start` or another column."""
SEALED = (
    "EXISTS (SELECT 1 FROM period_lock l WHERE l.period_start = {month} AND l.state IN ('closing','closed'))"
)
"""The month is closed, or its seal is being made; a month without a lock row is not."""
CLOSED = "EXISTS (SELECT 1 FROM period_lock l WHERE l.period_start = {month} AND l.state = 'closed')"
"""The month is closed."""


def is_postgresql() -> bool:
    """Which of the two dialects the migration runs on."""
    return op.get_context().dialect.name == "postgresql"


def refuse(
    table: str,
    name: str,
    event: str,
    when: str,
    message: str,
    *,
    month: str | None = None,
    as_caller: bool = False,
) -> None:
    """Refuses rows before they come, change or go; makes a guard of that name anew where there is one.

    Args:
        name: unique for the table; the trigger is `{table}_{name}`.
        when: the condition under which the row is refused.
        message: begins with the code of the refusal; no quotes.
        month: the column whose month's lock row is held until the transaction ends, so that a writer who
            read `open` and a close cannot both commit (PostgreSQL; SQLite has one writer at a time).
        as_caller: the function runs as who calls it, for a condition about the caller.
    """
    if not is_postgresql():
        if month:
            # a month in another spelling is another month to the lock, and the same one to a reader
            when = f"{month} IS NOT date({month}) OR ({when})"
        drop(table, name)
        _run(
            f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} "
            f"WHEN {when.replace('IS DISTINCT FROM', 'IS NOT')} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
        return
    hold = f"PERFORM 1 FROM period_lock l WHERE l.period_start = {month} FOR SHARE; " if month else ""
    row = "OLD" if event == "DELETE" else "NEW"
    _function(
        f"cops_{table}_{name}",
        f"{hold}IF ({when}) THEN RAISE EXCEPTION '{message}'; END IF; RETURN {row};",
        as_caller=as_caller,
    )
    drop(table, name)
    _run(
        f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION cops_{table}_{name}()"
    )


def never(table: str, *events: str) -> None:
    """Refuses every such change of a table."""
    for event in events:
        name = f"no_{event.lower()}"
        message = f"E-APPEND-ONLY {table} takes no {event}"
        if is_postgresql():
            drop(table, name)
            _run(
                f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION cops_append_only()"
            )
        else:
            refuse(table, name, event, "true", message)


def never_emptied(table: str) -> None:
    """Refuses TRUNCATE, which SQLite does not have."""
    if is_postgresql():
        drop(table, "no_truncate")
        _run(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION cops_append_only()"
        )


def insert_only(*tables: str) -> None:
    """Tables of facts: rows come, and none changes, goes or is replaced."""
    for table in tables:
        never(table, "UPDATE", "DELETE")
        never_emptied(table)
        never_replaced(table)


def changes_only(table: str, *columns: str) -> None:
    """Tables of state: an UPDATE changes these columns and nothing else, least of all the key."""
    fixed = [name for name in _columns(table) if name not in columns]
    when = " OR ".join(f"OLD.{_quoted(name)} IS DISTINCT FROM NEW.{_quoted(name)}" for name in fixed)
    if not is_postgresql():
        when += " OR OLD.rowid IS NOT NEW.rowid"  # UPDATE OR REPLACE of the number deletes another row
    refuse(table, "fixed", "UPDATE", when, f"E-APPEND-ONLY {table} takes no UPDATE of what a row is about")


def never_replaced(table: str) -> None:
    """Refuses on SQLite what REPLACE would delete: a row whose key, unique value or row number is there."""
    if is_postgresql():
        return  # ON CONFLICT updates, and an UPDATE has guards of its own
    numbered = _number_of(table)
    # where a statement names no row number, NEW has -1
    there = [f"o.{numbered or 'rowid'} = NEW.{numbered or 'rowid'} AND NEW.{numbered or 'rowid'} <> -1"]
    for key in _unique(table):
        if key != [numbered]:
            there.append(" AND ".join(_same(part) for part in key))
    when = " OR ".join(f"EXISTS (SELECT 1 FROM {table} o WHERE {one})" for one in there)
    refuse(table, "new", "INSERT", when, f"E-APPEND-ONLY {table} takes no REPLACE")
    drop(table, "numbered")
    name = numbered or "rowid"
    gap = (
        f"NEW.{name} <> 1 AND NOT EXISTS (SELECT 1 FROM {table} o WHERE o.{name} = NEW.{name} - 1)"
        if numbered
        else f"NEW.{name} < 1"
    )
    _run(
        f"CREATE TRIGGER {table}_numbered AFTER INSERT ON {table} WHEN {gap} "
        f"BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY {table} is numbered by the database'); END"
    )


def counted(table: str, column: str) -> None:
    """A number that the database counts up is not chosen by who writes: it says what came first."""
    if is_postgresql():
        last = f"pg_sequence_last_value(pg_get_serial_sequence('{table}', '{column}')::regclass)"
        refuse(
            table,
            "numbered",
            "INSERT",
            f"NEW.{column} < 1 OR NEW.{column} > coalesce({last}, 0)",
            f"E-APPEND-ONLY {table} is numbered by the database",
        )
    # on SQLite `never_replaced` holds it


def whole(parent: str, part: str, *keys: str, message: str) -> None:
    """A row and its parts come in one transaction, the parts first: afterwards there is no further part.

    On PostgreSQL parts without their row are refused at the end of the transaction, and a row of another
    transaction does not count. On SQLite parts without a row stay possible, and belong to nothing.
    """
    at = " AND ".join(f"p.{key} = NEW.{key}" for key in keys)
    refuse(part, "complete", "INSERT", f"EXISTS (SELECT 1 FROM {parent} p WHERE {at})", message)
    if is_postgresql():
        made_here = f"EXISTS (SELECT 1 FROM {parent} p WHERE {at} AND p.xmin = pg_current_xact_id()::xid)"
        at_the_end(part, "belongs", f"NOT {made_here}", message)


def at_the_end(table: str, name: str, when: str, message: str, *, event: str = "INSERT") -> None:
    """Refuses at the end of the transaction that wrote the row (PostgreSQL alone can)."""
    if not is_postgresql():
        return
    _function(f"cops_{table}_{name}", f"IF ({when}) THEN RAISE EXCEPTION '{message}'; END IF; RETURN NULL;")
    drop(table, name)
    _run(
        f"CREATE CONSTRAINT TRIGGER {table}_{name} AFTER {event} ON {table} "
        f"DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION cops_{table}_{name}()"
    )


def append_only_function() -> None:
    """The function behind `never` on PostgreSQL."""
    _function("cops_append_only", "RAISE EXCEPTION 'E-APPEND-ONLY % takes no %', TG_TABLE_NAME, TG_OP;")


def drop(table: str, name: str) -> None:
    """Takes a guard away where there is one: by a migration that makes another in its place."""
    _run(f"DROP TRIGGER IF EXISTS {table}_{name}" + (f" ON {table}" if is_postgresql() else ""))


def drop_every(tables: Iterable[str]) -> None:
    """Takes away every guard of these tables, for a migration that makes them all anew."""
    con = op.get_bind()
    if not is_postgresql():
        found = _asked("SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger'")
        for table, name in found:
            if table in set(tables):
                _run(f"DROP TRIGGER {name}")
        return
    found = con.execute(
        sa.text(
            "SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace"
        )
    ).all()
    for table, name in found:
        if table in set(tables):
            _run(f'DROP TRIGGER "{name}" ON "{table}"')
    functions = (
        con.execute(
            sa.text(
                "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace "
                "AND p.prorettype = 'trigger'::regtype AND p.proname LIKE 'cops\\_%'"
            )
        )
        .scalars()
        .all()
    )
    for name in functions:
        _run(f'DROP FUNCTION "{name}"()')


def _function(name: str, body: str, *, as_caller: bool = False) -> None:
    schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    _run(
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
        f"SECURITY {'INVOKER' if as_caller else 'DEFINER'} "
        f"SET search_path = pg_catalog, {schema}, pg_temp SET datestyle = 'ISO, YMD' "
        f"AS $$ BEGIN {body} END $$"
    )


def _run(statement: str) -> None:
    if is_postgresql():
        op.execute(statement)
    else:
        op.get_bind().exec_driver_sql(statement)  # every new home makes some hundred: 0.4 s less than as text


def _asked(question: str) -> Sequence[Any]:
    return op.get_bind().exec_driver_sql(question).all()


def _columns(table: str) -> list[str]:
    if is_postgresql():
        return [column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)]
    return [row.name for row in _asked(f"PRAGMA table_info({table})")]


def _number_of(table: str) -> str | None:
    """The column that is SQLite's row number, if one is."""
    key = [row for row in _asked(f"PRAGMA table_info({table})") if row.pk]
    return key[0].name if len(key) == 1 and key[0].type.upper() == "INTEGER" else None


def _unique(table: str) -> list[Sequence[str]]:
    """The columns or expressions of every unique index of a SQLite table, the primary key among them."""
    keys: list[Sequence[str]] = [[row.name for row in _asked(f"PRAGMA table_info({table})") if row.pk]]
    for index in _asked(f"PRAGMA index_list({table})"):
        if not index.unique or index.origin == "pk":
            continue
        parts = [row.name for row in _asked(f"PRAGMA index_info({index.name})")]
        if None in parts:  # an expression: only the statement that made the index has it
            sql = _asked(f"SELECT sql FROM sqlite_master WHERE name = '{index.name}'")[0].sql
            parts = _split(sql[sql.index("(") + 1 : sql.rindex(")")])
        keys.append(parts)
    return keys


def _split(inner: str) -> list[str]:
    """The parts of an index at the commas outside of parentheses."""
    parts, depth = [""], 0
    for letter in inner:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _same(part: str) -> str:
    if part.startswith("coalesce("):
        inner = part.removeprefix("coalesce(")
        return f"coalesce(o.{inner} = coalesce(NEW.{inner}"
    return f"o.{_quoted(part)} = NEW.{_quoted(part)}"


def _quoted(name: str) -> str:
    return f'"{name.strip(chr(34))}"'
