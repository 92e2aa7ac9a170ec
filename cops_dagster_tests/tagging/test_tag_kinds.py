"""Who names a line's tenant: resource, account, cost category, the same resource, the account mapping."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from cops_dagster.closing import current
from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, give, home, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant

ONLY = {name: text for name, text in INPUTS.items() if name in ("plans", "tenants")}
HEADER = "usage_account_id,effective_from,effective_to,tenant_id\n"


def ran(folder: Path, text: str, inputs: dict[str, str] | None = None, **overrides: object) -> Books:
    write(folder / "cur", [lines(text)])
    books = home(folder, inputs=ONLY | (inputs or {}), **overrides)
    run(books)
    return books


def sources(books: Books) -> dict[str, tuple[str | None, Decimal]]:
    """service → (tenant, way of tagging), one service per line of a table."""
    rows = answer(books, "SELECT service, tenant_id, tag_source FROM fact_cost_tagged ORDER BY 1")
    return {service: (tenant, source) for service, tenant, source in rows}


KINDS = """
type  service account      resource tenant account_tag_tenant_id cost_category_tenant_id cost
Usage A       111111111111 r1       acme   globex                globex                  1
Usage B       111111111111 r2       .      globex                acme                    2
Usage C       111111111111 r3       .      .                     acme                    4
Usage D       111111111111 r1       .      .                     .                       8
Usage E       222222222222 .        .      .                     .                       16
Usage F       111111111111 r4       .      .                     .                       32
Usage G       111111111111 .        typo   globex                .                       64
"""


def test_the_strongest_kind_that_names_a_tenant_wins_and_says_so(tmp_path: Path) -> None:
    books = ran(tmp_path, KINDS, {"account_tenants": f"{HEADER}222222222222,2025-01-01,,acme\n"})
    assert sources(books) == {
        "A": ("acme", "resource"), "B": ("globex", "account"), "C": ("acme", "cost_category"),
        "D": ("acme", "inherited"), "E": ("acme", "mapping"), "F": (None, "none"),
        "G": ("globex", "account"),
    }  # fmt: skip
    assert sum(by_tenant(books).values()) == 127


CALLS = """
type  service account      resource tenant CATEGORY iam_principal_tenant_id line_item_iam_principal cost
Usage A       111111111111 .        acme   .        globex                  arn:aws:iam::1:role/x   1
Usage B       111111111111 .        .      acme     globex                  arn:aws:iam::1:role/x   2
Usage C       111111111111 .        .      .        globex                  arn:aws:iam::1:role/x   4
Usage D       111111111111 .        .      .        .                       arn:aws:iam::1:role/x   8
Usage E       111111111111 .        .      .        .                       arn:aws:iam::1:role/y   16
Usage F       111111111111 m1       .      .        globex                  .                       32
Usage G       111111111111 m1       .      .        .                       .                       64
""".replace("CATEGORY", "cost_category_tenant_id")
CALLERS = ("user_tenant_id", "iam_principal_tenant_id", "line_item_iam_principal")


def test_who_called_names_a_tenant_where_no_tag_does_and_says_so(tmp_path: Path) -> None:
    alias = "tag_name,alias,canonical\ntenant_id,arn:aws:iam::1:role/x,acme\n"
    books = ran(tmp_path, CALLS, {"tag_aliases": alias}, tags={"tenant_id": CALLERS})
    assert sources(books) == {
        "A": ("acme", "resource"), "B": ("acme", "cost_category"), "C": ("globex", "identity"),
        "D": ("acme", "identity"), "E": (None, "none"), "F": ("globex", "identity"),
        "G": ("globex", "inherited"),
    }  # fmt: skip
    assert answer(books, "SELECT tenant_tag FROM fact_cost_tagged WHERE service = 'E'") == [
        ("arn:aws:iam::1:role/y",)
    ]
    assert sum(by_tenant(books).values()) == 127
    (covered,) = answer(books, "SELECT covered_usd, missing_tenant_tag FROM tag_coverage")
    assert covered[1] == 6


@pytest.mark.long
def test_who_called_names_nobody_where_tags_are_asked_alone(tmp_path: Path) -> None:
    books = ran(tmp_path, CALLS)
    assert [source for _, source in sources(books).values()] == [
        "resource", "cost_category", "none", "none", "none", "none", "none",
    ]  # fmt: skip


@pytest.mark.long
def test_coverage_counts_what_was_delivered_on_resource_or_account_and_the_rest_beside_it(
    tmp_path: Path,
) -> None:
    books = ran(tmp_path, KINDS, tags={"plan_id": ()})
    (row,) = answer(
        books,
        "SELECT covered_usd, coverable_usd, missing_tenant_tag, missing_tenant_tag_usd FROM tag_coverage",
    )
    assert row == (1 + 2 + 64, 127, 4, 4 + 8 + 16 + 32)


@pytest.mark.long
def test_without_inheritance_a_line_stays_with_its_account(tmp_path: Path) -> None:
    books = ran(tmp_path, KINDS, tags={"inherit": False})
    assert sources(books)["D"] == (None, "none")


@pytest.mark.long
def test_a_resource_that_carried_two_tenants_is_inherited_by_none(tmp_path: Path) -> None:
    books = ran(
        tmp_path,
        """
        type  service account      resource tenant cost
        Usage A       111111111111 r1       acme   1
        Usage B       111111111111 r1       globex 2
        Usage C       111111111111 r1       .      4
        """,
    )
    assert sources(books)["C"] == (None, "none")


@pytest.mark.long
def test_what_to_fix_first_is_ranked_by_money_per_resource(tmp_path: Path) -> None:
    books = ran(tmp_path, KINDS)
    found = answer(
        books,
        "SELECT fix_rank, service, resource_id, tenant_tag, line_count, missing_usd FROM missing_tenant_tags"
        " ORDER BY fix_rank",
    )
    assert found == [
        (1, "F", "r4", None, 1, 32), (2, "E", None, None, 1, 16), (3, "D", "r1", None, 1, 8),
        (4, "C", "r3", None, 1, 4),
    ]  # fmt: skip


DATED = """
type  service account      tenant line_item_usage_start_date cost
Usage A       111111111111 acme   2025-09-09T23:59:59        1
Usage B       111111111111 acme   2025-09-10T00:00:00        2
Usage C       111111111111 acme   2025-09-20T00:00:00        4
"""


def dated(folder: Path, inputs: dict[str, str]) -> Books:
    table = lines(DATED.replace("line_item_usage_start_date", "line_item_line_item_description"))
    import pyarrow as pa

    days = [pa.scalar(text).as_py() for text in table.column("line_item_line_item_description").to_pylist()]
    made = pa.array(days).cast(pa.timestamp("us"))
    index = table.column_names.index("line_item_usage_start_date")
    write(folder / "cur", [table.set_column(index, "line_item_usage_start_date", made)])
    books = home(folder, inputs=ONLY | inputs)
    run(books)
    return books


@pytest.mark.long
def test_a_tenant_is_named_only_while_it_is_active(tmp_path: Path) -> None:
    tenants = "tenant_id,name,plan_id,active_from,active_to\nacme,Acme,team,2025-09-10,2025-09-20\n"
    books = dated(tmp_path, {"tenants": tenants})
    assert by_tenant(books) == {"acme": 2, "__unallocated__": 5}
    assert answer(books, "SELECT DISTINCT tenant_tag FROM fact_cost_tagged WHERE tenant_id IS NULL") == [
        ("acme",)
    ]


@pytest.mark.long
def test_a_tenant_renamed_within_the_month_keeps_its_old_name_before_that_day(tmp_path: Path) -> None:
    inputs = {
        "tenants": ONLY["tenants"] + "acme-group,Acme Group,team,2025-09-10\n",
        "tag_aliases": "tag_name,alias,effective_from,canonical\ntenant_id,acme,2025-09-10,acme-group\n",
    }
    with pytest.raises(CopsError, match="E-MAP-DUP"):  # acme would be two tenants from that day on
        dated(tmp_path, inputs)
    inputs["tenants"] = inputs["tenants"].replace(
        "tenant_id,name,plan_id,active_from\nacme,Acme,team,2025-01-01",
        "tenant_id,name,plan_id,active_from,active_to\nacme,Acme,team,2025-01-01,2025-09-10",
    ).replace("globex,Globex,team,2025-01-01", "globex,Globex,team,2025-01-01,").replace(
        "acme-group,Acme Group,team,2025-09-10", "acme-group,Acme Group,team,2025-09-10,"
    )  # fmt: skip
    assert by_tenant(dated(tmp_path / "again", inputs)) == {"acme": 1, "acme-group": 6}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("folded", "acme"), [(False, 1), (True, 7)])
def test_case_counts_unless_it_is_declared_not_to(folded: bool, acme: int, tmp_path: Path) -> None:
    text = """
    type  service account      tenant cost
    Usage A       111111111111 acme   1
    Usage B       111111111111 ACME   2
    Usage C       111111111111 Acme   4
    """
    books = ran(tmp_path, text, tags={"fold_case": folded})
    assert by_tenant(books)["acme"] == acme
    assert current.is_current(books, SEPTEMBER)


def test_one_unicode_form_is_one_alias_whichever_was_sent(tmp_path: Path) -> None:
    aliases = "tag_name,alias,canonical\ntenant_id,Café,acme\n"
    text = (
        "type service account tenant cost\nUsage A 111111111111 Cafe\u0301 1\nUsage B 111111111111 Café 2\n"
    )
    books = ran(tmp_path, text, {"tag_aliases": aliases})
    assert by_tenant(books) == {"acme": 3}


@pytest.mark.long
def test_a_mapping_that_begins_within_the_month_counts_from_that_day(tmp_path: Path) -> None:
    books = dated(tmp_path, {"account_tenants": f"{HEADER}111111111111,2025-09-10,,globex\n"})
    assert by_tenant(books) == {"acme": 7}  # the tag is stronger
    give(books, tmp_path, tenants="tenant_id,name,plan_id,active_from\nother,Other,team,2025-01-01\n")
    run(books)
    assert by_tenant(books) == {"acme": 7}
