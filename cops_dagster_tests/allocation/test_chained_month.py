"""Months whose rules send pools to services: loaded, run, checked, explained, and what is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.allocation import allocate, checks
from cops_dagster.cli.main import app
from cops_dagster.errors import CopsError
from cops_dagster.inputs import rule_check, rule_effects, rule_graph
from cops_dagster.ledger.books import Books
from cops_dagster.reports import explain
from cops_dagster.verdict import Verdict
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, give, home, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant

MONTH = """
type   service          account       tenant  plan  component  cost
Usage  AmazonEC2        111111111111  acme    team  api        30
Usage  AmazonEC2        111111111111  globex  team  api        10
Usage  AmazonEKS        111111111111  .       .     .          8
Usage  AmazonVPC        111111111111  .       .     network    100
Tax    AmazonVPC        111111111111  .       .     .          1
"""
HEADER = INPUTS["allocation_rules"].split("\n")[0] + "\n"
VPC = (
    "vpc,1,2025-01-01,10,AmazonVPC,usage,fixed,,"
    '"{""service:AmazonEKS"": ""60"", ""rule:left"": ""40""}",fail,kim\n'
)
EKS = "eks,1,2025-01-01,20,AmazonEKS,usage,usage_key,network,,fail,kim\n"
LEFT = "left,1,2025-01-01,90,,usage,proportional_cost,,,fail,kim\n"
RULES = HEADER + VPC + EKS + LEFT
USAGE = "period_start,tenant_id,value,refreshed_at\n"
AT = "2025-10-01T03:00:00Z\n"
BACK = USAGE + f"2025-09,acme,1,{AT}2025-09,globex,2,{AT}2025-09,service:AmazonVPC,1,{AT}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "cur", [lines(MONTH)])
    return tmp_path


def month(folder: Path, rules: str = RULES, usage: str = BACK) -> Books:
    """EKS gives a quarter of what it gets back to VPC: a cycle of 60 % × 25 %."""
    return home(folder, inputs=INPUTS | {"allocation_rules": rules, "tenant_network_usage": usage})


def verdict(books: Books, name: str) -> Verdict:
    (found,) = [one for one in checks.keys(books, SEPTEMBER) if one.check == name]
    return found


def test_a_cycle_of_pools_is_allocated_to_the_last_digit_and_shown_at_each_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = month(folder)
    run(books)
    # of a dollar of VPC 0.6 / 0.85 pass EKS, 0.4 / 0.85 are left; of one of EKS 1 / 0.85 and 0.1 / 0.85
    through_eks, through_left = Decimal(60 + 8) / Decimal("0.85"), Decimal("40.8") / Decimal("0.85")
    expected = {
        "acme": 30 + through_eks / 4 + through_left * 3 / 4,
        "globex": 10 + through_eks / 2 + through_left / 4,
        "__unallocated__": Decimal(1),
    }
    assert by_tenant(books) == expected
    rows = answer(
        books,
        "SELECT service, rule_id, key_name, SUM(key_value), MIN(pool_cost_usd) FROM fact_cost_allocated"
        " WHERE allocation_method = 'rule' AND rule_id IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1",
    )
    assert rows == [
        ("AmazonEKS", "eks", "chain:AmazonEKS:usage:eks > vpc > left", Decimal(100), Decimal(8)),
        ("AmazonVPC", "vpc", "chain:AmazonVPC:usage:vpc > left > eks", Decimal(100), Decimal(100)),
    ]
    assert allocate.allocate(books, SEPTEMBER).wrote is False
    assert all(one.passed for one in checks.allocated(books, SEPTEMBER) if one.blocking)
    assert verdict(books, "keys_name_every_tenant").passed
    assert verdict(books, "rules_match_something").passed

    shown = rule_graph.graph(books, SEPTEMBER).pools
    assert [one.name for one in shown] == ["AmazonEKS (eks)", "AmazonVPC (left)", "AmazonVPC (vpc)"]
    assert {one.difference_usd for one in shown} == {Decimal(0)}
    assert sum(one.tenants_usd for one in shown) == 108
    assert sum(sum(one.sent.values()) for one in shown) == sum(sum(one.received.values()) for one in shown)
    claims = {one.rule_id: one for one in rule_effects.explain(books, SEPTEMBER).rules}
    assert [int(one.claimed_usd) for one in claims.values()] == [100, 8, 0]
    assert [int(one.tenants_usd) for one in claims.values()] == [100, 8, 0]

    (entry_id,) = answer(
        books,
        "SELECT entry_id FROM fact_cost_allocated WHERE tenant_id = 'acme' AND service = 'AmazonVPC'"
        " AND entry_type = 'allocation' AND allocation_method = 'rule'",
    )[0]
    give(books, folder, replace=True, tenant_network_usage=USAGE + f"2025-09,acme,9,{AT}")
    way = {one.place: one for one in explain.entry(books, entry_id).chain}
    assert {place: one.passes for place, one in way.items()} == {
        "AmazonVPC (vpc)": "20/17", "AmazonVPC (left)": "8/17", "AmazonEKS (eks)": "12/17",
    }  # fmt: skip
    assert way["AmazonVPC (vpc)"].sends_pct["AmazonEKS (eks)"] == Decimal("70.588235")
    assert {place: f"{one.tenant_pct:f}" for place, one in way.items()} == {  # 12/17 / 4 and 8/17 × 3/4
        "AmazonVPC (vpc)": "0.000000", "AmazonVPC (left)": "35.294118", "AmazonEKS (eks)": "17.647059",
    }  # fmt: skip
    books.admin.close()

    monkeypatch.setenv("COPS_HOME", str(folder / "home"))
    monkeypatch.setenv("COPS_CUR", str(folder / "cur"))
    settings.current.cache_clear()
    told = CliRunner().invoke(app, ["rules", "explain", "2025-09", "--graph"], catch_exceptions=False)
    assert told.exit_code == 0
    assert "AmazonVPC (vpc)" in told.stdout
    entry = CliRunner().invoke(app, ["explain", entry_id], catch_exceptions=False)
    assert "its way, in per cent of the pool" in entry.stdout
    as_json = CliRunner().invoke(app, ["rules", "explain", "2025-09", "--graph", "--json"])
    assert json.loads(as_json.stdout)["pools"][0]["received"].keys() == {"AmazonVPC (vpc)"}


@pytest.mark.long
def test_a_month_without_chains_has_no_graph(folder: Path) -> None:
    books = month(folder, HEADER + EKS + LEFT, INPUTS["tenant_network_usage"])
    run(books)
    assert rule_graph.graph(books, SEPTEMBER).pools == ()


@pytest.mark.parametrize(
    ("code", "found", "refused", "taken"),
    [
        ("E-CHAIN-CYCLE", "AmazonEKS (eks) → AmazonVPC (vpc) → AmazonEKS (eks)",
         VPC.replace('60"", ""rule:left"": ""40', "100")
         + 'eks,1,2025-01-01,20,AmazonEKS,,fixed,,"{""service:AmazonVPC"": ""100""}",fail,kim\n',
         VPC + 'eks,1,2025-01-01,20,AmazonEKS,,fixed,,"{""service:AmazonVPC"": ""100""}",fail,kim\n'),
        ("E-CHAIN-CYCLE", "AmazonVPC (vpc) → AmazonVPC (vpc)",
         VPC.replace("service:AmazonEKS", "service:AmazonVPC"), VPC),
        ("E-RULE-METHOD", "rule:nobody", VPC.replace("rule:left", "rule:nobody"), VPC),
        ("E-TENANT-UNKNOWN", "acne", VPC.replace("rule:left", "acne"), VPC.replace("rule:left", "acme")),
    ],
    ids=["a chain that starves itself", "a loop", "a share of no rule", "a share of nobody"],
)  # fmt: skip
def test_rules_that_can_never_be_split_are_not_loaded(
    folder: Path, code: str, found: str, refused: str, taken: str
) -> None:
    books = month(folder, HEADER + LEFT)
    with pytest.raises(CopsError) as refusal:
        give(books, folder, allocation_rules=HEADER + refused)
    assert (refusal.value.code, found in refusal.value.found) == (code, True)
    give(books, folder, allocation_rules=HEADER + taken)


def test_no_new_tenant_is_called_like_a_service_or_a_rule(folder: Path) -> None:
    books = month(folder)
    row = "tenant_id,name,active_from\n{},X,2025-01-01\n"
    for name in ("service:AmazonEKS", "rule:left"):
        with pytest.raises(CopsError) as refusal:
            give(books, folder, tenants=row.format(name))
        assert refusal.value.code == "E-TENANT-RESERVED"
    give(books, folder, tenants=row.format("servicedesk"))


def test_a_service_that_the_month_has_not_is_refused_with_the_name_that_was_meant(folder: Path) -> None:
    books = month(folder, usage=BACK.replace("AmazonVPC", "AmazonVCP"))
    with pytest.raises(CopsError) as refusal:
        run(books)
    assert refusal.value.code == "E-CHAIN-SERVICE"
    assert refusal.value.found == "'service:AmazonVCP'; service:AmazonVPC is one"
    put_right = BACK + f"2025-09,service:AmazonVCP,0,{AT}"
    give(books, folder, replace=True, tenant_network_usage=put_right)
    assert allocate.allocate(books, SEPTEMBER).wrote


@pytest.mark.long
def test_a_key_that_sends_everything_round_is_refused_at_the_run(folder: Path) -> None:
    round_and_round = USAGE + f"2025-09,service:AmazonVPC,1,{AT}"
    whole = VPC.replace('60"", ""rule:left"": ""40', "100")
    books = month(folder, HEADER + whole + EKS + LEFT, round_and_round)
    with pytest.raises(CopsError) as refusal:
        run(books)
    assert refusal.value.code == "E-CHAIN-CYCLE"
    assert refusal.value.found.startswith("AmazonEKS (eks) → AmazonVPC (vpc) → AmazonEKS (eks)")
    give(books, folder, tenant_network_usage=USAGE + f"2025-09,acme,1,{AT}")
    run(books)
    assert by_tenant(books) == {"acme": 138, "globex": 10, "__unallocated__": 1}


def test_a_service_that_nobody_pays_is_a_fault_with_its_money(folder: Path) -> None:
    books = month(folder, HEADER + VPC.replace("rule:left", "acme"), INPUTS["tenant_network_usage"])
    warned = rule_check.check(books)
    assert "E-CHAIN-UNPAID" in {one.code for one in warned.problems}
    assert warned.errors == 0
    run(books)
    assert by_tenant(books) == {"acme": 70, "globex": 10, "__unallocated__": 69}
    (rows,) = [verdict(books, "rules_cover_every_pool").figures["unclaimed_pools"]]
    assert rows[0] == {  # type: ignore[index]
        "service": "AmazonEKS", "charge_class": "usage", "unblended_usd": "68.000000000000000000",
    }  # fmt: skip
    shown = {one.name: one for one in rule_graph.graph(books, SEPTEMBER).pools}  # no rule names the service
    assert shown["AmazonEKS (no rule)"].unallocated_usd == 68
    assert {one.difference_usd for one in shown.values()} == {Decimal(0)}


@pytest.mark.long
def test_what_ends_at_a_rule_that_holds_is_parked_and_no_fault(folder: Path) -> None:
    held = "eks,1,2025-01-01,20,AmazonEKS,,hold,,,fail,kim\n"
    tax = "tax,1,2025-01-01,30,,tax,hold,,,fail,kim\n"
    books = month(folder, HEADER + VPC + held + LEFT + tax, INPUTS["tenant_network_usage"])
    run(books)
    assert by_tenant(books) == {"acme": 60, "globex": 20, "__unallocated__": 69}
    (found,) = [one for one in checks.allocated(books, SEPTEMBER) if one.check == "unallocated_within_2_pct"]
    assert (found.passed, found.figures["unclaimed_or_failed_usd"]) == (True, Decimal(0))


@pytest.mark.long
def test_an_empty_key_of_services_stops_the_run_or_does_what_its_rule_says(folder: Path) -> None:
    none = USAGE + f"2025-09,service:AmazonVPC,0,{AT}"
    books = month(folder, usage=none)
    with pytest.raises(CopsError) as refusal:
        run(books)
    assert (refusal.value.code, refusal.value.subject) == ("E-KEY-ZERO", "rule eks of 2025-09")
    give(
        books,
        folder,
        allocation_rules=HEADER + "eks,2,2025-08-01,20,AmazonEKS,usage,usage_key,network,,hold,kim\n",
    )
    allocate.allocate(books, SEPTEMBER)
    assert by_tenant(books) == {"acme": 60, "globex": 20, "__unallocated__": 69}
