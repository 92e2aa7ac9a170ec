"""Statements to a Trino server, by its own Python client. Belongs here: the calls and what they mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cops_dagster.errors import CopsError
from cops_dagster.stores import queries
from cops_dagster.stores.queries import Dialect, Ran

if TYPE_CHECKING:
    from trino.exceptions import TrinoQueryError


class Trino:
    """One server, one catalog of Iceberg tables.

    Args:
        url: `http://host:port` or `https://host:port`.
        database: what names without one mean.
        max_bytes, max_minutes: what one statement may scan and take.
    """

    dialect: Dialect = "trino"

    def __init__(
        self,
        url: str,
        catalog: str,
        database: str,
        *,
        user: str,
        password: str | None = None,
        max_bytes: int,
        max_minutes: int,
    ) -> None:
        self._url, self._catalog, self._database = url, catalog, database
        self._user, self._password = user, password
        self._limits = {
            "query_max_scan_physical_bytes": f"{max_bytes}B",
            "query_max_execution_time": f"{max_minutes}m",
        }

    def run(self, sql: str) -> Ran:
        """See `Queries.run`."""
        from requests.exceptions import RequestException
        from trino.exceptions import Error, HttpError, TrinoQueryError

        subject = f"Trino at {urlsplit(self._url).netloc.rpartition('@')[2]}"
        connection = self._connected()
        try:
            cursor = connection.cursor()
            cursor.execute(sql)
            rows = [tuple(row) for row in cursor.fetchall()]
            stats: dict[str, Any] = cursor.stats or {}
            return Ran(
                str(cursor.query_id),
                tuple(column[0] for column in cursor.description or ()),
                rows,
                int(stats.get("physicalInputBytes", 0)),
            )
        except TrinoQueryError as problem:
            raise _failed(subject, problem) from None
        except HttpError as problem:
            raise _answered(subject, problem) from None
        except (Error, RequestException, OSError, ValueError, LookupError) as problem:
            # the last two: a page of a proxy's, with a status that says all is well
            raise queries.refused(
                "E-ENGINE-BUSY", subject, f"no answer of Trino ({type(problem).__name__})"
            ) from None
        finally:
            connection.close()

    def kept_as(self, location: str) -> str:
        """See `Queries.kept_as`."""
        return f"format = 'PARQUET', location = '{location}'"

    def _connected(self) -> Any:
        from trino.auth import BasicAuthentication
        from trino.dbapi import connect

        parts = urlsplit(self._url)
        return connect(  # type: ignore[no-untyped-call]
            host=parts.hostname or "",
            port=parts.port or (443 if parts.scheme == "https" else 8080),
            http_scheme=parts.scheme,
            user=self._user,
            auth=BasicAuthentication(self._user, self._password) if self._password else None,
            catalog=self._catalog,
            schema=self._database,
            source="cops",
            session_properties=self._limits,
            request_timeout=60,
            max_attempts=3,
        )


def _failed(subject: str, problem: TrinoQueryError) -> CopsError:
    """What ended a statement: Trino's own words, else the first cause that means more than a failure.

    S3's refusal of a write, for one, comes as `HIVE_WRITER_CLOSE_ERROR` with S3's answer two causes below.
    """
    said = [f"{problem.error_name}: {problem.message}"]
    cause = (problem.failure_info or {}).get("cause")
    while cause:
        said.append(str(cause.get("message")))
        cause = cause.get("cause")
    codes = [queries.code_of(one) for one in said]
    at = next((at for at, code in enumerate(codes) if code != "E-ENGINE-FAILED"), 0)
    return queries.refused(codes[at], subject, "; ".join(dict.fromkeys([said[0], said[at]])))


_PASSING = ("404", "408", "410", "429", "500", "502", "503", "504")
"""404 and 410: the server was started anew and does not know the statement."""


def _answered(subject: str, problem: Exception) -> CopsError:
    """An answer that is no result: its status, and nothing of a page that may be a proxy's."""
    found = re.search(r"\berror (\d{3})\b", str(problem))
    status = found[1] if found else "unknown"
    code = "E-ENGINE-BUSY" if status in _PASSING else "E-ENGINE-FAILED"
    return queries.refused(code, subject, f"HTTP status {status}")
