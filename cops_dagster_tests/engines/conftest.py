"""The servers of the tests on a real Trino, which `make test-trino` alone collects."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from cops_dagster.stores.aws import athena_client
from cops_dagster_tests.engines import athena_server, trino_server
from cops_dagster_tests.engines.athena_server import Athena
from cops_dagster_tests.engines.trino_server import BUCKET, KEYS, Servers

collect_ignore_glob = [] if os.environ.get("COPS_TEST_TRINO") else ["test_*.py"]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with trino_server.serving() as found:
        yield found


@pytest.fixture(scope="session")
def athena(servers: Servers) -> Iterator[Athena]:
    with athena_server.serving(servers.trino_port) as found:
        yield found


@pytest.fixture(params=["trino", "athena"])
def engine(
    request: pytest.FixtureRequest, servers: Servers, athena: Athena, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The environment of a cluster; its name is what `COPS_ENGINE` says."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", servers.aws)
    monkeypatch.setenv("AWS_ENDPOINT_URL_ATHENA", athena.url)
    monkeypatch.setattr(athena_client, "POLL_SECONDS", 0.02)
    return str(request.param)


@pytest.fixture
def given(engine: str, servers: Servers) -> dict[str, Any]:
    place = uuid.uuid4().hex[:12]
    return {
        "engine": engine, "catalog": "glue", "lake": {"place": f"s3://{BUCKET}/{place}"},
        "cluster": {
            "url": f"http://127.0.0.1:{servers.trino_port}", "catalog": "glue", "database": f"cops_{place}",
        },
    }  # fmt: skip
