"""What comes after the close: proposed by class and tenant, approved by a second person, booked once."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.adjustments import late, one_time, proposals
from cops_dagster.adjustments.changes import Line, classify
from cops_dagster.allocation.rules import Costs
from cops_dagster.closing import approve
from cops_dagster.errors import CopsError
from cops_dagster.evidence import verify
from cops_dagster.evidence.seal import of_period
from cops_dagster.ingestion import deliver
from cops_dagster.ledger.books import Books
from cops_dagster.reconciliation import notes, reconcile
from cops_dagster.stores import tables as t
from cops_dagster_tests.adjustments.late_deliveries import OCTOBER, late_delivery, somebody_else
from cops_dagster_tests.closing.ready import close_by_two, month, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant, dump

RESTATED = "SELECT SUM(allocated_cost_usd) FROM cost_restated WHERE usage_period_start = DATE '2025-09-01'"


@pytest.fixture
def closed(tmp_path: Path) -> Books:
    books = ready(tmp_path)
    close_by_two(books, SEPTEMBER)
    return books


def effects(books: Books, adjustment_id: str) -> dict[str, dict[str, Decimal]]:
    found: dict[str, dict[str, Decimal]] = {}
    with books.admin.read() as con:
        proposal = next(one for one in proposals.proposals(con) if one.adjustment_id == adjustment_id)
    for one in proposal.effects:
        found.setdefault(one["change_class"], {})[one["tenant_id"]] = one["unblended_usd"]
    return found


@pytest.mark.long
def test_a_late_delivery_is_proposed_and_changes_nothing(closed: Books, tmp_path: Path) -> None:
    with closed.admin.read() as con:
        head = con.execute(sa.select(t.period_head.c.run_id).where(
            t.period_head.c.table_name == "fact_cost_allocated")).scalar_one()  # fmt: skip
        before = of_period(closed, con, SEPTEMBER, head)
    late_delivery(closed, tmp_path, MONTH + "Usage AmazonS3 111111111111 acme team api 5\n")
    with closed.admin.read() as con:
        assert of_period(closed, con, SEPTEMBER, head) == before
    assert answer(closed, RESTATED) == [(Decimal("40.880000001"),)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COPS_EVIDENCE", "{home}/evidence"),
        ("COPS_LAKE", "s3://cops/lake"),
        ("COPS_SECURITY__SIGNED", "true"),
    ],
)
def test_a_month_is_made_again_in_a_home_that_takes_no_place_of_this_process(
    name: str, value: str, closed: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the store of evidence in the environment, as in production, no late delivery was ever proposed."""
    monkeypatch.setenv(name, value.format(home=closed.settings.home))
    assert late_delivery(closed, tmp_path, MONTH + "Usage AmazonS3 111111111111 acme team api 5\n")


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MONTH + "Usage AmazonS3 111111111111 acme team api 5\n", {"late_usage": {"acme", "globex"}}),
        (MONTH + "Refund AmazonS3 111111111111 acme team api -5\n", {"refund": {"acme"}}),
        (MONTH.replace("-1.5", "-2.5"), {"credit": {"__operator__"}}),
        (MONTH.replace("0.07", "0.09"), {"tax": {"__unallocated__"}}),
        (
            MONTH.replace("globex  team  api        20.20", "acme    team  api        20.20"),
            {"tag_backfill": {"acme", "globex"}},
        ),
    ],
)  # fmt: skip
def test_a_late_change_is_classified_per_tenant(
    closed: Books, tmp_path: Path, text: str, expected: dict[str, set[str]]
) -> None:
    made = late_delivery(closed, tmp_path, text)
    found = effects(closed, made)
    assert {change: set(tenants) for change, tenants in found.items() if change in expected} == expected
    total = sum(usd for tenants in found.values() for usd in tenants.values())
    delivered = answer(closed, "SELECT cost_usd FROM cur_delivery ORDER BY first_seen_at DESC LIMIT 1")[0][0]
    assert total == delivered - Decimal("40.880000001")


def test_classes_of_change_are_told_apart_by_what_moved() -> None:
    def line(tenant: str, service: str, *costs: int, method: str = "direct", kind: str = "usage") -> Line:
        return Line(service, None, kind, tenant, None, method, None, None, Costs(*costs))

    backfill = [line("a", "EC2", 5, 5, 5), line("b", "EC2", -5, -5, -5)]
    shifted = [line("a", "VPC", 2, 2, 2, method="rule"), line("b", "VPC", -2, -2, -2, method="rule")]
    assert classify([*backfill, *shifted]) == ["tag_backfill"] * 4
    others = [
        line("a", "RDS", 0, 7, 7), line("a", "S3", 1, 1, 1), line("a", "S3", 9, 9, 9, kind="support"),
        line("a", "S3", -1, -1, -1, kind="refund"),
    ]  # fmt: skip
    assert classify([*backfill, *others, *shifted]) == [
        "tag_backfill", "tag_backfill", "reamortization", "late_usage", "support", "refund", "late_usage",
        "late_usage",
    ]  # fmt: skip


