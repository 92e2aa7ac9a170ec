"""The reader: what it is locked to, what it survives, what its death is called; text that becomes money."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.functions import call, expanded
from cops_dagster.lake.reader import Reader, resting
from cops_dagster.lake.reader_child import decode, encode
from cops_dagster_tests.examples import examples


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    spill = tmp_path / "spill"  # the engine may read all of it, whatever it is locked down to
    with Reader(subject="delivery d", delivered_bytes=1000, memory_limit="512MiB", spill=spill) as made:
        yield made


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDB]:
    with DuckDB() as made:
        yield made


def test_every_value_comes_back_as_it_went(reader: Reader) -> None:
    values = [None, True, 7, "x\0\n'", Decimal("-0.000000000000000001"), date(2025, 9, 1),
              datetime.fromisoformat("2025-09-01T12:00:00.000001"), [1, Decimal("2.5")]]  # fmt: skip
    assert [decode(encode(value)) for value in values] == values
    assert reader.run("SELECT CAST($x AS DECIMAL(38, 18)), $y", {"x": Decimal("1.5"), "y": "t"}).rows == [
        (Decimal("1.5"), "t")
    ]


def test_a_reader_reads_what_it_was_given_and_writes_to_one_folder_only(
    reader: Reader, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("a\n1\n")
    (tmp_path / "secret.csv").write_text("a\n2\n")
    (tmp_path / "out").mkdir()
    reader.lock_down([tmp_path / "in.csv"], tmp_path / "out")
    assert reader.run(f"SELECT * FROM read_csv('{tmp_path}/in.csv')").rows == [(1,)]
    reader.run(f"COPY (SELECT 1) TO '{tmp_path}/out/x.parquet'")
    for refused in (
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"COPY (SELECT 1) TO '{tmp_path}/elsewhere.parquet'",
        f"COPY (SELECT 1) TO '{tmp_path}/out/../elsewhere.parquet'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "ATTACH '/tmp/x.db'",
    ):
        with pytest.raises(CopsError):
            reader.run(refused)
    assert sorted(path.name for path in tmp_path.iterdir()) >= ["in.csv", "out", "secret.csv"]
    assert not (tmp_path / "elsewhere.parquet").exists()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGSEGV, "E-READER-CRASH"), (signal.SIGABRT, "E-READER-CRASH"), (signal.SIGKILL, "E-RESOURCE"),
     (signal.SIGXCPU, "E-RESOURCE")],
)  # fmt: skip
def test_the_death_of_a_reader_is_a_refusal_and_not_the_end_of_the_run(
    number: int, code: str, reader: Reader
) -> None:
    assert reader.run("SELECT 1").rows == [(1,)]
    os.kill(reader.pid, number)
    for _ in range(2):
        with pytest.raises(CopsError) as refusal:
            reader.run("SELECT 1")
        assert (refusal.value.code, refusal.value.subject) == (code, "delivery d")


def made(tmp_path: Path, subject: str = "delivery d", delivered_bytes: int = 1000) -> Reader:
    return Reader(
        subject=subject, delivered_bytes=delivered_bytes, memory_limit="512MiB", spill=tmp_path / "spill"
    )


def file_limit(pid: int) -> int:
    limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
    return int(next(line for line in limits if line.startswith("Max file size")).split()[3])


def test_within_a_run_one_process_reads_the_same_bytes_again_with_nothing_of_before(tmp_path: Path) -> None:
    with resting():
        with made(tmp_path) as first:
            first.run("CREATE TABLE kept AS SELECT 1")
            first.lock_down([], tmp_path)
            pid, limit = first.pid, file_limit(first.pid)
        with made(tmp_path, delivered_bytes=2000) as second:
            assert second.pid == pid
            with pytest.raises(CopsError, match="kept"):
                second.run("SELECT * FROM kept")
            (tmp_path / "in.csv").write_text("a\n1\n")
            second.run("SET threads = 1")  # its configuration is not locked yet
            assert file_limit(pid) == limit + 20 * 1000
            with made(tmp_path) as beside:
                assert beside.pid != pid
    assert not Path(f"/proc/{pid}").exists()


def test_outside_of_a_run_or_for_other_bytes_each_reader_has_a_process_of_its_own(tmp_path: Path) -> None:
    with made(tmp_path) as one:
        pid = one.pid
    assert not Path(f"/proc/{pid}").exists()
    with resting():
        with made(tmp_path) as one:
            pid = one.pid
        with made(tmp_path, "lines of 2025-09") as other:
            assert other.pid != pid


def test_a_reader_that_was_refused_or_died_does_not_read_again(tmp_path: Path) -> None:
    with resting():
        with pytest.raises(CopsError), made(tmp_path) as refused:
            refused.run("SELECT * FROM nothing")
        assert not Path(f"/proc/{refused.pid}").exists()
        with made(tmp_path) as second:
            pid = second.pid
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with made(tmp_path) as third:
            assert third.pid != pid
            assert third.run("SELECT 1").rows == [(1,)]


def test_memory_beyond_the_limit_is_refused_and_the_reader_lives(reader: Reader) -> None:
    with pytest.raises(CopsError, match="E-RESOURCE"):
        reader.run(
            "SELECT LENGTH(STRING_AGG(REPEAT(CAST(i AS VARCHAR), 1000), '')) FROM range(10000000) t(i)"
        )
    assert reader.run("SELECT 1").rows == [(1,)]


def exact(engine: DuckDB, text: str, function: str = "EXACT_TEXT_USD") -> Decimal | None:
    tree = expanded(exp.select(call(function, exp.Literal.string(text))))
    return engine.run(tree.sql("duckdb")).rows[0][0]  # type: ignore[no-any-return]


@settings(max_examples=examples(150), deadline=None)
@given(st.decimals(-(10**20) + 1, 10**20 - 1, allow_nan=False, places=18))
def test_any_text_of_18_decimals_is_that_amount(engine: DuckDB, amount: Decimal) -> None:
    assert exact(engine, format(amount, "f")) == amount


@settings(max_examples=examples(150), deadline=None)
@given(st.integers(-(10**15), 10**15), st.integers(-25, 10))
def test_an_exponent_is_taken_exactly_or_not_at_all(engine: DuckDB, digits: int, exponent: int) -> None:
    found = exact(engine, f"{digits}e{exponent}")
    meant = Decimal(digits).scaleb(exponent)
    fits = exponent >= -18 and abs(meant) < 10**20
    assert found == (meant if fits else None)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1", "1"), ("+5", "5"), ("-0.0", "0"), (".5", "0.5"), ("5.", "5"), ("1.50000000000000000000000", "1.5"),
     ("1.0E-10", "1E-10"), ("0" * 30 + "1", "1"), ("", None), (" 1", None), ("1,5", None), ("1_0", None),
     ("0x1", None), ("nan", None), ("Infinity", None), ("1e", None), ("--1", None), ("１", None),
     ("0.0000000000000000001", None), ("1e-19", None), ("100000000000000000000", None), ("1e20", None)],
)  # fmt: skip
def test_text_is_the_amount_it_says_or_none(text: str, amount: str | None, engine: DuckDB) -> None:
    assert exact(engine, text) == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize(
    ("text", "instant"),
    [("2025-09-01T00:00:00Z", "2025-09-01T00:00:00"), ("2025-09-01T00:00:00.123Z", "2025-09-01T00:00:00.123"),
     ("2025-09-01 02:00:00+02:00", "2025-09-01T00:00:00"),
     ("2025-08-31T19:00:00-0500", "2025-09-01T00:00:00"),
     ("2025-09-01T00:00:00", None), ("2025-09-01", None), ("2025-13-01T00:00:00Z", None), ("x", None)],
)  # fmt: skip
def test_a_time_is_an_instant_in_utc_or_none(text: str, instant: str | None, engine: DuckDB) -> None:
    found = exact(engine, text, "UTC_TIME")
    assert found == (None if instant is None else datetime.fromisoformat(instant))
