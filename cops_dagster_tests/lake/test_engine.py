"""The engine: what comes back is what went in, and a locked one answers one SELECT and does nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from cops_dagster import settings
from cops_dagster.errors import CopsError
from cops_dagster.lake import opened, session, statements
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.question import question
from cops_dagster.lake.views import read_parquet, view
from cops_dagster.money import amount

MINE = [(1, "mine")]


@pytest.fixture(scope="module")
def shared() -> Iterator[DuckDB]:
    with DuckDB() as made:
        yield made


def put(path: Path, text: str) -> Path:
    """A one-line Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"n": [1], "t": [text]}), path)
    return path


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[DuckDB]:
    """A locked engine over `mine.parquet`, with a table in memory; others lie beside the file."""
    mine = put(tmp_path / "lake" / "mine.parquet", "mine")
    put(tmp_path / "lake" / "other.parquet", "other")
    (tmp_path / "secret.txt").write_text("secret")
    with DuckDB() as engine:
        view(engine, "mine", read_parquet([mine]))
        engine.table("admin", [("a", "BIGINT")], [(1,), (2,)])
        engine.lock_down([mine])
        yield engine


# --- one SELECT ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "select 1 ;",
        "SELECT 1; -- and a comment",
        "-- first\nSELECT ';' AS text",
        "(SELECT 1)",
        "FROM t SELECT a",
        "WITH a AS (SELECT 1 AS n), b AS (SELECT * FROM a) SELECT * FROM b",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r",
        "SELECT 1 UNION ALL SELECT 2",
        "SELECT 1 INTERSECT SELECT 1",
        "SELECT 1 EXCEPT SELECT 2",
        "SELECT 'DELETE FROM t' AS text",
        "SELECT * FROM (SELECT 1) AS inserted",
    ],
)
def test_one_select_in_any_form_is_allowed(sql: str, shared: DuckDB) -> None:
    assert question(shared, sql).text == sql


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "sql",
    [
        "",
        " ; ",
        "-- nothing",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE t",
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE",
        "TRUNCATE t",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "DROP TABLE t",
        "ALTER TABLE t ADD COLUMN b INT",
        "COPY t TO 'x.csv'",
        "COPY (SELECT 1) TO 'x.csv'",
        "EXPORT DATABASE 'x'",
        "ATTACH 'x.db'",
        "DETACH x",
        "USE x",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '1GB'",
        "RESET memory_limit",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "BEGIN",
        "COMMIT",
        "EXPLAIN ANALYZE SELECT 1",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "VACUUM",
        "CHECKPOINT",
        "SELECT FROM WHERE",
        "SELECT 'open",
        "nonsense",
        "WITH a AS (SELECT 1) DELETE FROM t",
        "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
        "WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d",
        "WITH d AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM d",
        "WITH d AS (UPDATE t SET a = 2 RETURNING *) SELECT * FROM d",
        "SELECT * FROM (WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d)",
        "SELECT 1 INTO t",
        "WITH c AS (COPY (SELECT 1) TO 'x.csv') SELECT 1",
        "WITH c AS (MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE RETURNING *) SELECT * FROM c",
        "SELECT (WITH d AS (DELETE FROM t RETURNING a) SELECT MAX(a) FROM d)",
        "SELECT 1 UNION ALL (WITH d AS (DELETE FROM t RETURNING a) SELECT a FROM d)",
        "SHOW TABLES",
        "DESCRIBE t",
        "SELECT * FROM (SHOW TABLES)",
        "PIVOT t ON a USING SUM(b)",
        "SELECT ':x; DELETE FROM t'; DELETE FROM t",
        "SELECT $$;$$; DROP TABLE t",
        "SELECT 1 /* ; */; DROP TABLE t",
    ],
)
def test_anything_but_one_select_is_refused(sql: str, shared: DuckDB) -> None:
    with pytest.raises(CopsError) as refusal:
        question(shared, sql)
    assert refusal.value.code == "E-SQL"


