"""Writes the texts that `test_outside.py` holds the printed lines against; a person reads the difference."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cops_dagster_tests.lake.shaped import PRINTED, REVIEWED, functions, ingested, reviewed

if __name__ == "__main__":
    PRINTED.mkdir(exist_ok=True)
    for shape in REVIEWED:
        with tempfile.TemporaryDirectory() as folder:
            (PRINTED / f"{shape}.sql").write_text(reviewed(ingested(Path(folder), shape)), encoding="utf-8")
    (PRINTED / "functions.txt").write_text(functions(), encoding="utf-8")
