"""Parquet that the engine cannot read, rewritten so that its lines keep their cost.

Belongs here: the two repairs that reading needs: text that is no UTF-8 has its bad bytes marked, a map that
holds a key twice becomes a list of keys and values. It runs in a process of its own (`lake/mend_child.py`),
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


def needs_mending(problem: CopsError) -> bool:
    """Whether the engine stumbled over what `mend` repairs."""
    return is_no_utf8(problem) or bool(problem.details.get("repeats"))


def is_no_utf8(problem: CopsError) -> bool:
    """Whether the engine stumbled over bytes that are no UTF-8."""
    text = str(problem.details.get("engine_says", "")).lower()
    return problem.code == "E-SQL" and ("utf-8" in text or "unicode" in text or "string encoding" in text)


def mend(path: Path, target: Path, *, subject: str, maps: bool = False) -> Path:
    """Writes `target`: the same rows, undecodable bytes escaped, and their fault beside the line.

    Args:
        maps: take maps apart into lists of keys and values.

    Raises:
        CopsError: `E-READER-CRASH` when the file cannot even be read for this.
    """
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-I",
                mend_child.__file__,
                str(path),
                str(target),
                FAULT,
                FAULT_TEXT,
                LOST,
                *(["maps"] if maps else []),
            ],
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
