"""The same month through Polars, streaming: floats, no digest of what was read, no ledger.

python benchmarks/polars_month.py MONTH_FOLDER OUT_FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import polars as pl


def main(month: Path, out: Path) -> None:
    manifest = json.loads((month / "cops-demo-Manifest.json").read_text(encoding="utf-8"))
    files = [str(month.parent.parent / key) for key in manifest["reportKeys"]]
    out.mkdir(parents=True)
    copy = out / "month.parquet"
    pl.scan_parquet(files).sink_parquet(copy, compression="zstd")
    code = pl.col("product_servicecode").replace("", None).fill_null(pl.col("line_item_product_code"))
    is_marketplace = pl.col("bill_billing_entity") == "AWS Marketplace"
    service = pl.when(is_marketplace).then(pl.col("product_product_name")).otherwise(code)
    groups = (
        pl.scan_parquet(copy)
        .group_by(
            service.alias("service"), pl.col("resource_tags_user_tenant_id").fill_null("").alias("tenant")
        )
        .agg(pl.len().alias("rows"), pl.col("line_item_unblended_cost").sum().alias("cost"))
        .collect(engine="streaming")
    )
    by_tenant = groups.group_by("tenant").agg(pl.col("cost").sum())
    pool = by_tenant.filter(pl.col("tenant") == "")["cost"].sum()
    borne = by_tenant.filter(pl.col("tenant") != "")
    weight = pl.when(pl.col("cost") > 0).then(pl.col("cost")).otherwise(0.0)
    borne = borne.with_columns((pl.col("cost") + pool * weight / weight.sum()).alias("borne"))
    rows, whole = groups["rows"].sum(), borne["borne"].sum()
    print(json.dumps({"rows": rows, "unblended_usd": f"{whole:.10f}", "files": len(files)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
