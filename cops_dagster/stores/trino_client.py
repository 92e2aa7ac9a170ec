"""Statements to a Trino server, by its own Python client. Belongs here: the calls and what they mean."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from cops_dagster.errors import CopsError
from cops_dagster.stores import queries
from cops_dagster.stores.queries import Dialect, Ran


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
        from trino.exceptions import Error, TrinoQueryError

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
            said = f"{problem.error_name}: {problem.message}"
            raise queries.refused(queries.code_of(said), subject, said) from None
        except (Error, RequestException, OSError) as problem:
            raise self._unreachable(subject, problem) from None
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

    def _unreachable(self, subject: str, problem: Exception) -> CopsError:
        return queries.refused("E-ENGINE-BUSY", subject, f"no answer ({type(problem).__name__})")
