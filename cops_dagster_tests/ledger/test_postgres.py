"""The same acts on a real PostgreSQL: the digits of SQLite, one published run, nothing after a seal."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from cops_dagster.allocation import allocate, reverse
from cops_dagster.closing import current, proof, status
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, sweep, verify
from cops_dagster.evidence.chain import Piece
from cops_dagster.evidence.home import open_books
from cops_dagster.ledger import publish
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.ledger.publish import Publication
from cops_dagster.ledger.run import Run
from cops_dagster.period import Period
from cops_dagster.settings import load as settings_of
from cops_dagster.stores import admin as admin_module
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import HEAD, VERSION_TABLE, open_admin
from cops_dagster_tests import postgres
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant, dump
from cops_dagster_tests.stores import guarded
from cops_dagster_tests.stores.consented import agree_to_close

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
from cops_dagster.evidence.home import open_books
from cops_dagster.settings import load
from cops_dagster_tests.deliveries import SEPTEMBER
from cops_dagster.allocation import allocate
from cops_dagster.ingestion import ingest
from cops_dagster.tagging import tag
books = open_books(load(home=sys.argv[1], cur=sys.argv[2], admin_db=sys.argv[3], actor="test"))
ingest.ingest(books, SEPTEMBER)
tag.tag(books, SEPTEMBER)
print(allocate.allocate(books, SEPTEMBER).wrote)
"""


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    opened = ready(tmp_path, admin_db=postgres.database())
    yield opened
    opened.admin.close()


@pytest.mark.long
def test_a_month_on_postgresql_has_the_ids_and_digits_of_one_on_sqlite(books: Books, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = ready(tmp_path / "other")
    entries = "SELECT * FROM fact_cost_allocated ORDER BY entry_id"
    assert answer(books, entries) == answer(other, entries)
    recon = "SELECT * EXCLUDE (reconciled_at) FROM recon_summary"
    assert answer(books, recon) == answer(other, recon)
    assert current.is_current(books, SEPTEMBER)
    assert [one.state for one in status.statuses(books)] == ["final candidate"]


@pytest.mark.long
def test_a_second_run_writes_nothing_and_another_key_reverses(books: Books, tmp_path: Path) -> None:
    before = dump(books)
    run(books)
    assert dump(books) == before
    first = by_tenant(books)
    give(
        books, tmp_path, replace=True,
        tenant_network_usage=INPUTS["tenant_network_usage"].replace("globex,2,", "globex,8,"),
    )  # fmt: skip
    run(books)
    assert by_tenant(books) != first
    with books.admin.read() as con:
        found = head(con, allocate.TABLE, SEPTEMBER)
    assert found is not None
    reverse.reverse(books, found.run_id, reason="wrong")
    assert by_tenant(books) == first


def test_a_month_closes_on_postgresql_and_takes_nothing_after(books: Books, tmp_path: Path) -> None:
    assert close_by_two(books, SEPTEMBER).wrote
    assert verify.verify(books).status == "ok"
    assert proof.verify(books).findings == []
    before = dump(books)
    with books.admin.read() as con:
        found = head(con, allocate.TABLE, SEPTEMBER)
    assert found is not None
    with pytest.raises(CopsError, match="E-PERIOD-CLOSED"):
        reverse.reverse(books, found.run_id, reason="too late")
    after = dump(books)
    assert {name: rows for name, rows in after.items() if name != "allocation_run_log"} == {
        name: rows for name, rows in before.items() if name != "allocation_run_log"
    }


@pytest.mark.long
def test_twenty_processes_that_start_the_same_run_at_once_publish_it_once(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    url = postgres.database()
    books = home(tmp_path, admin_db=url)
    from cops_dagster.ingestion import look

    look.look(books, SEPTEMBER)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path / "home"), str(tmp_path / "cur"), url],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(20)
    ]  # fmt: skip
    done = [(one.communicate(), one.returncode) for one in started]
    assert [code for _, code in done] == [0] * 20, [err[-300:] for (_, err), code in done if code]
    assert sorted(out.strip() for (out, _), _ in done) == ["False"] * 19 + ["True"]
    sweep.sweep(books)
    with books.admin.read() as con:
        journal = con.execute(sa.select(t.publish_journal.c.table_name)).scalars().all()
    assert sorted(journal) == ["fact_cost_allocated", "fact_cost_raw", "fact_cost_tagged"]
    books.admin.close()


