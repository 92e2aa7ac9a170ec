"""Rules over a whole month: what a set is refused for, what it does, and what another one would do.

The other half of the catalogue's cases: R01 (empty keys) in test_month and rules/test_rule_tables; R06
(`__unallocated__`, the 2 % of P2) in test_month and rules/test_boundaries; R02, R03, R08 of other tables in
test_load; R14, R15 and every problem of a set in rules/test_rule_set; a million splits in money/test_money.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.allocation import checks, in_force, rule_date
from cops_dagster.allocation.inputs import gather
from cops_dagster.errors import CopsError
from cops_dagster.inputs import rule_check, rule_effects
from cops_dagster.inputs.load import load
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write
from cops_dagster_tests.shown import by_tenant

HEADER = (
    "rule_id,version,effective_from,effective_to,priority,match_service,match_charge_class,method,key_name,"
    "shares,on_zero_key,approved_by\n"
)


def dump(books: Books) -> dict[str, list[tuple[Any, ...]]]:
    """Every admin table, whole."""
    with books.admin.read() as con:
        return {
            name: [tuple(row) for row in con.execute(sa.select(table).order_by(*table.primary_key))]
            for name, table in t.metadata.tables.items()
        }


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rules(folder: Path, *rows: str, header: str = HEADER, **more: str) -> Path:
    """A folder with these rules, and with other tables."""
    place = folder / f"rules-{len(list(folder.glob('rules-*')))}"
    place.mkdir()
    for name, text in {"allocation_rules": header + "".join(f"{row}\n" for row in rows), **more}.items():
        (place / f"{name}.csv").write_text(text, encoding="utf-8")
    return place


def codes(checked: rule_check.Checked) -> list[tuple[str, str]]:
    return [(problem.severity, problem.code) for problem in checked.problems]


@pytest.fixture
def books(tmp_path: Path) -> Books:
    write(tmp_path / "cur", [lines(MONTH)])
    opened = home(tmp_path)
    run(opened)
    return opened


# --- rules as CSV, by case of the catalogue ------------------------------------------------------------

FIXED = 'x,1,2025-01-01,,40,AmazonS3,,fixed,,"{}",fail,kim'
LINE = "x,1,2025-01-01,,40,{},,{},{},,fail,kim"

CASES: dict[str, tuple[str, str, str]] = {
    # case: (code, the row that is refused, its twin that is taken)
    "R02 a negative weight": (
        "E-RULE-SUM", FIXED.format('{""acme"": ""101"", ""globex"": ""-1""}'),
        FIXED.format('{""acme"": ""100"", ""globex"": ""0""}')),
    "R02 a weight that is no number": (
        "E-COST-PARSE", FIXED.format('{""acme"": ""NaN""}'), FIXED.format('{""acme"": ""100""}')),
    "R02 no weight": ("E-LOAD-VALUE", FIXED.format('{""acme"": null}'), FIXED.format('{""acme"": 100}')),
    "R03 a weight as a float sum": (
        "E-COST-PARSE", FIXED.format('{""acme"": ""0.1+0.2"", ""globex"": ""99.7""}'),
        FIXED.format('{""acme"": ""0.3"", ""globex"": ""99.7""}')),
    "R03 a weight as the float of 0.1 + 0.2": (
        "E-RULE-SUM", FIXED.format('{""acme"": 0.30000000000000004, ""globex"": 99.7}'),
        FIXED.format('{""acme"": 0.3, ""globex"": 99.7}')),
    "R04 percentages of 99.99": (
        "E-RULE-SUM", FIXED.format('{""acme"": ""49.99"", ""globex"": ""50""}'),
        FIXED.format('{""acme"": ""50.00"", ""globex"": ""50""}')),
    "R04 percentages of 100.01": (
        "E-RULE-SUM", FIXED.format('{""acme"": ""50.01"", ""globex"": ""50""}'),
        FIXED.format('{""acme"": ""50.01"", ""globex"": ""49.99""}')),
    "R05 a priority that is taken": (
        "E-RULE-OVERLAP", "x,1,2025-01-01,,30,AmazonS3,,even,,,fail,kim",
        "x,1,2025-01-01,,31,AmazonS3,,even,,,fail,kim"),
    "R08 dates that are reversed": (
        "E-RULE-DATES", "x,1,2025-06-01,2025-05-01,40,AmazonS3,,even,,,fail,kim",
        "x,1,2025-05-01,2025-06-01,40,AmazonS3,,even,,,fail,kim"),
    "R08 dates that overlap": (
        "E-RULE-DATES", "rest,2,2025-01-01,,30,,usage,even,,,fail,kim",
        "rest,2,2025-02-01,,30,,usage,even,,,fail,kim"),
    "R08 a day that there is not": (
        "E-LOAD-VALUE", "x,1,2025-02-29,,40,AmazonS3,,even,,,fail,kim",
        "x,1,2024-02-29,,40,AmazonS3,,even,,,fail,kim"),
    "R10 a cycle": (
        "E-RULE-CYCLE", "x,1,2025-01-01,,40,AmazonS3,,even,,,rule:y,kim\n"
        "y,1,2025-01-01,,41,AmazonS3,,even,,,rule:x,kim",
        "x,1,2025-01-01,,40,AmazonS3,,even,,,rule:y,kim\ny,1,2025-01-01,,41,AmazonS3,,even,,,rule:rest,kim"),
    "R11 a version as a float": (
        "E-LOAD-VALUE", "x,1e3,2025-01-01,,40,AmazonS3,,even,,,fail,kim",
        "x,1000,2025-01-01,,40,AmazonS3,,even,,,fail,kim"),
    "R11 a priority that is no": (
        "E-LOAD-VALUE", "x,1,2025-01-01,,NO,AmazonS3,,even,,,fail,kim",
        "x,1,2025-01-01,,012,AmazonS3,,even,,,fail,kim"),
    "R11 a key that is no": ("E-LOAD-VALUE", LINE.format("AmazonS3", "usage_key", "NO"),
                             LINE.format("AmazonS3", "usage_key", "network")),
    "R11 a share in powers of ten": (
        "E-COST-PARSE", FIXED.format('{""acme"": 1e2}'), FIXED.format('{""acme"": 100}')),
    "R11 a share with a leading zero, which JSON does not know": (
        "E-LOAD-VALUE", FIXED.format('{""acme"": 0100}'), FIXED.format('{""acme"": 100}')),
    "R11 a tenant given twice": (
        "E-LOAD-VALUE", FIXED.format('{""acme"": 50, ""acme"": 50}'),
        FIXED.format('{""acme"": 50, ""globex"": 50}')),
    "R11 a share that is no": (
        "E-LOAD-VALUE", FIXED.format('{""acme"": NO}'), FIXED.format('{""acme"": ""100""}')),
    "R12 SQL as a method": (
        "E-RULE-METHOD", LINE.format("AmazonS3", "even; DROP TABLE tenants", ""),
        LINE.format("AmazonS3", "even", "")),
    "R12 SQL as a key": (
        "E-LOAD-VALUE", LINE.format("AmazonS3", "usage_key", "network' OR '1'='1"),
        LINE.format("AmazonS3", "usage_key", "network")),
    "R12 SQL as a policy": (
        "E-RULE-METHOD", "x,1,2025-01-01,,40,AmazonS3,,even,,,rule:rest' --,kim",
        "x,1,2025-01-01,,40,AmazonS3,,even,,,rule:rest,kim"),
    "R12 SQL as a class": (
        "E-LOAD-VALUE", "x,1,2025-01-01,,40,,usage' OR 'a'='a,even,,,fail,kim",
        "x,1,2025-01-01,,40,,tax,even,,,fail,kim"),
}  # fmt: skip


@pytest.mark.sampled(7)
@pytest.mark.parametrize("case", CASES)
def test_a_rule_that_cannot_be_is_refused_and_its_twin_is_taken(case: str, tmp_path: Path) -> None:
    code, bad, good = CASES[case]
    opened = home(tmp_path)
    before = dump(opened)
    for act in (
        lambda path: load(opened, [path]),
        lambda path: rule_check.check(opened, [path]),
    ):
        with pytest.raises(CopsError) as refusal:
            act(rules(tmp_path, bad))
        assert refusal.value.code == code
        assert dump(opened) == before
    taken = rules(tmp_path, good)
    assert rule_check.check(opened, [taken]).errors == 0
    assert dump(opened) == before
    load(opened, [taken])


def test_r11_names_that_look_like_numbers_or_booleans_stay_the_text_they_are(tmp_path: Path) -> None:
    names = ("NO", "012", "12", "1e3", "1000", "null", "2025-09-01")
    opened = home(tmp_path, inputs={})
    give(
        opened, tmp_path,
        allocation_rules=HEADER
        + "".join(f"{name},1,2025-01-01,,{n},{name},,even,,,fail,kim\n" for n, name in enumerate(names)),
    )  # fmt: skip
    with opened.admin.read() as con:
        stored = {rule.rule_id: dict(rule.matches) for rule in in_force.read(con).rules}
    assert stored == {name: {"service": name} for name in names}


@pytest.mark.long
def test_r12_sql_in_a_text_that_rules_match_on_is_compared_as_text(books: Books, tmp_path: Path) -> None:
    row = """sql,1,2025-01-01,,5,"x' OR 1=1; DROP TABLE tenants; --",,fixed,,"{""acme"": 100}",fail,kim"""
    before = by_tenant(books)
    give(books, tmp_path, allocation_rules=HEADER + row + "\n")
    run(books)
    assert by_tenant(books) == before
    (sql,) = [one for one in rule_effects.explain(books, SEPTEMBER).rules if one.rule_id == "sql"]
    assert (sql.pools, sql.claimed_usd) == (0, 0)


@pytest.mark.long
def test_r13_a_month_without_usage_is_refused_and_last_month_s_values_are_never_taken(
    tmp_path: Path,
) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    august = INPUTS["tenant_network_usage"].replace("2025-09", "2025-08")
    opened = home(tmp_path, inputs=INPUTS | {"tenant_network_usage": august})
    with pytest.raises(CopsError, match="E-KEY-ZERO"):
        run(opened)
    assert by_tenant(opened) == {}
    give(opened, tmp_path, tenant_network_usage=INPUTS["tenant_network_usage"])
    run(opened)
    assert sum(by_tenant(opened).values()) == Decimal("40.880000001")


# --- check --------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_good_set_has_the_gaps_of_its_month_and_no_error(books: Books) -> None:
    checked = rule_check.check(books)
    assert codes(checked) == [("warning", "E-RULE-GAP")]  # the month has tax, and no rule for it
    assert checked.days == (SEPTEMBER.start,)


@pytest.mark.long
def test_a_set_with_a_rule_for_everything_has_no_problem(books: Books, tmp_path: Path) -> None:
    place = rules(tmp_path, "all,1,2025-01-01,,90,,,proportional_cost,,,even,kim")
    assert codes(rule_check.check(books, [place])) == []
    assert codes(rule_check.check(books)) == [("warning", "E-RULE-GAP")]  # nothing was loaded


@pytest.mark.long
def test_a_file_is_checked_for_every_day_it_changes_the_set(books: Books, tmp_path: Path) -> None:
    place = rules(
        tmp_path,
        "all,1,2025-01-01,,90,,,proportional_cost,,,even,kim",
        "hidden,1,2025-12-01,2026-02-01,95,AmazonS3,,even,,,fail,kim",
    )
    checked = rule_check.check(books, [place])
    assert checked.days == (SEPTEMBER.start, date(2025, 12, 1), date(2026, 2, 1))
    ((problem, days),) = checked.problems.items()
    assert (problem.code, problem.rule_ids, days) == (
        "E-RULE-OVERLAP", ("all", "hidden"), (date(2025, 12, 1),),
    )  # fmt: skip
    assert codes(rule_check.check(books, [place], SEPTEMBER)) == []
    assert codes(rule_check.check(books, [place], Period(2026, 1))) == [("warning", "E-RULE-OVERLAP")]


@pytest.mark.long
def test_a_month_that_follows_another_day_s_rules_is_checked_on_that_day(books: Books) -> None:
    rule_date.decide(books, SEPTEMBER, date(2025, 9, 15), note="agreed with finance")
    assert rule_check.check(books, period=SEPTEMBER).days == (date(2025, 9, 15),)
    assert rule_check.check(books, period=Period(2025, 10)).days == (date(2025, 10, 1),)


@pytest.mark.long
def test_a_refused_file_shows_every_problem_of_the_set_it_would_make(books: Books, tmp_path: Path) -> None:
    place = rules(
        tmp_path,
        "a,1,2025-01-01,,30,AmazonS3,,even,,,rule:b,kim",
        "b,1,2025-01-01,,31,AmazonS3,,usage_key,unheard,,rule:a,kim",
    )
    with pytest.raises(CopsError) as refusal:
        rule_check.check(books, [place])
    assert refusal.value.code == "E-KEY-UNKNOWN"  # what a load would say, and it says one thing
    found = [(one["code"], one["rule_ids"]) for one in refusal.value.details["problems"]]
    assert found[:3] == [
        ("E-KEY-UNKNOWN", ["b"]), ("E-RULE-CYCLE", ["a", "b"]), ("E-RULE-OVERLAP", ["a", "rest"]),
    ]  # fmt: skip


@pytest.mark.long
def test_a_stored_set_that_no_load_would_take_is_found_whole_and_given_to_no_run(books: Books) -> None:
    """Written past the load, as an older COPS or a person with the database open might have."""
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.allocation_rules).values(
                rule_id="bad", version=1, effective_from=date(2025, 1, 1), priority=30, method="fixed",
                shares='{"nobody": "99"}', on_zero_key="rule:bad", approved_by="kim",
            )
        )  # fmt: skip
    checked = rule_check.check(books, period=SEPTEMBER)
    assert [code for severity, code in codes(checked) if severity == "error"] == [
        "E-RULE-CYCLE", "E-RULE-OVERLAP", "E-RULE-SUM", "E-TENANT-UNKNOWN",
    ]  # fmt: skip
    with books.admin.read() as con, pytest.raises(CopsError, match="E-RULE-CYCLE") as refusal:
        in_force.in_force(con, SEPTEMBER.start)
    assert len(refusal.value.details["problems"]) == checked.errors == 4


@pytest.mark.long
def test_a_set_that_is_good_is_given_to_a_run_as_it_was(books: Books) -> None:
    with books.admin.read() as con:
        assert tuple(in_force.in_force(con, SEPTEMBER.start)) == gather(con, books.settings, SEPTEMBER).rules


@pytest.mark.long
def test_a_rehearsal_is_rolled_back_whether_or_not_it_fails(books: Books) -> None:
    before = dump(books)

    def rehearse(end: Callable[[], object]) -> None:
        with rule_check.rehearsal(books.admin) as con:
            con.execute(sa.insert(t.plans).values(plan_id="x", effective_from=date(2025, 1, 1), markup_bps=0))
            assert "x" in con.execute(sa.select(t.plans.c.plan_id)).scalars().all()
            end()

    rehearse(lambda: None)
    assert dump(books) == before
    with pytest.raises(ZeroDivisionError):
        rehearse(lambda: 1 // 0)
    assert dump(books) == before


# --- explain ------------------------------------------------------------------------------------------


def test_every_rule_shows_what_it_claims_and_where_that_ends_up_exactly(books: Books) -> None:
    found = rule_effects.explain(books, SEPTEMBER)
    shown = {
        one.rule_id: (one.priority, one.pools, one.claimed_usd, one.tenants_usd, one.operator_usd,
                      one.unallocated_usd)
        for one in found.rules
    }  # fmt: skip
    nine, three = Decimal("9.000000001"), Decimal("3.01")
    assert shown == {
        "transfer": (10, 1, nine, nine, 0, 0),
        "credits": (20, 1, Decimal("-1.5"), 0, Decimal("-1.5"), 0),
        "rest": (30, 1, three, three, 0, 0),
    }
    assert [(one.service, one.charge_class, one.pools, one.unblended_usd) for one in found.unclaimed] == [
        ("AmazonEC2", "tax", 1, Decimal("0.07"))
    ]
    assert (found.pools, found.pooled_usd) == (4, Decimal("10.580000001"))


@pytest.mark.long
def test_every_rule_shows_its_key_with_total_and_tenants(books: Books) -> None:
    keys = {
        one.rule_id: [(key.key_name, key.measure, key.total, key.tenants) for key in one.keys]
        for one in rule_effects.explain(books, SEPTEMBER).rules
    }
    assert keys == {
        "transfer": [("network", "network", 3, 2)],
        "credits": [("fixed:credits", "percent", 100, 1)],
        "rest": [("direct_cost", "direct_cost_usd", Decimal("30.30"), 2)],
    }


@pytest.mark.long
def test_cost_that_a_fallback_splits_stays_on_the_line_of_the_rule_that_claimed_it(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    changed = INPUTS | {
        "allocation_rules": INPUTS["allocation_rules"].replace("network,,fail", "network,,rule:rest"),
        "tenant_network_usage": INPUTS["tenant_network_usage"].split("\n")[0] + "\n",
    }
    opened = home(tmp_path, inputs=changed)
    run(opened)
    found = {one.rule_id: one for one in rule_effects.explain(opened, SEPTEMBER).rules}
    assert (found["transfer"].pools, found["transfer"].tenants_usd) == (1, Decimal("9.000000001"))
    assert [(key.key_name, key.total) for key in found["transfer"].keys] == [
        ("direct_cost", Decimal("30.30")), ("network", 0),
    ]  # fmt: skip
    assert found["rest"].claimed_usd == Decimal("3.01")


@pytest.mark.long
def test_the_lines_of_an_explanation_add_up_to_what_the_run_posted(books: Books) -> None:
    found = rule_effects.explain(books, SEPTEMBER)
    posted = by_tenant(books)
    left = sum(one.unblended_usd for one in found.unclaimed)
    assert sum(one.operator_usd for one in found.rules) == posted["__operator__"]
    assert sum(one.unallocated_usd for one in found.rules) + left == posted["__unallocated__"]
    direct = Decimal("10.10") + Decimal("20.20")
    assert sum(one.tenants_usd for one in found.rules) + direct == posted["acme"] + posted["globex"]
    assert sum(one.claimed_usd for one in found.rules) + left == found.pooled_usd


def test_a_rule_whose_key_is_empty_says_that_it_stops_the_run(books: Books, tmp_path: Path) -> None:
    assert not any(one.stops_the_run for one in rule_effects.explain(books, SEPTEMBER).rules)
    zero = INPUTS["tenant_network_usage"].replace(",1,", ",0,").replace(",2,", ",0,")
    give(books, tmp_path, replace=True, tenant_network_usage=zero)
    stopping = [one for one in rule_effects.explain(books, SEPTEMBER).rules if one.stops_the_run]
    assert [(one.rule_id, one.unallocated_usd) for one in stopping] == [("transfer", Decimal("9.000000001"))]


def test_a_month_that_is_not_tagged_has_nothing_to_explain_or_compare(books: Books, tmp_path: Path) -> None:
    with pytest.raises(CopsError, match="E-PERIOD-UNKNOWN"):
        rule_effects.explain(books, Period(2025, 8))
    with pytest.raises(CopsError, match="E-PERIOD-UNKNOWN"):
        rule_effects.diff(books, Period(2025, 8), date(2025, 9, 1))


# --- diff ---------------------------------------------------------------------------------------------


@pytest.mark.long
def test_other_rules_show_their_effect_on_each_tenant_and_write_nothing_at_all(
    books: Books, tmp_path: Path
) -> None:
    place = rules(tmp_path, "transfer,2,2025-09-01,,10,AWSDataTransfer,,even,,,fail,kim")
    before, stored = dump(books), files(books.settings.lake_root)
    found = rule_effects.diff(books, SEPTEMBER, place)
    assert dump(books) == before
    assert files(books.settings.lake_root) == stored
    assert found.rules == (rule_effects.RuleChange("transfer", 1, 2),)
    changed = {one.tenant_id: one.unblended_difference_usd for one in found.effects}
    # network splits 9.000000001 as 1 : 2, even as 1 : 1
    assert changed["acme"] == -changed["globex"] == Decimal("4.5000000005") - Decimal("3.000000000333333333")
    assert changed["__operator__"] == changed["__unallocated__"] == 0
    load(books, [place])
    posted = by_tenant(books)
    run(books)
    assert {name: usd - posted[name] for name, usd in by_tenant(books).items()} == changed


@pytest.mark.sampled(3)
@pytest.mark.parametrize("basis", ["unblended", "amortized", "net_amortized"])
def test_differences_sum_to_exactly_nothing_on_both_bases(tmp_path: Path, basis: str) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    opened = home(tmp_path, charge={"basis": basis})
    run(opened)
    place = rules(
        tmp_path,
        'rest,2,2025-09-01,,30,,usage,fixed,,"{""acme"": ""33.3"", ""__operator__"": ""66.7""}",fail,kim',
        "tax,1,2025-01-01,,40,,tax,hold,,,fail,kim",
    )
    found = rule_effects.diff(opened, SEPTEMBER, place)
    assert found.basis == basis
    assert any(one.unblended_difference_usd for one in found.effects)
    assert sum(one.unblended_difference_usd for one in found.effects) == 0
    assert sum(one.basis_difference_usd for one in found.effects) == 0
    assert [one.rule_id for one in found.rules] == ["rest", "tax"]
    for one in found.effects:
        assert one.unblended_after_usd - one.unblended_before_usd == one.unblended_difference_usd
        assert one.basis_after_usd - one.basis_before_usd == one.basis_difference_usd


@pytest.mark.long
def test_the_rules_of_another_day_are_compared_over_the_same_month(books: Books, tmp_path: Path) -> None:
    give(books, tmp_path, allocation_rules=HEADER + "rest,2,2025-09-15,,30,,usage,even,,,fail,kim\n")
    before = dump(books)
    found = rule_effects.diff(books, SEPTEMBER, date(2025, 9, 15))
    assert found.rules == (rule_effects.RuleChange("rest", 1, 2),)
    assert sum(one.unblended_difference_usd for one in found.effects) == 0
    assert any(one.unblended_difference_usd for one in found.effects)
    same = rule_effects.diff(books, SEPTEMBER, date(2025, 9, 14))
    assert same.rules == ()
    assert not any(one.unblended_difference_usd for one in same.effects)
    none = rule_effects.diff(books, SEPTEMBER, date(2024, 12, 31))
    assert [one.version_after for one in none.rules] == [None, None, None]
    assert {one.tenant_id: one.unblended_after_usd for one in none.effects if one.unblended_after_usd} == {
        "__unallocated__": Decimal("10.580000001")
    }
    assert dump(books) == before


@pytest.mark.long
def test_keys_and_usage_in_the_folder_are_used_too(books: Books, tmp_path: Path) -> None:
    usage = "period_start,tenant_id,value,refreshed_at\n2025-09,acme,1,2025-10-01T03:00:00Z\n"
    place = rules(
        tmp_path, "transfer,2,2025-09-01,,10,AWSDataTransfer,,usage_key,disk,,fail,kim",
        allocation_keys="key_name,measure,max_age_hours\ndisk,disk,24\n", tenant_disk_usage=usage,
    )  # fmt: skip
    found = {one.tenant_id: one for one in rule_effects.diff(books, SEPTEMBER, place).effects}
    assert found["acme"].unblended_difference_usd == Decimal("6.000000000666666667")


def test_a_set_that_would_stop_the_run_says_so(books: Books, tmp_path: Path) -> None:
    place = rules(
        tmp_path, "transfer,2,2025-09-01,,10,AWSDataTransfer,,usage_key,disk,,fail,kim",
        allocation_keys="key_name,measure,max_age_hours\ndisk,disk,24\n",
    )  # fmt: skip
    assert rule_effects.diff(books, SEPTEMBER, place).stops_the_run == ("transfer",)
    assert rule_effects.diff(books, SEPTEMBER, date(2025, 9, 1)).stops_the_run == ()


def test_what_is_compared_with_is_a_day_that_exists_or_a_path() -> None:
    assert rule_effects.other_set("2025-09-30") == date(2025, 9, 30)
    assert rule_effects.other_set("rules/2025-09-30.csv") == Path("rules/2025-09-30.csv")
    with pytest.raises(CopsError, match="E-PARAM"):
        rule_effects.other_set("2025-09-31")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("usage", "wrong"),
    [
        ("acme,1 globex,2", []),
        ("acme,1 globex,0", []),
        ("acme,1", [("globex", "no figure")]),
        ("acme,1 globex,2 gone,3", [("gone", "not active in the month")]),
    ],
)
def test_a_key_that_forgets_a_tenant_or_names_another_is_told(
    tmp_path: Path, usage: str, wrong: list[tuple[str, str]]
) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    rows = "".join(f"2025-09,{one},2025-10-01T03:00:00Z\n" for one in usage.split())
    books = home(
        tmp_path,
        inputs=INPUTS
        | {
            "tenant_network_usage": f"period_start,tenant_id,value,refreshed_at\n{rows}",
            "tenants": INPUTS["tenants"]
            .replace("active_from\n", "active_from,active_to\n")
            .replace("01\n", "01,\n")
            + "gone,Gone,team,2024-01-01,2025-09-01\n",
        },
    )
    run(books)
    verdict = next(one for one in checks.keys(books, SEPTEMBER) if one.check == "keys_name_every_tenant")
    assert verdict.passed == (not wrong)
    assert [(one["tenant_id"], one["what"]) for one in verdict.figures["tenants"]] == wrong  # type: ignore[union-attr,index]
