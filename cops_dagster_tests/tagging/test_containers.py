"""Containers: an instance's cost goes to its pods' tenants, exact in every cost view (docs/adr/0054)."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cops_dagster.allocation import allocate
from cops_dagster.cur.schema import BY_NAME
from cops_dagster.errors import CopsError
from cops_dagster.exports import focus
from cops_dagster.ingestion import ingest, look
from cops_dagster.ledger.books import Books
from cops_dagster.money.amount import shown
from cops_dagster.tagging import checks, tag
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, TYPES, adopt, home, lines, run, write
from cops_dagster_tests.shown import answer

D, F = Decimal, Fraction
ONLY = {name: text for name, text in INPUTS.items() if name in ("plans", "tenants")}
VIEWS = (
    "unblended_cost", "amortized_cost", "net_unblended_cost", "net_amortized_cost", "true_up_cost",
    "upfront_cost",
)  # fmt: skip
_ARN = "arn:aws:eks:us-east-1:111111111111:pod/prod/{}/{}/u"
SHORT = (
    ("@parent", "split_line_item_parent_resource_id"), ("@used", "split_line_item_split_cost"),
    ("@unused", "split_line_item_unused_cost"), ("@ratio", "split_line_item_split_usage_ratio"),
)  # fmt: skip

# The worked example of AWS's guide, "Example of split cost allocation data for accelerated instances": one
# p3.16xlarge (8 GPU, 64 vCPU, 488 GB) for one hour at 10 USD amortised, a GPU worth nine times a vCPU with
# its memory, these 9:1. Allocated is the larger of reserved and used: 66 of 64 vCPU, 8 GPU, 440 of 488 GB.
EXAMPLE = (
    ("namespace1", "pod1", 16, 1, 100, "1.85", "0.06"),
    ("namespace2", "pod2", 18, 3, 140, "3.18", "0.09"),
    ("namespace1", "pod3", 16, 2, 100, "2.35", "0.06"),
    ("namespace2", "pod4", 16, 2, 100, "2.35", "0.06"),
)  # fmt: skip
UNIT = F(10) / (9 * 8 + F("0.9") * 64 + F("0.1") * 488)


def figures(cpu: int, gpu: int, memory: int) -> list[tuple[F, F, F]]:
    """Used, unused and ratio of a pod's vCPU with GPU, and of its memory."""
    of_gpu, of_cpu = gpu * 9 * UNIT, F(cpu, 66) * 64 * F("0.9") * UNIT
    of_memory, rest = memory * F("0.1") * UNIT, F(memory, 440) * 48 * F("0.1") * UNIT
    return [(of_gpu + of_cpu, F(0), F(cpu, 66)), (of_memory, rest, F(memory, 488))]


def example_rows() -> str:
    """Two rows a pod, figures as doubles of ten decimals."""
    made = []
    for namespace, pod, cpu, gpu, memory, *_ in EXAMPLE:
        arn = _ARN.format(namespace, pod)
        for used, unused, ratio in figures(cpu, gpu, memory):
            made.append(
                f"Usage AmazonEKS EKSPod-EC2 {arn} . 0 . . i-1"
                f" {float(used):.10f} {float(unused):.10f} {float(ratio):.10f}"
            )
    return "\n".join(made)


HEADER = "type service operation resource tenant cost ri sp @parent @used @unused @ratio"
NODE = "Usage AmazonEC2 RunInstances i-1 . {cost} . . . . . ."


def ran(folder: Path, text: str, *, inputs: dict[str, str] | None = None, **containers: Any) -> Books:
    given = text.strip().splitlines()
    for short, name in SHORT:
        given[0] = given[0].replace(short, name)
    given = [given[0] + " account", *(f"{line} 111111111111" for line in given[1:] if line.strip())]
    write(folder / "cur", [lines("\n".join(given))])
    books = home(folder, inputs=ONLY | (inputs or {}), containers={"use": "split"} | containers)
    run(books)
    return books