# --- writers against a closer ---------------------------------------------------------------------------


def months(count: int) -> list[date]:
    period, found = Period(2001, 1), []
    for _ in range(count):
        found.append(period.start)
        period = period.next()
    return found


def raw_writer(engine: sa.Engine, month: date, go: threading.Barrier, late: float, pause: float) -> bool:
    """A client that knows nothing of COPS' own locks; whether it got its row in."""
    go.wait()
    time.sleep(late)
    try:
        with engine.begin() as con:
            con.execute(
                sa.insert(t.publish_journal).values(
                    run_id=f"{month}", table_name="fact_cost_raw", period_start=month, source_id="",
                    inputs_id="i", row_count=0, cost_usd=Decimal(0), verdicts_json="[]", actor="raw",
                    published_at=sa.func.now(),
                )
            )  # fmt: skip
            time.sleep(pause)
    except sa.exc.DBAPIError as problem:
        assert "E-PERIOD-CLOSED" in str(problem)  # noqa: PT017 the other outcome is being let in
        return False
    return True


def raw_closer(engine: sa.Engine, month: date, go: threading.Barrier, pause: float) -> int:
    """Closes, and counts what it sealed."""
    go.wait()
    time.sleep(pause)
    journal = t.publish_journal
    with engine.begin() as con:
        for there in ("provisional", "final", "closing"):
            if there == "closing":  # no writer gets in any more: the row is locked by the move before
                agree_to_close(con, month)
            guarded.told(con, there, month)
            con.execute(guarded.moved(there, month))
    with engine.begin() as con:
        count = con.execute(sa.select(sa.func.count()).where(journal.c.period_start == month)).scalar_one()
        guarded.told(con, "closed", month)
        con.execute(guarded.moved("closed", month, **guarded.sealed(con, month)))
    return int(count)


def test_writers_racing_a_close_200_times_leave_no_row_after_the_seal() -> None:
    url = postgres.database()
    engine, chance = sa.create_engine(url, pool_size=4), random.Random(4)
    every = months(200)
    with engine.begin() as con:
        for one in every:
            guarded.begin(con, one)
    won, late = 0, 0.0
    with ThreadPoolExecutor(2) as pool:
        for month in every:
            go = threading.Barrier(2)
            pauses = chance.random() / 200, chance.random() / 200
            writer = pool.submit(raw_writer, engine, month, go, late, pauses[0])
            sealed = pool.submit(raw_closer, engine, month, go, pauses[1]).result()
            got_in = writer.result()
            won += got_in
            # Whoever won starts worse the next time, so the race is run at its edge on any machine.
            late = late + 0.001 if got_in else max(0.0, late - 0.001)
            with engine.connect() as con:
                journal = t.publish_journal
                found = con.execute(
                    sa.select(sa.func.count()).where(journal.c.period_start == month)
                ).scalar_one()
            assert found == sealed == int(got_in)
    engine.dispose()
    assert 0 < won < 200  # both outcomes were seen, or the race was none


