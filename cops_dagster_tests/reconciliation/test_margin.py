"""The margin: its arithmetic on small months, and that it foots with the bridge to the last digit."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.money import amount
from cops_dagster.reconciliation import margin
from cops_dagster.reconciliation.margin import Cell, MarginLine, Recorded
from cops_dagster.reconciliation.variance import TenantCost, Tolerance, reconcile
from cops_dagster.words import OPERATOR, UNALLOCATED

USD = amount.ATTO
NONE = Tolerance(0, 0, 0, 0)


def of(
    tenant: str, service: str, basis: int, direct: int = 0, plan: str | None = "team", **more: object
) -> Cell:
    return Cell(tenant, plan, service, unblended=basis, basis=basis, direct=direct, **more)  # type: ignore[arg-type]


def by_name(cells: list[Cell], by: margin.By, **invoiced: int) -> dict[str, MarginLine]:
    return {line.name: line for line in margin.lines(cells, invoiced, by)}


def test_what_tenants_are_charged_less_every_cost_is_the_margin() -> None:
    cells = margin.priced(
        [
            of("acme", "EC2", 100 * USD, 60 * USD),
            of(OPERATOR, "EC2", 7 * USD, plan=None, unused=5 * USD),
            of(UNALLOCATED, "EC2", 3 * USD, plan=None),
        ],
        lambda tenant, plan: 1_000,
    )
    (line,) = margin.lines(cells, {}, "service")
    assert (line.charged, line.cost, line.margin) == (110 * USD, 110 * USD, 0)
    assert (line.direct, line.shared, line.markup) == (60 * USD, 40 * USD, 10 * USD)
    assert (line.own_cost, line.unallocated, line.unused) == (7 * USD, 3 * USD, 5 * USD)
    assert line.margin_pct == 0


def test_a_tenant_that_is_charged_nothing_has_no_percent() -> None:
    assert MarginLine("acme").margin_pct is None


def test_a_plan_without_markup_leaves_the_percent_unknown_and_one_of_0_does_not() -> None:
    for bps, pct in ((None, None), (0, Decimal(0))):
        cells = margin.priced([of("acme", "EC2", USD)], lambda tenant, plan, bps=bps: bps)  # type: ignore[misc]
        assert margin.total(cells, {}).margin_pct == pct


def test_a_correction_of_a_closed_month_is_charged_to_its_tenant_and_to_nobody_where_we_bear_it() -> None:
    july = date(2025, 7, 1)
    cells = margin.priced(
        [of("acme", "EC2", 5 * USD, usage=july), of(OPERATOR, "EC2", 2 * USD, plan=None, usage=july)],
        lambda tenant, plan: 0,
    )
    whole = margin.total(cells, {})
    assert (whole.charged, whole.cost, whole.margin) == (5 * USD, 7 * USD, -2 * USD)
    assert (whole.adjustments, whole.charged_adjustments) == (7 * USD, 5 * USD)


def test_documents_name_tenants_and_neither_plan_nor_service() -> None:
    cells = [of("acme", "EC2", USD)]
    assert by_name(cells, "tenant", acme=USD, gone=2 * USD)["gone"].invoiced == 2 * USD
    assert by_name(cells, "tenant", gone=2 * USD)["acme"].invoiced == 0
    assert by_name(cells, "plan", acme=USD)["team"].invoiced is None
    assert margin.total(cells, {"acme": USD}).invoiced == USD


def test_a_plans_units_are_told_only_where_no_tenant_of_it_has_another() -> None:
    cells = [of("acme", "EC2", 6 * USD), of("globex", "EC2", USD), of("globex", "EC2", USD, plan="other")]
    keys = {"network": {"acme": 3 * USD, "globex": USD}}
    (acme, globex) = margin.unit_costs(cells, keys, "tenant")
    assert (acme.unit_cost_usd, globex.unit_cost_usd) == (Decimal(2), Decimal(2))
    assert margin.unit_costs(cells, keys, "plan") == []
    assert [one.name for one in margin.unit_costs(cells[:1], keys, "plan")] == ["team"]
    (ec2,) = margin.unit_costs(cells, keys, "service")
    assert (ec2.units, ec2.unit_cost_usd) == (4 * USD, Decimal(2))


def test_a_million_tokens_cost_what_the_service_cost_rounded_once() -> None:
    cells = [of("acme", "AmazonBedrock", 2 * USD), of("globex", "AmazonBedrock", USD)]
    tokens = {"tokens": {"acme": 3_000_000 * USD, "globex": 0}}
    (acme,) = margin.unit_costs(cells, tokens, "tenant", per=1_000_000)
    assert (acme.name, acme.unit_cost_usd) == ("acme", Decimal("0.666666666666666667"))
    (one,) = margin.unit_costs(cells, tokens, "tenant")
    assert one.unit_cost_usd == Decimal("0.000000666666666667")


def test_what_used_nothing_has_no_unit_cost() -> None:
    assert margin.unit_costs([of("acme", "EC2", USD)], {"network": {"acme": 0}}, "tenant") == []


def test_a_line_that_is_not_what_was_recorded_is_named_with_its_amount() -> None:
    line = by_name([of("acme", "EC2", 3 * USD, USD)], "tenant")["acme"]
    said = Recorded(USD, 2 * USD, 0, 0, 0)
    assert margin.differing([line], {"acme": said}) == []
    other = Recorded(USD, 2 * USD - 1, 0, 0, 0)
    assert margin.differing([line], {"acme": other}) == [("acme", "shared", 1)]
    assert margin.differing([], {"acme": Recorded(0, 0, 0, 0, 0, own_cost=4)}) == [("acme", "own cost", -4)]


AMOUNTS = st.integers(-(10**24), 10**24)
CELLS = st.lists(
    st.builds(
        lambda tenant, plan, service, usage, basis: Cell(
            tenant, plan, service, usage, unblended=basis, basis=basis
        ),
        st.sampled_from(["acme", "globex", OPERATOR, UNALLOCATED]),
        st.sampled_from(["team", "gold", None]),
        st.sampled_from(["EC2", "S3", "RDS"]),
        st.sampled_from([None, date(2025, 7, 1)]),
        AMOUNTS,
    ),
    max_size=20,
    unique_by=lambda cell: (cell.tenant_id, cell.plan_id, cell.service, cell.usage),
)


@given(CELLS, st.sampled_from([0, 1, 333, 999, -250]))
def test_services_and_plans_and_tenants_add_up_to_what_a_reconciliation_says(
    cells: list[Cell], bps: int
) -> None:
    priced = margin.priced(cells, lambda tenant, plan: bps)
    costs: dict[tuple[str, str | None], list[int]] = {}
    for cell in cells:
        costs.setdefault((cell.tenant_id, cell.plan_id), [0, 0])[cell.usage is not None] += cell.basis
    made = reconcile(
        [TenantCost(tenant, own, own, bps, late) for (tenant, _), (own, late) in costs.items()],
        [], NONE, is_final=True,
    )  # fmt: skip
    for by in ("tenant", "plan", "service"):
        lines = margin.lines(priced, {}, by)  # type: ignore[arg-type]
        assert sum(line.charged for line in lines) == made.total("expected")
        assert sum(line.markup for line in lines) == made.total("markup")
        assert sum(line.own_cost for line in lines) == made.total("operator")
        assert sum(line.cost for line in lines) == sum(cell.basis for cell in cells)