@pytest.mark.long
def test_an_approved_change_is_booked_in_the_open_month_and_restates_the_closed_one(
    closed: Books, tmp_path: Path
) -> None:
    made = late_delivery(closed, tmp_path, MONTH + "Usage AmazonS3 111111111111 acme team api 5\n")
    done = approve.approve(somebody_else(closed), made[:12], reason="checked with AWS")
    assert (done.period, done.was_new) == (OCTOBER, True)
    assert answer(closed, RESTATED) == [(Decimal("45.880000001"),)]
    as_reported = answer(
        closed, "SELECT period_start, SUM(allocated_cost_usd) FROM cost_as_reported GROUP BY 1 ORDER BY 1"
    )
    assert [(f"{day:%m}", usd) for day, usd in as_reported] == [
        ("09", Decimal("40.880000001")), ("10", Decimal(5)),
    ]  # fmt: skip
    assert late.propose(closed, SEPTEMBER) is None  # nothing is left of it
    assert verify.verify(closed).status == "ok"


@pytest.mark.long
def test_approved_twice_it_is_booked_once(closed: Books, tmp_path: Path) -> None:
    made = late_delivery(closed, tmp_path, MONTH + "Usage AmazonS3 111111111111 acme team api 5\n")
    approve.approve(somebody_else(closed), made, reason="checked")
    before = dump(closed)
    assert not approve.approve(somebody_else(closed), made, reason="checked").was_new
    assert dump(closed) == before


@pytest.mark.long
def test_who_proposed_it_cannot_approve_it(closed: Books, tmp_path: Path) -> None:
    made = late_delivery(closed, tmp_path, MONTH + "Usage AmazonS3 111111111111 acme team api 5\n")
    before = dump(closed)
    with pytest.raises(CopsError, match="E-APPROVER"):
        approve.approve(closed, made, reason="mine")
    assert dump(closed) == before


@pytest.mark.long
def test_a_proposal_over_books_that_changed_since_is_stale(closed: Books, tmp_path: Path) -> None:
    first = late_delivery(closed, tmp_path, MONTH + "Usage AmazonS3 111111111111 acme team api 5\n", "l1")
    second = late_delivery(closed, tmp_path, MONTH + "Usage AmazonS3 111111111111 acme team api 6\n", "l2")
    approve.approve(somebody_else(closed), second, reason="the newer one")
    before = dump(closed)
    with pytest.raises(CopsError, match="E-ADJUSTMENT-STALE"):
        approve.approve(somebody_else(closed), first, reason="the older one")
    assert dump(closed) == before
    assert answer(closed, RESTATED) == [(Decimal("46.880000001"),)]


@pytest.mark.long
def test_late_deliveries_one_after_the_other_add_up_to_the_newest(closed: Books, tmp_path: Path) -> None:
    for number, cost in enumerate(("5", "7.5", "2"), start=1):
        made = late_delivery(
            closed, tmp_path, MONTH + f"Usage AmazonS3 111111111111 acme team api {cost}\n", f"l{number}"
        )
        approve.approve(somebody_else(closed), made, reason="checked")
    assert answer(closed, RESTATED) == [(Decimal("42.880000001"),)]


@pytest.mark.long
def test_a_source_that_begins_to_deliver_after_the_close_is_late_too(closed: Books, tmp_path: Path) -> None:
    deliver.deliver(closed, sorted(_aside(tmp_path)), SEPTEMBER, source_id="second")
    run(closed)
    made = late.propose(closed, SEPTEMBER)
    approve.approve(somebody_else(closed), str(made), reason="a payer we forgot")
    assert answer(closed, RESTATED) == [(Decimal("45.880000001"),)]


def _aside(folder: Path) -> list[Path]:
    made = write(folder / "aside", [lines("type service account tenant plan cost\n"
                                          "Usage AmazonS3 222222222222 acme team 5\n")])  # fmt: skip
    return list(made.glob("*.parquet"))


@pytest.mark.long
def test_the_same_cost_in_other_bytes_needs_no_approval(closed: Books, tmp_path: Path) -> None:
    month(
        tmp_path,
        MONTH.replace("Tax", "Tax", 1) + "Usage AmazonS3 111111111111 acme team api 0\n",
        assembly="same",
    )
    run(closed)
    made = late.propose(closed, SEPTEMBER)
    with closed.admin.read() as con:
        assert [(one.adjustment_id, one.line_count) for one in proposals.proposals(con)] == [(made, 0)]
    with pytest.raises(CopsError, match="E-APPROVAL-UNKNOWN"):
        approve.approve(somebody_else(closed), str(made), reason="nothing")


