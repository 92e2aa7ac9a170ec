"""Runs migrations on the connection that `stores.admin` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from cops_dagster.stores import tables
from cops_dagster.stores.admin import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
