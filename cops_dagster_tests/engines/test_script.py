"""The script for a real account, run against Athena's protocol: it says there what it says here."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from cops_dagster_tests.engines.trino_server import BUCKET

SCRIPT = Path(__file__).parents[2] / "deploy/aws/check_athena.py"
LINES = "2000"


@pytest.mark.parametrize("engine", ["athena"], indirect=True)
def test_the_script_for_a_real_account_says_ok_of_every_answer(engine: str, tmp_path: Path) -> None:
    place = f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"
    environment = {
        **os.environ,
        "COPS_LAKE": f"{place}/lake",
        "COPS_CATALOG": "glue",
        "COPS_CLUSTER__OUTPUT": f"{place}/{engine}",
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), LINES], env=environment, cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in said if line.startswith("DIFFERS")] == []
    assert len([line for line in said if line.startswith("ok ")]) == 10