@pytest.mark.parametrize(
    ("sql", "text", "bound"),
    [
        ("SELECT :a + :b", "SELECT $a + $b", "ab"),
        (
            "SELECT ':a', \":a\", $$:a$$, $t$:a$t$, e'\\':a'",
            "SELECT ':a', \":a\", $$:a$$, $t$:a$t$, e'\\':a'",
            "",
        ),
        ("SELECT 1 -- :a\n, 2 /* :a */", "SELECT 1 -- :a\n, 2 /* :a */", ""),
        ("SELECT '1'::INT, x::DATE FROM t WHERE a=:a", "SELECT '1'::INT, x::DATE FROM t WHERE a=$a", "a"),
        ("SELECT :a::DATE", "SELECT $a::DATE", "a"),
        ("SELECT l[1:n], {'k':v}, s[n:m] FROM t", "SELECT l[1:n], {'k':v}, s[n:m] FROM t", ""),
        ("SELECT LIST_TRANSFORM(l, lambda x: x + :a)", "SELECT LIST_TRANSFORM(l, lambda x: x + $a)", "a"),
    ],
)
def test_a_parameter_is_told_from_text_casts_slices_and_lambdas(
    sql: str, text: str, bound: str, shared: DuckDB
) -> None:
    asked = question(shared, sql)
    assert asked.text == text
    assert asked.parameters == set(bound)


def test_what_a_query_reads_is_known_wherever_it_stands(shared: DuckDB) -> None:
    sql = (
        "WITH c AS (SELECT * FROM One) SELECT (SELECT MAX(a) FROM two) FROM c JOIN main.three USING (a)"
        " WHERE a IN (FROM four) UNION SELECT * FROM (PIVOT five ON a IN (1) USING SUM(b))"
    )
    assert {name for _, name in question(shared, sql).tables} == {"c", "one", "two", "three", "four", "five"}
    assert ("information_schema", "tables") in question(shared, "FROM information_schema.tables").tables


# --- locked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM mine",
        "SELECT * FROM read_parquet('{lake}/mine.parquet')",
        "SELECT * FROM read_parquet('{lake}/./mine.parquet')",
        "SELECT * FROM '{lake}/mine.parquet'",
    ],
)
def test_a_locked_engine_reads_the_files_it_was_given(sql: str, locked: DuckDB, tmp_path: Path) -> None:
    assert locked.run(sql.format(lake=tmp_path / "lake")).rows == MINE


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_parquet('{lake}/other.parquet')",
        "SELECT * FROM '{lake}/other.parquet'",
        "SELECT * FROM read_parquet('{lake}/*.parquet')",
        "SELECT * FROM read_parquet(['{lake}/mine.parquet', '{lake}/other.parquet'])",
        "SELECT * FROM read_parquet('{lake}/mine.parquet/../other.parquet')",
        "SELECT * FROM read_parquet('{lake}/../lake/other.parquet')",
        "SELECT * FROM parquet_metadata('{lake}/other.parquet')",
        "SELECT * FROM parquet_schema('{lake}/other.parquet')",
        "SELECT * FROM read_text('{lake}/../secret.txt')",
        "SELECT * FROM read_text('{lake}/mine.parquet/../../secret.txt')",
        "SELECT * FROM read_blob('{lake}/../secret.txt')",
        "SELECT * FROM read_csv('{lake}/../secret.txt')",
        "SELECT * FROM sniff_csv('{lake}/../secret.txt')",
        "SELECT * FROM read_json('{lake}/../secret.txt')",
        "SELECT * FROM glob('{lake}/*')",
        "SELECT * FROM read_parquet('https://example.invalid/x.parquet')",
        "SELECT * FROM query('COPY (SELECT 1) TO ''{lake}/new.csv''')",
        "SELECT * FROM query('DELETE FROM admin')",
        "SELECT * FROM enable_logging('QueryLog', storage = 'file', storage_path = '{lake}/logs')",
    ],
)
def test_a_locked_engine_answers_no_select_about_anything_else(
    sql: str, locked: DuckDB, tmp_path: Path
) -> None:
    before = sorted(path.name for path in tmp_path.rglob("*"))
    text = sql.format(lake=tmp_path / "lake")
    assert question(locked, text)  # so the parser does not stop it; the lock must
    with pytest.raises(CopsError) as refusal:
        locked.run(text)
    assert refusal.value.code == "E-SQL"
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "sql",
    [
        "SET enable_external_access = true",
        "SET allowed_paths = ['/']",
        "SET allowed_directories = ['/']",
        "SET memory_limit = '1GB'",
        "SET lock_configuration = false",
        "RESET lock_configuration",
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH '{lake}/new.db'",
        "EXPORT DATABASE '{lake}/export'",
        "COPY (SELECT 1) TO '{lake}/new.csv'",
    ],
)
def test_a_locked_engine_cannot_be_unlocked_extended_or_made_to_write(
    sql: str, locked: DuckDB, tmp_path: Path
) -> None:
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(CopsError) as refusal:
        locked.run(sql.format(lake=tmp_path / "lake"))
    assert refusal.value.code == "E-SQL"
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_the_parser_stops_the_one_write_that_the_lock_does_not(locked: DuckDB, tmp_path: Path) -> None:
    """The engine lets COPY overwrite an allowed path in place (measured): so nobody may ask it to."""
    mine = tmp_path / "lake" / "mine.parquet"
    sql = f"COPY (SELECT 1 AS n, 'new' AS t) TO '{mine}' (FORMAT parquet, USE_TMP_FILE false)"
    with pytest.raises(CopsError, match="E-SQL"):
        question(locked, sql)
    assert locked.run("SELECT * FROM mine").rows == MINE


