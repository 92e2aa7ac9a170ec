"""What the migrations make: the schema of `tables.py`, guarded, and the expected CUR schema."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from cops_dagster.cur import schema
from cops_dagster.stores import admin as module
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import Admin, open_admin


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Admin:
    return open_admin(f"sqlite:///{tmp_path_factory.mktemp('home') / 'admin.db'}")


def row(table: sa.Table) -> dict[str, Any]:
    """Some value for every column."""
    values: dict[type, Any] = {
        sa.Text: "x",
        sa.BigInteger: 7,
        sa.Boolean: False,
        sa.Date: date(2025, 9, 1),
        sa.DateTime: datetime.fromisoformat("2025-09-01"),
        t.Money: Decimal("-1.000000000000000001"),
    }
    return {column.name: values[type(column.type)] for column in table.columns}


def created(con: sa.Connection, kind: str) -> dict[str, str]:
    found = con.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE type = ? AND name <> ? AND sql IS NOT NULL",
        (kind, module.VERSION_TABLE),
    )
    return {name: " ".join(sql.replace(",", " , ").split()) for name, sql in found}


def parts(sql: str) -> list[str]:
    """Columns and constraints of a table; a column that was added stands behind the constraints."""
    opening, _, inner = sql.partition("(")
    return [opening, *sorted(part.strip() for part in inner.strip().removesuffix(")").split(" , "))]


def test_migrated_tables_are_those_of_the_contract_for_alembic(admin: Admin) -> None:
    with admin.read() as con:
        options = {"version_table": module.VERSION_TABLE, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(con, opts=options), t.metadata) == []


def test_migrated_tables_are_those_of_the_contract_to_the_letter(admin: Admin) -> None:
    # alembic does not compare keys and check constraints
    direct = sa.create_engine("sqlite://")
    t.metadata.create_all(direct)
    with admin.read() as con, direct.connect() as other:
        made, wanted = created(con, "table"), created(other, "table")
    assert {name: parts(sql) for name, sql in made.items()} == {
        name: parts(sql) for name, sql in wanted.items()
    }


def test_migrated_views_are_those_of_the_contract_and_can_be_read(admin: Admin) -> None:
    with admin.read() as con:
        assert created(con, "view") == {
            name: " ".join(f"CREATE VIEW {name} AS {select}".replace(",", " , ").split())
            for name, select in t.VIEWS.items()
        }
        for name in t.VIEWS:
            con.exec_driver_sql(f"SELECT * FROM {name}").all()


@pytest.mark.parametrize("revision", range(1, schema.REVISION + 1))
def test_every_revision_of_the_expected_cur_schema_is_that_of_the_code(admin: Admin, revision: int) -> None:
    known = [column for column in schema.EXPECTED if column.since <= revision]
    expected = [(column.name, column.data_type, column.required) for column in known]
    expected += [(name, "varchar", False) for name in ("source_id", "delivery_id")]
    table = t.expected_cur_schema
    columns = (table.c.column_name, table.c.data_type, table.c.required)
    with admin.read() as con:
        stored = con.execute(
            sa.select(*columns).where(table.c.revision == revision).order_by(table.c.position)
        )
        assert [tuple(line) for line in stored] == expected
        view = con.exec_driver_sql(f"SELECT column_name FROM expected_cur_schema_v{revision}").scalars().all()
        assert sorted(view) == sorted(name for name, _, _ in expected)


def test_the_code_knows_every_revision_in_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == module.REVISIONS
