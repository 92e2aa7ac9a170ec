"""Parquet whose text is no UTF-8, rewritten with the bad bytes marked, so that its lines keep their cost.

Belongs here: the one repair that reading needs. It runs in a process of its own (`lake/mend_child.py`),
since the file has not been vouched for.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cops_dagster.cur.schema import FAULT, FAULT_TEXT, LOST
from cops_dagster.errors import CopsError
from cops_dagster.lake import mend_child

_SECONDS_MAX = 1800


def mend(path: Path, target: Path, *, subject: str) -> Path:
    """Writes `target`: the same rows, undecodable bytes escaped, and their fault beside the line.

    Raises:
        CopsError: `E-READER-CRASH` when the file cannot even be read for this.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", mend_child.__file__, str(path), str(target), FAULT, FAULT_TEXT, LOST],
            capture_output=True,
            timeout=_SECONDS_MAX,
            check=False,
            start_new_session=True,  # see `lake/reader.py`
        )
        how = "" if done.returncode == 0 else f"exit code {done.returncode}"
    except subprocess.TimeoutExpired:
        how = f"no end after {_SECONDS_MAX} s"
    if how:
        target.unlink(missing_ok=True)
        raise CopsError(
            "E-READER-CRASH",
            f"{subject}, file {path.name!r}",
            expected="a file that can be read",
            found=how,
            next_step="the ingested month stays; ask AWS to deliver the month again",
        )
    return target
