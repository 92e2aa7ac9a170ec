"""A month with containers: what `[containers] use = "split"` costs beside `parent` on the same lines.

    python benchmarks/containers.py --lines 10000000 --work FOLDER

Of the lines some 30 % are split rows: 100 instances, 20 pods each, two rows an hour, three tags of tenants
and four namespaces. By hand. Prints CPU and wall seconds of `cops materialize`, and the ratio.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import duckdb
from run import CONTROL_FAILED, COPS, REPORT, Measured, measure, prepare, warm

PERIOD = "2025-07"
PODS, HOURS = 20, 744
_NODES = f"""
SELECT 'i-' || lpad(CAST(n AS VARCHAR), 17, '0') AS node, n,
    CAST('2025-07-01' AS TIMESTAMP) + INTERVAL 1 HOUR * CAST(h AS INTEGER) AS begins
FROM range({{nodes}}) AS a (n), range({HOURS}) AS b (h)
"""
_LINES = f"""
SELECT 'n-' || node || begins AS identity_line_item_id, 'Usage' AS line_item_line_item_type,
    node AS line_item_resource_id, 'RunInstances' AS line_item_operation,
    'BoxUsage:m5.xlarge' AS line_item_usage_type, 0.192::DOUBLE AS line_item_unblended_cost,
    begins AS line_item_usage_start_date, begins + INTERVAL 1 HOUR AS line_item_usage_end_date,
    NULL AS split_line_item_parent_resource_id, NULL::DOUBLE AS split_line_item_split_cost,
    NULL::DOUBLE AS split_line_item_unused_cost, NULL::DOUBLE AS split_line_item_split_usage_ratio,
    NULL AS resource_tags_user_tenant_id
FROM ({_NODES})
UNION ALL
SELECT 's-' || node || begins || p || k, 'Usage',
    'arn:aws:eks:us-east-1:111111111111:pod/prod/ns-' || (p % 4) || '/pod-' || p || '/' || n, 'EKSPod-EC2',
    CASE k WHEN 0 THEN 'USE1-EKS-EC2-vCPU-Hours' ELSE 'USE1-EKS-EC2-GB-Hours' END, 0.0,
    begins, begins + INTERVAL 1 HOUR, node,
    0.004 + p / 100000, 0.0003, 0.025, CASE WHEN p % 2 = 0 THEN {{tenants}}[1 + p % 3] END
FROM ({_NODES}), range({PODS}) AS c (p), range(2) AS d (k)
"""


_ABSENT = """
NULL::VARCHAR AS split_line_item_parent_resource_id, NULL::DOUBLE AS split_line_item_split_cost,
NULL::DOUBLE AS split_line_item_unused_cost, NULL::DOUBLE AS split_line_item_split_usage_ratio
"""


def month(work: Path, lines: int, nodes: int) -> Path:
    """The generated month with split rows in a file of their own, made once."""
    data = work / f"containers-{lines}"
    if (data / "cur").exists():
        return data
    plain = prepare(work, lines - nodes * HOURS * (1 + 2 * PODS), PERIOD)
    shutil.copytree(plain, data)
    [folder] = sorted((data / "cur" / REPORT).iterdir())
    first = sorted(folder.rglob("*.parquet"))[0]
    added = first.with_name(first.name.replace("00001", "09999"))
    con = duckdb.connect(config={"threads": 2, "memory_limit": "2GB"})
    tenants = con.sql(
        f"SELECT list(DISTINCT resource_tags_user_tenant_id)[1:3] FROM '{first}'"
        " WHERE resource_tags_user_tenant_id <> ''"
    ).fetchall()[0][0]
    made = _LINES.format(tenants=tenants, nodes=nodes)
    usual = con.sql(f"SELECT * FROM '{first}' WHERE line_item_line_item_type = 'Usage' LIMIT 1")
    own = con.sql(f"DESCRIBE {made}").fetchall()
    kept = [name for name in usual.columns if name not in {one[0] for one in own}]
    con.sql(
        f"COPY (SELECT l.*, {', '.join(f'u.{name}' for name in kept)} FROM ({made}) AS l,"
        f" (SELECT * FROM '{first}' WHERE line_item_line_item_type = 'Usage' LIMIT 1) AS u) TO '{added}'"
    )
    for path in sorted(folder.rglob("*.parquet")):  # the files of a month have the same columns
        if path != added:
            wider = path.with_suffix(".wider")
            con.sql(f"COPY (SELECT *, {_ABSENT} FROM '{path}') TO '{wider}' (FORMAT parquet)")
            wider.replace(path)
    for path in sorted(folder.rglob("*Manifest.json")):
        said = json.loads(path.read_text(encoding="utf-8"))
        said["reportKeys"] = [*said["reportKeys"], said["reportKeys"][0].replace("00001", "09999")]
        path.write_text(json.dumps(said), encoding="utf-8")
    return data


def ran(work: Path, data: Path, use: str) -> Measured:
    """`cops materialize` into an empty home."""
    home = work / "home"
    shutil.rmtree(home, ignore_errors=True)
    env = {
        "COPS_HOME": str(home), "COPS_CUR": str(data / "cur"), "COPS_ACTOR": "bench",
        "COPS_CONTAINERS__USE": use, "COPS_CONTAINERS__NAMESPACES": json.dumps({"ns-1": "acme"}),
    }  # fmt: skip
    log = work / f"{use}.log"
    measure("load", [*COPS, "admin", "load", str(data / "inputs")], log=log, env=env)
    return measure(use, [*COPS, "materialize", PERIOD], log=log, env=env, accepted=(0, CONTROL_FAILED))


def main() -> None:
    """Prints one line for each use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--nodes", type=int, default=100, help="instances with 20 pods each")
    parser.add_argument("--work", type=Path, required=True)
    chosen = parser.parse_args()
    data = month(chosen.work, chosen.lines, chosen.nodes)
    warm(data)
    found = {use: ran(chosen.work, data, use) for use in ("parent", "split")}
    for use, one in found.items():
        print(f"{use:8} {one.cpu_seconds:8.1f} CPU s {one.seconds:8.1f} s {one.peak_mib:8.0f} MiB")
    print(f"ratio    {found['split'].cpu_seconds / found['parent'].cpu_seconds:8.2f}")


if __name__ == "__main__":
    main()