def total(books: Books, column: str = "unblended_cost") -> dict[str | None, Decimal]:
    rows = answer(books, f"SELECT tenant_id, SUM({column}) FROM fact_cost_tagged GROUP BY 1")
    return {tenant: usd for tenant, usd in rows if usd}


NAMES = {"namespace1": "acme", "namespace2": "globex"}


def test_the_rows_of_the_example_are_those_that_were_published() -> None:
    for _, _, cpu, gpu, memory, used, unused in EXAMPLE:
        rows = figures(cpu, gpu, memory)
        assert abs(sum(row[0] for row in rows) - F(used)) < F("0.011"), "AWS rounds on the way"
        assert abs(sum(row[1] for row in rows) - F(unused)) < F("0.011")
    assert sum(a + b for pod in EXAMPLE for a, b, _ in figures(*pod[2:5])) == 10


@pytest.mark.parametrize("node", ["Usage", "DiscountedUsage"])
@pytest.mark.parametrize(
    ("unused", "expected"),
    [
        ("spread", {"acme": "4.32", "globex": "5.68"}),
        ("operator", {"acme": "4.20", "globex": "5.53", "__operator__": "0.27"}),
        ("hold", {"acme": "4.20", "globex": "5.53", "__unallocated__": "0.27"}),
    ],
)
def test_the_providers_worked_example_comes_out_as_published_and_exactly_ten_dollars(
    tmp_path: Path, node: str, unused: str, expected: dict[str, str]
) -> None:
    line = NODE.format(cost=10) if node == "Usage" else NODE.format(cost=0).replace("0 . .", "0 10 .", 1)
    text = f"{HEADER}\n{line.replace('Usage', node, 1)}\n{example_rows()}"
    books = ran(tmp_path, text, namespaces=NAMES, unused=unused)
    for table, column, tenants in (
        ("fact_cost_tagged", "amortized_cost", "tenant_id"),
        ("fact_cost_allocated", "allocated_amortized_cost_usd", "tenant_id"),
    ):
        rows = answer(books, f"SELECT {tenants}, SUM({column}) FROM {table} GROUP BY 1")
        assert {name: shown(usd) for name, usd in rows if usd} == expected
        assert sum(usd for _, usd in rows) == 10


# --- a month made for it -------------------------------------------------------------------------------

Line = dict[str, Any]
SPLIT = ("split_line_item_split_cost", "split_line_item_unused_cost")
SP, NEGATION, RI = "SavingsPlanCoveredUsage", "SavingsPlanNegation", "DiscountedUsage"
EFFECTIVE = {SP: "savings_plan_savings_plan_effective_cost", RI: "reservation_effective_cost"}


def node(
    kind: str, resource: str | None, hour: int, cost: str, effective: str | None = None, **more: Any
) -> Line:
    plan = {"savings_plan_savings_plan_a_r_n": "arn:plan"} if kind in (SP, NEGATION) else {}
    given = {EFFECTIVE[kind]: float(effective)} if effective else {}
    return {
        "line_item_line_item_type": kind, "line_item_resource_id": resource, "hour": hour,
        "product_servicecode": "AmazonEC2", "line_item_operation": "RunInstances",
        "line_item_usage_type": "BoxUsage", "line_item_unblended_cost": float(cost),
        "line_item_net_unblended_cost": float(F(cost) * F("0.9")), **plan, **given, **more,
    }  # fmt: skip


def pod(
    parent: str, hour: int, used: float | None, unused: float | None, *, tenant: str | None = None,
    namespace: str = "shared", name: str = "p", ratio: float = 0.5, **more: Any,
) -> Line:  # fmt: skip
    return {
        "line_item_line_item_type": "Usage", "line_item_resource_id": _ARN.format(namespace, name),
        "hour": hour, "product_servicecode": "AmazonEKS", "line_item_operation": "EKSPod-EC2",
        "line_item_unblended_cost": 0.0,
        "split_line_item_parent_resource_id": parent, "split_line_item_split_cost": used,
        "split_line_item_unused_cost": unused, "split_line_item_split_usage_ratio": ratio,
        "resource_tags_user_tenant_id": tenant, **more,
    }  # fmt: skip


