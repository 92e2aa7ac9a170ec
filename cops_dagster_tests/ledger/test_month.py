"""One small month through every act: what is conserved, what is repeated, what is reversed."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.adjustments import late
from cops_dagster.allocation import allocate
from cops_dagster.allocation.verdicts import ALLOCATED_EQUALS_POOL
from cops_dagster.closing import current, status
from cops_dagster.errors import CopsError
from cops_dagster.evidence import sweep
from cops_dagster.ingestion import ingest
from cops_dagster.ingestion.verdicts import ROWS_MATCH_DELIVERY
from cops_dagster.ledger import publish
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.run import Run, Superseded
from cops_dagster.stores import tables as t
from cops_dagster.verdict import Verdict
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, force_state, give, home, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant, dump, lake


@pytest.fixture
def books(tmp_path: Path) -> Books:
    write(tmp_path / "cur", [lines(MONTH)])
    opened = home(tmp_path)
    run(opened)
    return opened


def test_every_tenant_bears_its_own_cost_and_its_share_to_the_last_digit(books: Books) -> None:
    """acme 10.10 and globex 20.20 direct; 3.01 by direct cost (1:2); 9.000000001 by network (1:2)."""
    third = Fraction("3.01") / 3
    found = by_tenant(books)
    assert found["__operator__"] == Decimal("-1.5")
    assert found["__unallocated__"] == Decimal("0.07")
    assert sum(found.values()) == Decimal("40.880000001")
    acme, globex = Fraction("10.10") + third + Fraction("9.000000001") / 3, Fraction("20.20") + 2 * third + 6
    assert abs(Fraction(found["acme"]) - acme) < Fraction("1e-17")
    assert abs(Fraction(found["globex"]) - globex) < Fraction("1e-8")


def test_raw_tagged_and_allocated_agree_per_service_and_class(books: Books) -> None:
    raw = "SELECT product_servicecode, charge_class, SUM(line_item_unblended_cost) FROM fact_cost_raw"
    tagged = "SELECT service, charge_class, SUM(unblended_cost) FROM fact_cost_tagged"
    allocated = "SELECT service, charge_class, SUM(allocated_cost_usd) FROM fact_cost_allocated"
    sums = [sorted(answer(books, f"{query} GROUP BY 1, 2")) for query in (raw, tagged, allocated)]
    assert sums[0] == sums[1] == sums[2]
    assert len(sums[0]) == 4


def test_a_second_run_writes_nothing(books: Books) -> None:
    before, files = dump(books), lake(books)
    assert current.is_current(books, SEPTEMBER)
    run(books)
    assert dump(books) == before
    assert lake(books) == files


def test_another_key_reverses_the_run_and_posts_a_new_one(books: Books, tmp_path: Path) -> None:
    before = by_tenant(books)
    first = [one for one in status.runs(books, SEPTEMBER) if one["table_name"] == allocate.TABLE]
    give(
        books, tmp_path, replace=True,
        tenant_network_usage=INPUTS["tenant_network_usage"].replace("globex,2,", "globex,8,"),
    )  # fmt: skip
    assert not current.is_current(books, SEPTEMBER)
    run(books)
    both = [one for one in status.runs(books, SEPTEMBER) if one["table_name"] == allocate.TABLE]
    assert [one["run_id"] for one in both][:1] == [first[0]["run_id"]]
    assert both[1]["replaces"] == first[0]["run_id"]
    after = by_tenant(books)
    assert sum(after.values()) == sum(before.values())
    assert abs(after["acme"] - before["acme"] + 2) < Decimal("1e-8")  # 3.00 became 1.00
    assert by_tenant(books, as_of=first[0]["run_id"]) == before
    reversed_lines = answer(
        books,
        "SELECT SUM(allocated_cost_usd), SUM(key_value), COUNT(*) FROM fact_cost_allocated "
        f"WHERE entry_type = 'reversal' OR run_id = '{first[0]['run_id']}'",
    )
    assert reversed_lines[0][:2] == (0, 0)


@pytest.mark.long
def test_inputs_that_come_back_make_a_third_run(books: Books, tmp_path: Path) -> None:
    """A → B → A: the predecessor is part of a run's id, so the third run is not 'already applied'."""
    before = by_tenant(books)
    other = INPUTS["tenant_network_usage"].replace("globex,2,", "globex,8,")
    give(books, tmp_path, replace=True, tenant_network_usage=other)
    run(books)
    give(books, tmp_path, replace=True, tenant_network_usage=INPUTS["tenant_network_usage"])
    run(books)
    runs = [one["run_id"] for one in status.runs(books, SEPTEMBER) if one["table_name"] == allocate.TABLE]
    assert len(set(runs)) == 3
    assert by_tenant(books) == before


