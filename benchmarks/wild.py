"""A wild month: the lines and costs of a generated one, with tags as untidy as people make them.

    python benchmarks/wild.py FOLDER_OF_A_GENERATED_MONTH FOLDER_OF_THE_WILD_ONE

One tagged line in ten spells its tenant otherwise, one in ten names one of 500 that nobody knows; a component
is for 10,000 lines, whoever they are of, a name nearly for each: 10 million lines have millions of distinct
combinations. What nobody tagged stays as it is. Rows and cost are those of the given month, so its
`expected.json` holds.

With 200 lines to a component (`--lines-a-component 200`) the ledger itself has six million entries: what no
engine groups away, and what no month that we know of is like.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import duckdb

THREADS = 2
LINES_A_COMPONENT = 10_000
TAGS = """
SELECT * EXCLUDE (chance, line_number) REPLACE (
    CASE WHEN COALESCE(resource_tags_user_tenant_id, '') = '' THEN resource_tags_user_tenant_id
        WHEN chance % 10 = 0 THEN ' ' || UPPER(resource_tags_user_tenant_id) || ' '
        WHEN chance % 10 = 1 THEN 'team-' || (chance // 10) % 500
        ELSE resource_tags_user_tenant_id END AS resource_tags_user_tenant_id,
    CASE WHEN COALESCE(resource_tags_user_service_component, '') = '' AND
            COALESCE(resource_tags_user_tenant_id, '') = '' THEN resource_tags_user_service_component
        ELSE 'component-' || (chance // 100) % $components END AS resource_tags_user_service_component,
    'host-' || chance % 5000000 AS resource_tags_user_name,
    'env-' || (chance // 1000) % 1000 AS resource_tags_user_environment
)
FROM (
    SELECT *, hash(identity_line_item_id, line_number) AS chance
    FROM (SELECT *, ROW_NUMBER() OVER () AS line_number FROM read_parquet($file))
)
"""
DISTINCT = """
SELECT COUNT(*) FROM (
    SELECT DISTINCT resource_tags_user_tenant_id, resource_tags_user_plan_id,
        resource_tags_user_service_component, line_item_usage_account_id, product_servicecode
    FROM read_parquet($files)
)
"""


def main(given: Path, wild: Path, lines_a_component: int) -> None:
    shutil.rmtree(wild, ignore_errors=True)
    shutil.copytree(given, wild, ignore=shutil.ignore_patterns("*.parquet"))
    con = duckdb.connect(config={"threads": THREADS, "memory_limit": "3GB"})
    files = sorted((given / "cur").rglob("*.parquet"))
    (lines,) = con.execute(
        "SELECT COUNT(*) FROM read_parquet($files)", {"files": [*map(str, files)]}
    ).fetchall()[0]
    made = []
    for file in files:
        target = wild / file.relative_to(given)
        con.execute(
            f"COPY ({TAGS}) TO '{target}' (FORMAT parquet, COMPRESSION snappy)",
            {"file": str(file), "components": max(lines // lines_a_component, 1)},
        ).fetchall()
        shutil.copystat(file, target)  # as old as the month it was made of
        made.append(str(target))
    (distinct,) = con.execute(DISTINCT, {"files": made}).fetchall()[0]
    print(
        f"{lines:,} lines, {distinct:,} distinct combinations of service, account, tenant, plan and component"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", type=Path)
    parser.add_argument("wild", type=Path)
    parser.add_argument("--lines-a-component", type=int, default=LINES_A_COMPONENT)
    chosen = parser.parse_args()
    main(chosen.given, chosen.wild, chosen.lines_a_component)