def bill(rows: list[Line]) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row if name != "hour"))
    kinds = {name: TYPES[BY_NAME[name].data_type] if name in BY_NAME else pa.string() for name in names}
    starts = [datetime(2025, 9, 1 + row["hour"] // 24, row["hour"] % 24) for row in rows]
    usual = {
        "bill_billing_period_start_date": [datetime(2025, 9, 1)] * len(rows),
        "line_item_usage_start_date": starts,
        "line_item_usage_end_date": [start + timedelta(hours=1) for start in starts],
    }  # fmt: skip
    texts = {
        "bill_invoice_id": "I-1", "bill_bill_type": "Anniversary", "bill_billing_entity": "AWS",
        "line_item_product_code": "AmazonEC2", "line_item_currency_code": "USD",
        "line_item_usage_account_id": "111111111111",
    }  # fmt: skip
    return pa.table(
        {name: pa.array([row.get(name) for row in rows], kinds[name]) for name in names}
        | {name: pa.array(values, pa.timestamp("us")) for name, values in usual.items()}
        | {name: [text] * len(rows) for name, text in texts.items()}
    )


def given(
    folder: Path, rows: list[Line], *, inputs: dict[str, str] | None = None, **containers: Any
) -> Books:
    write(folder / "cur", [bill(rows)])
    books = home(folder, inputs=ONLY | (inputs or {}), containers={"use": "split"} | containers)
    look.look(books, SEPTEMBER)
    ingest.ingest(books, SEPTEMBER)
    tag.tag(books, SEPTEMBER)
    return books


def a_month() -> list[Line]:
    """On demand, reserved, covered whole and in part, covered in some hours only; one has no pods."""
    rows: list[Line] = []
    for hour in range(6):
        rows += [
            node("Usage", "i-1", hour, "0.1000000001"),
            node(SP, "i-2", hour, "0.2000000003", "0.13"), node(NEGATION, None, hour, "-0.2000000003"),
            node(RI, "i-3", hour, "0", "0.0777777777"),
            node("Usage", "i-9", hour, "0.05", resource_tags_user_tenant_id="globex"),
        ]  # fmt: skip
        covered = hour < 3
        rows.append(node(SP, "i-4", hour, "0.3", "0.2", line_item_usage_type="Big") if covered
                    else node("Usage", "i-4", hour, "0.3", line_item_usage_type="Big"))  # fmt: skip
        rows += [node(NEGATION, None, hour, "-0.18", line_item_usage_type="Big")] if covered else []
        for number, parent in enumerate(("i-1", "i-2", "i-3", "i-4")):
            if (hour, parent) == (5, "i-1"):
                continue  # nothing ran here: the hour stays the instance's
            others = [
                pod(parent, hour, round(0.01 + hour / 1000, 10), 0.003, tenant="acme", name="a"),
                pod(parent, hour, round(0.02 + number / 777, 10), 0.001, namespace="team-g", name="g"),
            ]
            # AWS's rows of an hour come to what the instance costs, amortised
            of = ("0.1000000001", "0.13", "0.0777777777", "0.2" if covered else "0.3")[number]
            left = F(of) - sum(F(repr(one[name])) for one in others for name in SPLIT)
            rest = pod(parent, hour, float(left - F("0.0007") * hour), round(0.0007 * hour, 10), name="k")
            rows += [*others, rest]
    rows.append(node("Usage", "i-1", 1, "0.0123456789", line_item_usage_type="DataTransfer-Out"))
    return rows


WHOSE = {"a": "acme", "g": "globex", "k": None}


def expected(rows: list[Line]) -> dict[tuple[str, str | None], F]:
    """The same on fractions, line by line and hour by hour."""
    found: defaultdict[tuple[str, str | None], F] = defaultdict(F)
    ran = [row for row in rows if row.get("split_line_item_parent_resource_id")]
    taken = {(row["hour"], row["line_item_usage_type"]): F(repr(row["line_item_unblended_cost"]))
             for row in rows if row["line_item_line_item_type"] == NEGATION}  # fmt: skip
    for row in rows:
        kind, resource = row["line_item_line_item_type"], row["line_item_resource_id"]
        if kind == NEGATION or row in ran:
            continue
        cost = F(repr(row["line_item_unblended_cost"]))
        effective = F(repr(row[EFFECTIVE[kind]])) if kind in EFFECTIVE else cost
        left = cost + (taken[row["hour"], row["line_item_usage_type"]] if kind == SP else 0)
        weights: defaultdict[str | None, F] = defaultdict(F)
        for one in ran:
            if (one["split_line_item_parent_resource_id"], one["hour"]) == (resource, row["hour"]):
                name = one["line_item_resource_id"].split("/")[3]
                weights[WHOSE[name]] += sum(F(repr(one[part])) for part in SPLIT)
        weights = weights or defaultdict(F, {row.get("resource_tags_user_tenant_id"): F(1)})
        for tenant, weight in weights.items():
            share = weight / sum(weights.values())
            found["unblended_cost", tenant] += left * share
            found["amortized_cost", tenant] += effective * share
    return dict(found)


def by_view(books: Books, group: str) -> dict[tuple[Any, ...], tuple[Decimal, ...]]:
    sums = ", ".join(f"SUM({name})" for name in VIEWS)
    rows = answer(books, f"SELECT {group}, {sums} FROM fact_cost_tagged GROUP BY {group}")
    many = len(group.split(","))
    return {row[:many]: row[many:] for row in rows if any(row[many:])}


def test_a_month_is_split_hour_by_hour_and_no_cent_of_the_total_moves_in_any_view(tmp_path: Path) -> None:
    rows = a_month()
    split = given(tmp_path / "split", rows, namespaces={"prod/team-g": "globex"})
    parent = given(tmp_path / "parent", rows, use="parent")
    grain = "service, charge_class"
    assert by_view(split, grain) == by_view(parent, grain)
    assert answer(split, "SELECT SUM(line_count) FROM fact_cost_tagged") == [(len(rows),)]
    found = by_view(split, "tenant_id")
    for (view, tenant), exact in expected(rows).items():
        assert abs(F(found[tenant,][VIEWS.index(view)]) - exact) < F(1, 10**15), (view, tenant)
    assert by_view(parent, "tenant_id").keys() == {(None,), ("globex",)}


def test_a_pod_is_whose_its_tag_says_then_its_namespace_then_stays_with_its_instance(tmp_path: Path) -> None:
    aliases = "tag_name,alias,canonical\ntenant_id,team-a,acme\n"
    tagged = {"resource_tags_user_tenant_id": "globex"}
    rows = [
        node("Usage", "i-1", 0, "1"), pod("i-1", 0, 0.4, 0, tenant="acme", namespace="team-g"),
        pod("i-1", 0, 0.6, 0),
        node("Usage", "i-2", 0, "10", **tagged), pod("i-2", 0, 1, 0, namespace="team-a"),
        pod("i-2", 0, 3, 0),
        node("Usage", "i-3", 0, "100"), pod("i-3", 0, 1, 0, tenant="typo", namespace="team-a"),
    ]  # fmt: skip
    books = given(tmp_path, rows, inputs={"tag_aliases": aliases}, namespaces={"team-g": "globex"})
    found = answer(
        books,
        "SELECT tenant_id, tag_source, tenant_tag, SUM(unblended_cost) FROM fact_cost_tagged"
        " GROUP BY ALL HAVING SUM(unblended_cost) <> 0 ORDER BY 4",
    )
    assert [(tenant, source, tag, f"{usd.normalize():f}") for tenant, source, tag, usd in found] == [
        ("acme", "resource", None, "0.4"), (None, "none", None, "0.6"), ("acme", "inherited", None, "2.5"),
        ("globex", "resource", None, "7.5"), (None, "none", "typo", "100"),
    ]  # fmt: skip


# --- bad input -----------------------------------------------------------------------------------------

I1 = node("Usage", "i-1", 0, "1")
NO_COLUMN = {"split_line_item_parent_resource_id": None, "line_item_unblended_cost": 0.0}
BAD: dict[str, tuple[list[Line], str | None, str]] = {
    "sound rows": ([I1, pod("i-1", 0, 0.25, 0, tenant="acme"), pod("i-1", 0, 0.75, 0)], None, "0.25"),
    "rows without their instance": ([I1, pod("i-7", 0, 1, 0, tenant="acme")], "no_parent", "0"),
    "rows of another hour": ([I1, pod("i-1", 3, 1, 0, tenant="acme")], "no_parent", "0"),
    "an instance without rows": ([I1, node("Usage", "i-2", 0, "1"), pod("i-2", 0, 1, 0)], None, "0"),
    "a part of an instance above 1": (
        [I1, pod("i-1", 0, 0.5, 0, tenant="acme", ratio=1.5), pod("i-1", 0, 0.5, 0)], "above_one", "0"),
    "unused below 0": ([I1, pod("i-1", 0, 0.5, -0.1, tenant="acme"), pod("i-1", 0, 1, 0)], "negative", "0"),
    "used below 0": ([I1, pod("i-1", 0, -0.5, 0, tenant="acme"), pod("i-1", 0, 1, 0)], "negative", "0"),
    "rows of which every figure is NULL": ([I1, pod("i-1", 0, None, None, tenant="acme")], "no_figures", "0"),
    "rows that all cost 0": ([I1, pod("i-1", 0, 0, 0, tenant="acme")], "no_figures", "0"),
    "rows that name no instance": ([I1, pod("i-1", 0, 1, 0, tenant="acme") | NO_COLUMN], "no_column", "0"),
    "a pod of two tenants": (
        [I1, *(pod("i-1", 0, 0.5, 0, tenant=one) for one in ("acme", "globex"))], "two_tenants", "0.5"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_split_rows_is_named_and_the_cost_stays_with_the_instance(
    case: str, tmp_path: Path
) -> None:
    rows, fault, of_acme = BAD[case]
    books = given(tmp_path, rows)
    found = total(books)
    assert found.get("acme", 0) == D(of_acme)
    assert sum(found.values()) == sum(D(str(row["line_item_unblended_cost"])) for row in rows)
    (verdict,) = [one for one in checks.tagged(books, SEPTEMBER) if one.check == "containers_are_split"]
    assert verdict.passed is (fault is None)
    told: Any = verdict.figures["unsplit"]
    assert [row["fault"] for row in told] == ([fault] if fault else [])


def test_without_a_column_of_split_rows_there_is_nothing_to_split_and_nothing_to_say(tmp_path: Path) -> None:
    books = given(tmp_path, [I1])
    assert total(books) == {None: 1}
    twin = given(tmp_path / "parent", BAD["rows without their instance"][0], use="parent")
    for one, passed in ((books, True), (twin, None)):
        (verdict,) = [v for v in checks.tagged(one, SEPTEMBER) if v.check == "containers_are_split"]
        assert verdict.passed is passed


def test_another_use_is_another_policy_and_refused_until_somebody_adopts_it(tmp_path: Path) -> None:
    books = given(tmp_path, a_month(), use="parent")
    other = home(tmp_path, inputs=None, containers={"use": "split", "namespaces": {"team-g": "globex"}})
    with pytest.raises(CopsError, match="containers"):
        tag.tag(other, SEPTEMBER)
    assert tag.tag(adopt(other), SEPTEMBER).wrote
    assert total(books).keys() == {None, "acme", "globex"}
    assert not tag.tag(other, SEPTEMBER).wrote


@pytest.mark.long
@pytest.mark.parametrize("unused", ["spread", "operator"])
def test_focus_leaves_with_the_entries_of_a_split_month(tmp_path: Path, unused: str) -> None:
    books = given(tmp_path, a_month(), namespaces={"team-g": "globex"}, unused=unused)
    allocate.allocate(books, SEPTEMBER)
    made = focus.export(books, SEPTEMBER, tmp_path / "out", side="cost", version="1.4", draft=True)
    assert made.rows > 0
