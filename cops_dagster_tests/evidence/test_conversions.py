"""What is read instead of a delivered file is what COPS made of it: the chain says so, or it is not read."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.closing import proof
from cops_dagster.errors import CopsError
from cops_dagster.evidence import conversions
from cops_dagster.ingestion import record
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster_tests.closing.ready import DOCUMENTS, aged, close_by_two
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.layouts import LAYOUTS

CSV = "data exports csv gzip, overwrite"
GUARDS = ("cur_read_file_proved", "cur_read_file_own")


@pytest.fixture
def converted(tmp_path: Path) -> Books:
    """Books whose September was delivered as CSV, ready to close."""
    LAYOUTS[CSV](tmp_path / "cur", [lines(MONTH)], SEPTEMBER, "a1")
    aged(tmp_path / "cur")
    books = home(tmp_path, inputs=INPUTS | DOCUMENTS)
    run(books)
    return books


def made(books: Books) -> list[sa.Row]:
    with books.admin.read() as con:
        return list(con.execute(sa.select(t.cur_read_file)).all())


@pytest.mark.long
def test_a_converted_month_is_proved_from_its_first_sight_to_its_close(converted: Books) -> None:
    (row,) = made(converted)
    with converted.admin.read() as con:
        entries = t.evidence_index
        about = sa.select(entries.c.subject_id).where(entries.c.kind == conversions.KIND)
        assert con.execute(about).scalars().all() == [f"{row.delivery_id}/0/{row.sha256}"]
        assert conversions.unproved(con, converted) == ([], [])
    assert close_by_two(converted).wrote
    found = proof.verify(converted)
    assert (found.status, found.findings, found.warnings) == ("ok", [], [])


@pytest.mark.long
def test_no_file_of_a_delivery_is_read_in_the_place_of_another(tmp_path: Path) -> None:
    """Both digests are proved, each for its own place: one file twice, the other never, is another month."""
    table = lines(MONTH)
    LAYOUTS[CSV](tmp_path / "cur", [table.slice(0, 2), table.slice(2)], SEPTEMBER, "a1")
    books = home(tmp_path)
    run(books)
    first, second = sorted(made(books), key=lambda row: row.position)
    conversions = t.cur_read_file
    swapped = {**second._mapping, "path": first.path, "sha256": first.sha256}
    with books.admin.write() as con:
        con.execute(sa.delete(conversions).where(conversions.c.position == 1))
        with pytest.raises(sa.exc.IntegrityError, match="E-CONVERSION"):
            con.execute(sa.insert(conversions).values(swapped))
        con.execute(sa.insert(conversions).values(dict(second._mapping)))
    assert proof.decisions(books) == []


def test_a_conversion_gone_from_a_closed_month_is_found_and_one_on_another_machine_is_said(
    converted: Books,
) -> None:
    close_by_two(converted)
    (row,) = made(converted)
    (converted.settings.home / row.path).unlink()
    found = proof.verify(converted)
    assert (found.status, [one.found for one in found.warnings]) == ("ok", ["not on this machine"])
    with converted.admin.write() as con:
        con.execute(sa.delete(t.cur_read_file))
    (gone,) = proof.verify(converted).findings
    assert (gone.what.split(" of ")[0], gone.expected, gone.found) == ("conversions", "1", "0")


def put(books: Books, path: str) -> None:
    """A row of somebody's for the delivery of September."""
    with books.admin.write() as con:
        delivery = con.execute(sa.select(t.cur_delivery.c.delivery_id)).scalar_one()
        con.execute(
            sa.insert(t.cur_read_file).values(
                delivery_id=delivery, position=0, path=path, sha256="ab", size_bytes=2, mtime_ns=0
            )
        )


@pytest.fixture
def delivered(tmp_path: Path) -> Books:
    """Books whose September was delivered as Parquet, which nobody converts."""
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    return books


@pytest.mark.sampled(3)
@pytest.mark.parametrize("path", [f"converted/{'ab' * 16}.parquet", "/etc/passwd", "converted/../admin.db"])
def test_the_database_takes_no_conversion_that_the_chain_does_not_know(delivered: Books, path: str) -> None:
    """One such row exchanged what was read, tenant for tenant, and nothing noticed."""
    with pytest.raises(sa.exc.IntegrityError, match="E-CONVERSION"):
        put(delivered, path)
    assert made(delivered) == []


def test_a_conversion_elsewhere_is_neither_read_nor_deleted(delivered: Books, tmp_path: Path) -> None:
    """COPS deleted what the row named when it looked at the month again."""
    canary = tmp_path / "canary"
    canary.write_text("x", encoding="utf-8")
    with delivered.admin.write() as con:
        for guard in GUARDS:
            con.exec_driver_sql(f"DROP TRIGGER {guard}")
    put(delivered, str(canary))
    (row,) = made(delivered)
    for act in (
        lambda: record.drop_conversion(delivered, row.delivery_id),
        lambda: run(delivered),
    ):
        with pytest.raises(CopsError, match="E-EVIDENCE-TAMPERED"):
            act()
    assert canary.exists()
    assert any("file read for delivery" in one.what for one in proof.decisions(delivered))


@pytest.mark.long
def test_a_converted_delivery_from_before_conversions_were_proved_is_a_warning(converted: Books) -> None:
    with converted.admin.write() as con:
        con.exec_driver_sql("DROP TRIGGER evidence_index_no_update")
        con.execute(
            sa.update(t.evidence_index)
            .where(t.evidence_index.c.kind == conversions.KIND)
            .values(kind="something else")
        )
    with converted.admin.read() as con:
        findings, warnings = conversions.unproved(con, converted)
    assert (findings, [one.expected for one in warnings]) == ([], ["a conversion that the chain knows"])
