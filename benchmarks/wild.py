"""A wild month: the lines and costs of a generated one, with tags as untidy as people make them.

    python benchmarks/wild.py FOLDER_OF_A_GENERATED_MONTH FOLDER_OF_THE_WILD_ONE

One tagged line in ten spells its tenant otherwise, one in ten names one of 500 that nobody knows; a component
is for 200 lines, a name nearly for each: 10 million lines have millions of distinct combinations. Rows and
cost are those of the given month, so its `expected.json` holds.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import duckdb

THREADS = 2
LINES_A_COMPONENT = 200
TAGS = """
SELECT * EXCLUDE (chance, line_number) REPLACE (
    CASE WHEN COALESCE(resource_tags_user_tenant_id, '') = '' THEN resource_tags_user_tenant_id
        WHEN chance % 10 = 0 THEN ' ' || UPPER(resource_tags_user_tenant_id) || ' '
        WHEN chance % 10 = 1 THEN 'team-' || (chance // 10) % 500
        ELSE resource_tags_user_tenant_id END AS resource_tags_user_tenant_id,
    'component-' || (chance // 100) % $components AS resource_tags_user_service_component,
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
        resource_tags_user_service_component
    FROM read_parquet($files)
)
"""


def main(given: Path, wild: Path) -> None:
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
            {"file": str(file), "components": max(lines // LINES_A_COMPONENT, 1)},
        ).fetchall()
        shutil.copystat(file, target)  # as old as the month it was made of
        made.append(str(target))
    (distinct,) = con.execute(DISTINCT, {"files": made}).fetchall()[0]
    print(f"{lines:,} lines, {distinct:,} distinct combinations of tenant, plan and component")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
