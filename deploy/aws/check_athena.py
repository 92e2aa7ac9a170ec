"""One run against a real AWS account: what no test here can prove of Athena, Glue and S3.

    COPS_LAKE=s3://bucket/lake COPS_CATALOG=glue COPS_CLUSTER__OUTPUT=s3://bucket/engine \
        python deploy/aws/check_athena.py

Credentials, region and workgroup are those of the environment. It takes a small month from delivery to
reconciled twice, by Athena and by DuckDB, each in a home of its own below a temporary folder, and compares
every row and run id. Athena takes it from a report that lies in S3: the files of this machine must then be
outlines, the lake's copies S3's own. What is registered in Glue is asked as the playbook asks it. Then it
prints what was scanned. It costs cents. The exit code is 0 when every line says `ok`.
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

FRESHNESS = {
    "the newest line": (
        "SELECT MAX(bill_billing_period_start_date) AS latest_period_start,"
        " MAX(line_item_usage_start_date) AS latest_usage_ts FROM cur_billing_master"
    ),
    "lines that were ingested": "SELECT COUNT(*) AS cnt FROM fact_cost_raw",
}
DATABASE = "cops_lines"


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


def told(name: str, *, is_right: bool) -> int:
    """Prints one line; 1 where it is wrong."""
    sys.stdout.write(f"{'ok' if is_right else 'DIFFERS'}  {name}\n")
    return 0 if is_right else 1


def asked(sql: str) -> list[list[str]]:
    """What Athena's console would answer in `cops_lines`."""
    from pyathena import connect

    given = {
        "catalog_name": os.environ.get("COPS_CLUSTER__CATALOG", "AwsDataCatalog"),
        "schema_name": DATABASE,
        "work_group": os.environ.get("COPS_CLUSTER__WORKGROUP"),
        "s3_staging_dir": f"{os.environ['COPS_CLUSTER__OUTPUT'].rstrip('/')}/console/",
    }
    with connect(**{name: value for name, value in given.items() if value}) as connection:
        rows = connection.cursor().execute(sql).fetchall()
    return [[str(value) for value in row] for row in rows]


def of_s3(folder: Path, environment: dict[str, str], place: str) -> int:
    """The demo's first month as a report in S3, in a home of its own; how many answers are wrong."""
    import boto3

    made, home, root = folder / "athena" / "demo" / "cur", folder / "s3", f"{place}-report"
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    for file in sorted(made.rglob("*")):
        if file.is_file():
            key = f"{prefix}/{file.relative_to(made).as_posix()}"
            boto3.client("s3").put_object(
                Bucket=bucket, Key=key, Body=file.read_bytes(), ChecksumAlgorithm="SHA256"
            )
    month = min(one.name for one in made.glob("*/*-*"))
    there = {**environment, "COPS_CUR": root, "COPS_LAKE": f"{place}-s3"}
    cops(home, there, "materialize", f"{month[:4]}-{month[4:6]}")
    files = [*(home / "fetched").rglob("*.parquet"), *(home / "lake" / "fact_cost_raw").rglob("*.parquet")]
    held = sum(file.stat().st_blocks * 512 for file in files)
    size = sum(file.stat().st_size for file in files)
    wrong = told(f"{held:,} of {size:,} bytes are on this machine", is_right=0 < held < size)
    cops(home, there, "lake", "register")
    for name, sql in FRESHNESS.items():
        said = {}
        for engine in ("athena", "duckdb"):
            given = {**there, "COPS_ENGINE": engine}
            said[engine] = cops(home, given, "sql", "-q", sql, "--format", "csv")
        wrong += told(f"{name}, by cops sql", is_right=said["athena"] == said["duckdb"] != "")
        local = [line.split(",") for line in said["duckdb"].splitlines()[1:]]
        wrong += told(f"{name}, as pasted into the console", is_right=asked(sql) == local)
    return wrong


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
            cops(home, environment, "demo", "--lines", (sys.argv[1:] or ["20000"])[0])
            here = {**environment, "COPS_ENGINE": "duckdb"}
            said[engine] = {
                name: cops(home, here, "sql", "-q", sql, "--format", "csv") for name, sql in QUESTIONS.items()
            }
            if engine == "athena":
                wrong += of_s3(Path(folder), environment, place)
                bill = cops(home, environment, "lake", "bill")
        for name in QUESTIONS:
            is_same = said["athena"][name] == said["duckdb"][name] != ""
            wrong += not is_same
            sys.stdout.write(f"{'ok' if is_same else 'DIFFERS'}  {name}\n")
        sys.stdout.write(bill)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
