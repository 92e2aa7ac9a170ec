"""The whole, unattended: daemon and webserver, PostgreSQL, S3 and a receiver over HTTP; no hand on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.closing import approve
from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.reconciliation import freeze
from cops_dagster.stores import tables as t
from cops_dagster_tests import postgres
from cops_dagster_tests.alerts.servers import Seen, web
from cops_dagster_tests.closing.ready import DOCUMENTS, close_by_two
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, write
from cops_dagster_tests.graph.instance import Dagster, running, until
from cops_dagster_tests.shown import answer, by_tenant
from cops_dagster_tests.stores.buckets import put
from cops_dagster_tests.stores.glue_server import serving as glue_serving
from cops_dagster_tests.stores.s3_server import Bucket, serving

PERIOD = {"dagster/partition": "2025-09"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with serving(monkeypatch) as held:
        yield held


def delivered(bucket: Bucket, folder: Path, text: str, assembly: str) -> None:
    """AWS writes the data first and the manifests last."""
    write(folder / assembly, [lines(text)], assembly=assembly)
    put(bucket, folder / assembly)


def run_of(dagster: Dagster, known: int) -> str:
    """The id of the run that comes after `known` others; it must succeed."""
    found = until(lambda: runs if len(runs := dagster.runs(**PERIOD)) > known else None)
    assert dagster.ended(found[0]["runId"]) == "SUCCESS"
    assert found[0]["tags"]["cops/cause"] == "delivery"
    return str(found[0]["runId"])


@pytest.mark.long
def test_deliveries_become_entries_alerts_reversals_and_proposals_by_themselves(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen = postgres.database(), Seen()
    books = home(
        tmp_path, inputs=None, admin_db=url, lake="s3://cops/lake", evidence="s3://cops/proof",
        recon={"failure_usd": 5}, first_period="2025-08",
    )  # fmt: skip
    books = replace(books, settings=books.settings.model_copy(update={"cur": "s3://billing/exports"}))
    give(books, tmp_path, **INPUTS, **DOCUMENTS)
    (tmp_path / "home" / "admin.db").unlink()
    with web(seen) as hook:
        receivers = {"hook": {"kind": "webhook", "url": hook, "priorities": ["P1", "P2", "P3", "P4"]}}
        settings = {
            "COPS_ADMIN_DB": url, "COPS_CUR": "s3://billing/exports", "COPS_LAKE": "s3://cops/lake",
            "COPS_EVIDENCE": "s3://cops/proof", "COPS_FIRST_PERIOD": "2025-08", "COPS_ACTOR": "daemon",
            "COPS_WATCH__EVERY_SECONDS": "2", "COPS_RECON__FAILURE_USD": "5",
            "COPS_NOTIFY__RECEIVERS": json.dumps(receivers), "COPS_CONTROLS__CRAWLER": "cur-crawler",
        }  # fmt: skip
        with glue_serving(monkeypatch) as glue, running(tmp_path / "home", **settings) as dagster:
            glue.crawler = {"State": "READY", "LastCrawl": {"Status": "FAILED", "StartTime": 1760000000}}
            # a crawler whose last crawl failed is started
            until(lambda: glue.crawler and glue.crawler["State"] == "RUNNING")

            # a first delivery, far from what was invoiced: it fails to reconcile, and people are told at once
            delivered(bucket, tmp_path, MONTH.replace("10.10", "17.10"), "a1")
            run_of(dagster, known=0)
            first = by_tenant(books)
            assert sum(first.values()) == Decimal("47.880000001")
            until(lambda: told(seen, "P1"))
            with pytest.raises(CopsError, match="invoices are not frozen"):
                close_by_two(books, SEPTEMBER)

            # the second delivery of the month: what was wrong is reversed, nothing is changed
            delivered(bucket, tmp_path, MONTH, "b2")
            run_of(dagster, known=1)
            assert sum(by_tenant(books).values()) == Decimal("40.880000001")
            assert reversals(books) == -sum(first.values())
            until(lambda: told(seen, "RESOLVED"))

            # a delivery of a closed month: proposals, no run, no entry
            (name,) = freeze.request_release(books, SEPTEMBER, reason="AWS delivered again", evidence="T-1")
            approve.approve(acting_as(books, "lee"), name, reason="seen")
            assert close_by_two(books, SEPTEMBER).wrote
            delivered(bucket, tmp_path, MONTH.replace("10.10", "11.10"), "c3")
            until(lambda: proposed(books))
            assert len(dagster.runs(**PERIOD)) == 2
            assert sum(by_tenant(books).values()) == Decimal("40.880000001")
    books.admin.close()


def acting_as(books: Books, actor: str) -> Books:
    return replace(books, settings=books.settings.model_copy(update={"actor": actor}))


def told(seen: Seen, what: str) -> bool:
    """Whether the receiver took a message about September that says this."""
    texts = [json.dumps(body) for _, body in seen.taken]
    return any("2025-09" in text and what in text for text in texts)


def reversals(books: Books) -> Decimal:
    """What the entries that reverse others sum to."""
    ((found,),) = answer(
        books,
        "SELECT SUM(allocated_cost_usd) FROM fact_cost_allocated WHERE reverses_entry_id IS NOT NULL",
    )
    return Decimal(found)


def proposed(books: Books) -> bool:
    with books.admin.read() as con:
        return len(con.execute(sa.select(t.adjustment)).all()) == 1
