"""One run against a real AWS account: what no test here can prove of Athena, Glue and S3.

    COPS_LAKE=s3://bucket/lake COPS_CATALOG=glue COPS_CLUSTER__OUTPUT=s3://bucket/engine \
        python deploy/aws/check_athena.py

Credentials, region and workgroup are those of the environment. It takes a small month from delivery to
reconciled twice, by Athena and by DuckDB, each in a home of its own below a temporary folder, and compares
every row and run id. Then it prints what was scanned. It costs cents. The exit code is 0 when every line says
`ok`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

QUESTIONS = {
    "entries": "SELECT * FROM fact_cost_allocated ORDER BY ALL",
    "tagged lines": "SELECT * FROM fact_cost_tagged ORDER BY ALL",
    "raw lines": "SELECT * FROM fact_cost_raw ORDER BY ALL",
    "run ids": "SELECT table_name, period_start, source_id, run_id FROM period_head ORDER BY ALL",
    "reconciliation": (
        "SELECT period_start, aws_total_usd, allocated_total_usd, invoiced_total_usd, variance_usd, status"
        " FROM recon_summary ORDER BY ALL"
    ),
}


def cops(home: Path, environment: dict[str, str], *words: str) -> str:
    """What a command says; its failure ends the check."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("cops")), *words],
        env={**environment, "COPS_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 2:
        sys.exit(f"cops {' '.join(words)}: {done.stderr}")
    return done.stdout


def main() -> int:
    """Runs the check."""
    if not os.environ.get("COPS_LAKE", "").startswith("s3://"):
        sys.exit("set COPS_LAKE to a place in S3 that may be written to")
    run = uuid.uuid4().hex[:8]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        said: dict[str, dict[str, str]] = {}
        for engine in ("athena", "duckdb"):
            home = Path(folder) / engine
            place = f"{os.environ['COPS_LAKE'].rstrip('/')}/check-{run}-{engine}"
            environment = {**os.environ, "COPS_ENGINE": engine, "COPS_LAKE": place, "COPS_ACTOR": "check"}
            cops(home, environment, "demo", "--lines", (sys.argv[1:] or ["5000"])[0])
            here = {**environment, "COPS_ENGINE": "duckdb"}
            said[engine] = {
                name: cops(home, here, "sql", "-q", sql, "--format", "csv") for name, sql in QUESTIONS.items()
            }
            if engine == "athena":
                bill = cops(home, environment, "lake", "bill")
        for name in QUESTIONS:
            is_same = said["athena"][name] == said["duckdb"][name] != ""
            wrong += not is_same
            sys.stdout.write(f"{'ok' if is_same else 'DIFFERS'}  {name}\n")
        sys.stdout.write(bill)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
