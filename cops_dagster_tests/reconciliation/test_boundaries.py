"""Verdicts at their boundaries: exactly there, and one atto-dollar to either side."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cops_dagster.allocation.verdicts import (
    allocated_equals_pool,
    key_totals_positive,
    rules_cover_every_pool,
    unallocated_within_2_pct,
)
from cops_dagster.ingestion import profile
from cops_dagster.ingestion import verdicts as deliveries
from cops_dagster.ingestion.verdicts import cost_views_bridge, no_unexpected_columns, rows_match_delivery
from cops_dagster.reconciliation.verdicts import (
    aws_invoice_matches_cur,
    exceptions_explained,
    variance_within_tolerance,
)
from cops_dagster.tagging.verdicts import Coverage, tag_coverage_at_target, tagging_preserves_cost
from cops_dagster.verdict import Verdict

D = Decimal
TINY = D("1e-18")


def said(verdict: Verdict) -> str:
    """`ok`, `nothing`, or the severity of a verdict that does not hold."""
    return {True: "ok", None: "nothing", False: verdict.severity}[verdict.passed]


BRIDGE = """
# Σ|cost|     residual                 verdict    warn above max(0.01, 1e-7 Σ), error above 1e-4 Σ
0             0                        ok
0             0.01                     ok
0             0.010000000000000001     ERROR
100           0.01                     ok
100           -0.01                    ok
100           0.010000000000000001     ERROR
1000          -0.010000000000000001    WARN
1000          0.1                      WARN
1000          0.100000000000000001     ERROR
1000          -0.100000000000000001    ERROR
100000        0.01                     ok
100001        0.0100001                ok
100001        0.010000100000000001     WARN
10000000      1                        ok
10000000      -1.000000000000000001    WARN
10000000      1000                     WARN
10000000      1000.000000000000000001  ERROR
"""


@pytest.mark.parametrize("row", [row for row in BRIDGE.strip().splitlines() if not row.startswith("#")])
def test_the_bridge_of_cost_views_bears_the_rounding_of_aws_and_no_more(row: str) -> None:
    absolute, residual, verdict = row.split()
    views = {"unblended": D(7) + D(residual), "amortized": D(4), "true_up": D(-2), "upfront": D(5)}
    views |= {"net_unblended": D(6), "net_amortized": D(3), "net_true_up": D(-2), "net_upfront": D(5)}
    found = cost_views_bridge(views, D(absolute))
    assert said(found) == verdict
    assert found.figures["residual_usd"] == D(residual)
    assert not found.refuses


def test_the_bridge_of_the_net_views_is_held_to_the_same_and_halves_of_commitments_leave_it() -> None:
    gross = {"unblended": D(7), "amortized": D(4), "true_up": D(-2), "upfront": D(5)}
    views = gross | {"net_unblended": D(7), "net_amortized": D(3), "net_true_up": D(-2), "net_upfront": D(5)}
    found = cost_views_bridge(views, D(1000))
    assert (said(found), found.figures["net_residual_usd"]) == ("ERROR", 1)
    assert said(cost_views_bridge(views, D(1000), D(0), D(1))) == "ok"
    assert said(cost_views_bridge(views, D(1000), D(1), D(1))) == "ERROR"


COVERAGE = """
# covered   coverable   target  verdict
100         100         100     ok
99.999999999999999999  100  100  WARN
98          100         100     WARN
97.999999999999999999  100  100  ERROR
0           0           100     nothing
0           100         100     ERROR
99          100         99      ok
0.000000000000000098  0.0000000000000001  100  WARN
0.000000000000000097  0.0000000000000001  100  ERROR
1           3           33.333333  ok
1           3           33.333334  ERROR
"""


@pytest.mark.parametrize("row", [row for row in COVERAGE.strip().splitlines() if not row.startswith("#")])
def test_coverage_is_judged_at_its_target_and_its_floor_of_98(row: str) -> None:
    covered, coverable, target, verdict = row.split()
    figures = Coverage(D(covered), D(coverable), D(covered), 1, 2, 1, D(coverable) - D(covered))
    found = tag_coverage_at_target(figures, D(target), D(98))
    assert said(found) == verdict
    assert not found.refuses


def test_coverage_shows_cost_rows_and_propagation_apart() -> None:
    found = Coverage(D(1), D(3), D(2), 1, 4, 3, D(2))
    assert (found.percent, found.row_percent, found.propagated_percent) == (
        D("33.333333"), D(25), D("66.666667"),
    )  # fmt: skip
    nothing = Coverage(D(0), D(0), D(0), 0, 0, 0, D(0))
    assert (nothing.percent, nothing.row_percent, nothing.propagated_percent) == (None, None, None)


MISMATCH = """
# fault  gap                     pool   verdict
0        0                       100    ok
2        0                       100    ok
0        2                       100    ok
1        1                       100    ok
2        0.000000000000000001    100    ERROR
0        2.000000000000000001    100    ERROR
0        0                       0      nothing
"""


@pytest.mark.parametrize("row", [row for row in MISMATCH.strip().splitlines() if not row.startswith("#")])
def test_two_per_cent_of_the_pool_may_be_unclaimed_or_undelivered_and_not_more(row: str) -> None:
    fault, gap, pool, verdict = row.split()
    assert said(unallocated_within_2_pct(D(fault), D(gap), D(pool))) == verdict


@pytest.mark.parametrize("rows", [(3, 2, 1), (0, 0, 0), (5, 0, 5)])
def test_rows_that_match_are_published(rows: tuple[int, int, int]) -> None:
    assert not rows_match_delivery(*rows).refuses


@pytest.mark.parametrize("rows", [(3, 2, 0), (3, 2, 2), (0, 1, 0)])
def test_a_row_too_few_or_too_many_refuses(rows: tuple[int, int, int]) -> None:
    assert rows_match_delivery(*rows).refuses


def test_tagging_may_not_move_one_atto_dollar_of_any_column() -> None:
    raw = {"unblended": D(5), "amortized": D(3)}
    assert tagging_preserves_cost(raw, dict(raw)).passed
    for name in raw:
        for tiny in (TINY, -TINY):
            assert tagging_preserves_cost(raw, raw | {name: raw[name] + tiny}).refuses


def test_two_columns_that_move_against_each_other_do_not_cancel() -> None:
    raw = {"unblended": D(5), "amortized": D(3)}
    assert tagging_preserves_cost(raw, {"unblended": D(6), "amortized": D(2)}).refuses


def test_a_difference_by_service_refuses_and_none_does_not() -> None:
    assert allocated_equals_pool([{"service": "EC2"}], D(1)).refuses
    assert not allocated_equals_pool([], D(1)).refuses


def test_an_empty_key_refuses_and_a_gap_in_the_rules_only_warns() -> None:
    assert key_totals_positive([{"rule_id": "r"}], 1).refuses
    assert not key_totals_positive([], 0).refuses
    assert said(rules_cover_every_pool([{"service": "EC2"}], 1)) == "WARN"
    assert said(rules_cover_every_pool([], 1)) == "ok"


def test_rows_may_grow_or_stay_but_not_fall() -> None:
    def falling(rows: int, before: int | None) -> str:
        old = None if before is None else profile.Profile("s", before, Decimal(0))
        warned = deliveries.warnings([profile.Profile("s", rows, Decimal(0))], [old], frozenset())
        return said(next(verdict for verdict in warned if verdict.check == "rows_not_falling"))

    assert [falling(rows, 5) for rows in (4, 5, 6)] == ["WARN", "ok", "ok"]
    assert falling(0, None) == "ok"


def test_an_unexpected_column_is_named_and_warned_about() -> None:
    found = no_unexpected_columns(["b", "a"], 3)
    assert (said(found), found.figures["unexpected_columns"]) == ("WARN", "b, a")
    assert said(no_unexpected_columns([], 3)) == "ok"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [("ok", "ok"), ("warning", "WARN"), ("failed", "ERROR"), ("provisional", "WARN"), ("incomplete", "WARN")],
)
def test_a_variance_is_as_grave_as_its_reconciliation(status: str, verdict: str) -> None:
    assert said(variance_within_tolerance(status, D(1), None, "acme")) == verdict


@pytest.mark.parametrize(
    ("invoices", "gaps", "verdict"),
    [
        (0, [], "nothing"),
        (1, [], "ok"),
        (1, [("I-1 tax", D("0.01"), False)], "WARN"),
        (1, [("I-1 tax", D("0.01"), True)], "ok"),
        (2, [("I-1 tax", D(5), True), ("I-2 before tax", D(-5), False)], "WARN"),
    ],
)
def test_aws_invoices_match_when_every_difference_is_explained(
    invoices: int, gaps: list[tuple[str, D, bool]], verdict: str
) -> None:
    assert said(aws_invoice_matches_cur(invoices, gaps)) == verdict


@pytest.mark.parametrize(("waiting", "verdict"), [([], "ok"), ([("fx", "acme", D(1), "decided")], "WARN")])
def test_exceptions_are_explained_once_two_people_agree(
    waiting: list[tuple[str, str, D, str]], verdict: str
) -> None:
    assert said(exceptions_explained(3, waiting)) == verdict
