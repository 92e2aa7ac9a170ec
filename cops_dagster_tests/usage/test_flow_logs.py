"""Flow logs as AWS writes them, from a folder and from S3: what DuckDB alone sums, COPS sums."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa

from cops_dagster.stores import tables as t
from cops_dagster_tests.deliveries import give
from cops_dagster_tests.stores.buckets import bucket, put
from cops_dagster_tests.stores.s3_server import Bucket
from cops_dagster_tests.usage.declaring import day_of, declaring, take

__all__ = ["bucket"]  # the fixture

HEADER = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action"
    " log-status"
)
QUERY = """SELECT "account-id", SUM(bytes) FROM files WHERE "log-status" = 'OK' GROUP BY 1"""
DECLARED = f"""
[measures.network]
unit = "GB"
names = "account"
[measures.network.source]
kind = "files"
unit = "bytes"
separator = " "
paths = ["PLACE/vpcflowlogs/*/{{year}}/{{month}}/{{day}}/*.log.gz"]
query = '''{QUERY}'''
"""
ACCOUNTS = """usage_account_id,effective_from,tenant_id
000000000042,2025-01-01,acme
123456789012,2025-01-01,globex
"""


def logs(folder: Path) -> list[Path]:
    """Three files of a day, and one of the next, which is none of it."""
    chance, files = random.Random(7), []
    for number, day in ((1, 1), (2, 1), (3, 1), (4, 2)):
        lines = [HEADER]
        for line in range(400):
            account = chance.choice(("000000000042", "123456789012"))
            state = "OK" if line % 50 else "NODATA"
            size = chance.randrange(40, 10**9)
            lines.append(f"2 {account} eni-1 10.0.0.1 10.0.0.2 443 5{line} 6 9 {size} 1 2 ACCEPT {state}")
        file = folder / "vpcflowlogs" / "eu-west-1" / "2025" / "09" / f"{day:02d}" / f"{number}.log.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress("\n".join([*lines, ""]).encode()))
        files.append(file)
    return files[:3]


@pytest.mark.parametrize("is_s3", [False, True], ids=["folder", "s3"])
def test_flow_logs_are_what_duckdb_alone_sums(tmp_path: Path, bucket: Bucket, is_s3: bool) -> None:
    files = logs(tmp_path / "logs")
    put(bucket, tmp_path / "logs")
    place = "s3://billing/exports" if is_s3 else str(tmp_path / "logs")
    books = declaring(tmp_path, DECLARED.replace("PLACE", place))
    give(books, tmp_path, account_tenants=ACCOUNTS)
    take(books, day_of(1))
    alone = duckdb.connect().execute(
        """SELECT "account-id", SUM(CAST(bytes AS DECIMAL(38,9)))
        FROM read_csv(?, all_varchar = true, delim = ' ')
        WHERE "log-status" = 'OK' GROUP BY 1""",
        [[str(file) for file in files]],
    )
    tenant = {"000000000042": "acme", "123456789012": "globex"}
    sums = {tenant[account]: int(value) for account, value in alone.fetchall()}
    with books.admin.read() as con:
        taken = {row.tenant_id: row.value for row in con.execute(sa.select(t.tenant_usage))}
    assert {name: int(value * 10**9) for name, value in taken.items()} == sums
    assert len(sums) == 2
