"""`cops doctor` on broken homes: it names the cause and the right next step in each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
import sqlalchemy as sa

from cops_dagster.alerts import board
from cops_dagster.alerts.lifecycle import Observation
from cops_dagster.allocation import allocate
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import ingest, look
from cops_dagster.ledger.books import Books
from cops_dagster.operations import controls, doctor
from cops_dagster.operations.diagnosis import STEPS, SYMPTOMS, Finding, Light
from cops_dagster.reconciliation import reconcile
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.tagging import tag
from cops_dagster_tests.closing.ready import DOCUMENTS, aged, close_by_two, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write

INVOICES = "invoice_id,tenant_id,period_start,amount,currency,status,document_type\n"
NOTHING_USED = INPUTS["tenant_network_usage"].replace(",1,", ",0,").replace(",2,", ",0,")


def untouched(folder: Path) -> Books:
    return ready(folder)


def not_delivered(folder: Path) -> Books:
    (folder / "cur").mkdir(parents=True)
    return home(folder)


def half_delivered(folder: Path) -> Books:
    books = ready(folder)
    place = write(folder / "cur", [lines(MONTH), lines(MONTH)], assembly="a2")
    (place / "report-00002.snappy.parquet").unlink()
    with pytest.raises(CopsError):
        run(books)
    return books


def not_materialised(folder: Path) -> Books:
    books = ready(folder)
    write(folder / "cur", [lines(MONTH.replace("10.10", "11.10"))], assembly="a2")
    look.look(books, SEPTEMBER)
    return books


def untagged(folder: Path) -> Books:
    write(folder / "cur", [lines(MONTH.replace("20.20", "20.20\nUsage AmazonEC2 111111111111 . . . 30"))])
    books = home(folder, inputs=INPUTS)
    run(books)
    return books


def mistyped(folder: Path) -> Books:
    write(folder / "cur", [lines(MONTH.replace("globex ", "globx  "))])
    books = home(folder, inputs=INPUTS)
    run(books)
    return books


def empty_key(folder: Path) -> Books:
    write(folder / "cur", [lines(MONTH)])
    books = home(folder, inputs=INPUTS | {"tenant_network_usage": NOTHING_USED})
    look.look(books, SEPTEMBER)
    ingest.ingest(books, SEPTEMBER)
    tag.tag(books, SEPTEMBER)
    with pytest.raises(CopsError, match="E-KEY-ZERO"):
        allocate.allocate(books, SEPTEMBER)
    return books


def no_rule(folder: Path) -> Books:
    write(folder / "cur", [lines(MONTH)])
    rules = "\n".join(
        line for line in INPUTS["allocation_rules"].splitlines() if not line.startswith("transfer")
    )
    rules = rules.replace("rest,1,2025-01-01,30,,usage", "rest,1,2025-01-01,30,AmazonEC2,usage")
    books = home(folder, inputs=INPUTS | {"allocation_rules": rules + "\n"})
    run(books)
    return books


def overbilled(folder: Path) -> Books:
    books = ready(folder)
    give(books, folder, invoice_detail=INVOICES + "T-9,acme,2025-09,50,USD,issued,invoice\n")
    reconcile.reconcile(books, SEPTEMBER)
    return books


def slightly_overbilled(folder: Path) -> Books:
    books = ready(folder)
    give(books, folder, invoice_detail=INVOICES + "T-9,acme,2025-09,2,USD,issued,invoice\n")
    return books


def not_invoiced_by_aws(folder: Path) -> Books:
    write(folder / "cur", [lines(MONTH)])
    aged(folder / "cur")
    books = home(folder, inputs=INPUTS | {"invoice_detail": DOCUMENTS["invoice_detail"]})
    give(books, folder, aws_invoices=DOCUMENTS["aws_invoices"].replace("I-1", "I-2"))
    run(books)
    return books


def closed_and_untagged(folder: Path) -> Books:
    books = ready(folder)
    close_by_two(books, SEPTEMBER)
    return books


BROKEN: list[tuple[Callable[[Path], Books], str, str, str, str]] = [
    (not_delivered, "scope", "red", "E-PERIOD-UNKNOWN", "check COPS_CUR"),
    (half_delivered, "freshness", "red", "delivery is complete", "wait for AWS"),
    (not_materialised, "freshness", "amber", "a newer delivery is not allocated", "cops materialize 2025-09"),
    (untagged, "tags", "red", "tag coverage at target", "correct tags at the source"),
    (mistyped, "tags", "red", "tenants are known", "tag_aliases.csv"),
    (empty_key, "allocation", "red", "E-KEY-ZERO", "correct keys"),
    (empty_key, "allocation", "red", "key totals positive", "cops admin load tenant_MEASURE_usage.csv"),
    (no_rule, "allocation", "amber", "rules cover every pool", "allocation_rules.csv"),
    (no_rule, "allocation", "red", "unallocated within 2 pct", "cops rules check --period 2025-09"),
    (overbilled, "invoices", "red", "variance within tolerance", "credit note and reissue"),
    (overbilled, "invoices", "red", "new invoices are frozen", "cops freeze release 2025-09"),
    (not_invoiced_by_aws, "invoices", "amber", "aws invoice matches cur", "cops admin load aws_invoices.csv"),
    (closed_and_untagged, "tags", "red", "tag coverage at target", "the month is closed: cops adjust note"),
]


@pytest.mark.sampled(13)
@pytest.mark.parametrize(
    ("broken", "step", "light", "cause", "mended_by"),
    BROKEN,
    ids=[f"{one[0].__name__} {one[3]}" for one in BROKEN],
)
def test_the_cause_is_named_with_what_mends_it(
    tmp_path: Path, broken: Callable[[Path], Books], step: str, light: str, cause: str, mended_by: str
) -> None:
    found = doctor.diagnose(broken(tmp_path), SEPTEMBER)
    named = [one for one in found if cause in one.what]
    assert named, [(one.light, one.what) for one in found]
    assert (named[0].step, named[0].light) == (step, light)
    assert mended_by in named[0].next_step
    assert named[0].look


@pytest.mark.long
def test_a_healthy_month_is_asked_six_questions_and_only_its_tags_are_amber(tmp_path: Path) -> None:
    found = doctor.diagnose(untouched(tmp_path), SEPTEMBER)
    assert {one.step for one in found} == set(STEPS)
    assert {one.step for one in found if one.light == "red"} <= {"tags"}


@pytest.mark.long
def test_a_snapshot_is_on_record_before_anything_is_changed(tmp_path: Path) -> None:
    books = slightly_overbilled(tmp_path)
    with books.admin.read() as con:
        before = con.execute(sa.select(sa.func.count()).select_from(t.recon_run)).scalar_one()
    for expected in ("recorded now", "on record already"):
        (snapshot,) = [one for one in doctor.diagnose(books, SEPTEMBER) if one.step == "snapshot"]
        assert expected in snapshot.found
    with books.admin.read() as con:
        rows = con.execute(sa.select(t.recon_run).order_by(t.recon_run.c.recon_seq)).all()
    assert len(rows) == before + 1
    assert rows[-1].note == "snapshot by cops doctor"


def alerting(books: Books) -> list[Finding]:
    return doctor.diagnose(books, SEPTEMBER, "no-alerts")


@pytest.mark.long
def test_without_receivers_and_judgements_no_alert_comes(tmp_path: Path) -> None:
    said = {one.what: one.next_step for one in alerting(untouched(tmp_path))}
    assert "cops alerts test" in said["nobody is told"]
    assert "cops controls --evaluate" in said["nothing is being judged"]


@pytest.mark.long
def test_each_thing_that_keeps_a_message_back_is_named(tmp_path: Path) -> None:
    books = untouched(tmp_path)
    notify = {"receivers": {"ops": {"kind": "console"}}}
    books = replace(books, settings=type(books.settings)(**{**books.settings.model_dump(), "notify": notify}))
    controls.evaluate(books)
    at = now() - timedelta(minutes=1)
    with books.admin.write() as con:
        board.observe(con, [Observation("r", "s", SEPTEMBER, "P2", True, at, at, "title")], actor="kim")
    board.silence(books, rule="r", period=None, severity="P2", hours=1, reason="quiet")
    said = {one.what for one in alerting(books)}
    assert "a silence keeps messages back" in said
    assert any(what.endswith("fire and nobody was told") for what in said)
    row = {
        "fingerprint": Observation("r", "s", SEPTEMBER, "P2", True, at, at, "t").fingerprint, "episode": 1,
        "receiver": "ops", "reason": "FIRST", "severity": "P2", "step": 0, "status": "failed", "sent_at": at,
    }  # fmt: skip
    with books.admin.write() as con:
        con.execute(sa.insert(t.notification_log).values(row))
    assert "ops does not accept messages" in {one.what for one in alerting(books)}
    assert "ops does not accept messages" in {one.what for one in doctor.diagnose(books, SEPTEMBER)}
    asked = {one.what for one in doctor.diagnose(books, SEPTEMBER, "untagged-cost")}
    assert "ops does not accept messages" not in asked


@pytest.mark.sampled(11)
@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_a_symptom_asks_only_what_may_cause_it(tmp_path: Path, symptom: str) -> None:
    found = doctor.diagnose(untouched(tmp_path), SEPTEMBER, symptom)
    assert {one.step for one in found} <= set(SYMPTOMS[symptom])
    assert all(one.light in get_args(Light) for one in found)


def test_a_symptom_that_nobody_knows_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(CopsError, match="no-alerts") as refusal:
        doctor.diagnose(untouched(tmp_path), SEPTEMBER, "headache")
    assert refusal.value.code == "E-PARAM"


@pytest.mark.long
def test_a_diagnosis_can_be_read_by_a_program(tmp_path: Path) -> None:
    from dataclasses import asdict

    found = doctor.diagnose(untouched(tmp_path), SEPTEMBER)
    assert json.loads(json.dumps([asdict(one) for one in found]))[0]["step"] == "scope"
