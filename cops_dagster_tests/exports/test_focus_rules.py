"""The rules of FOCUS rows alone: pools by invoice, units, the map of services, the guard of large files."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.exports import focus_columns, focus_invoices, focus_services
from cops_dagster.lake import guarded_csv
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.functions import call
from cops_dagster.stores import csv_cells

AMOUNTS = st.integers(-(10**22), 10**22)
HOSTILE = (
    "=1+1",
    "a;=b",
    "\u202e=x",
    "＝1",
    "-5",
    " @x",
    "plain text",
    '{"a":"b"}',
    '{"a":"b;=c"}',
    "",
    "a\n=b",
    "µ",
)


def usd(atto: int) -> Decimal:
    return Decimal(atto).scaleb(-18)


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS, AMOUNTS), min_size=1, max_size=5), st.data())
def test_parts_by_invoice_add_up_both_ways(entries: list[tuple[int, int, int]], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    sums = [[data.draw(AMOUNTS) for _ in range(count - 1)] for _ in range(3)]
    whole = [sum(entry[at] for entry in entries) for at in range(3)]
    sums = [[*some, total - sum(some)] for some, total in zip(sums, whole, strict=True)]
    ours, theirs = zip(*focus_invoices.COSTS, strict=True)
    parts = [
        {"tenant_id": str(at), **dict(zip(ours, map(usd, one), strict=True))}
        for at, one in enumerate(entries)
    ]
    invoices = [
        {"invoice_id": str(at), **dict(zip(theirs, [usd(some[at]) for some in sums], strict=True))}
        for at in range(count)
    ]
    found = focus_invoices.by_invoice(parts, invoices)
    for at, name in enumerate(ours):
        assert [sum((one[name] for one in some), Decimal(0)) for _, some in found] == list(map(usd, sums[at]))
        for number, entry in enumerate(entries):
            assert sum(some[number][name] for _, some in found) == usd(entry[at])


def test_a_pool_whose_lines_cost_otherwise_stays_on_no_invoice() -> None:
    entry = {"allocated_cost_usd": Decimal(1), "allocated_amortized_cost_usd": Decimal(1),
             "allocated_net_amortized_cost_usd": Decimal(1)}  # fmt: skip
    other = {
        "invoice_id": "I",
        "billed_usd": Decimal(2),
        "effective_usd": Decimal(1),
        "net_effective_usd": Decimal(1),
    }
    assert focus_invoices.by_invoice([entry], [other]) == [(None, [entry])]


def test_the_guard_of_large_files_writes_every_cell_as_the_one_guard_does(tmp_path: Path) -> None:
    with DuckDB() as engine:
        engine.table(
            "t",
            [("x", "VARCHAR"), ("n", "DECIMAL(38,18)")],
            [(one or None, Decimal("-1.5")) for one in HOSTILE],
        )
        engine.stage(exp.select("*").from_("t"), tmp_path / "t.parquet")
        guarded_csv.write(engine, tmp_path / "t.parquet", [("x", "text"), ("n", "money")], tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        cells = {row["x"] for row in csv.DictReader(file)}
    assert cells == {csv_cells.cell(one) for one in HOSTILE}


@pytest.mark.parametrize("rows", [0, 1, 3, 7, 10])
def test_a_large_file_is_written_in_pieces_in_its_own_order_under_one_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """All rows were sorted at once: 1.4 million took 2.5 GB, more of them the disk."""
    monkeypatch.setattr(guarded_csv, "PIECE", 3)
    values = [(f"{(at * 7) % 10}", "=1" if at % 2 else None) for at in range(rows)]
    with DuckDB() as engine:
        engine.table("t", [("x", "VARCHAR"), ("y", "VARCHAR")], values)
        engine.stage(exp.select("*").from_("t"), tmp_path / "t.parquet")
        guarded_csv.write(engine, tmp_path / "t.parquet", [("x", "text"), ("y", "text")], tmp_path / "t.csv")
        order = engine.run(f"SELECT x, y FROM read_parquet('{tmp_path / 't.parquet'}')").rows
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        header, *written = csv.reader(file)
    assert header == ["x", "y"]
    assert [tuple(row) for row in written] == [(x, csv_cells.cell(y)) for x, y in order]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.parquet"]


@given(st.from_regex(guarded_csv._PLAIN, fullmatch=True))
def test_what_counts_as_plain_is_what_the_guard_leaves_alone(text: str) -> None:
    assert csv_cells.cell(text) == text


@pytest.mark.parametrize(
    ("aws", "focus"),
    [
        ("Hrs", "Hours"),
        ("GB-Mo", "GB-Months"),
        ("DPU-Hour", "DPU-Hours"),
        ("64K-Chunks", "Units"),
        ("GB", "GB"),
    ],
)
def test_units_have_the_spelling_of_focus(aws: str, focus: str) -> None:
    with DuckDB() as engine:
        assert engine.fetch(exp.select(call("FOCUS_UNIT", exp.Literal.string(aws)))).rows == [(focus,)]


def test_the_shipped_map_gives_a_service_one_category() -> None:
    found = focus_services.read(None)
    assert len(found.by_code) > 150
    by_name: dict[str, set[tuple[str, str]]] = {}
    for one in found.by_code.values():
        by_name.setdefault(one.name, set()).add((one.category, one.subcategory))
    assert [name for name, places in by_name.items() if len(places) > 1] == []
    assert (market := found.of("A product", "marketplace")) is not None
    assert (market.name, market.category) == ("A product", "Other")


def test_every_pair_of_the_shipped_map_is_one_of_focus() -> None:
    pairs = focus_services.pairs()
    assert len(pairs) == 82
    assert len({subcategory for _, subcategory in pairs}) == 82  # a subcategory has one parent
    assert {(one.category, one.subcategory) for one in focus_services.read(None).by_code.values()} <= pairs


def test_a_map_may_name_any_pair_of_focus(tmp_path: Path) -> None:
    """Only pairs that some shipped service had were taken: `Storage`, `Block Storage` was refused."""
    own = tmp_path / "own.csv"
    with own.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(focus_services.COLUMNS)
        rows.writerows([f"S{at}", f"S{at}", *pair] for at, pair in enumerate(sorted(focus_services.pairs())))
    assert {f"S{at}" for at in range(82)} <= set(focus_services.read(own).by_code)


@pytest.mark.parametrize(
    ("line", "next_step"),
    [
        ("A,A,Compute,Contaners", "'Containers'"),
        ("A,A,Storage,Containers", "Compute"),
        ("A,A,Storag,Block Storage", "Storage"),
        ("A,A,Storage,", "Block Storage"),
        ("class:markeplace,,Other,Other (Other)", "'class:marketplace'"),
    ],
)
def test_a_pair_that_focus_has_not_is_answered_with_one_that_it_has(
    tmp_path: Path, line: str, next_step: str
) -> None:
    """The next step named a page that has no such list; a class that is none was taken, and never asked."""
    own = tmp_path / "own.csv"
    own.write_text(f"{','.join(focus_services.COLUMNS)}\n{line}\n", encoding="utf-8")
    with pytest.raises(CopsError) as refused:
        focus_services.read(own)
    assert refused.value.code == "E-FOCUS-MAP"
    assert next_step in refused.value.next_step


@pytest.mark.parametrize(
    "text",
    ["x", "service,service_name,service_category,service_subcategory\nA,A,Compute,Object Storage\n",
     "service,service_name,service_category,service_subcategory\nA,A,Compute,Containers\nA,A,Compute,Containers\n"],
)  # fmt: skip
def test_a_map_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.csv").write_text(text, encoding="utf-8")
    with pytest.raises(CopsError) as refused:
        focus_services.read(tmp_path / "own.csv")
    assert refused.value.code == "E-FOCUS-MAP"


def test_1_4_has_all_65_columns_and_no_column_twice() -> None:
    for version in ("1.2", "1.4"):
        names = [name for name, _, _ in focus_columns.cost_and_usage(version, has_commitments=True)]  # type: ignore[arg-type]
        assert len(names) == len(set(names))
        ours = [name for name in names if name.startswith("x_")]
        assert names[-len(ours) :] == ours
        assert version == "1.2" or len(names) - len(ours) == 65
