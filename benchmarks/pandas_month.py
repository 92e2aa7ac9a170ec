"""The same month through pandas with Arrow types: floats, no digest of what was read, no ledger.

python benchmarks/pandas_month.py MONTH_FOLDER OUT_FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa

THREADS = 2


def main(month: Path, out: Path) -> None:
    pa.set_cpu_count(THREADS)
    manifest = json.loads((month / "cops-demo-Manifest.json").read_text(encoding="utf-8"))
    files = [str(month.parent.parent / key) for key in manifest["reportKeys"]]
    frame = pd.read_parquet(files, dtype_backend="pyarrow")
    out.mkdir(parents=True)
    frame.to_parquet(out / "month.parquet", compression="zstd", index=False)
    product = frame["product_product_name"]
    service = frame["product_servicecode"].where(
        frame["product_servicecode"] != "", frame["line_item_product_code"]
    )
    service = service.where(frame["bill_billing_entity"] != "AWS Marketplace", product)
    tenant = frame["resource_tags_user_tenant_id"].fillna("")
    groups = frame["line_item_unblended_cost"].groupby([service.rename("service"), tenant]).sum()
    by_tenant = groups.groupby(level=1).sum()
    pool = by_tenant.pop("")
    weights = by_tenant[by_tenant > 0]
    borne = by_tenant.add(pool * weights / weights.sum(), fill_value=0)
    print(json.dumps({"rows": len(frame), "unblended_usd": f"{borne.sum():.10f}", "files": len(files)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
