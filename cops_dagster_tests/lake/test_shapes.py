"""Odd but real: columns of nothing, chunks that differ, maps in any type. Each read right, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cops_dagster.cur.schema import BY_NAME
from cops_dagster.errors import CopsError
from cops_dagster.lake.duck import DuckDB
from cops_dagster_tests.lake.odd import Odd, table

TENANT = "resource_tags_user_tenant_id"
TEXT_MAP = pa.map_(pa.string(), pa.string())


@pytest.fixture(scope="module")
def shared() -> Iterator[DuckDB]:
    with DuckDB() as made:
        yield made


@pytest.fixture
def odd(shared: DuckDB, tmp_path: Path) -> Odd:
    return Odd(shared, tmp_path)


# --- nothing -------------------------------------------------------------------------------------------

NOTHING: dict[str, pa.Array] = {
    "the null type": pa.nulls(2),
    "a boolean": pa.nulls(2, pa.bool_()),
    "a whole number": pa.nulls(2, pa.int32()),
    "a double": pa.nulls(2, pa.float64()),
    "a double that is no number": pa.array([float("nan")] * 2),
    "a date": pa.nulls(2, pa.date32()),
    "bytes": pa.nulls(2, pa.binary()),
    "empty text": pa.array(["", " "]),
    "a list of nothing": pa.array([[], None], pa.list_(pa.null())),
    "a map": pa.array([[], None], TEXT_MAP),
}
COLUMNS = [
    "bill_invoice_id", "line_item_operation", "line_item_usage_end_date", "reservation_effective_cost",
    "line_item_usage_amount", "product_added_by_aws", TENANT, "bill_payer_account_id",
]  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("nothing", NOTHING)
def test_a_column_without_any_value_fits_whatever_its_type(nothing: str, odd: Odd) -> None:
    """A month that is not invoiced yet has no invoice id, and some tools then write the null type."""
    for name in COLUMNS:
        if (
            nothing == "a double that is no number"
            and BY_NAME.get(name, BY_NAME[TENANT]).data_type == "double"
        ):
            continue  # there it is a value, and a fault
        usual = {} if name != "line_item_usage_end_date" else {"line_item_line_item_type": ["Tax", "Tax"]}
        found = odd.take(table(2, **{name: NOTHING[nothing]}, **usual)).lines()
        assert {row.get(name) in (None, "", " ", "{}", "[]", "nan") for row in found} == {True}, name
        assert [(row["quarantine_code"], row["lost_values"]) for row in found] == [(None, False)] * 2, name


@pytest.mark.long
@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_a_chunk_without_a_value_agrees_with_one_that_has_some(nothing: str, first: bool, odd: Odd) -> None:
    full: dict[str, pa.Array] = {
        "bill_invoice_id": pa.array(["I-1", "I-2"]),
        "reservation_effective_cost": pa.array([0.25, 0.5]),
        "savings_plan_used_commitment": pa.array([Decimal("0.1"), Decimal("0.2")], pa.decimal128(9, 1)),
        "line_item_usage_end_date": pa.array([datetime(2025, 9, 2)] * 2, pa.timestamp("us")),
        "product_added": pa.array(["x", "y"]),
        TENANT: pa.array(["acme", "globex"]),
        "cost_category": pa.array([[("team", "a")], [("team", "b")]], TEXT_MAP),
    }
    if nothing == "a double that is no number":
        del full["reservation_effective_cost"], full["savings_plan_used_commitment"]
    empty = table(2, line_item_line_item_type=["Tax"] * 2, **dict.fromkeys(full, NOTHING[nothing]))
    chunks = [table(2, **full), empty]
    found = odd.take(*(reversed(chunks) if first else chunks)).lines()
    assert len(found) == 4
    assert {(row["bill_invoice_id"] or "").strip() for row in found} - {"", "nan"} == {"I-1", "I-2"}
    if "reservation_effective_cost" in full:
        assert sum(row["reservation_effective_cost"] or 0 for row in found) == Decimal("0.75")
        assert sum(row["savings_plan_used_commitment"] or 0 for row in found) == Decimal("0.3")
    assert {row[TENANT] for row in found} == {"acme", "globex", None}
    assert {row["cost_category_team"] for row in found} == {"a", "b", None}


def test_a_chunk_without_lines_agrees_with_every_other(odd: Odd) -> None:
    none = pa.table({"line_item_unblended_cost": pa.array([], pa.string()), "other": pa.array([], pa.int8())})
    for chunks in ([none, table(2)], [table(2), none]):
        assert odd.take(*chunks).column("line_item_unblended_cost") == [Decimal("1.5")] * 2


# --- values that contradict each other -----------------------------------------------------------------

Change = Callable[[], list[pa.Table]]
CONFLICTS: dict[str, tuple[str, Change]] = {
    "text and numbers": (
        "E-SCHEMA-MIXED", lambda: [table(product_x=["a"]), table(product_x=[1])],
    ),
    "doubles and decimals of one amount": (
        "E-SCHEMA-MIXED",
        lambda: [table(), table(line_item_unblended_cost=pa.array([Decimal("1.5")], pa.decimal128(9, 2)))],
    ),
    "a column that one chunk lacks": (
        "E-SCHEMA-MIXED", lambda: [table(), table().drop_columns(["bill_invoice_id"])],
    ),
    "an amount as text": (
        "E-SCHEMA-TYPE", lambda: [table(line_item_unblended_cost=["1.5"])],
    ),
    "an amount in four bytes": (
        "E-SCHEMA-TYPE", lambda: [table(line_item_unblended_cost=pa.array([0.1], pa.float32()))],
    ),
    "an account as a number": (
        "E-SCHEMA-TYPE", lambda: [table(line_item_usage_account_id=[42])],
    ),
    "a payer as a number": (
        "E-SCHEMA-TYPE", lambda: [table(bill_payer_account_id=[42.0])],
    ),
    "an invoice as a number": (
        "E-SCHEMA-TYPE", lambda: [table(bill_invoice_id=[1234567890])],
    ),
    "tags as a list of words": (
        "E-SCHEMA-TYPE", lambda: [table(resource_tags=[["tenant_id=acme"]])],
    ),
    "tags as a number": (
        "E-SCHEMA-TYPE", lambda: [table(resource_tags=[7])],
    ),
    "tags as text that is no JSON": (
        "E-SCHEMA-TYPE", lambda: [table(resource_tags=["{tenant_id=acme}"])],
    ),
    "tags under keys that are numbers": (
        "E-SCHEMA-TYPE",
        lambda: [table(resource_tags=pa.array([[(1, "x")]], pa.map_(pa.int32(), pa.string())))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFLICTS)
def test_a_real_conflict_is_refused_and_names_the_column(case: str, odd: Odd) -> None:
    code, made = CONFLICTS[case]
    with pytest.raises(CopsError) as refusal:
        odd.take(*made())
    assert refusal.value.code == code
    said = f"{refusal.value.subject} {refusal.value.found}"
    assert any(name in said for name in [*made()[-1].column_names, "bill_invoice_id"])
    assert refusal.value.next_step


def test_an_account_that_was_made_a_number_is_told_what_it_lost(odd: Odd) -> None:
    with pytest.raises(CopsError) as refusal:
        odd.take(table(line_item_usage_account_id=[42]))
    assert "leading zeros" in refusal.value.next_step


# --- one value in several types ------------------------------------------------------------------------

COSTS = [Decimal("1.1"), Decimal("0.123456789012345678")]
WIDTHS = (pa.decimal128(4, 2), pa.decimal128(38, 18))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_decimals_of_two_widths_keep_every_digit_in_whatever_order_the_chunks_come(
    order: tuple[int, int], odd: Odd
) -> None:
    """The engine reads all files in the type of the first: 0.123… became 0.12 without a word."""
    chunks = [table(line_item_unblended_cost=pa.array([COSTS[n]], WIDTHS[n])) for n in order]
    assert sorted(odd.take(*chunks).column("line_item_unblended_cost")) == sorted(COSTS)


TIMES: dict[str, pa.Array] = {
    "s": pa.array([datetime(2025, 9, 1, 5)], pa.timestamp("s")),
    "ms": pa.array([datetime(2025, 9, 1, 5)], pa.timestamp("ms")),
    "us": pa.array([datetime(2025, 9, 1, 5)], pa.timestamp("us")),
    "ns": pa.array([datetime(2025, 9, 1, 5)], pa.timestamp("ns")),
    "UTC": pa.array([datetime(2025, 9, 1, 5, tzinfo=UTC)], pa.timestamp("ms", "UTC")),
    "zone": pa.array([datetime(2025, 9, 1, 5, tzinfo=UTC)], pa.timestamp("us", "America/New_York")),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("one", TIMES)
@pytest.mark.parametrize("other", ["us", "ns", "UTC"])
def test_times_of_any_unit_and_zone_are_the_same_instant_alone_and_together(
    one: str, other: str, odd: Odd
) -> None:
    start = "line_item_usage_start_date"
    assert odd.take(table(**{start: TIMES[one]})).column(start) == [datetime(2025, 9, 1, 5)]
    chunks = [table(**{start: TIMES[name]}) for name in (one, other)]
    assert odd.take(*chunks).column(start) == [datetime(2025, 9, 1, 5)] * 2


def test_a_day_is_its_first_instant(odd: Odd) -> None:
    begun = table(
        line_item_usage_start_date=pa.array([date(2025, 9, 1)]),
        line_item_usage_end_date=pa.array([date(2025, 9, 2)]),
        bill_billing_period_start_date=pa.array([date(2025, 9, 1)]),
    )
    (found,) = odd.take(begun).lines()
    assert found["line_item_usage_start_date"] == datetime(2025, 9, 1)
    assert found["quarantine_code"] is None


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_text_is_text_however_it_is_stored(kind: pa.DataType, odd: Odd) -> None:
    chunks = [table(**{TENANT: pa.array(["acme"]).cast(kind)}), table(**{TENANT: ["globex"]})]
    assert sorted(odd.take(*chunks).column(TENANT)) == ["acme", "globex"]


def test_a_value_that_no_cost_view_needs_is_read_as_far_as_it_can_be_and_counted(odd: Odd) -> None:
    (found,) = odd.take(table(line_item_usage_amount=["about 7"], bill_billing_period_end_date=[7])).lines()
    assert (found["line_item_usage_amount"], found["bill_billing_period_end_date"]) == (None, None)
    assert (found["quarantine_code"], found["lost_values"]) == (None, True)


# --- maps ----------------------------------------------------------------------------------------------

PAIRS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
TAGS = [{"user_tenant_id": "acme", "user_note": 'a "b", ä'}, {"user_tenant_id": "globex"}, {}, None]


def _json(rows: list[Any]) -> list[Any]:
    import json

    return [None if row is None else json.dumps(row) for row in rows]


def _pairs(rows: list[Any]) -> list[Any]:
    return [None if row is None else [{"key": k, "value": v} for k, v in row.items()] for row in rows]


SHAPES: dict[str, pa.Array] = {
    "map": pa.array([None if row is None else list(row.items()) for row in TAGS], TEXT_MAP),
    "JSON text": pa.array(_json(TAGS)),
    "JSON text in a dictionary": pa.array(_json(TAGS)).dictionary_encode(),
    "JSON text of pairs": pa.array(_json(_pairs(TAGS))),
    "JSON type": pa.array(_json(TAGS), pa.json_()),
    "list of pairs": pa.array(_pairs(TAGS), PAIRS),
    "struct": pa.array(TAGS, pa.struct([("user_note", pa.string()), ("user_tenant_id", pa.string())])),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_tags_are_the_same_columns_in_whatever_type_the_map_came(shape: str, odd: Odd) -> None:
    found = odd.take(table(4, resource_tags=SHAPES[shape])).lines()
    assert [row[TENANT] for row in found] == ["acme", "globex", None, None]
    assert [row["resource_tags_user_note"] for row in found] == ['a "b", ä', None, None, None]
    assert "resource_tags" not in odd.columns
    assert {row["quarantine_code"] for row in found} == {None}


@pytest.mark.parametrize("one", SHAPES)
def test_chunks_may_hold_the_map_in_two_types(one: str, odd: Odd) -> None:
    chunks = [table(4, resource_tags=SHAPES[one]), table(4, resource_tags=SHAPES["struct"])]
    assert sorted(filter(None, odd.take(*chunks).column(TENANT))) == ["acme"] * 2 + ["globex"] * 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("column", "key", "flat"),
    [
        ("product", "region", "product_region"),
        ("cost_category", "Team", "cost_category_team"),
        ("tags", "resourceTags/user:tenant_id", TENANT),
        ("tags", "accountTag/tenant_id", "account_tag_tenant_id"),
        ("Resource_Tags", "user:TenantId", TENANT),
    ],
)
def test_every_map_column_is_read_from_json(column: str, key: str, flat: str, odd: Odd) -> None:
    assert odd.take(table(**{column: _json([{key: "x"}])})).column(flat) == ["x"]


def test_a_discount_keeps_its_digits_in_whatever_type_its_map_came(odd: Odd) -> None:
    exact = [("total_discount", Decimal("-1.10"))]
    for column in (
        pa.array([exact], pa.map_(pa.string(), pa.decimal128(20, 10))),
        pa.array([[("total_discount", -1.1)]], pa.map_(pa.string(), pa.float64())),
        pa.array(['{"total_discount": -1.1}']),
        pa.array([{"total_discount": -1.1}]),
    ):
        assert odd.take(table(discount=column)).column("discount_total_discount") == [Decimal("-1.1")]


JSONS = """
{"user_tenant_id": "acme"}                              acme                       .
{"user_tenant_id": null}                                .                          .
{"user_tenant_id": ""}                                  .                          .
{"user_tenant_id": 7}                                   7                          .
{"user_tenant_id": true}                                true                       .
{"user_tenant_id": {"a": [1]}}                          {"a":[1]}                  .
{"user_tenant_id": "acme", "user_tenant_id": "acme"}    acme                       .
{"user_tenant_id": "", "user_tenant_id": "acme"}        acme                       .
{"user_tenant_id": "b", "user_tenant_id": "a"}          E-TAG-CLASH a | b          .
{"user:tenant_id": "b", "user:TenantId": "a"}           E-TAG-CLASH a | b          .
{"tenant_id": " acme ", "user_tenant_id": "acme"}       acme                       .
{}                                                      .                          .
null                                                    .                          .
[]                                                      .                          .
{"user_tenant_id": "acme"                               .                          E-MAP-PARSE
{'user_tenant_id': 'acme'}                              .                          E-MAP-PARSE
[{"key": "user_tenant_id"}]                             .                          E-MAP-PARSE
["acme"]                                                .                          E-MAP-PARSE
"acme"                                                  .                          E-MAP-PARSE
acme                                                    .                          E-MAP-PARSE
"""


@pytest.mark.parametrize("packed", ["Parquet", "CSV"])
def test_a_line_whose_map_cannot_be_read_stands_aside_and_every_other_is_read(packed: str, odd: Odd) -> None:
    rows = [[row[:56].strip(), row[56:83].strip(), row[83:].strip()] for row in JSONS.strip().splitlines()]
    texts = [row[0] for row in rows]
    if packed == "Parquet":
        odd.take(table(len(rows), resource_tags=texts))
    else:
        header = ",".join([*table().column_names, "resource_tags"])
        quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
        span = "2025-09-01T00:00:00Z,2025-09-01T00:00:00Z,2025-09-02T00:00:00Z"
        odd.take_csv(
            "\n".join([header, *(f"{n:02d},{span},000000000042,USD,Usage,AmazonEC2,1.5,I-1,{text}"
                                 for n, text in enumerate(quoted))])
        )  # fmt: skip
    found = odd.lines()
    if packed == "Parquet":  # ids are counted without zeros there
        found.sort(key=lambda row: int(row["identity_line_item_id"]))
    wanted = [[None if cell == "." else cell for cell in row[1:]] for row in rows]
    assert [[(row[TENANT] or "").strip() or None, row["quarantine_code"]] for row in found] == wanted
    assert {row["quarantine_reason"] for row in found if row["quarantine_code"]} >= {"resource_tags = acme"}
    assert sum(row["line_item_unblended_cost"] for row in found) == Decimal("1.5") * len(rows)


# --- as sent -------------------------------------------------------------------------------------------


def test_the_master_shows_an_empty_tag_as_aws_sent_it_and_the_ledger_an_absent_one(odd: Odd) -> None:
    odd.take(table(2, resource_tags_user_cost_center=["", "x"], **{TENANT: ["", "acme"]}))
    names = ("resource_tags_user_cost_center", TENANT)
    assert [[row[name] for name in names] for row in odd.master()] == [["", ""], ["x", "acme"]]
    assert [[row[name] for name in names] for row in odd.lines()] == [[None, None], ["x", "acme"]]
