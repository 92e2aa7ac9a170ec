"""A lookup that finds nothing, in the books: plans, tenants, mapped tags, keys and rules that name nothing.

Every refusal's advice is followed here, and must work.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.allocation import allocate, rule_date
from cops_dagster.allocation import checks as judge
from cops_dagster.closing import checklist
from cops_dagster.errors import CopsError
from cops_dagster.inputs import rule_effects
from cops_dagster.ledger.books import Books
from cops_dagster.operations import checks as judge_budgets
from cops_dagster.period import Period
from cops_dagster.policy import Tags
from cops_dagster.reconciliation import checks as judge_recon
from cops_dagster.reconciliation import reconcile
from cops_dagster.reconciliation.statement import statement
from cops_dagster.reports import sql
from cops_dagster.stores import tables as t
from cops_dagster.tagging import checks, tag
from cops_dagster.verdict import Verdict
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, adopt, give, home, lines, run, write

D = Decimal
RULES = (
    "rule_id,version,effective_from,priority,match_service,match_charge_class,method,on_zero_key,approved_by"
)


def rows(books: Books, query: str) -> list[tuple[Any, ...]]:
    """The answer to a query over one namespace, as `cops sql` gives it."""
    return [tuple(row) for row in sql.ask(books, query, {}).rows.rows]


def of(verdicts: list[Verdict], check: str) -> Verdict:
    return next(one for one in verdicts if one.check == check)


# --- plans --------------------------------------------------------------------------------------------

PLANS = "plan_id,effective_from,markup_bps\nteam,2025-01-01,1000\nlater,2025-09-02,2000\n"
TENANTS = (
    "tenant_id,name,plan_id,active_from,active_to\nacme,Acme,team,2025-01-01,\nglobex,Globex,team,2025-01-01,\n"
    "hooli,Hooli,later,2025-01-01,\ninitech,Initech,,2025-01-01,\nended,Ended,team,2025-01-01,2025-02-01\n"
)
PLANNED = """
type   service    account       tenant    plan   component cost
Usage  AmazonEC2  111111111111  acme      team   .         100
Usage  AmazonEC2  111111111111  acme      Team   .         100
Usage  AmazonEC2  111111111111  globex    later  .         50
Usage  AmazonEC2  111111111111  hooli     .      .         40
Usage  AmazonEC2  111111111111  initech   .      .         30
Usage  AWSDataTransfer 111111111111 .     .      .         10
"""


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Books:
    folder = tmp_path_factory.mktemp("planned")
    write(folder / "cur", [lines(PLANNED)])
    usage = "period_start,tenant_id,value,refreshed_at\n2025-09,ended,1,2025-10-01T03:00:00Z\n"
    books = home(folder, inputs={**INPUTS, "plans": PLANS, "tenants": TENANTS, "tenant_network_usage": usage})
    run(books)
    return books


def markup_of(books: Books, tenant: str) -> Decimal:
    statements = t.recon_run_statement
    with books.admin.read() as con:
        newest = sa.select(sa.func.max(statements.c.recon_seq)).scalar_subquery()
        found = sa.select(statements.c.markup_usd).where(
            statements.c.recon_seq == newest, statements.c.tenant_id == tenant
        )
        return D(con.execute(found).scalar_one())


@pytest.mark.long
def test_a_plan_tag_that_names_no_plan_is_billed_as_the_tenants_own_plan(planned: Books) -> None:
    """`Team` counted as a plan without a markup: 10.00 instead of 20.00, and nobody was told."""
    assert markup_of(planned, "acme") == 20


def test_a_plan_that_begins_later_in_the_month_rules_it_not(planned: Books) -> None:
    assert markup_of(planned, "globex") == 5


def test_a_tenant_that_has_ended_keeps_its_plan_on_what_a_key_gives_it(planned: Books) -> None:
    """Its shared cost had no plan, so it was billed without a markup."""
    assert markup_of(planned, "ended") == 1


def test_the_plan_tag_that_named_nothing_is_kept(planned: Books) -> None:
    found = rows(
        planned,
        "SELECT tenant_id, plan_id, plan_tag FROM fact_cost_tagged WHERE plan_tag IS NOT NULL ORDER BY 1",
    )
    assert found == [("acme", "team", "Team"), ("globex", "team", "later")]


def test_unknown_plans_are_a_red_check_with_tenant_money_and_near_name(planned: Books) -> None:
    verdict = of(checks.tagged(planned, SEPTEMBER), "plans_are_known")
    assert (verdict.passed, verdict.severity) == (False, "ERROR")
    told = str(verdict.figures["unknown_plans"])
    assert "'Team'" in told
    assert "later, which begins 2025-09-02" in told


def test_a_plan_without_a_markup_in_force_is_no_zero_it_has_no_statement(planned: Books) -> None:
    verdict = of(judge_recon.reconciled(planned, SEPTEMBER), "plans_have_a_markup")
    (wrong,) = verdict.figures["without_markup"]  # type: ignore[misc]
    assert (verdict.severity, wrong["tenant_id"], wrong["usd"]) == ("ERROR", "hooli", D(40))
    with pytest.raises(CopsError, match=r"E-PLAN-UNKNOWN.*hooli"):
        statement(planned, SEPTEMBER)


@pytest.mark.long
def test_the_markup_that_was_missing_is_loaded_and_the_statement_is_there(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(PLANNED)])
    books = home(tmp_path, inputs={**INPUTS, "plans": PLANS, "tenants": TENANTS})
    run(books)
    give(books, tmp_path, plans="plan_id,effective_from,markup_bps\nlater,2025-09-01,2000\n")
    run(books)
    assert {row["tenant_id"]: row["markup_usd"] for row in statement(books, SEPTEMBER).rows}["hooli"] == 8
    assert 10 < markup_of(books, "globex") < 11  # its tag names a plan that is in force now
    with pytest.raises(CopsError) as wrong:
        give(books, tmp_path, replace=True, plans="plan_id,effective_from,markup_bps\nteam,2025-01-01,2000\n")
    assert wrong.value.code == "E-LOAD-IMMUTABLE"  # and the way that it names:
    give(
        books, tmp_path, replace=True,
        plans="plan_id,effective_from,markup_bps\nteam-20,2025-01-01,2000\n",
        tenants="tenant_id,name,plan_id,active_from\nacme,Acme,team-20,2025-01-01\n",
        tag_aliases="tag_name,alias,canonical\nplan_id,team,team-20\nplan_id,Team,team-20\n",
    )  # fmt: skip
    run(books)
    assert markup_of(books, "acme") > 40  # 20 % of 200 and of what it shares


def test_an_alias_of_a_plan_names_a_registered_one(tmp_path: Path) -> None:
    books = home(tmp_path)
    with pytest.raises(CopsError, match="E-PLAN-UNKNOWN"):
        give(books, tmp_path, tag_aliases="tag_name,alias,canonical\nplan_id,Team,taem\n")
    give(books, tmp_path, tag_aliases="tag_name,alias,canonical\nplan_id,Team,team\n")


# --- tenants ------------------------------------------------------------------------------------------

NAMED = """
type   service    account       tenant  plan  component cost
Usage  AmazonEC2  111111111111  acme    team  .         84
Usage  AmazonEC2  111111111111  globx   team  .         15
Credit AmazonEC2  111111111111  globx   team  .         -1
Usage  AmazonS3   111111111111  .       .     .         1
"""


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Books, Path]:
    folder = tmp_path_factory.mktemp("renamed")
    write(folder / "cur", [lines(NAMED)])
    books = home(folder)
    run(books)
    return books, folder


def test_cost_of_a_tag_that_names_nobody_is_held_above_two_per_cent(renamed: tuple[Books, Path]) -> None:
    """It went to the others: acme's bill rose by another customer's cost, behind an amber check."""
    found = rows(
        renamed[0],
        "SELECT tenant_id, rule_id, key_name, charge_class, SUM(allocated_cost_usd) FROM fact_cost_allocated"
        " WHERE allocation_method = 'rule' GROUP BY 1, 2, 3, 4 ORDER BY 1, 4",
    )
    assert found == [
        ("__unallocated__", "__unknown_tenant__", "tenant_tag:globx", "credit", D(-1)),
        ("__unallocated__", "__unknown_tenant__", "tenant_tag:globx", "usage", D(15)),
        ("acme", "rest", "direct_cost", "usage", D(1)),
    ]


def test_held_cost_is_red_with_its_tag_and_the_name_that_was_meant(renamed: tuple[Books, Path]) -> None:
    books, _ = renamed
    verdict = of(checks.tagged(books, SEPTEMBER), "tenants_are_known")
    (wrong,) = verdict.figures["largest"]  # type: ignore[misc]
    assert (verdict.severity, verdict.figures["what_became_of_it"]) == ("ERROR", "held")
    assert (wrong["tenant_tag"], wrong["near"]) == ("globx", "globex")
    assert of(judge.allocated(books, SEPTEMBER), "unallocated_within_2_pct").passed is False
    assert of(judge.allocated(books, SEPTEMBER), "allocated_equals_pool").passed


def test_rules_explain_shows_what_is_held_before_any_rule(renamed: tuple[Books, Path]) -> None:
    first = rule_effects.explain(renamed[0], SEPTEMBER).rules[0]
    assert (first.rule_id, first.claimed_usd, first.unallocated_usd) == ("__unknown_tenant__", D(14), D(14))


def test_another_rule_set_leaves_what_is_held_as_it_is(renamed: tuple[Books, Path]) -> None:
    effects = rule_effects.diff(renamed[0], SEPTEMBER, date(2025, 9, 1)).effects
    held = next(one for one in effects if one.tenant_id == "__unallocated__")
    assert (held.unblended_before_usd, held.unblended_after_usd) == (D(14), D(14))


def test_the_readiness_list_names_held_cost(renamed: tuple[Books, Path]) -> None:
    held = next(
        one for one in checklist.requirements(renamed[0], SEPTEMBER) if one.name == "tenants_are_known"
    )
    assert not held.holds
    assert "globx" in held.found


def test_a_rule_of_the_reserved_name_is_refused(renamed: tuple[Books, Path]) -> None:
    books, folder = renamed
    with pytest.raises(CopsError, match="E-LOAD-VALUE"):
        give(
            books, folder,
            allocation_rules=f"{RULES}\n__unknown_tenant__,1,2025-01-01,99,AmazonS3,,even,fail,kim\n",
        )  # fmt: skip


def test_an_alias_brings_held_cost_to_its_tenant(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(NAMED)])
    books = home(tmp_path)
    run(books)
    give(books, tmp_path, tag_aliases="tag_name,alias,canonical\ntenant_id,globx,globex\n")
    run(books)
    sums = dict(rows(books, "SELECT tenant_id, SUM(allocated_cost_usd) FROM fact_cost_allocated GROUP BY 1"))
    assert sums["__unallocated__"] == 0
    assert sums["globex"] > 14
    assert of(checks.tagged(books, SEPTEMBER), "tenants_are_known").passed


@pytest.mark.long
def test_up_to_two_per_cent_the_rules_spread_it_with_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(NAMED.replace("  15\n", "  2\n").replace(" 15", " 2"))])
    books = home(tmp_path)
    run(books)
    assert of(checks.tagged(books, SEPTEMBER), "tenants_are_known").severity == "WARN"
    assert rows(books, "SELECT * FROM fact_cost_allocated WHERE tenant_id = '__unallocated__'") in (
        [], rows(books, "SELECT * FROM fact_cost_allocated WHERE rule_id IS NULL AND key_name IS NULL"
                 " AND tenant_id = '__unallocated__'"),
    )  # fmt: skip


# --- mapped tags --------------------------------------------------------------------------------------


def mapped(folder: Path, names: list[str], inputs: Mapping[str, str] | None = INPUTS) -> Books:
    if not (folder / "cur").exists():
        write(folder / "cur", [lines(NAMED.replace("globx", "globex"))])
    return home(folder, inputs=inputs, tags=Tags(tenant_id=tuple(names)))


@pytest.mark.long
def test_a_misspelt_mapping_tags_nothing_and_its_advice_works(tmp_path: Path) -> None:
    """Coverage was 0 %, everything was pooled, and the advice was to correct tags at the source."""
    books = mapped(tmp_path, ["user_tenantid"])
    with pytest.raises(CopsError) as refused:
        run(books)
    assert refused.value.code == "E-TAG-MAP"
    assert 'tenant_id = ["user_tenant_id"]' in refused.value.next_step
    with books.admin.read() as con:
        assert not con.execute(sa.select(t.period_head).where(t.period_head.c.table_name == tag.TABLE)).all()
    run(mapped(tmp_path, ["user_tenant_id"]))
    tag.tag(adopt(mapped(tmp_path, [], None)), SEPTEMBER)  # the other way that it names


@pytest.mark.long
def test_a_misspelt_mapping_is_a_warning_where_accounts_name_tenants(tmp_path: Path) -> None:
    accounts = "usage_account_id,effective_from,tenant_id\n111111111111,2025-01-01,acme\n"
    books = mapped(tmp_path, ["user_tenantid"], {**INPUTS, "account_tenants": accounts})
    run(books)
    assert dict(rows(books, "SELECT tenant_id, COUNT(*) FROM fact_cost_allocated GROUP BY 1"))["acme"]


# --- keys and rules of two months ---------------------------------------------------------------------

AUGUST = Period(2025, 8)
NETWORK = """
type   service          account       tenant  plan  component  cost
Usage  AmazonEC2        111111111111  acme    team  .          10
Usage  AmazonEC2        111111111111  globex  team  .          10
Usage  AWSDataTransfer  111111111111  .       .     network    90
"""


@pytest.fixture(scope="module")
def two_months(tmp_path_factory: pytest.TempPathFactory) -> tuple[Books, Path]:
    folder = tmp_path_factory.mktemp("two")
    for period in (AUGUST, SEPTEMBER):
        write(folder / "cur", [lines(NETWORK, period)], period=period)
    usage = (
        "period_start,tenant_id,value,refreshed_at\n"
        "2025-08,acme,1,2025-09-01T03:00:00Z\n2025-08,globex,2,2025-09-01T03:00:00Z\n"
        "2025-09,acme,1000,2025-10-01T03:00:00Z\n2025-09,globex,2,2025-10-01T03:00:00Z\n"
    )
    rules = (
        INPUTS["allocation_rules"].replace("2025-01-01", "2025-08-01")
        + "typo,1,2025-08-01,40,AmazonEC3,,proportional_cost,,,fail,kim\n"
    )
    budgets = (
        "budget_id,version,scope_type,scope_value,effective_from,basis,target_usd\n"
        "b,1,tenant,globx,2025-01-01,unblended,10\nc,1,tenant,acme,2025-01-01,unblended,10\n"
    )
    inputs = {**INPUTS, "tenant_network_usage": usage, "allocation_rules": rules, "budgets": budgets}
    books = home(folder, inputs=inputs)
    for period in (AUGUST, SEPTEMBER):
        run(books, period)
    return books, folder


@pytest.mark.long
def test_a_usage_figure_times_a_thousand_is_red_with_its_money(two_months: tuple[Books, Path]) -> None:
    """It was invoiced to the cent, and reconciled `ok`."""
    verdict = of(judge.keys(two_months[0], SEPTEMBER), "key_shares_steady")
    assert (verdict.passed, verdict.severity) == (False, "ERROR")
    moved = {str(row["tenant_id"]): row["moved_usd"] for row in verdict.figures["moved"]}  # type: ignore[union-attr,index]
    assert 59 < moved["acme"] < 60  # from 30 to 89.82 of the 90.00
    assert moved["(total)"] == 0


def test_the_first_month_of_a_key_has_no_verdict(two_months: tuple[Books, Path]) -> None:
    assert of(judge.keys(two_months[0], AUGUST), "key_shares_steady").passed is None


def test_the_readiness_list_shows_a_jump_and_is_not_blocked_by_it(two_months: tuple[Books, Path]) -> None:
    listed = next(
        one for one in checklist.requirements(two_months[0], SEPTEMBER) if one.name == "key_shares_steady"
    )
    assert listed.holds
    assert "look before you close" in listed.found


def test_a_rule_for_a_service_that_nobody_has_is_named(two_months: tuple[Books, Path]) -> None:
    verdict = of(judge.keys(two_months[0], SEPTEMBER), "rules_match_something")
    (wrong,) = verdict.figures["match_nothing"]  # type: ignore[misc]
    assert (wrong["rule_id"], wrong["near"]) == ("typo", "AmazonEC2")


def test_a_budget_of_a_tenant_that_is_not_there_is_named(two_months: tuple[Books, Path]) -> None:
    verdict = of(judge_budgets.budgets(two_months[0]), "budget_scopes_are_known")
    (wrong,) = verdict.figures["about_nothing"]  # type: ignore[misc]
    assert (wrong["budget_id"], wrong["near"]) == ("b", "globex")


def test_the_first_rule_is_corrected_in_its_first_month_as_the_refusal_says(
    two_months: tuple[Books, Path],
) -> None:
    """Version 2 of the same day was refused with "end the earlier one", which nothing can."""
    books, folder = two_months
    rule = f"{RULES}\ntransfer,2,{{}},10,AWSDataTransfer,,even,fail,kim\n"
    with pytest.raises(CopsError) as refused:
        give(books, folder, allocation_rules=rule.format("2025-08-01"))
    assert refused.value.code == "E-RULE-DATES"
    assert "begin it on 2025-08-02" in refused.value.next_step
    assert "cops allocate 2025-08 --rules-as-of 2025-08-02 --note" in refused.value.next_step
    give(books, folder, allocation_rules=rule.format("2025-08-02"))
    rule_date.decide(books, AUGUST, AUGUST.start.replace(day=2), note="the first version was wrong")
    allocate.allocate(books, AUGUST)
    reconcile.reconcile(books, AUGUST)
    shared = rows(
        books,
        "SELECT tenant_id, SUM(allocated_cost_usd) FROM fact_cost_allocated"
        " WHERE period_start = DATE '2025-08-01' AND service = 'AWSDataTransfer' GROUP BY 1 ORDER BY 1",
    )
    assert shared == [("acme", D(45)), ("globex", D(45))]
