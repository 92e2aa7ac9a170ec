"""A bucket that a test holds, and a folder put into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cops_dagster_tests.stores.s3_server import Bucket, serving


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with serving(monkeypatch) as held:
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        yield held


def put(bucket: Bucket, folder: Path) -> None:
    """What lies in a folder, as objects below the root."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            bucket.on_top(f"exports/{file.relative_to(folder)}", file.read_bytes())
