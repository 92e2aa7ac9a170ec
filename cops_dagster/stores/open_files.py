"""SQLite files that another library opens for each question, kept open instead.

Belongs here: one engine per file behind the library's own way in. Does not belong here: the admin database
(`stores/admin.py`), whose library it is (`graph/storage.py`). Any other database is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import sqlalchemy as sa

from cops_dagster.stores.admin import BUSY_SECONDS

Connecting = Callable[..., AbstractContextManager[sa.Connection]]


def keeping(connecting: Connecting, stack: ExitStack) -> Connecting:
    """The same way in, which asks the library once per file: that makes the file, its tables, and names it.

    Args:
        connecting: gives a connection within a transaction; its arguments say which file.
        stack: closes the files.
    """
    engines: dict[tuple[object, ...], sa.Engine | None] = {}

    @contextmanager
    def connect(*given: object) -> Iterator[sa.Connection]:
        engine = engines.get(given)
        if engine is None:
            with connecting(*given) as con:
                yield con
                found = con.engine
            if given not in engines:
                engines[given] = _engine(found, stack)
            return
        with engine.connect() as con, con.begin():
            yield con

    return connect


def _engine(library: sa.Engine, stack: ExitStack) -> sa.Engine | None:
    if library.dialect.name != "sqlite" or not library.url.database or library.url.query:
        return None
    engine = sa.create_engine(library.url, connect_args={"timeout": BUSY_SECONDS})
    # the log is written ahead (WAL): a crash loses nothing, a power cut at most what came last
    sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = NORMAL"))
    stack.callback(engine.dispose)
    return engine
