"""From delivered tags to tenants: registry, aliases, accounts, other tag names, names that are ours."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from cops_dagster.allocation import allocate
from cops_dagster.closing import current, status
from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.tagging import tag
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, give, home, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant

TEXT = """
type  service   account      tenant          cost
Usage AmazonEC2 111111111111 acme            10
Usage AmazonEC2 111111111111 ACME-Corp       5
Usage AmazonEC2 222222222222 .               3
Usage AmazonEC2 111111111111 __operator__    2
Usage AmazonEC2 111111111111 __unallocated__ 1
"""
NO_RULES = {name: text for name, text in INPUTS.items() if name in ("plans", "tenants")}
TENANTS = INPUTS["tenants"].splitlines()[0]


def months_of(books: Books, table: str) -> list[str]:
    return [one["run_id"] for one in status.runs(books, SEPTEMBER) if one["table_name"] == table]


@pytest.fixture
def books(tmp_path: Path) -> Books:
    write(tmp_path / "cur", [lines(TEXT)])
    opened = home(tmp_path, inputs=NO_RULES)
    run(opened)
    return opened


@pytest.mark.long
def test_without_rules_what_no_tag_names_stays_unallocated_and_our_own_names_are_no_tenants(
    books: Books,
) -> None:
    assert by_tenant(books) == {"acme": 10, "__unallocated__": 11}
    tagged = answer(books, "SELECT DISTINCT tenant_id FROM fact_cost_tagged WHERE tenant_id LIKE '\\_\\_%'")
    assert tagged == []


@pytest.mark.long
def test_an_alias_that_is_loaded_later_makes_one_new_run_of_the_layers_below_it(
    books: Books, tmp_path: Path
) -> None:
    raw = months_of(books, "fact_cost_raw")
    give(books, tmp_path, tag_aliases="tag_name,alias,canonical\ntenant_id,ACME-Corp,acme\n")
    assert not current.is_current(books, SEPTEMBER)
    run(books)
    assert by_tenant(books) == {"acme": 15, "__unallocated__": 6}
    assert months_of(books, "fact_cost_raw") == raw
    assert len(months_of(books, tag.TABLE)) == len(months_of(books, allocate.TABLE)) == 2
    assert current.is_current(books, SEPTEMBER)


@pytest.mark.long
def test_a_tenant_that_is_registered_later_gets_its_own_lines(books: Books, tmp_path: Path) -> None:
    give(books, tmp_path, tenants=f"{TENANTS}\nACME-Corp,Other,team,2025-01-01\n")
    run(books)
    assert by_tenant(books) == {"acme": 10, "ACME-Corp": 5, "__unallocated__": 6}


@pytest.mark.long
def test_an_account_names_the_tenant_of_lines_without_a_tag_from_its_first_month_on(
    books: Books, tmp_path: Path
) -> None:
    header = "usage_account_id,effective_from,effective_to,tenant_id"
    give(books, tmp_path, account_tenants=f"{header}\n222222222222,2025-10-01,,globex\n")
    run(books)
    assert by_tenant(books) == {"acme": 10, "__unallocated__": 11}
    give(books, tmp_path, account_tenants=f"{header}\n222222222222,2025-01-01,2025-10-01,globex\n")
    run(books)
    assert by_tenant(books) == {"acme": 10, "globex": 3, "__unallocated__": 8}
    sources = answer(
        books, "SELECT tenant_id, tag_source FROM fact_cost_tagged WHERE tenant_id IS NOT NULL ORDER BY 1"
    )
    assert sources == [("acme", "resource"), ("globex", "mapping")]


@pytest.mark.long
def test_another_tag_name_in_the_settings_takes_its_place_and_the_first_non_empty_wins(
    tmp_path: Path,
) -> None:
    table = lines(TEXT).append_column(
        "resource_tags_user_customer", pa.array(["globex", "  ", None, "globex", ""])
    )
    write(tmp_path / "cur", [table])
    books = home(
        tmp_path, inputs=NO_RULES, tags={"tenant_id": ["user_customer", "user_tenant_id"], "plan_id": []}
    )
    run(books)
    assert by_tenant(books) == {"globex": 12, "__unallocated__": 9}
    delivered = answer(
        books, "SELECT resource_tags_user_tenant_id FROM fact_cost_raw WHERE line_item_unblended_cost = 10"
    )
    assert delivered == [("acme",)]  # a mapping never rewrites what was delivered


@pytest.mark.long
def test_a_mapping_to_a_tag_that_was_not_delivered_is_refused_and_none_at_all_loses_nothing(
    tmp_path: Path,
) -> None:
    for folder in ("wrong", "none"):
        write(tmp_path / folder / "cur", [lines(TEXT)])
    with pytest.raises(CopsError, match="E-TAG-MAP"):
        run(home(tmp_path / "wrong", inputs=NO_RULES, tags={"tenant_id": ["user_nowhere"]}))
    books = home(tmp_path / "none", inputs=NO_RULES, tags={"tenant_id": []})
    run(books)
    assert by_tenant(books) == {"__unallocated__": 21}


def test_what_a_rule_gives_to_the_operator_is_no_fault_and_what_it_holds_shows_its_rule(
    tmp_path: Path,
) -> None:
    write(tmp_path / "cur", [lines(TEXT + "Tax AmazonEC2 111111111111 . 0.5\n")])
    header = INPUTS["allocation_rules"].splitlines()[0]
    rules = (
        f"{header}\n"
        'ours,1,2025-01-01,1,,tax,fixed,,"{""__operator__"": ""100""}",fail,kim\n'
        "parked,1,2025-01-01,2,AmazonEC2,,hold,,,fail,kim\n"
    )
    books = home(tmp_path, inputs={**NO_RULES, "allocation_rules": rules})
    run(books)
    assert by_tenant(books) == {"acme": 10, "__operator__": Decimal("0.5"), "__unallocated__": 11}
    parked = answer(
        books, "SELECT DISTINCT rule_id FROM fact_cost_allocated WHERE tenant_id = '__unallocated__'"
    )
    assert sorted(parked) == [("__unknown_tenant__",), ("parked",)]  # the second tag names nobody


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", ["tenant_tag", "charge_class", "commitment_line", "account_id"])
def test_a_delivered_column_that_is_called_like_one_of_ours_moves_no_cost(tmp_path: Path, name: str) -> None:
    """Refused or kept aside, never read in place of the column that COPS makes."""
    table = lines(TEXT).append_column(name, pa.array(["globex"] * 5))
    write(tmp_path / "cur", [table])
    books = home(tmp_path, inputs=NO_RULES)
    try:
        run(books)
    except CopsError as refusal:
        assert refusal.code.startswith("E-SCHEMA")  # noqa: PT017  either outcome is right
    else:
        assert by_tenant(books) == {"acme": 10, "__unallocated__": 11}
        assert answer(books, "SELECT DISTINCT charge_class FROM fact_cost_tagged") == [("usage",)]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", ["delivery_id", "source_id", "amortized_cost", "net_unblended_cost"])
def test_a_delivered_column_that_ours_would_collide_with_is_refused_when_it_is_seen(
    tmp_path: Path, name: str
) -> None:
    """Before the month's pointer moves to a delivery that no run could ever ingest."""
    text = TEXT
    write(tmp_path / "cur", [lines(text)])
    books = home(tmp_path, inputs=NO_RULES)
    run(books)
    write(tmp_path / "cur", [lines(text).append_column(name, pa.array(["x"] * 5))], assembly="a2")
    try:
        run(books)
    except CopsError as refusal:
        assert refusal.code.startswith("E-SCHEMA")  # noqa: PT017  refusing and keeping it aside are both right
    assert answer(books, "SELECT COUNT(*) FROM cur_billing_master") == [(5,)]
    assert by_tenant(books) == {"acme": 10, "__unallocated__": 11}
