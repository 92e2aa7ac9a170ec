"""Names that name nothing: each verdict at its boundary, with the name that was likely meant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from cops_dagster import words
from cops_dagster.allocation.key_shares import KeyMonths, key_shares_steady
from cops_dagster.allocation.verdicts import rules_match_something
from cops_dagster.ingestion.tag_mapping import Mapped, mapped_tags_are_delivered, tag_names
from cops_dagster.money.amount import ATTO
from cops_dagster.operations.verdicts import budget_scopes_are_known
from cops_dagster.period import Period
from cops_dagster.reconciliation.variance import Invoiced, TenantCost, Tolerance, reconcile
from cops_dagster.reconciliation.verdicts import Unpriced, plans_have_a_markup
from cops_dagster.tagging import lookups
from cops_dagster.verdict import Verdict

JUNE = Period(2025, 6)
D = Decimal
BEGINS = {"team": date(2024, 1, 1), "gold": date(2025, 6, 1), "later": date(2025, 6, 2)}


def said(verdict: Verdict) -> str:
    """ok, no verdict, or how grave it is."""
    return {True: "ok", None: "none", False: verdict.severity}[verdict.passed]


def first(verdict: Verdict, figure: str) -> Mapping[str, Any]:
    rows = verdict.figures[figure]
    assert isinstance(rows, list)
    return rows[0]  # type: ignore[no-any-return]


# --- near names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Team", "team"),
        (" team ", "team"),
        ("taem", "team"),
        ("globex-inc", "globex"),
        ("xyz", None),
        ("", None),
    ],
)
def test_a_near_name_is_found_without_case_and_nothing_is_guessed(name: str, meant: str | None) -> None:
    assert words.near(name, ["team", "globex", "acme"]) == meant


# --- tenants ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unknown", "tenants", "pooled", "expected"),
    [
        ("", "acme", "0", "ok"),
        ("", "", "0", "WARN"),  # nobody is registered
        ("globx", "acme", "2", "WARN"),  # at the limit
        ("globx", "acme", "2.000000000000000001", "ERROR"),
        ("globx", "acme", "0", "WARN"),  # an account mapping gave its cost to somebody
        ("globx", "", "90", "WARN"),  # without a registry every tag is a tenant, and nothing is held
    ],
)
def test_tags_that_name_nobody_are_an_error_above_two_per_cent(
    unknown: str, tenants: str, pooled: str, expected: str
) -> None:
    tags = [{"tenant_tag": name} for name in unknown.split()]
    assert said(lookups.tenants_are_known(tags, tenants.split(), D(pooled), D(100))) == expected


def test_an_unknown_tenant_is_shown_with_the_tenant_it_is_near_to() -> None:
    verdict = lookups.tenants_are_known([{"tenant_tag": "globex"}], ["globex-inc"], D(15), D(100))
    assert first(verdict, "largest")["near"] == "globex-inc"
    assert verdict.figures["what_became_of_it"] == "held"


# --- plans --------------------------------------------------------------------------------------------

PLANS = {
    "every tag names a plan in force": ("acme team . 100", "ok"),
    "begins on the first day": ("acme gold . 100", "ok"),
    "no plan at all": ("acme . . 100", "ok"),
    "another case, half the month": ("acme team Team 50\nacme team . 50", "ERROR"),
    "at two per cent": ("acme team Team 2\nacme team . 98", "WARN"),
    "above two per cent": ("acme team Team 2.01\nacme team . 97.99", "ERROR"),
    "a credit weighs like a cost": ("acme team Team -50\nacme team . 50", "ERROR"),
    "on cost without a tenant": (". . Team 50\nacme team . 50", "ERROR"),
}


def rows(text: str) -> list[tuple[str | None, str | None, str | None, Decimal]]:
    made = []
    for line in text.splitlines():
        tenant, plan, tag, usd = (None if cell == "." else cell for cell in line.split())
        made.append((tenant, plan, tag, D(str(usd))))
    return made


@pytest.mark.parametrize("case", PLANS)
def test_a_plan_tag_that_names_no_plan_in_force_is_told_with_its_money(case: str) -> None:
    text, expected = PLANS[case]
    assert said(lookups.plans_are_known(rows(text), BEGINS, JUNE)) == expected


def test_the_row_of_an_unknown_plan_says_whose_it_is_how_it_is_billed_and_what_was_meant() -> None:
    verdict = lookups.plans_are_known(rows("acme team Taem 50\nacme team . 50"), BEGINS, JUNE)
    assert first(verdict, "unknown_plans") == {
        "plan_tag": "Taem", "tenant_id": "acme", "billed_as": "team", "usd": D(50), "near": "team",
    }  # fmt: skip


def test_a_plan_that_begins_later_is_named_with_its_day() -> None:
    verdict = lookups.plans_are_known(rows("acme team later 50"), BEGINS, JUNE)
    assert first(verdict, "unknown_plans")["near"] == "later, which begins 2025-06-02"


def test_plan_tags_without_any_registered_plan_are_a_warning_with_their_money() -> None:
    verdict = lookups.plans_are_known(rows("acme team . 50\nacme . . 50"), {}, JUNE)
    assert (said(verdict), verdict.figures["unknown_plan_usd"]) == ("WARN", D(50))
    assert said(lookups.plans_are_known(rows("acme . . 50"), {}, JUNE)) == "ok"


@pytest.mark.parametrize(("plan", "expected"), [("taem", "ERROR"), ("later", "ERROR"), (None, "WARN")])
def test_a_plan_without_a_markup_is_an_error_and_one_by_tag_only_a_warning(
    plan: str | None, expected: str
) -> None:
    verdict = plans_have_a_markup([Unpriced("acme", plan, 7 * ATTO)], BEGINS, JUNE)
    assert (said(verdict), verdict.figures["without_markup_usd"]) == (expected, D(7))
    assert said(plans_have_a_markup([], BEGINS, JUNE)) == "ok"


@pytest.mark.parametrize(
    ("bps", "usd", "expected"),
    [(None, 10, "incomplete"), (0, 10, "ok"), (None, 0, "ok")],
)
def test_a_month_with_an_unknown_markup_is_incomplete_and_a_markup_of_zero_is_not(
    bps: int | None, usd: int, expected: str
) -> None:
    """A markup that nobody knows counted as 0, and the month reconciled `ok` against invoices without it."""
    made = reconcile(
        [TenantCost("acme", usd * ATTO, usd * ATTO, bps)], [Invoiced("acme", usd * ATTO)],
        Tolerance(ATTO, 50, 10 * ATTO, 200), is_final=True,
    )  # fmt: skip
    assert made.status == expected


# --- budgets and rules --------------------------------------------------------------------------------


def test_a_budget_about_nothing_is_named_and_one_about_a_quiet_tenant_is_not() -> None:
    known = {"tenant": ["acme"], "service": ["AmazonEC2"]}
    wrong = budget_scopes_are_known([("b", "service", "AmazonEC3")], known, 2)
    assert (said(wrong), first(wrong, "about_nothing")["near"]) == ("WARN", "AmazonEC2")
    assert said(budget_scopes_are_known([("b", "tenant", "acme")], known, 1)) == "ok"
    assert said(budget_scopes_are_known([], {}, 0)) == "none"


def test_a_rule_that_names_a_service_nobody_has_is_named_with_the_near_one() -> None:
    verdict = rules_match_something([("r", "service", "AmazonEC3")], {"service": ["AmazonEC2"]}, 1)
    assert (said(verdict), first(verdict, "match_nothing")["near"]) == ("WARN", "AmazonEC2")
    assert said(rules_match_something([], {}, 1)) == "ok"


def test_an_account_that_no_delivery_ever_had_is_named_with_the_near_one() -> None:
    delivered = ["111122223333", "999988887777"]
    wrong = lookups.mapped_accounts_are_delivered({"111122223334": "acme"}, delivered)
    assert (said(wrong), first(wrong, "never_delivered")["near"]) == ("WARN", "111122223333")
    assert said(lookups.mapped_accounts_are_delivered({"111122223333": "acme"}, delivered)) == "ok"
    assert said(lookups.mapped_accounts_are_delivered({}, delivered)) == "none"


# --- mapped tags --------------------------------------------------------------------------------------

MAPPING = {
    # tenant names | plan names | delivered by source; by source … | ever | by account → verdict, near
    "delivered": ("user_cc", "", "a:resource_tags_user_cc", "", False, "ok", ""),
    "on the account": ("user_cc", "", "a:account_tag_cc", "", False, "ok", ""),
    "misspelt": ("user_costcenter", "", "a:resource_tags_user_cost_center", "", False, "ERROR",
                 "user_cost_center"),
    "misspelt, and nothing is near": ("user_xyz", "", "a:resource_tags_user_stack", "", False, "ERROR", ""),
    "the default, and nothing is near": ("user_tenant_id*", "", "a:resource_tags_user_name", "", False,
                                         "WARN", ""),
    "the default, spelt otherwise": ("user_tenant_id*", "", "a:resource_tags_user_tenantid", "", False,
                                     "ERROR", "user_tenantid"),
    "misspelt, and accounts name tenants": ("user_costcenter", "", "a:resource_tags_user_cost_center", "",
                                            True, "WARN", "user_cost_center"),
    "no tag was delivered at all": ("user_tenant_id", "", "a:line_item_x", "", False, "none", ""),
    "only AWS's own tags": ("user_tenant_id", "", "a:resource_tags_aws_created_by", "", False, "none", ""),
    "no tag names tenants": ("", "", "a:resource_tags_user_x", "", False, "ok", ""),
    "one of two, the other seen before": ("user_a user_b", "", "a:resource_tags_user_a",
                                          "resource_tags_user_b", False, "ok", ""),
    "one of two, the other never seen": ("user_a user_b", "", "a:resource_tags_user_a", "", False, "WARN",
                                         ""),
    "one source of two": ("user_a", "", "a:resource_tags_user_a;b:resource_tags_user_z", "", False, "WARN",
                          ""),
    "one source of two, and accounts name tenants": (
        "user_a", "", "a:resource_tags_user_a;b:resource_tags_user_z", "", True, "ok", ""),
    "a plan that was asked for": ("user_a", "user_pln", "a:resource_tags_user_a", "", False, "WARN", ""),
    "a default plan that nobody uses": ("user_a", "user_plan_id*", "a:resource_tags_user_a", "", False, "ok",
                                        ""),
    "a default plan spelt otherwise": ("user_a", "user_plan_id*",
                                       "a:resource_tags_user_a;a:resource_tags_user_planid", "", False,
                                       "WARN", "user_planid"),
    "nothing is delivered yet": ("user_a", "", "", "", False, "none", ""),
}  # fmt: skip


def mapping(tenants: str, plans: str, delivered: str, ever: str, by_account: bool) -> Verdict:
    names = [
        Mapped(
            setting, name.rstrip("*"),
            (f"resource_tags_{name.rstrip('*')}", f"account_tag_{name.rstrip('*').removeprefix('user_')}"),
            is_default=name.endswith("*"),
        )
        for setting, text in (("tenant_id", tenants), ("plan_id", plans))
        for name in text.split()
    ]  # fmt: skip
    sources: dict[str, set[str]] = {}
    for one in filter(None, delivered.split(";")):
        source, _, column = one.partition(":")
        sources.setdefault(source, set()).add(column)
    seen = {column for columns in sources.values() for column in columns} | set(ever.split())
    return mapped_tags_are_delivered(names, sources, seen, accounts_name_tenants=by_account)


@pytest.mark.parametrize("case", MAPPING)
def test_a_mapped_tag_that_nobody_delivers_is_told_with_the_near_one(case: str) -> None:
    *given, expected, near = MAPPING[case]
    verdict = mapping(*given)  # type: ignore[arg-type]
    assert said(verdict) == expected
    assert verdict.refuses == (expected == "ERROR")
    assert not near or near in str(verdict.figures["near"])


def test_the_next_step_names_the_near_tag_and_the_way_without_tags() -> None:
    verdict = mapping("user_costcenter", "", "a:resource_tags_user_cost_center", "", False)
    told = str(verdict.figures["next_step"])
    assert 'tenant_id = ["user_cost_center"]' in told
    assert "tenant_id = []" in told


def test_tags_are_named_as_the_settings_name_them() -> None:
    columns = ["line_item_x", "resource_tags_user_a", "account_tag_team", "resource_tags_aws_created_by"]
    assert tag_names(columns) == ["account_tag_team", "user_a"]


# --- keys ---------------------------------------------------------------------------------------------

KEYS = {
    # before | now | come | gone → verdict
    "as before": ("a=1 b=1", "a=1 b=1", "", "", "ok"),
    "everybody doubled": ("a=1 b=1", "a=2 b=2", "", "", "ok"),
    "everybody more than doubled": ("a=10 b=10", "a=21 b=20", "", "", "WARN"),
    "everybody tripled": ("a=1 b=1", "a=3 b=3", "", "", "WARN"),
    "everybody more than tripled": ("a=10 b=10", "a=31 b=30", "", "", "ERROR"),
    "everybody fell to less than a third": ("a=31 b=30", "a=10 b=10", "", "", "ERROR"),
    "ten points": ("a=50 b=50", "a=60 b=40", "", "", "ok"),
    "eleven points": ("a=50 b=50", "a=61 b=39", "", "", "WARN"),
    "twenty points": ("a=50 b=50", "a=70 b=30", "", "", "WARN"),
    "twenty-one points": ("a=50 b=50", "a=71 b=29", "", "", "ERROR"),
    "a thousand times": ("a=30 b=70", "a=30000 b=70", "", "", "ERROR"),
    "a figure that was forgotten": ("a=50 b=50", "b=50", "", "", "ERROR"),
    "a figure of a tenant that was there before": ("b=50", "a=50 b=50", "", "", "ERROR"),
    "a tenant began and takes most": ("b=25 c=25", "a=500 b=25 c=25", "a", "", "WARN"),
    "a tenant began with a tenth": ("b=45 c=45", "a=10 b=45 c=45", "a", "", "ok"),
    "a tenant ended": ("a=500 b=25 c=25", "b=25 c=25", "", "a", "ok"),
    "an empty key, which is told elsewhere": ("a=1", "a=0", "", "", "ok"),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_key_that_jumps_is_told_by_how_far(case: str) -> None:
    before, now, come, gone, expected = KEYS[case]
    was, is_now = (
        {name: int(value) * ATTO for name, value in (pair.split("=") for pair in text.split())}
        for text in (before, now)
    )
    key = KeyMonths("network", was, is_now, 100 * ATTO)
    assert said(key_shares_steady([key], come.split(), gone.split())) == expected


def test_a_jump_is_told_with_the_money_that_went_with_it() -> None:
    key = KeyMonths("network", {"a": 1, "b": 1}, {"a": 3, "b": 1}, 200 * ATTO)
    (up, down) = key_shares_steady([key]).figures["moved"]  # type: ignore[misc]
    assert (up["tenant_id"], up["previous"], up["now"], up["moved_usd"]) == ("a", "50.00 %", "75.00 %", D(50))
    assert (down["tenant_id"], down["moved_usd"]) == ("b", D(-50))


def test_a_key_that_splits_nothing_moves_nothing() -> None:
    assert said(key_shares_steady([KeyMonths("network", {"a": 1}, {"a": 99}, 0)])) == "ok"


def test_without_a_month_before_there_is_no_verdict() -> None:
    assert said(key_shares_steady([])) == "none"
