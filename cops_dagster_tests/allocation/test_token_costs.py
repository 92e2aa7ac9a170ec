"""Calls to shared models: by who called, by tokens, and what a million of them cost each tenant."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from cops_dagster.errors import CopsError
from cops_dagster.exports import margin
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.shown import by_tenant

MONTH = """
type   service        account       tenant  iam_principal_tenant_id  cost
Usage  AmazonEC2      111111111111  acme    .                        50
Usage  AmazonEC2      111111111111  globex  .                        50
Usage  AmazonBedrock  111111111111  .       acme                     4
Usage  AmazonBedrock  111111111111  .       .                        9
"""
AT = "2025-10-01T03:00:00Z\n"
TOKENS = {
    "allocation_keys": "key_name,measure,max_age_hours\ntokens,tokens,24\n",
    "allocation_rules": (
        "rule_id,version,effective_from,priority,match_service,match_charge_class,method,key_name,approved_by\n"
        "models,1,2025-01-01,10,AmazonBedrock,usage,usage_key,tokens,kim\n"
    ),
    "tenant_tokens_usage": (
        f"period_start,tenant_id,value,refreshed_at\n2025-09,acme,3000000,{AT}2025-09,globex,6000000,{AT}"
    ),
}


def test_tokens_are_a_key_and_a_million_of_them_has_a_cost_for_each_tenant_that_used_some(
    tmp_path: Path,
) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    inputs = {name: INPUTS[name] for name in ("plans", "tenants")} | TOKENS
    inputs["tenants"] += "idle,Idle,team,2025-01-01\n"
    inputs["tenant_tokens_usage"] += f"2025-09,idle,0,{AT}"
    tags = {"tenant_id": ("user_tenant_id", "iam_principal_tenant_id")}
    books = home(tmp_path, inputs=inputs, tags=tags)
    run(books)
    assert by_tenant(books) == {"acme": 57, "globex": 56}
    made = margin.margins(books, SEPTEMBER, draft=True)
    found = margin.units(made, "tenant", per=1_000_000, service="AmazonBedrock")
    assert {row["name"]: row["unit_cost_usd"] for row in found} == {
        "acme": Decimal("2.333333333333333333"), "globex": Decimal(1),
    }  # fmt: skip
    with pytest.raises(CopsError) as refusal:
        margin.units(made, "tenant", service="AmazonBedrok")
    assert (refusal.value.code, refusal.value.found) == ("E-PARAM", "none; AmazonBedrock has")
