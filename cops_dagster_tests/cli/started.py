"""The command as people start it: a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def cops(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cops_dagster.cli.start", *arguments],
        env={**os.environ, "COPS_HOME": str(folder / "home"), "COPS_CUR": str(folder / "cur")},
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip


def refusal(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 2, done.stderr
    said: dict[str, str] = json.loads(done.stderr.strip().splitlines()[-1])
    return said