@pytest.mark.long
def test_the_open_month_is_reconciled_with_what_was_booked_in_it(closed: Books, tmp_path: Path) -> None:
    month(tmp_path, MONTH, period=OCTOBER, assembly="october")
    give(
        closed, tmp_path,
        tenant_network_usage=INPUTS["tenant_network_usage"].replace("-09,", "-10,").replace("10-01", "11-01"),
    )  # fmt: skip
    run(closed, OCTOBER)
    made = late_delivery(closed, tmp_path, MONTH + "Refund AmazonS3 111111111111 acme team api -5\n")
    approve.approve(somebody_else(closed), made, reason="checked")
    reconcile.reconcile(closed, OCTOBER)
    before, after = reconcile.trend(closed, OCTOBER)
    assert (before.adjustments_usd, after.adjustments_usd) == (0, -5)
    assert after.expected_usd == before.expected_usd - 5
    tenants = answer(
        closed, "SELECT tenant_id, adjustments_usd FROM recon_tenant WHERE period_start = DATE '2025-10-01'"
    )
    assert sum(usd for _, usd in tenants) == -5
    assert dict(tenants)["acme"] < 0


# --- one-time rules and notes ----------------------------------------------------------------------


def one_time_rule(books: Books, **given: object) -> str:
    arguments = {
        "bearer": "__unallocated__", "shares": {"acme": Decimal(60), "globex": Decimal(40)},
        "reason": "tax is theirs", "evidence_links": "TICKET-1",
    } | given  # fmt: skip
    return one_time.propose(books, SEPTEMBER, **arguments)  # type: ignore[arg-type]


def test_a_one_time_rule_moves_cost_of_a_closed_month_to_difference_0(closed: Books) -> None:
    before = by_tenant(closed)
    made = one_time_rule(closed)
    approve.approve(somebody_else(closed), made, reason="agreed")
    assert by_tenant(closed) == before
    moved = dict(
        answer(closed, "SELECT tenant_id, SUM(allocated_cost_usd) FROM fact_cost_adjustment GROUP BY 1")
    )
    assert moved == {
        "__unallocated__": Decimal("-0.07"),
        "acme": Decimal("0.042"),
        "globex": Decimal("0.028"),
    }
    assert answer(closed, RESTATED) == [(Decimal("40.880000001"),)]


@pytest.mark.long
def test_a_later_delivery_does_not_take_a_one_time_rule_back(closed: Books, tmp_path: Path) -> None:
    approve.approve(somebody_else(closed), one_time_rule(closed), reason="agreed")
    made = late_delivery(closed, tmp_path, MONTH.replace("0.07", "0.09"))
    assert effects(closed, made) == {"tax": {"__unallocated__": Decimal("0.02")}}


@pytest.mark.sampled(7)
@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"shares": {"acme": Decimal("99.99")}}, "E-RULE-SUM"),
        ({"shares": {"acme": Decimal("100.01")}}, "E-RULE-SUM"),
        ({"shares": {"acme": Decimal(120), "globex": Decimal(-20)}}, "E-RULE-SUM"),
        ({"shares": {"nobody": Decimal(100)}}, "E-TENANT-UNKNOWN"),
        ({"bearer": "globex", "service": "AmazonRDS"}, "E-PARAM"),
        ({"reason": " "}, "E-PARAM"),
        ({"evidence_links": ""}, "E-PARAM"),
    ],
)
def test_a_one_time_rule_that_cannot_be_is_refused(
    closed: Books, given: dict[str, object], code: str
) -> None:
    before = dump(closed)
    with pytest.raises(CopsError) as refusal:
        one_time_rule(closed, **given)
    assert refusal.value.code == code
    assert dump(closed) == before


def test_an_open_month_takes_no_adjustment_and_no_note(tmp_path: Path) -> None:
    books = ready(tmp_path)
    with pytest.raises(CopsError, match="E-PERIOD-OPEN"):
        one_time_rule(books)
    with pytest.raises(CopsError, match="E-PERIOD-OPEN"):
        notes.note(
            books, SEPTEMBER, tenant_id="acme", amount_usd=Decimal(1), reason="rounding", evidence="TICKET-2"
        )
    assert late.propose(books, SEPTEMBER) is None


@pytest.mark.long
def test_a_variance_note_is_opened_by_one_and_decided_by_another(closed: Books) -> None:
    before = by_tenant(closed)
    made = notes.note(
        closed, SEPTEMBER, tenant_id="acme", amount_usd=Decimal("0.01"), reason="rounding", evidence="T-2"
    )
    with pytest.raises(CopsError, match="E-APPROVER"):
        approve.approve(closed, made, reason="mine")
    assert approve.approve(somebody_else(closed), made, reason="agreed").was_new
    with closed.admin.read() as con:
        row = con.execute(
            sa.select(t.recon_exceptions).where(t.recon_exceptions.c.exception_id == made)
        ).one()
    assert (row.decision, row.opened_by, row.resolved_by) == ("agreed", "test", "second")
    assert by_tenant(closed) == before
