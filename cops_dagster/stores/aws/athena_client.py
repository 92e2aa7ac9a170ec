"""Statements to Athena, by pyathena. Belongs here: the calls, their limits, and what its states mean.

Results are never reused: a table of the same name may hold other rows. Does not belong here: the state of a
query that somebody else started (`stores/aws/athena.py`).
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

from cops_dagster.errors import CopsError
from cops_dagster.stores import queries
from cops_dagster.stores.aws import call
from cops_dagster.stores.aws.call import Call, calling, meaning
from cops_dagster.stores.queries import Dialect, Ran

POLL_SECONDS = 0.5
MINUTE = 60.0
"""Seconds."""


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
        from botocore.config import Config
        from pyathena import connect
        from pyathena.error import Error
        from pyathena.util import RetryConfig

        asked = Call("athena", "AWS Athena", "athena:StartQueryExecution and athena:GetQueryResults")
        with calling(asked):
            connection = connect(
                **{name: value for name, value in self._given.items() if value},
                # one layer of tries below ours: pyathena's own waits two minutes for each of them
                retry_config=RetryConfig(attempt=1),
                config=Config(retries={"mode": "standard", "total_max_attempts": call.ATTEMPTS}),
            )
            try:
                cursor = connection.cursor()
                late = threading.Event()
                timer = threading.Timer(MINUTE * self._max_minutes, _stop, (cursor, late))
                timer.daemon = True
                timer.start()
                try:
                    cursor.execute(
                        sql,
                        result_reuse_enable=False,
                        # AWS may have throttled the start for longer than the statement may take
                        on_start_query_execution=lambda _: _stop(cursor, late) if late.is_set() else None,
                    )
                    rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
                except Error as problem:
                    raise _refused(asked, problem, is_late=late.is_set()) from None
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


def _stop(cursor: Any, late: threading.Event) -> None:
    from pyathena.error import Error

    late.set()
    with suppress(Error):  # not started yet: it is stopped when it is
        cursor.cancel()


def _refused(asked: Call, problem: Exception, *, is_late: bool) -> CopsError:
    """How a statement ended, or what AWS answered: of that its code alone, since a text may hold keys."""
    from botocore.exceptions import BotoCoreError, ClientError

    cause = problem.__cause__
    if isinstance(cause, ClientError):
        code = str(cause.response.get("Error", {}).get("Code", ""))
        if code == "InvalidRequestException":  # of the statement, or of what is left of its result
            return queries.refused("E-ENGINE-FAILED", asked.place, str(problem))
    if isinstance(cause, (ClientError, BotoCoreError)):
        return asked.refused(meaning(cause))
    said = str(problem)
    return queries.refused("E-ENGINE-LIMIT" if is_late else queries.code_of(said), asked.place, said)
