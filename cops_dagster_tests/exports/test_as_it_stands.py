"""The journal and the margin leave as every export does: reconciled as the month stands, or as a draft."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.closing import current
from cops_dagster.errors import CopsError
from cops_dagster.exports import accounts, focus, journal, margin
from cops_dagster.ledger.books import Books
from cops_dagster.reconciliation import margin_cells, reconcile
from cops_dagster.stores import tables as t
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import SEPTEMBER, give, run

RULE = (
    "rule_id,version,effective_from,priority,match_service,match_charge_class,method,key_name,shares,"
    "on_zero_key,approved_by\n"
)
CHANGES = {
    "usage keys": {
        "tenant_network_usage": "period_start,tenant_id,value,refreshed_at\n"
        "2025-09,acme,5,2025-10-01T03:00:00Z\n"
    },
    "rules": {"allocation_rules": f"{RULE}more,1,2025-01-01,5,AmazonEC2,tax,proportional_cost,,,fail,kim\n"},
    "tags": {"tag_aliases": "tag_name,alias,effective_from,canonical\ntenant_id,acne,2025-01-01,acme\n"},
}
LEAVING: dict[str, Callable[[Books], object]] = {
    "journal": lambda books: journal.exports(books, [SEPTEMBER])[0],
    "margin": lambda books: margin.margins(books, SEPTEMBER),
}
DRAFTED: tuple[Callable[[Books], object], ...] = (
    lambda books: journal.draft(books, SEPTEMBER),
    lambda books: margin.margins(books, SEPTEMBER, draft=True),
)


@pytest.fixture
def books(tmp_path: Path) -> Books:
    made = ready(tmp_path)
    give(made, tmp_path, gl_accounts=accounts.default("kim"))
    return made


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_since_the_reconciliation_keeps_the_month_in_until_it_is_made_again(
    books: Books, tmp_path: Path, what: str
) -> None:
    give(books, tmp_path, replace=what == "usage keys", **CHANGES[what])
    for leave in LEAVING.values():
        with pytest.raises(CopsError, match=r"E-NOT-RECONCILED.*changed since") as refused:
            leave(books)
        assert "cops materialize 2025-09" in refused.value.next_step
    told = journal.standing(books, SEPTEMBER).refusal
    assert told is not None
    assert told.code == "E-NOT-RECONCILED"
    for draft in DRAFTED:
        draft(books)
    with books.admin.read() as con:
        assert con.execute(sa.select(t.journal_entry)).first() is None
    run(books)
    for leave in LEAVING.values():
        leave(books)


def test_other_entries_of_the_same_sums_are_not_those_that_were_reconciled(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their sums alone nobody could tell: every export asks the reconciliation for what it was made of."""
    monkeypatch.setattr(reconcile, "ALGORITHM", "recon-another")
    with books.admin.read() as con:
        margin_cells.read(books, con, SEPTEMBER)  # each sum is as it was recorded
    for leave in LEAVING.values():
        with pytest.raises(CopsError, match="E-NOT-RECONCILED"):
            leave(books)
    with pytest.raises(CopsError, match="E-EXPORT-STALE"):
        focus.export(books, SEPTEMBER, tmp_path / "out", side="cost", version="1.4")


def test_a_closed_month_leaves_whatever_was_loaded_after_its_close(books: Books, tmp_path: Path) -> None:
    close_by_two(books)
    alias = CHANGES["tags"]["tag_aliases"].replace("2025-01-01", "2025-10-01")
    give(books, tmp_path, tag_aliases=alias)
    with books.admin.read() as con:
        assert current.stands(con, books.policy, SEPTEMBER)
    for leave in LEAVING.values():
        leave(books)


def test_a_register_that_decides_nothing_of_the_month_keeps_nothing_in(books: Books, tmp_path: Path) -> None:
    other = "period_start,tenant_id,value,refreshed_at\n2025-10,acme,5,2025-11-01T03:00:00Z\n"
    give(books, tmp_path, tenant_network_usage=other)
    for leave in LEAVING.values():
        leave(books)
