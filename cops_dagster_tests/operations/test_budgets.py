"""Budgets: actual, forecast, level, alerts; AWS Budgets beside them, throttled or gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.alerts import board
from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.operations import budgets
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.aws import budgets as aws_budgets
from cops_dagster_tests.aws_server import Aws, aws, failure
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write

__all__ = ["aws"]  # the fixture
HEADER = "budget_id,version,scope_type,scope_value,effective_from,effective_to,basis,target_usd\n"


def budget(
    name: str, scope: str, value: str, target: str, version: int = 1, since: str = "2025-01-01"
) -> str:
    return f"{name},{version},{scope},{value},{since},,unblended,{target}\n"


def books_with(folder: Path, *rows: str, **overrides: object) -> Books:
    write(folder / "cur", [lines(MONTH)])
    books = home(folder, inputs=INPUTS | {"budgets": HEADER + "".join(rows)}, **overrides)
    run(books)
    return books


def row(books: Books, name: str) -> dict[str, Any]:
    with books.admin.read() as con:
        return dict(
            con.execute(sa.select(t.budget_master).where(t.budget_master.c.budget_id == name))
            .mappings()
            .one()
        )


def firing(books: Books) -> dict[str, tuple[str, int]]:
    with books.admin.read() as con:
        return {
            one.scope: (one.severity, one.step) for one in board.alerts(con) if one.rule == "budget_level"
        }


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("scope", "value", "actual"),
    [
        ("total", "", "40.880000001"),
        ("tenant", "acme", "14.1"),
        ("plan", "team", "42.31"),
        ("service", "AWSDataTransfer", "9.000000001"),
        ("component", "network", "9.000000001"),
        ("account", "111111111111", "40.880000001"),
    ],
)
def test_a_budget_of_every_scope_has_its_actual(tmp_path: Path, scope: str, value: str, actual: str) -> None:
    found = row(books_with(tmp_path, budget("b", scope, value, "100")), "b")
    assert abs(found["actual_usd"] - Decimal(actual)) < Decimal("0.01")
    assert (found["forecast_usd"], found["forecast_error_usd"]) == (found["actual_usd"], 0)
    assert found["forecast_method"] == "the month is over"


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("target", "level", "alert"),
    [
        ("100", "ok", None),
        ("51.10000000125", "ok", ("P3", 0)),
        ("51.1", "warning", ("P3", 0)),
        ("43.03", "critical", ("P2", 0)),
        ("39", "critical", ("P2", 1)),
        ("20", "critical", ("P2", 5)),
    ],
)
def test_a_level_is_an_alert_and_an_overrun_passes_steps(
    tmp_path: Path, target: str, level: str, alert: tuple[str, int] | None
) -> None:
    books = books_with(tmp_path, budget("b", "total", "", target))
    found = row(books, "b")["level"]
    if target == "51.10000000125":  # exactly 80 %: at the threshold it is reached
        assert (found, firing(books)["b"]) == ("warning", alert)
        return
    assert found == level
    assert firing(books).get("b") == alert


@pytest.mark.parametrize("target", ["0", "-5"])
def test_a_target_of_nothing_is_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(CopsError, match="E-LOAD-VALUE"):
        books_with(tmp_path, budget("b", "total", "", target))


@pytest.mark.long
def test_two_versions_of_a_budget_do_not_overlap_and_the_newest_is_measured(tmp_path: Path) -> None:
    first = "b,1,total,,2025-01-01,2025-09-01,unblended,10\n"
    books = books_with(tmp_path, first, budget("b", "total", "", "100", 2, "2025-09-01"))
    assert row(books, "b")["target_usd"] == 100
    with pytest.raises(CopsError, match="E-BUDGET-OVERLAP"):
        give(books, tmp_path, budgets=HEADER + "b,3,total,,2025-05-01,2025-06-01,unblended,10\n")


def test_tenants_without_a_budget_are_named(tmp_path: Path) -> None:
    books = books_with(tmp_path, budget("b", "tenant", "acme", "100"))
    with books.admin.read() as con:
        assert budgets.without_budget(con) == ["globex"]


@pytest.mark.long
def test_a_threshold_crossed_again_after_a_credit_fires_again(tmp_path: Path) -> None:
    books = books_with(
        tmp_path, budget("b", "total", "", "43.5"), delivery={"shrink_pct": "90", "growth_pct": "900"}
    )
    assert firing(books) == {"b": ("P3", 0)}
    for number, (credit, expected) in enumerate((("-15", None), ("-1.5", 2)), start=2):
        write(tmp_path / "cur", [lines(MONTH.replace("-1.5", credit))], assembly=f"a{number}")
        run(books)
        with books.admin.read() as con:
            (alert,) = [one for one in board.alerts(con, everything=True) if one.rule == "budget_level"]
        assert (alert.state, alert.episode) == (("firing", expected) if expected else ("resolved", 1))


@pytest.mark.long
def test_alerts_of_the_month_before_end_with_the_new_month(tmp_path: Path) -> None:
    books = books_with(tmp_path, budget("b", "total", "", "41"))
    assert firing(books)
    october = Period(2025, 10)
    write(
        tmp_path / "cur",
        [lines("type service account tenant plan component cost\nUsage S3 1 acme team api 1", october)],
        period=october,
    )
    run(books, october)
    with books.admin.read() as con:
        (alert,) = [one for one in board.alerts(con, everything=True) if one.rule == "budget_level"]
    assert (alert.period, alert.state, alert.resolved_because) == (
        SEPTEMBER,
        "resolved",
        "the month is 2025-10 now",
    )


@pytest.mark.long
def test_a_running_month_is_forecast_by_its_complete_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = "\n".join(
        f"Usage AmazonEC2 111111111111 acme team api {cost} 2025-09-{day:02d}T05:00:00"
        for day, cost in ((1, 10), (2, 10), (3, 10), (4, 10), (5, 3))
    )
    text = f"type service account tenant plan component cost line_item_usage_start_date\n{days}\n"
    write(tmp_path / "cur", [_dated(text)])
    at = datetime(2025, 9, 6, 4)
    monkeypatch.setattr(budgets, "now", lambda: at)
    books = home(tmp_path, inputs=INPUTS | {"budgets": HEADER + budget("b", "total", "", "400")})
    run(books)
    found = row(books, "b")
    assert (found["actual_usd"], found["forecast_usd"], found["forecast_error_usd"]) == (43, 300, 0)
    assert found["forecast_method"] == "run rate of 4 complete days"
    assert found["last_refreshed_at"] == at


def _dated(text: str) -> Any:
    import pyarrow as pa

    rows = [line.split() for line in text.strip().splitlines()]
    plain = "\n".join(" ".join(one[:-1]) for one in rows)
    table = lines(plain)
    at = table.schema.get_field_index("line_item_usage_start_date")
    starts = [datetime.fromisoformat(one[-1]) for one in rows[1:]]
    return table.set_column(at, table.schema.field(at), pa.array(starts, table.schema.field(at).type))


# --- AWS Budgets ------------------------------------------------------------------------------------------


def said(*names: str, following: str = "") -> tuple[int, dict[str, Any]]:
    found = [
        {
            "BudgetName": name, "BudgetType": "COST", "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": "100.0", "Unit": "USD"},
            "CalculatedSpend": {"ActualSpend": {"Amount": "12.34", "Unit": "USD"}},
        }
        for name in names
    ]  # fmt: skip
    return 200, {"Budgets": found, **({"NextToken": following} if following else {})}


def kept(books: Books) -> dict[str, tuple[Decimal | None, Decimal | None]]:
    with books.admin.read() as con:
        rows = con.execute(sa.select(t.aws_budget)).all()
    return {one.budget_name: (one.actual_amount, one.forecast_amount) for one in rows}


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Books:
    monkeypatch.setattr(aws_budgets, "PAUSE_SECONDS", 0)
    books = books_with(tmp_path, budget("b", "total", "", "100"))
    limits = books.settings.budgets.model_copy(update={"aws_account_id": "111111111111"})
    return replace(books, settings=books.settings.model_copy(update={"budgets": limits}))


def test_aws_budgets_stand_beside_ours(watched: Books, aws: Aws) -> None:
    aws.answers = [said("a", "b", following="more"), said("c")]
    done = budgets.refresh(watched)
    assert (done.budgets, done.aws_budgets, done.aws_refusal) == (1, 3, None)
    assert kept(watched) == dict.fromkeys(("a", "b", "c"), (Decimal("12.34"), None))
    assert [asked.get("NextToken") for asked in aws.asked] == [None, "more"]


@pytest.mark.long
def test_throttling_is_waited_out(watched: Books, aws: Aws) -> None:
    aws.answers = [(400, failure("ThrottlingException")), (400, failure("ThrottlingException")), said("a")]
    assert budgets.refresh(watched).aws_budgets == 1
    assert len(aws.asked) == 3


@pytest.mark.sampled(3)
@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException", "InternalErrorException"])
def test_without_aws_our_own_budgets_are_refreshed_and_what_was_read_stays(
    watched: Books, aws: Aws, code: str
) -> None:
    aws.answers = [said("a")]
    budgets.refresh(watched)
    before = row(watched, "b")["last_refreshed_at"]
    aws.answers = [(400, failure(code))]
    done = budgets.refresh(watched)
    assert done.aws_budgets is None
    assert done.aws_refusal
    assert done.aws_refusal.startswith("E-AWS-")
    assert list(kept(watched)) == ["a"]
    assert row(watched, "b")["last_refreshed_at"] > before


@pytest.mark.long
def test_without_an_account_aws_is_not_asked(tmp_path: Path, aws: Aws) -> None:
    budgets.refresh(books_with(tmp_path, budget("b", "total", "", "100")))
    assert aws.asked == []


def test_a_refresh_without_any_month_writes_nothing(tmp_path: Path) -> None:
    books = home(tmp_path, inputs=INPUTS | {"budgets": HEADER + budget("b", "total", "", "100")})
    assert budgets.refresh(books) == budgets.Refreshed(0, None)
