"""The open books: the admin database, the settings, the policy and the engine that every act works with.

Does not belong here: opening them (`evidence/home.py`), any act.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from cops_dagster import revision
from cops_dagster.period import Period
from cops_dagster.policy import Policy
from cops_dagster.settings import Settings
from cops_dagster.stores import policies
from cops_dagster.stores.admin import Admin
from cops_dagster.stores.places import open_volume
from cops_dagster.stores.policies import Adopted
from cops_dagster.stores.volume import Volume

if TYPE_CHECKING:
    from cops_dagster.lake.duck import DuckDB
    from cops_dagster.lake.engine import Engine
    from cops_dagster.lake.namespace import Namespace


class Keep(Protocol):
    """Puts a row that was just written into the chain of evidence, in its transaction; the entry's number."""

    def __call__(self, con: sa.Connection, books: Books, table: sa.Table, /, *key: Any) -> int:
        """Raises `E-EVIDENCE-…`: what cannot be proved is not done."""
        ...


@dataclass(frozen=True)
class Books:
    """What an act needs. `dagster_run_id` is evidence only; it never decides anything.

    `keep` is the chain that a month's moves are written to: it is made of books, so it is given to them.

    `settings` are those of this process: places, limits, secrets, actor. What decides numbers and verdicts
    is `policy`, which is in the books. `revision` is that of the accounting rules; an earlier one only where
    a closed month is made again.
    """

    admin: Admin
    settings: Settings
    keep: Keep = field(repr=False)
    dagster_run_id: str | None = None
    revision: int = revision.CURRENT
    _read: list[Adopted] = field(default_factory=list, compare=False, repr=False)

    @property
    def adopted(self) -> Adopted | None:
        """The policy in force when these books last looked; `None` while nothing was ever adopted."""
        return self._read[-1] if self._read else self.look_up_policy()

    @property
    def policy(self) -> Policy:
        """What decides numbers and verdicts; before anything was adopted, what the settings say."""
        adopted = self.adopted
        return adopted.policy if adopted else self.settings.policy

    def look_up_policy(self) -> Adopted | None:
        """Looks again which policy is in force: an act does so when it begins."""
        with self.admin.read() as con:
            found = policies.newest(con)
        self._read[:] = [found] if found else []
        return found

    @property
    def actor(self) -> str:
        """Who is recorded with every decision."""
        return self.settings.actor_name

    def during(self, dagster_run_id: str) -> Books:
        """The same books, acting within a Dagster run."""
        return replace(self, dagster_run_id=dagster_run_id)

    def engine(self, *, at_most: str | None = None) -> AbstractContextManager[DuckDB]:
        """A fresh engine that spills below the home and is gone afterwards.

        Args:
            at_most: a memory limit for work that spills well, where the setting's is higher.
        """
        from cops_dagster.lake import opened  # 0.7 s that reading the books does not need

        return opened.engine(self.settings, at_most)

    def lines(self, period: Period | None = None) -> AbstractContextManager[Engine]:
        """An engine for whatever reads lines: in a process of its own, or on the machines of `COPS_ENGINE`.

        On this machine it may read and write below the lake's folder and nowhere else.
        """
        from cops_dagster.lake import opened

        return opened.lines(self.settings, self.admin, period)

    def apart(self, period: Period | None = None) -> AbstractContextManager[DuckDB]:
        """An engine in a process of its own; who asks it locks it down before a person's statement runs."""
        from cops_dagster.lake import opened

        return opened.apart(self.settings, self.admin, period)

    @contextmanager
    def reader(self, subject: str, paths: Sequence[Path], writable: Path) -> Iterator[DuckDB]:
        """An engine in a process of its own that sees these delivered files and one folder of ours."""
        from cops_dagster.lake import opened

        writable.mkdir(parents=True, exist_ok=True)
        with opened.reader(self.settings, subject, sum(path.stat().st_size for path in paths)) as engine:
            engine.lock_down(paths, writable)
            yield engine

    def namespace(self, engine: Engine, con: sa.Connection, period: Period | None = None) -> Namespace:
        """The SQL namespace of one period (or all), digests verified as the pipeline must."""
        from cops_dagster.lake.namespace import Namespace

        start = period.start if period else None
        return Namespace(engine, con, self.settings, self.policy.tags, period_start=start, digests=True)

    @property
    def lake(self) -> Volume:
        """Where the lake's files are kept."""
        given = self.settings
        return open_volume(given.lake_root, given.lake.place, outlined=given.leaves_in_s3)

    def lake_path(self, path: Path) -> str:
        """A file's path as `lake_file` records it: relative, so that a moved home works."""
        return path.relative_to(self.settings.lake_root).as_posix()