@pytest.mark.long
def test_a_newer_delivery_replaces_the_lines_and_reverses_the_entries(books: Books, tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="a2")
    assert not current.is_current(books, SEPTEMBER)
    run(books)
    assert answer(books, "SELECT COUNT(*), SUM(line_item_unblended_cost) FROM fact_cost_raw") == [
        (7, Decimal("41.880000001"))
    ]
    assert sum(by_tenant(books).values()) == Decimal("41.880000001")


@pytest.mark.long
def test_a_column_that_aws_adds_is_kept_and_one_it_leaves_out_is_null(tmp_path: Path) -> None:
    header, *rows = MONTH.strip().splitlines()
    more = "\n".join([f"{header} product_new_thing", *(f"{row} seen" for row in rows)])
    write(tmp_path / "cur", [lines(more)])
    books = home(tmp_path)
    run(books)
    rows = answer(
        books, "SELECT DISTINCT product_new_thing, savings_plan_used_commitment, delivery_id IS NULL "
        "FROM fact_cost_raw",
    )  # fmt: skip
    assert rows == [("seen", None, False)]


@pytest.mark.long
def test_an_unknown_tag_names_no_tenant_and_an_empty_registry_takes_every_tag(tmp_path: Path) -> None:
    text = """
    type  service   account      tenant cost
    Usage AmazonEC2 111111111111 acme   10
    Usage AmazonEC2 111111111111 acmee  5
    """
    write(tmp_path / "a" / "cur", [lines(text)])
    known = home(tmp_path / "a")
    run(known)
    tagged = "SELECT tenant_id, tenant_tag FROM fact_cost_tagged ORDER BY 1"
    assert answer(known, tagged) == [("acme", None), (None, "acmee")]
    assert by_tenant(known) == {"acme": 10, "__unallocated__": 5}  # a third of the month: held, not spread
    write(tmp_path / "b" / "cur", [lines(text)])
    empty = home(tmp_path / "b", inputs=None)
    run(empty)
    assert by_tenant(empty) == {"acme": 10, "acmee": 5}


@pytest.mark.long
def test_an_empty_key_refuses_the_run_and_leaves_the_month(books: Books, tmp_path: Path) -> None:
    before = by_tenant(books)
    give(
        books, tmp_path, replace=True,
        tenant_network_usage=INPUTS["tenant_network_usage"].replace(",1,", ",0,").replace(",2,", ",0,"),
    )  # fmt: skip
    with pytest.raises(CopsError, match="E-KEY-ZERO"):
        run(books)
    assert by_tenant(books) == before
    with books.admin.read() as con:
        zero = con.execute(
            sa.select(t.allocation_key_snapshot.c.key_name).where(
                t.allocation_key_snapshot.c.key_total == Decimal(0)
            )
        ).scalars()
        assert set(zero) == {"network"}
        refused = con.execute(sa.select(t.allocation_run_log.c.error_code)).scalars().all()
    assert refused == [None, "E-KEY-ZERO"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("policy", ["hold", "even", "rule:rest"])
def test_an_empty_key_does_what_its_rule_says(tmp_path: Path, policy: str) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    inputs = INPUTS | {
        "allocation_rules": INPUTS["allocation_rules"].replace("network,,fail", f"network,,{policy}"),
        "tenant_network_usage": INPUTS["tenant_network_usage"].split("\n")[0] + "\n",
    }
    books = home(tmp_path, inputs=inputs)
    run(books)
    found = by_tenant(books)
    assert sum(found.values()) == Decimal("40.880000001")
    assert (found["__unallocated__"] > 9) == (policy == "hold")


def test_a_closed_period_takes_no_run_and_an_open_one_does(books: Books, tmp_path: Path) -> None:
    key = "period_start,tenant_id,value,refreshed_at\n2025-09,acme,5,2025-10-01T03:00:00Z\n"
    give(books, tmp_path, replace=True, tenant_network_usage=key)
    with books.admin.write() as con:
        force_state(con, "closed")
    before = by_tenant(books)
    run(books)
    assert by_tenant(books) == before
    with books.admin.write() as con:
        force_state(con, "provisional")
    run(books)
    assert by_tenant(books) != before


@pytest.mark.long
def test_a_delivery_for_a_closed_period_is_kept_aside_and_for_an_open_one_taken(
    books: Books, tmp_path: Path
) -> None:
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="a2")
    with books.admin.write() as con:
        force_state(con, "closed")
    before = by_tenant(books)
    for _ in range(2):
        run(books)
        assert by_tenant(books) == before
        late.propose(books, SEPTEMBER)
        assert current.is_current(books, SEPTEMBER)
    assert answer(books, "SELECT status FROM cur_ingestion_log ORDER BY log_seq DESC LIMIT 1") == [
        ("skipped",)
    ]
    with books.admin.write() as con:
        force_state(con, "provisional")
    run(books)
    assert by_tenant(books) != before


