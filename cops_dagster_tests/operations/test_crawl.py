"""The crawler and the catalog: which months Athena lacks, when a crawl starts; how a query is going."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cops_dagster.cli.main import app
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import look
from cops_dagster.ledger.books import Books
from cops_dagster.operations import crawl
from cops_dagster.period import Period
from cops_dagster_tests.aws_server import TOKEN, Aws, aws
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, write
from cops_dagster_tests.stores.glue_server import Glue, serving

__all__ = ["aws"]  # a fixture
AT = datetime(2025, 10, 9, 12)
NAME = "commercial-ops-cur-crawler"


@pytest.fixture
def glue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Glue]:
    with serving(monkeypatch) as held:
        held.tables["cur"] = {"Name": "cur"}
        held.partitions = [["2025", "8"], ["2025", "9"]]
        held.crawler = crawler("SUCCEEDED", 2)
        yield held


@pytest.fixture
def books(tmp_path: Path) -> Books:
    made = home(tmp_path)
    write(tmp_path / "cur", [lines(MONTH)])
    look.look(made, SEPTEMBER)
    controls = made.settings.controls.model_copy(update={"crawler": NAME, "catalog_table": "billing.cur"})
    return replace(made, settings=made.settings.model_copy(update={"controls": controls}))


def crawler(status: str, hours: float, state: str = "READY") -> dict[str, object]:
    started = (AT - timedelta(hours=hours)).replace(tzinfo=UTC).timestamp()
    return {"State": state, "LastCrawl": {"Status": status, "StartTime": started}}


@pytest.mark.parametrize(
    ("values", "month"),
    [
        (("2025", "9"), (2025, 9)),
        (("2025", "12"), (2025, 12)),
        (("2025-09",), (2025, 9)),
        (("20250901-20251001",), (2025, 9)),
        (("123456789012", "2025", "9"), (2025, 9)),
        (("report", "2025-09"), (2025, 9)),
        (("2025", "13"), None),
        (("status",), None),
        ((), None),
    ],
)
def test_a_partition_names_its_month_as_any_kind_of_report_does(
    values: tuple[str, ...], month: tuple[int, int] | None
) -> None:
    assert crawl.period_of(values) == (Period(*month) if month else None)


def test_a_good_crawl_needs_no_other(books: Books, glue: Glue) -> None:
    assert crawl.watch(books, AT, None) == (f"{NAME} succeeded 2025-10-09 10:00 UTC", False)
    assert "StartCrawler" not in glue.asked


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("last", "partitions", "reason"),
    [
        (("SUCCEEDED", 2.0), [["2025", "8"]], "no partition for 2025-09"),
        (("FAILED", 2.0), [["2025", "8"], ["2025", "9"]], "the last crawl ended FAILED"),
        (("SUCCEEDED", 26.0), [["2025", "8"], ["2025", "9"]], "the last crawl began 2025-10-08 10:00 UTC"),
    ],
)
def test_a_crawl_is_started_once_and_again_after_six_hours(
    books: Books, glue: Glue, last: tuple[str, float], partitions: list[list[str]], reason: str
) -> None:
    glue.crawler, glue.partitions = crawler(*last), partitions
    assert crawl.watch(books, AT, None) == (f"{reason}: started {NAME}", True)
    glue.crawler = crawler(*last, state="RUNNING")
    assert crawl.watch(books, AT, AT) == (f"{NAME} is RUNNING", False)
    glue.crawler = crawler(*last)
    told, was_started = crawl.watch(books, AT + timedelta(hours=5), AT)
    assert "not again before 6 hours" in told
    assert not was_started
    assert glue.asked.count("StartCrawler") == 1
    assert crawl.watch(books, AT + timedelta(hours=6), AT)[1]
    assert glue.asked.count("StartCrawler") == 2


def test_a_crawler_that_runs_already_is_left_alone(books: Books, glue: Glue) -> None:
    assert crawl.start(books)
    assert not crawl.start(books)


def test_without_a_crawler_nothing_is_asked(tmp_path: Path, glue: Glue) -> None:
    plain = home(tmp_path)
    assert crawl.watch(plain, AT, None) == ("no crawler is set in [controls]", False)
    with pytest.raises(CopsError, match="COPS_CONTROLS__CRAWLER"):
        crawl.start(plain)
    assert glue.asked == []


@pytest.mark.long
@pytest.mark.parametrize("code", ["AccessDeniedException", "EntityNotFoundException"])
def test_what_glue_refuses_is_a_coded_error(books: Books, glue: Glue, code: str) -> None:
    glue.refuse = code
    with pytest.raises(CopsError) as problem:
        crawl.look(books, AT)
    assert problem.value.code == ("E-AWS-DENIED" if "Denied" in code else "E-AWS-UNREACHABLE")
    assert "secret words" not in str(problem.value)


def test_the_commands_tell_and_start(
    books: Books, glue: Glue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COPS_CONTROLS__CRAWLER", NAME)
    monkeypatch.setenv("COPS_CONTROLS__CATALOG_TABLE", "billing.cur")
    glue.partitions = [["2025", "8"]]
    done = CliRunner().invoke(app, ["crawler", "status", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["missing"]) == (1, ["2025-09"])
    assert CliRunner().invoke(app, ["crawler", "start"]).exit_code == 0
    assert glue.crawler is not None
    assert glue.crawler["State"] == "RUNNING"


@pytest.mark.parametrize(("state", "exit_code"), [("SUCCEEDED", 0), ("RUNNING", 0), ("FAILED", 1)])
def test_the_status_of_a_query_execution_is_told(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, state: str, exit_code: int
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    aws.answers = [
        (
            200,
            {
                "QueryExecution": {
                    "QueryExecutionId": "q-1",
                    "Query": "SELECT 1",
                    "Status": {"State": state, "StateChangeReason": "TABLE_NOT_FOUND"},
                    "Statistics": {"DataScannedInBytes": 1024},
                    "QueryExecutionContext": {"Database": "billing"},
                    "WorkGroup": "cops",
                }
            },
        )
    ]
    done = CliRunner().invoke(app, ["athena", "status", "q-1", "--json"])
    assert done.exit_code == exit_code
    told = json.loads(done.stdout)
    assert (told["state"], told["scanned_bytes"], told["work_group"]) == (state, 1024, "cops")
    assert aws.asked == [{"QueryExecutionId": "q-1"}]


def test_without_a_region_the_refusal_says_how_to_set_one(aws: Aws) -> None:
    done = CliRunner().invoke(app, ["athena", "status", "q-1"])
    assert isinstance(done.exception, CopsError)
    assert "AWS_DEFAULT_REGION" in done.exception.next_step


def test_an_execution_that_athena_does_not_know_is_a_coded_error(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    aws.answers = [(400, {"__type": "InvalidRequestException", "message": TOKEN})]
    done = CliRunner().invoke(app, ["athena", "status", "nobody"])
    assert isinstance(done.exception, CopsError)
    assert TOKEN not in str(done.exception)
