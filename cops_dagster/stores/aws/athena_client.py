"""Statements to Athena, by pyathena. Belongs here: the calls, their limits, and what its states mean.

Results are never reused: a table of the same name may hold other rows. Does not belong here: the state of a
query that somebody else started (`stores/aws/athena.py`).
"""

from __future__ import annotations

import threading
from typing import Any

from cops_dagster.stores import queries
from cops_dagster.stores.aws.call import Call, calling
from cops_dagster.stores.queries import Dialect, Ran

POLL_SECONDS = 0.5


class Athena:
    """One workgroup, or the place that results go to.

    Args:
        output: `s3://…/` for results, where the workgroup names none.
    """

    dialect: Dialect = "athena"

    def __init__(
        self,
        catalog: str,
        database: str,
        *,
        workgroup: str | None,
        output: str | None,
        max_minutes: int,
    ) -> None:
        self._given: dict[str, Any] = {
            "catalog_name": catalog,
            "schema_name": database,
            "work_group": workgroup,
            "s3_staging_dir": output,
            "poll_interval": POLL_SECONDS,
        }
        self._max_minutes = max_minutes

    def run(self, sql: str) -> Ran:
        """See `Queries.run`."""
        from pyathena import connect
        from pyathena.error import Error

        call = Call("athena", "AWS Athena", "athena:StartQueryExecution and athena:GetQueryResults")
        with calling(call):
            connection = connect(**{name: value for name, value in self._given.items() if value})
            try:
                cursor = connection.cursor()
                stopped = threading.Event()
                timer = threading.Timer(60 * self._max_minutes, _stop, (cursor, stopped))
                timer.daemon = True
                timer.start()
                try:
                    cursor.execute(sql, result_reuse_enable=False)
                    rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
                except Error as problem:
                    said = str(problem)
                    code = "E-ENGINE-LIMIT" if stopped.is_set() else queries.code_of(said)
                    raise queries.refused(code, call.place, said) from None
                finally:
                    timer.cancel()
                return Ran(
                    str(cursor.query_id),
                    tuple(column[0] for column in cursor.description or ()),
                    rows,
                    int(cursor.data_scanned_in_bytes or 0),
                )
            finally:
                connection.close()

    def kept_as(self, location: str) -> str:
        """See `Queries.kept_as`."""
        return f"table_type = 'ICEBERG', is_external = false, format = 'PARQUET', location = '{location}'"


def _stop(cursor: Any, stopped: threading.Event) -> None:
    stopped.set()
    cursor.cancel()
