"""What `cops sql` answers and what it refuses: one SELECT, bound parameters, our files only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from cops_dagster.errors import CopsError
from cops_dagster.ingestion import ingest
from cops_dagster.ledger.books import Books
from cops_dagster.reports import sql as ask
from cops_dagster.tagging import tag
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.shown import answer, dump, lake


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    folder = tmp_path_factory.mktemp("asked")
    write(folder / "cur", [lines(MONTH)])
    books = home(folder)
    run(books)
    yield books
    books.admin.close()


WRITES = [
    "INSERT INTO tenants SELECT * FROM tenants",
    "DELETE FROM tenants",
    "UPDATE tenants SET name = 'x'",
    "CREATE TABLE x AS SELECT 1",
    "COPY tenants TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "EXPORT DATABASE '{folder}/out'",
    "ATTACH '{folder}/out.db'",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE tenants",
    "SET memory_limit = '1GB'",
    "RESET allowed_paths",
    "PRAGMA version",
    "CALL pragma_version()",
    "INSTALL httpfs",
    "LOAD httpfs",
    "EXPLAIN SELECT 1",
    "",
    "-- only a comment",
    "SELEKT 1",
    "SELECT (",
]


@pytest.mark.parametrize("sql", WRITES)
def test_anything_but_one_select_is_refused(ran: Books, tmp_path: Path, sql: str) -> None:
    with pytest.raises(CopsError, match="E-SQL"):
        answer(ran, sql.format(folder=tmp_path))
    assert list(tmp_path.rglob("out*")) == []


@pytest.mark.parametrize(
    "body",
    [
        "DELETE FROM tenants RETURNING *",
        "INSERT INTO tag_aliases VALUES ('tenant_id', 'a', 'b') RETURNING *",
        "UPDATE tenants SET name = 'x' RETURNING *",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
    ],
)
def test_a_write_inside_a_with_is_refused_too(ran: Books, tmp_path: Path, body: str) -> None:
    with pytest.raises(CopsError, match="E-SQL"):
        answer(ran, f"WITH w AS ({body.format(folder=tmp_path)}) SELECT 1 FROM tenants")
    assert list(tmp_path.rglob("out*")) == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM tenants",
        "(SELECT 2)",
        "SELECT 2;",
        "WITH two AS (SELECT 2 AS n) SELECT n FROM two",
        "SELECT 2 UNION ALL SELECT 2 LIMIT 1",
        "FROM tenants SELECT COUNT(*)",
    ],
)
def test_one_select_is_answered(ran: Books, sql: str) -> None:
    assert answer(ran, sql) == [(2,)]


def test_nesting_beyond_all_reason_is_refused_with_a_code(ran: Books) -> None:
    with pytest.raises(CopsError, match="E-SQL"):
        answer(ran, f"SELECT {'(' * 3000}1{')' * 3000}")


@pytest.mark.parametrize(
    "source",
    ["read_csv('{path}')", "read_text('{path}')", "read_blob('{path}')", "read_parquet('{path}')",
     "read_json('{path}')", "sniff_csv('{path}')", "glob('{folder}/*')", "parquet_schema('{path}')",
     "'{path}'"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["elsewhere", "home", "spill"])
def test_a_file_that_is_not_of_the_ledger_cannot_be_read(
    ran: Books, tmp_path: Path, source: str, place: str
) -> None:
    """The home itself holds what is nobody's to read: the admin database, other queries' spilled rows."""
    folder = {"elsewhere": tmp_path, "home": ran.settings.home, "spill": ran.settings.home / "spill"}[place]
    folder.mkdir(exist_ok=True)
    path = folder / "secret.csv"
    path.write_text("name\nsecret\n")
    with pytest.raises(CopsError, match="E-SQL"):
        answer(ran, f"SELECT * FROM {source.format(path=path, folder=folder)}")


@pytest.mark.parametrize("table", ["fact_cost_raw", "cur_billing_master"])
def test_the_live_and_the_delivered_files_can_be_read_by_the_tables_that_they_are(
    ran: Books, table: str
) -> None:
    assert answer(ran, f"SELECT COUNT(*) FROM {table}") == [(6,)]


def test_months_and_dates_bind_as_dates_and_the_rest_as_text(ran: Books) -> None:
    given = ask.parameters(["start=2025-09", "end=2025-09-30", "tenant=acme"])
    assert given == {"start": date(2025, 9, 1), "end": date(2025, 9, 30), "tenant": "acme"}
    sql = (
        "SELECT CAST(SUM(line_item_unblended_cost) AS VARCHAR), TYPEOF(ANY_VALUE(:start)) FROM fact_cost_raw "
        "WHERE period_start BETWEEN :start AND :end AND resource_tags_user_tenant_id = :tenant"
    )
    assert ask.ask(ran, sql, given).rows.rows == [("10.100000000000000000", "DATE")]


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT LIST_TRANSFORM([1], lambda x: x + 1)", [2]),
        ("SELECT [n + 1 FOR n IN [1, 2] IF n > 1]", [3]),
        ("SELECT COUNT(*) FILTER (tenant_id = :startle) FROM tenants", 1),
        ("SELECT '1'::INT + 1", 2),
        ("FROM tenants SELECT MAX(COLUMNS('name'))", "Globex"),
        ("SELECT MAX(BY_NAME.n) FROM (SELECT 1 AS n UNION ALL BY NAME SELECT 3 AS n) AS by_name", 3),
        ("SELECT (:start)", "x"),
        ("SELECT 1, :start", "x"),
        ("SELECT '$start'", "$start"),
        ("SELECT COUNT(*) FROM tenants", 2),
        ("SELECT name FROM tenants WHERE tenant_id = :startle", "Acme"),
    ],
)
def test_a_parameter_that_is_given_may_be_used_or_not(ran: Books, sql: str, found: object) -> None:
    ((*_, value),) = ask.ask(ran, sql, {"start": "x", "startle": "acme"}).rows.rows
    assert value == found


def test_a_parameter_that_is_missing_or_misspelt_is_named(ran: Books) -> None:
    with pytest.raises(CopsError, match="E-PARAM") as refusal:
        ask.ask(ran, "SELECT 1 WHERE :start < :end", {"start": "x"})
    assert "end" in refusal.value.subject
    for pair in ("start", "=2025-09", "a b=1", "start=2025-02-30", "start=2025-13"):
        with pytest.raises(CopsError, match=r"E-PARAM|E-PERIOD"):
            ask.parameters([pair])


def test_an_unknown_or_ambiguous_run_is_refused_and_an_unambiguous_beginning_is_enough(ran: Books) -> None:
    ((run_id, inputs_id),) = answer(
        ran, "SELECT run_id, inputs_id FROM publish_journal WHERE table_name = 'fact_cost_allocated'"
    )
    sql = "SELECT COUNT(DISTINCT run_id) FROM fact_cost_allocated"
    assert answer(ran, sql, as_of=run_id) == answer(ran, sql, as_of=run_id[:12]) == [(1,)]
    for unknown in ("0" * 64, "%", "_" * 64, inputs_id):
        with pytest.raises(CopsError, match="E-RUN-UNKNOWN"):
            answer(ran, sql, as_of=unknown)


def test_before_the_run_that_made_it_a_table_is_empty(ran: Books) -> None:
    ((first,),) = answer(ran, "SELECT run_id FROM publish_journal ORDER BY journal_seq LIMIT 1")
    counts = "SELECT (SELECT COUNT(*) FROM fact_cost_raw), (SELECT COUNT(*) FROM fact_cost_allocated)"
    assert answer(ran, counts, as_of=first) == [(6, 0)]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("tenant_network_usage", {"period_start", "tenant_id", "value", "refreshed_at"}),
        ("expected_cur_schema_v1", {"column_name", "data_type", "required"}),
        ("expected_cur_schema_vN", {"column_name", "data_type", "required"}),
        ("recon_summary", {"aws_total_usd", "allocated_total_usd", "variance_usd", "status", "run_id"}),
        ("recon_tenant", {"tenant_id", "expected_usd", "invoiced_usd", "variance_usd"}),
        ("tag_coverage", {"tag_coverage_pct", "missing_tenant_tag"}),
        ("information_schema.tables", {"table_name"}),
        ("information_schema.columns", {"table_name", "column_name", "data_type"}),
    ],
)
def test_every_view_of_the_contract_answers(ran: Books, name: str, columns: set[str]) -> None:
    rows = ask.ask(ran, f"SELECT * FROM {name}", {}).rows
    assert columns <= set(rows.columns)
    assert rows.rows


def test_the_information_schema_lists_every_table_of_the_contract(ran: Books) -> None:
    listed = {name.lower() for (name,) in answer(ran, "SELECT table_name FROM information_schema.tables")}
    assert {
        "cur_billing_master", "fact_cost_raw", "fact_cost_tagged", "fact_cost_allocated",
        "fact_cost_adjustment", "cur_quarantine", "tenants", "recon_summary", "expected_cur_schema_vn",
        "tenant_network_usage", "period_lock", "outbox",
    } <= listed  # fmt: skip


def test_asking_changes_nothing(ran: Books) -> None:
    before, files = dump(ran), lake(ran)
    answer(ran, "SELECT * FROM information_schema.columns")
    answer(ran, "SELECT * FROM fact_cost_allocated", verify=True)
    assert dump(ran) == before
    assert lake(ran) == files


@pytest.mark.sampled(3)
@pytest.mark.parametrize("table", [ingest.TABLE, tag.TABLE, "fact_cost_allocated"])
def test_a_flipped_bit_is_never_summed_by_an_act(tmp_path: Path, table: str) -> None:
    """With size and time as they were: only the digest can tell. The acts read every byte they use."""
    import os

    from cops_dagster.lake import live

    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    before = answer(books, "SELECT tenant_id, SUM(allocated_cost_usd) FROM fact_cost_allocated GROUP BY 1")
    (path,) = (books.settings.lake_root / table).rglob("*.parquet")
    info, body = path.stat(), bytearray(path.read_bytes())
    body[len(body) // 3] ^= 1
    path.write_bytes(body)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    live._verified.clear()  # what another process would know
    with pytest.raises(CopsError, match="E-DIGEST"):
        answer(books, f"SELECT COUNT(*) FROM {table}", verify=True)
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="a2")
    if table == "fact_cost_allocated":  # append-only: history cannot be staged anew, so it is restored
        with pytest.raises(CopsError, match="E-DIGEST"):
            run(books)
        body[len(body) // 3] ^= 1
        path.write_bytes(body)
    run(books)
    ((after,),) = answer(books, "SELECT SUM(allocated_cost_usd) FROM fact_cost_allocated", verify=True)
    assert after == sum(usd for _, usd in before) + 1
    assert SEPTEMBER.start in {row[0] for row in answer(books, "SELECT period_start FROM recon_summary")}
