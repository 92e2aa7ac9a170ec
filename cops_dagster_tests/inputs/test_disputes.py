"""What a tenant disputes: an exception with an owner, which two people decide and no amount follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cops_dagster.closing import approve
from cops_dagster.errors import CopsError
from cops_dagster.inputs import conflicts
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import checks, exceptions, reconcile
from cops_dagster.reconciliation.exceptions import Exceptional
from cops_dagster_tests.closing.ready import DOCUMENTS, ready
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, force_state, give, home

HEADER = "dispute_id,tenant_id,period_start,about,amount,currency,reason\n"
GOOD = "D-1,acme,2025-09,total,0.10,USD,the cluster was not ours\n"
OCTOBER = Period(2025, 10)


def disputed(books: Books, period: Period = SEPTEMBER) -> list[Exceptional]:
    with books.admin.read() as con:
        return [one for one in exceptions.current(con, period) if one.kind == "dispute"]


def test_a_dispute_is_an_exception_with_an_owner_until_two_people_decided(tmp_path: Path) -> None:
    books = ready(tmp_path)
    give(books, tmp_path, disputes=HEADER + GOOD)
    (found,) = disputed(books)
    assert (found.status, found.owner, found.tenant_id) == ("open", "billing operations", "acme")
    assert found.note == "D-1: acme disputes 0.1 USD of 2025-09 (total): the cluster was not ours"
    assert found.amount_usd == 0, "a dispute changes no amount"
    give(books, tmp_path, disputes=HEADER + GOOD)
    assert reconcile.reconcile(books, SEPTEMBER).status == "ok"
    assert [one.exception_id for one in disputed(books)] == [found.exception_id]
    open_ones = next(
        one for one in checks.reconciled(books, SEPTEMBER) if one.check == "exceptions_explained"
    )
    assert not open_ones.passed
    exceptions.decide(books, found.exception_id, decision="it was theirs", evidence="T-5")
    second = replace(books, settings=books.settings.model_copy(update={"actor": "lee"}))
    approve.approve(second, found.exception_id, reason="seen the usage")
    reconcile.reconcile(books, SEPTEMBER)
    assert [one.status for one in disputed(books)] == ["resolved"]


def test_a_dispute_of_a_closed_month_is_decided_in_the_oldest_open_one(tmp_path: Path) -> None:
    books = home(tmp_path, inputs=INPUTS | DOCUMENTS)
    with books.admin.write() as con:
        force_state(con, "closed", SEPTEMBER)
    give(books, tmp_path, disputes=HEADER + GOOD)
    assert disputed(books) == []
    assert [one.status for one in disputed(books, OCTOBER)] == ["open"]


BAD = {
    "of nobody": ("E-TENANT-UNKNOWN", "acme", "acm"),
    "of what was never sent": ("E-PERIOD-UNKNOWN", "2025-09", "2025-08"),
    "of nothing": ("E-LOAD-VALUE", "0.10", "0"),
    "of less than nothing": ("E-LOAD-VALUE", "0.10", "-0.10"),
    "of a part of a cent": ("E-CCY-SCALE", "0.10", "0.101"),
    "in another currency": ("E-LOAD-VALUE", "USD", "EUR"),
    "without a reason": ("E-LOAD-VALUE", "the cluster was not ours", ""),
    "without an amount": ("E-LOAD-VALUE", "0.10", ""),
}


def test_a_dispute_of_what_nobody_sent_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    books = home(tmp_path, inputs=INPUTS | DOCUMENTS)
    for what, (code, text, other) in BAD.items():
        with pytest.raises(CopsError) as refused:
            give(books, tmp_path, disputes=HEADER + GOOD.replace(text, other))
        assert refused.value.code == code, what
    assert disputed(books) == []
    give(books, tmp_path, disputes=HEADER + GOOD)
    assert len(disputed(books)) == 1


def test_a_dispute_stays_as_it_was_sent_and_a_further_one_has_its_own_id(tmp_path: Path) -> None:
    books = home(tmp_path, inputs=INPUTS | DOCUMENTS)
    give(books, tmp_path, disputes=HEADER + GOOD)
    for is_replaced in (False, True):
        with pytest.raises(CopsError) as refused:
            give(books, tmp_path, disputes=HEADER + GOOD.replace("0.10", "5"), replace=is_replaced)
        assert conflicts.INSTEAD["disputes"] in refused.value.next_step
    give(books, tmp_path, disputes=HEADER + GOOD.replace("0.10", "5").replace("D-1", "D-2"))
    assert len(disputed(books)) == 2
