"""Every load leaves its trace: who, when, from which bytes, every row before and after (finding H6)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.cli.main import app
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, verify
from cops_dagster.inputs import load_log
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster_tests import postgres
from cops_dagster_tests.deliveries import INPUTS, give, home

USAGE = "period_start,tenant_id,value,refreshed_at\n2025-09,acme,{},2025-10-01T03:00:00Z\n"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """The usual inputs, and a key figure that was replaced and put back, as the attack did it."""
    folder = tmp_path_factory.mktemp("loads")
    books = home(folder)
    give(books, folder, replace=True, tenant_network_usage=USAGE.format("77.125"))
    give(books, folder, replace=True, tenant_network_usage=USAGE.format("1"))
    return books


def logged(books: Books, table: str | None = None) -> list[load_log.Logged]:
    with books.admin.read() as con:
        return load_log.history(con, table)


def test_a_replaced_value_that_was_put_back_is_told_with_both_versions_each_time(loaded: Books) -> None:
    newest, before = (one.replaced for one in logged(loaded, "tenant_usage")[:2])
    (put_back,), (replaced,) = newest, before
    assert put_back["key"] == {"period_start": "2025-09-01", "tenant_id": "acme", "measure": "network"}
    assert (put_back["old"]["value"], put_back["new"]["value"]) == (
        "77.125000000000000000", "1.000000000000000000",
    )  # fmt: skip
    assert replaced["new"]["value"] == put_back["old"]["value"]


def test_a_load_names_who_and_the_digest_of_the_very_bytes(loaded: Books) -> None:
    newest = logged(loaded, "tenant_usage")[0]
    content = USAGE.format("1").encode()
    assert (newest.actor, newest.identity) == ("test", "claimed")
    assert newest.files == [
        {
            "name": "tenant_network_usage.csv", "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
        }
    ]  # fmt: skip


def test_every_table_that_a_load_changed_has_its_row(loaded: Books) -> None:
    first = logged(loaded)[-1].load_id
    tables = {one.table for one in logged(loaded) if one.load_id == first}
    assert tables == {"tenant_usage" if name.endswith("_usage") else name for name in INPUTS}


def test_the_rows_that_were_inserted_stand_in_the_chain_of_evidence(loaded: Books) -> None:
    first = next(one for one in logged(loaded, "plans"))
    document = chain.read(loaded, int(first.evidence_id))
    assert hashlib.sha256(document).hexdigest() == first.load_id
    assert json.loads(document)["tables"]["plans"]["inserted"] == [
        {"plan_id": "team", "effective_from": "2025-01-01", "markup_bps": 0}
    ]
    assert verify.verify(loaded).status == "ok"


def test_a_load_that_changes_nothing_leaves_nothing(tmp_path: Path) -> None:
    books = home(tmp_path)
    before = logged(books)
    give(books, tmp_path, **INPUTS)
    assert logged(books) == before
    give(books, tmp_path, plans="plan_id,effective_from,markup_bps\nother,2025-01-01,0\n")
    assert len(logged(books)) == len(before) + 1


def test_a_load_that_cannot_leave_its_trace_stores_nothing(tmp_path: Path) -> None:
    books = home(tmp_path)
    (tmp_path / "home" / "evidence").rename(tmp_path / "elsewhere")
    other = {"plans": "plan_id,effective_from,markup_bps\nother,2025-01-01,0\n"}
    with pytest.raises(CopsError, match="E-EVIDENCE-MISSING"):
        give(books, tmp_path, **other)
    with books.admin.read() as con:
        assert con.execute(sa.select(t.plans.c.plan_id)).scalars().all() == ["team"]
    (tmp_path / "elsewhere").rename(tmp_path / "home" / "evidence")
    give(books, tmp_path, **other)
    assert logged(books, "plans")[0].inserted == 1


def test_a_load_leaves_its_trace_on_postgresql_too(tmp_path: Path) -> None:
    books = home(tmp_path, admin_db=postgres.database())
    assert {one.actor for one in logged(books)} == {"test"}
    assert verify.verify(books).status == "ok"


def test_the_log_is_read_by_a_command_and_a_table_of_no_load_is_refused(
    loaded: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPS_HOME", str(loaded.settings.home))
    settings.current.cache_clear()
    said = CliRunner().invoke(app, ["admin", "log", "--table", "tenant_usage", "--json"])
    assert [one["table"] for one in json.loads(said.stdout)] == ["tenant_usage"] * 3
    shown = CliRunner().invoke(app, ["admin", "log"])
    assert "77.125" in shown.stdout
    refused = CliRunner().invoke(app, ["admin", "log", "--table", "usage"])
    assert isinstance(refused.exception, CopsError)
    assert refused.exception.code == "E-PARAM"
