"""Taking a run back, and following another day's rules: what stands, what does not come back by itself."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.allocation import allocate, reverse, rule_date
from cops_dagster.closing import current
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, sweep, verify
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.reconciliation import reconcile
from cops_dagster.stores import tables as t
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant, dump

LATER_RULE = (
    "rule_id,version,effective_from,priority,match_service,match_charge_class,method,key_name,shares,"
    "on_zero_key,approved_by\n"
    "rest,2,2025-09-15,30,,usage,even,,,fail,kim\n"
)

RUN_KINDS = ("run_inputs", "run_sql", "run_certificate")
"""Kinds of evidence that every published allocation run has (invariant I12)."""


@pytest.fixture
def books(tmp_path: Path) -> Books:
    write(tmp_path / "cur", [lines(MONTH)])
    opened = home(tmp_path)
    run(opened)
    return opened


def head_of(books: Books) -> str:
    with books.admin.read() as con:
        found = month.head(con, allocate.TABLE, SEPTEMBER)
    assert found is not None
    return found.run_id


def other_key(books: Books, folder: Path, value: int = 8) -> None:
    """Another network figure of globex, and the run that follows."""
    text = INPUTS["tenant_network_usage"].replace("globex,2,", f"globex,{value},")
    give(books, folder, replace=True, tenant_network_usage=text)
    run(books)


@pytest.mark.long
def test_a_run_taken_back_leaves_the_lines_of_the_run_before_it(books: Books, tmp_path: Path) -> None:
    before, first = by_tenant(books), head_of(books)
    other_key(books, tmp_path)
    assert by_tenant(books) != before
    done = reverse.reverse(books, head_of(books)[:16], reason="the key was wrong")
    assert done.reposted_run_id == first
    assert by_tenant(books) == before
    kept = answer(
        books, f"SELECT SUM(allocated_cost_usd) FROM fact_cost_allocated WHERE run_id = '{done.run_id}'"
    )
    assert kept == [(0,)]


def test_every_reversed_line_is_the_opposite_of_one_line(books: Books, tmp_path: Path) -> None:
    other_key(books, tmp_path)
    done = reverse.reverse(books, head_of(books), reason="the key was wrong")
    unequal = answer(
        books,
        "SELECT COUNT(*) FROM fact_cost_allocated a "
        "JOIN fact_cost_allocated b ON b.reverses_entry_id = a.entry_id "
        "WHERE a.allocated_cost_usd <> -b.allocated_cost_usd OR a.tenant_id <> b.tenant_id "
        "OR a.key_value <> -b.key_value OR a.service <> b.service",
    )
    pairs = answer(
        books,
        f"SELECT (SELECT COUNT(*) FROM fact_cost_allocated WHERE run_id = '{done.reversed_run_id}' "
        f"AND entry_type = 'allocation'), (SELECT COUNT(DISTINCT reverses_entry_id) FROM fact_cost_allocated "
        f"WHERE run_id = '{done.run_id}' AND reverses_run_id = '{done.reversed_run_id}')",
    )
    assert unequal == [(0,)]
    assert pairs[0][0] == pairs[0][1] > 0


@pytest.mark.long
def test_the_first_run_taken_back_leaves_its_cost_unallocated(books: Books) -> None:
    total = sum(by_tenant(books).values())
    done = reverse.reverse(books, head_of(books), reason="nobody approved the rules")
    assert done.reposted_run_id is None
    assert by_tenant(books) == {"__unallocated__": total}


@pytest.mark.long
def test_a_run_over_another_delivery_leaves_its_cost_unallocated(books: Books, tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="a2")
    run(books)
    done = reverse.reverse(books, head_of(books), reason="the delivery was wrong")
    assert done.reposted_run_id is None
    assert by_tenant(books) == {"__unallocated__": Decimal("41.880000001")}


def test_what_was_taken_back_does_not_come_back_by_itself(books: Books, tmp_path: Path) -> None:
    other_key(books, tmp_path)
    reverse.reverse(books, head_of(books), reason="the key was wrong")
    reconcile.reconcile(books, SEPTEMBER)
    sweep.sweep(books)
    before = dump(books)
    assert current.is_current(books, SEPTEMBER)
    run(books)
    assert {name: rows for name, rows in dump(books).items() if name != "allocation_key_snapshot"} == {
        name: rows for name, rows in before.items() if name != "allocation_key_snapshot"
    }


@pytest.mark.long
def test_it_comes_back_with_other_inputs_or_a_decision_of_its_own(books: Books, tmp_path: Path) -> None:
    other_key(books, tmp_path)
    reverse.reverse(books, head_of(books), reason="the key was wrong")
    wrong = by_tenant(books)
    other_key(books, tmp_path, value=3)
    assert by_tenant(books) != wrong
    reverse.reverse(books, head_of(books), reason="wrong again")
    taken_back = head_of(books)
    rule_date.decide(books, SEPTEMBER, None, note="the key was right after all")
    run(books)
    assert head_of(books) != taken_back
    with books.admin.read() as con:
        log = t.allocation_run_log
        assert con.execute(sa.select(log.c.note).where(log.c.run_id == head_of(books))).scalar_one() == (
            "the key was right after all"
        )


@pytest.mark.sampled(5)
@pytest.mark.parametrize("which", ["unknown", "replaced", "reversal", "twice", "empty"])
def test_what_cannot_be_taken_back_is_refused_and_nothing_is_written(
    books: Books, tmp_path: Path, which: str
) -> None:
    first = head_of(books)
    other_key(books, tmp_path)
    second = head_of(books)
    if which in ("reversal", "twice"):
        done = reverse.reverse(books, second, reason="wrong")
    wanted = {"unknown": "f" * 64, "replaced": first, "reversal": "", "twice": second, "empty": ""}[which]
    wanted = done.run_id if which == "reversal" else wanted
    before = dump(books)
    with pytest.raises(CopsError) as refusal:
        reverse.reverse(books, wanted, reason="again")
    assert refusal.value.code == "E-REV"
    assert dump(books) == before


def test_a_reversal_without_a_reason_is_refused(books: Books) -> None:
    with pytest.raises(CopsError, match="E-PARAM"):
        reverse.reverse(books, head_of(books), reason="  ")


@pytest.mark.long
def test_every_published_run_has_its_inputs_its_sql_and_its_certificate(books: Books, tmp_path: Path) -> None:
    other_key(books, tmp_path)
    reverse.reverse(books, head_of(books), reason="the key was wrong")
    with books.admin.read() as con:
        journal = t.publish_journal
        runs = (
            con.execute(sa.select(journal.c.run_id).where(journal.c.table_name == allocate.TABLE))
            .scalars()
            .all()
        )
        missing = [
            (kind, one[:8]) for one in runs for kind in RUN_KINDS if not chain.find(con, kind, "run", one)
        ]
        log = t.allocation_run_log
        linked = con.execute(sa.select(log.c.evidence_id).where(log.c.status == "published")).scalars().all()
    assert len(runs) == 3
    assert missing == []
    assert all(linked)
    assert verify.verify(books).status == "ok"


# --- rules of another day ---------------------------------------------------------------------------


@pytest.mark.long
def test_a_rule_of_mid_month_rules_the_next_month(books: Books, tmp_path: Path) -> None:
    before = by_tenant(books)
    give(books, tmp_path, allocation_rules=LATER_RULE)
    run(books)
    assert by_tenant(books) == before


@pytest.mark.long
def test_a_run_note_lets_a_rule_of_mid_month_rule_this_one_and_it_stays_so(
    books: Books, tmp_path: Path
) -> None:
    """3.01 of EC2 by direct cost gives acme 1.00; even gives 1.505."""
    before = by_tenant(books)
    give(books, tmp_path, allocation_rules=LATER_RULE)
    rule_date.decide(books, SEPTEMBER, date(2025, 9, 20), note="agreed with finance")
    run(books)
    after = by_tenant(books)
    moved = after["acme"] - before["acme"]
    assert abs(Fraction(moved) - (Fraction("1.505") - Fraction("3.01") / 3)) < Fraction("1e-17")
    head = head_of(books)
    run(books)
    assert head_of(books) == head


@pytest.mark.long
def test_the_earlier_rules_come_back_by_naming_an_earlier_day(books: Books, tmp_path: Path) -> None:
    before = by_tenant(books)
    give(books, tmp_path, allocation_rules=LATER_RULE)
    rule_date.decide(books, SEPTEMBER, date(2025, 9, 20), note="agreed with finance")
    run(books)
    rule_date.decide(books, SEPTEMBER, date(2025, 9, 1), evidence_links="TICKET-7")
    run(books)
    assert by_tenant(books) == before
    with books.admin.read() as con:
        log = t.allocation_run_log
        found = con.execute(
            sa.select(log.c.evidence_links).where(log.c.run_id == head_of(books))
        ).scalar_one()
    assert found == "TICKET-7"


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("day", "note", "code"),
    [
        (date(2025, 9, 20), None, "E-RUN-NOTE"),
        (date(2025, 9, 20), " ", "E-RUN-NOTE"),
        (date(2025, 10, 1), "why not", "E-PARAM"),
        (date(2024, 12, 31), "why not", "E-PARAM"),
    ],
)
def test_a_rule_date_that_cannot_be_is_refused(books: Books, day: date, note: str | None, code: str) -> None:
    with pytest.raises(CopsError) as refusal:
        rule_date.decide(books, SEPTEMBER, day, note=note)
    assert refusal.value.code == code


def test_a_rule_date_within_the_month_is_taken_with_a_note(books: Books) -> None:
    assert rule_date.decide(books, SEPTEMBER, date(2025, 9, 20), note="agreed") == date(2025, 9, 20)