@pytest.mark.long
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_publishing_races_a_close_and_one_of_them_is_told(tmp_path: Path, dialect: str) -> None:
    (tmp_path / "home").mkdir()
    url = {"admin_db": postgres.database()} if dialect == "postgresql" else {}
    books = open_books(settings_of(home=tmp_path / "home", actor="test", **url))
    from cops_dagster.ledger import lock

    def publishes(period: Period, go: threading.Barrier) -> str:
        publication = Publication(Run("fact_cost_raw", period, "", "i", None, (str(period),)), [], [])
        go.wait()
        try:
            publish.publish(books, publication)
        except CopsError as refusal:
            return refusal.code
        return "published"

    def closes(period: Period, go: threading.Barrier) -> int:
        go.wait()
        with books.admin.write() as con:
            for there in ("provisional", "final", "closing"):
                if there == "closing":
                    agree_to_close(con, period.start)
                lock.move(con, books, period, there, reason="race")
        with books.admin.write() as con:
            journal = t.publish_journal
            count = con.execute(
                sa.select(sa.func.count()).where(journal.c.period_start == period.start)
            ).scalar_one()
            seal = Piece("seal", "period", str(period), "application/json", data=b"{}")
            kept = chain.store(books, [seal])
            chain.index(con, books, kept)
            newest = con.execute(
                sa.select(sa.func.max(journal.c.journal_seq)).where(journal.c.period_start == period.start)
            ).scalar()
            lock.move(
                con,
                books,
                period,
                "closed",
                reason="race",
                seal_digest=kept[0].sha256,
                seal_journal_seq=newest,
            )
        return int(count)

    outcomes = set()
    with ThreadPoolExecutor(2) as pool:
        for one in months(16):
            period, go = Period.of(one), threading.Barrier(2)
            writer = pool.submit(publishes, period, go)
            sealed = pool.submit(closes, period, go).result()
            said = writer.result()
            outcomes.add(said)
            with books.admin.read() as con:
                journal = t.publish_journal
                found = con.execute(
                    sa.select(sa.func.count()).where(journal.c.period_start == one)
                ).scalar_one()
            assert (found, sealed) == ((1, 1) if said == "published" else (0, 0))
    assert outcomes <= {"published", "E-PERIOD-CLOSED"}
    books.admin.close()


# --- opening --------------------------------------------------------------------------------------------


def test_migrated_postgresql_is_the_schema_of_the_contract() -> None:
    admin = open_admin(postgres.empty_database())
    with admin.read() as con:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(con, opts=options), t.metadata) == []
        for name in t.VIEWS:
            con.exec_driver_sql(f'SELECT * FROM "{name.lower()}"').all()
    admin.close()


def test_processes_that_open_an_empty_postgresql_at_once_all_succeed() -> None:
    url = postgres.empty_database()
    code = "import sys; from cops_dagster.stores.admin import open_admin; open_admin(sys.argv[1])"
    started = [
        subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [(one.communicate()[1], one.returncode) for one in started] == [("", 0)] * 4
    admin = open_admin(url)
    with admin.read() as con:
        assert con.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all() == [HEAD]
    admin.close()


def test_reading_postgresql_sees_one_state_and_writes_nothing() -> None:
    admin = open_admin(postgres.database())
    rate: dict[str, Any] = {
        "base": "EUR",
        "quote": "USD",
        "period_start": date(2025, 9, 1),
        "rate": Decimal("1.1"),
    }
    with admin.read() as con:
        assert con.execute(sa.select(t.fx_rates)).all() == []
        with admin.write() as other:
            other.execute(sa.insert(t.fx_rates).values(rate))
        assert con.execute(sa.select(t.fx_rates)).all() == []
        with pytest.raises(sa.exc.InternalError, match="read-only"):
            con.execute(sa.insert(t.fx_rates).values(rate | {"base": "CHF"}))
    with admin.read() as con:
        assert len(con.execute(sa.select(t.fx_rates)).all()) == 1
    admin.close()


def test_a_second_writer_of_postgresql_waits_and_then_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres.database()
    first, second = open_admin(url), open_admin(url)
    monkeypatch.setattr(admin_module, "BUSY_SECONDS", 0.1)
    with first.write(), pytest.raises(CopsError) as refusal, second.write():
        pass
    assert refusal.value.code == "E-DB-BUSY"
    with second.write():
        pass
    first.close()
    second.close()
