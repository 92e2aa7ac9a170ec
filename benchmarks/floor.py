"""The floor: what one bare DuckDB process needs for a month. No Dagster, no ledger, no checks.

Digests the delivered bytes, reads the month once, writes one typed zstd copy with exact money, sums it
by service and tenant tag, splits the untagged cost on integers, adds everything up.

    python benchmarks/floor.py MONTH_FOLDER OUT_FOLDER
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

THREADS = 2
MEMORY = "3GB"
QUANTITIES = {
    "line_item_usage_amount",
    "line_item_normalization_factor",
    "line_item_normalized_usage_amount",
}
ATTO = 10**18


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def exact(name: str) -> str:
    # the decimal with fewest places that reads back as the same double; the cast covers up to 10 places
    cast = f"TRY_CAST({name} AS DECIMAL(15,10))"
    return (
        f"CASE WHEN CAST({cast} AS DOUBLE) = {name} THEN CAST({cast} AS DECIMAL(38,18)) "
        f"ELSE CAST(CAST({name} AS VARCHAR) AS DECIMAL(38,18)) END AS {name}"
    )


def split(cost: int, weights: dict[str, int]) -> dict[str, int]:
    """Largest remainder on integers; the parts add up to the cost."""
    total, size = sum(weights.values()), abs(cost)
    parts = {name: divmod(size * weight, total) for name, weight in weights.items()}
    shares = {name: whole for name, (whole, _) in parts.items()}
    left = size - sum(shares.values())
    for name in sorted(parts, key=lambda name: (-parts[name][1], name))[:left]:
        shares[name] += 1
    return {name: -share if cost < 0 else share for name, share in shares.items()}


def main(month: Path, out: Path) -> None:
    manifest = json.loads((month / "cops-demo-Manifest.json").read_text(encoding="utf-8"))
    files = [month.parent.parent / key for key in manifest["reportKeys"]]
    with ThreadPoolExecutor(THREADS) as pool:
        digests = list(pool.map(sha256, files))
    con = duckdb.connect(config={"threads": THREADS, "memory_limit": MEMORY})
    con.execute("SET preserve_insertion_order = false")
    source = [str(file) for file in files]
    described = con.execute("DESCRIBE SELECT * FROM read_parquet($files)", {"files": source}).fetchall()
    money = [name for name, kind, *_ in described if kind == "DOUBLE" and name not in QUANTITIES]
    out.mkdir(parents=True)
    copy = out / "month.parquet"
    con.execute(
        f"COPY (SELECT * REPLACE ({', '.join(map(exact, money))}) FROM read_parquet($files)) "
        f"TO '{copy}' (FORMAT parquet, COMPRESSION zstd)",
        {"files": source},
    )
    groups = con.execute(
        "SELECT CASE WHEN bill_billing_entity = 'AWS Marketplace' THEN product_product_name"
        "  ELSE COALESCE(NULLIF(product_servicecode, ''), line_item_product_code) END AS service, "
        "NULLIF(resource_tags_user_tenant_id, '') AS tenant, COUNT(*), SUM(line_item_unblended_cost) "
        "FROM read_parquet($copy) GROUP BY ALL",
        {"copy": str(copy)},
    ).fetchall()
    rows, borne, pools = 0, defaultdict(int), {}
    for service, tenant, count, cost in groups:
        atto = int(cost.scaleb(18))
        rows += count
        if tenant:
            borne[tenant] += atto
        else:
            pools[service] = atto
    weights = {tenant: cost for tenant, cost in borne.items() if cost > 0}
    whole = sum(borne.values()) + sum(pools.values())
    for cost in pools.values():
        for tenant, share in split(cost, weights).items():
            borne[tenant] += share
    if sum(borne.values()) != whole:
        raise SystemExit("the split lost money")
    units = f"{whole // ATTO}.{whole % ATTO:018d}"
    print(json.dumps({"rows": rows, "unblended_usd": units, "files": len(digests)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