@pytest.mark.parametrize("name", ["plain", "[x]", "x*", "a?b", "with space", "it's"])
def test_a_locked_engine_reads_its_files_in_any_folder_and_not_their_neighbours(
    name: str, tmp_path: Path
) -> None:
    mine, other = put(tmp_path / name / "mine.parquet", "mine"), put(tmp_path / "x" / "mine.parquet", "other")
    with DuckDB() as engine:
        view(engine, "mine", read_parquet([mine]))
        view(engine, "other", read_parquet([other]))
        engine.lock_down([mine])
        assert engine.run("SELECT * FROM mine").rows == MINE
        with pytest.raises(CopsError, match="E-SQL"):
            engine.run("SELECT * FROM other")


def test_an_engine_locked_over_no_files_still_calculates(tmp_path: Path) -> None:
    path = put(tmp_path / "x.parquet", "x")
    with DuckDB() as engine:
        engine.lock_down([])
        assert engine.run("SELECT 1 + 1").rows == [(2,)]
        with pytest.raises(CopsError, match="E-SQL"):
            engine.run(f"SELECT * FROM '{path}'")


# --- in and out ----------------------------------------------------------------------------------------

ATTOS = st.integers(-(10**38) + 1, 10**38 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


@given(st.lists(st.tuples(st.none() | ATTOS, st.none() | TEXTS, st.none() | st.booleans()), max_size=8))
def test_a_small_table_holds_exactly_what_was_given(
    shared: DuckDB, rows: list[tuple[int | None, str | None, bool | None]]
) -> None:
    columns = [("a", "DECIMAL(38,18)"), ("t", "VARCHAR"), ("is_b", "BOOLEAN")]
    wanted = [(None if atto is None else amount.to_decimal(atto), text, flag) for atto, text, flag in rows]
    shared.table('odd "name', columns, wanted)
    found = shared.run('SELECT * FROM "odd ""name"')
    assert found.columns == ("a", "t", "is_b")
    assert sorted(found.rows, key=repr) == sorted(wanted, key=repr)


def test_a_small_table_keeps_dates_and_times_and_replaces_the_one_before(shared: DuckDB) -> None:
    row = (date(2025, 9, 1), datetime(2025, 9, 1, 3, 4, 5, 6), 2**62)
    columns = [("d", "DATE"), ("t", "TIMESTAMP"), ("n", "BIGINT")]
    shared.table("kept", columns, [row, row])
    shared.table("kept", columns, [row])
    assert shared.run("SELECT * FROM kept").rows == [row]
    shared.table("kept", columns, [])
    assert shared.run("SELECT * FROM kept").rows == []


@given(st.lists(ATTOS.map(lambda atto: atto // 100), min_size=1, max_size=20))
def test_a_sum_of_money_is_exact(shared: DuckDB, attos: list[int]) -> None:
    shared.table("m", [("usd", "DECIMAL(38,18)")], [(amount.to_decimal(atto),) for atto in attos])
    assert shared.run("SELECT SUM(usd) FROM m").rows == [(amount.to_decimal(sum(attos)),)]


def test_a_sum_that_no_longer_fits_is_refused_not_rounded(shared: DuckDB) -> None:
    shared.table("m", [("usd", "DECIMAL(38,18)")], [(Decimal("9e19"),), (Decimal("9e19"),)])
    with pytest.raises(CopsError):
        shared.run("SELECT SUM(usd) FROM m")


@pytest.mark.parametrize(
    ("sql", "params", "value"),
    [
        ("SELECT $start", {"start": date(2025, 9, 1)}, date(2025, 9, 1)),
        ("SELECT $text", {"text": "'; DROP TABLE x; --"}, "'; DROP TABLE x; --"),
        ("SELECT $usd", {"usd": Decimal("0.000000000000000001")}, Decimal("0.000000000000000001")),
        ("SELECT $none IS NULL", {"none": None}, True),
        ("SELECT 1", {"unused": "x"}, 1),
        ("SELECT $start_2", {"start": "a", "start_2": "b"}, "b"),
        ("SELECT '$start'", {"start": "a"}, "$start"),
    ],
)
def test_parameters_are_bound_by_their_whole_name_and_never_read_as_sql(
    sql: str, params: dict[str, object], value: object, shared: DuckDB
) -> None:
    assert shared.run(sql, params).rows == [(value,)]  # type: ignore[arg-type]


def test_what_is_staged_is_written_whole_and_counted(shared: DuckDB, tmp_path: Path) -> None:
    target = tmp_path / "new" / "it's.parquet"
    assert shared.stage(exp.select("n").from_("range(3) AS r(n)"), target) == 3
    assert sorted(shared.fetch(read_parquet([target])).rows) == [(0,), (1,), (2,)]
    assert shared.stage(exp.select("1 AS n").where("FALSE"), target) == 0
    assert shared.fetch(read_parquet([target])).rows == []


def test_every_sql_file_is_one_select_in_the_dialect_of_the_engine(shared: DuckDB) -> None:
    folder = Path(__file__).resolve().parents[2] / "sql"
    names = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.sql"))
    assert len(names) > 20
    for name in names:
        text = statements.to_duckdb(statements.parsed(name))
        assert question(shared, text)
        assert "EXACT_USD" not in text
        assert statements.sha256(name) != statements.sha256(names[names.index(name) - 1])


def test_a_statement_that_is_not_installed_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no_such"):
        statements.text("no_such")


def test_a_table_takes_rows_from_an_iterator_and_gives_them_back_one_by_one() -> None:
    """A batch at a time, so that neither side holds all of them."""
    rows = ((str(number), Decimal(number)) for number in range(25_000))
    with DuckDB() as engine:
        engine.table("numbers", [("name", "VARCHAR"), ("value", "DECIMAL(38,18)")], rows)
        asked = exp.select("name", "value").from_("numbers").order_by("value")
        seen = [(name, int(value)) for name, value in engine.each(asked)]
    assert seen == [(str(number), number) for number in range(25_000)]


def test_a_home_of_one_work_reads_lines_where_the_other_does_and_leaves_sessions_there(
    tmp_path: Path,
) -> None:
    (tmp_path / "real").mkdir()
    lasting = settings.load(
        home=tmp_path / "real", engine="athena", catalog="glue", lake={"place": "s3://bucket/lake"}
    )
    own = settings.load(home=tmp_path / "work")
    made = opened.on_engine_of(own, lasting)
    assert (made.engine, made.catalog, made.lake.place) == ("athena", "file", None)
    assert (
        session.place_of(made).uri("x") == session.place_of(lasting).uri("x") == "s3://bucket/lake-engine/x"
    )
    assert (made.home / session.LOCKS).resolve() == lasting.home / session.LOCKS
    assert opened.on_engine_of(own, None) is own
    assert opened.on_engine_of(own, settings.load(home=tmp_path / "real")) is own