def test_a_blocking_verdict_that_fails_refuses_before_anything_is_written(books: Books) -> None:
    bad = Verdict(ALLOCATED_EQUALS_POOL, False, "ERROR", {"allocated_usd": 1})
    warned = Verdict(ROWS_MATCH_DELIVERY, False, "WARN")
    publish.refuse([warned], "a warning refuses nothing")
    before = dump(books)
    with pytest.raises(CopsError, match="E-VERDICT"):
        publish.publish(books, publish.Publication(Run(allocate.TABLE, SEPTEMBER, "", "i", None), [], [bad]))
    assert dump(books) == before


def test_a_run_planned_over_another_head_loses(books: Books) -> None:
    with pytest.raises(Superseded):
        publish.publish(books, publish.Publication(Run(allocate.TABLE, SEPTEMBER, "", "i", "x"), [], []))


@pytest.mark.long
def test_a_flipped_bit_is_found_and_the_month_staged_anew(books: Books) -> None:
    (path,) = (books.settings.lake_root / ingest.TABLE).rglob("*.parquet")
    before, good = by_tenant(books), path.read_bytes()
    broken = bytearray(good)
    broken[len(good) // 3] ^= 1
    path.write_bytes(broken)
    with pytest.raises(CopsError, match="E-DIGEST"):
        answer(books, "SELECT SUM(line_item_unblended_cost) FROM fact_cost_raw", verify=True)
    assert not current.is_current(books, SEPTEMBER)
    run(books)
    assert answer(books, "SELECT COUNT(*) FROM fact_cost_raw", verify=True) == [(6,)]
    assert by_tenant(books) == before


@pytest.mark.long
def test_sweeping_removes_what_was_staged_and_never_published(books: Books) -> None:
    orphan = books.settings.lake_root / "fact_cost_raw" / "2025-09" / "0123456789abcdef" / "x.parquet"
    orphan.parent.mkdir()
    orphan.write_bytes(b"PAR1")
    files = lake(books)
    assert sweep.sweep(books).folders_removed == 1
    assert lake(books) == [path for path in files if path != str(orphan)]


@pytest.mark.long
def test_the_iceberg_tables_hold_the_same_numbers_and_can_be_made_anew(books: Books, tmp_path: Path) -> None:
    from pyiceberg.catalog.sql import SqlCatalog  # what a notebook would do, without COPS

    def sums(root: Path) -> dict[str, Decimal]:
        catalog = SqlCatalog(
            "cops", uri=f"sqlite:///{root}/iceberg_catalog.db", warehouse=f"file://{root}/iceberg"
        )
        columns = {"fact_cost_tagged": "unblended_cost", "fact_cost_allocated": "allocated_cost_usd"}
        return {
            name: sum(catalog.load_table(f"cops.{name}").scan().to_arrow()[column].to_pylist(), Decimal(0))
            for name, column in columns.items()
        }

    total = Decimal("40.880000001")
    root = books.settings.lake_root
    assert set(sums(root).values()) == {total}
    give(
        books,
        tmp_path,
        replace=True,
        tenant_network_usage=INPUTS["tenant_network_usage"].replace(",2,", ",8,"),
    )
    write(tmp_path / "cur", [lines(MONTH)], assembly="a2")
    run(books)
    assert set(sums(root).values()) == {total}
    (root / "iceberg_catalog.db").unlink()
    assert sweep.rebuild(books) == 6
    assert set(sums(root).values()) == {total}
