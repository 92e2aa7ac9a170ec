"""The same month as a dbt project on DuckDB: the floor's SQL, exact money, no digest, no ledger.

python benchmarks/dbt_month.py MONTH_FOLDER OUT_FOLDER
"""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent / "dbt"


def main(month: Path, out: Path) -> None:
    manifest = json.loads((month / "cops-demo-Manifest.json").read_text(encoding="utf-8"))
    files = [str(month.parent.parent / key) for key in manifest["reportKeys"]]
    out.mkdir(parents=True)
    os.environ |= {"BENCH_FILES": json.dumps(files), "BENCH_OUT": str(out), "DO_NOT_TRACK": "1"}
    from dbt.cli.main import dbtRunner

    places = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    written = ["--target-path", str(out / "target"), "--log-path", str(out / "logs")]
    done = dbtRunner().invoke(["--quiet", "--no-version-check", "run", *places, *written])
    if not done.success:
        raise SystemExit("dbt: the project did not run, see above")
    with (out / "total.csv").open(encoding="utf-8", newline="") as file:
        (total,) = csv.DictReader(file)
    found = {"rows": int(total["line_count"]), "unblended_usd": total["unblended_usd"], "files": len(files)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
