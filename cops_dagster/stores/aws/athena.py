"""How a query of Athena is going, as its API tells it. Belongs here: the call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cops_dagster.stores.aws.call import Call, calling

if TYPE_CHECKING:
    from pyathena.model import AthenaQueryExecution


@dataclass(frozen=True)
class Execution:
    """One execution. Times UTC; `reason` is what Athena says of a query that failed."""

    query_execution_id: str
    state: str
    reason: str | None
    database: str | None
    work_group: str | None
    submitted_at: datetime | None
    completed_at: datetime | None
    scanned_bytes: int | None
    output_location: str | None

    @property
    def has_failed(self) -> bool:
        """It ended and there is no result."""
        return self.state in ("FAILED", "CANCELLED")


def execution(query_execution_id: str) -> Execution:
    """The status of one execution.

    Raises:
        CopsError: `E-AWS-DENIED`, `E-AWS-THROTTLED`, `E-AWS-UNREACHABLE` (also for an
            id that Athena does not know).
    """
    from pyathena.error import DataError
    from pyathena.model import AthenaQueryExecution

    call = Call("athena", "AWS Athena", "athena:GetQueryExecution")
    with calling(call):
        answer = call.client().get_query_execution(QueryExecutionId=query_execution_id)
    try:
        found: AthenaQueryExecution = AthenaQueryExecution(answer)
    except DataError:
        raise call.unreachable("an answer that says nothing of the execution") from None
    return Execution(
        query_execution_id,
        found.state or "UNKNOWN",
        found.state_change_reason,
        found.database,
        found.work_group,
        found.submission_date_time,
        found.completion_date_time,
        found.data_scanned_in_bytes,
        found.output_location,
    )
