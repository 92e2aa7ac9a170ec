"""Random histories of two months against an independent model: every promise holds after every step.

The model below shares no code with the ledger: it keeps delivered lines as tuples, splits with its own
largest-remainder method and remembers what each run posted. CI takes as many histories as fit two minutes;
`make test-long` takes 500 of 30 steps. `PROBES` counts the situations that were reached: a campaign that
never reached one proves nothing about it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cops_dagster.adjustments import late, one_time, restate
from cops_dagster.allocation import allocate, reverse
from cops_dagster.closing import approve, periods
from cops_dagster.errors import CopsError
from cops_dagster.evidence import seal, sweep, verify
from cops_dagster.lake.duck import DuckDB
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.reconciliation import reconcile
from cops_dagster.stores import tables as t
from cops_dagster.stores.places import open_objects
from cops_dagster_tests.closing.ready import aged, close_by_two
from cops_dagster_tests.deliveries import INPUTS, give, home, lines, run, write
from cops_dagster_tests.shown import answer, dump

CENT = Decimal("0.01")
MONTHS = (Period(2025, 9), Period(2025, 10))
UNIT = 10**18
PROBES: Counter[str] = Counter()
EXPECTED_PROBES = (
    "published", "nothing to do", "replaced a run", "A, B, A", "taken back to the run before",
    "taken back to unallocated", "key zero refused", "closed", "close refused", "run refused when final",
    "late change booked", "one-time rule booked", "crashed", "credit pool", "other bytes after final",
)  # fmt: skip
HEADER = "type service account tenant plan component cost invoice\n"

LINE = st.tuples(
    st.sampled_from(["acme", "globex", "."]),
    st.sampled_from(["AmazonEC2", "AWSDataTransfer"]),
    st.sampled_from(["Usage", "Usage", "Usage", "Credit", "Tax"]),
    st.sampled_from(["10.1", "0.01", "3.000000001", "7", "-1.5", "0", "123456.789"]),
)
DELIVERY = st.lists(LINE, min_size=1, max_size=4)


# --- the model ----------------------------------------------------------------------------------------


@dataclass
class Posted:
    """One run of the model: what it posted per tenant, and what it was made from."""

    tenants: dict[str, int]
    inputs: tuple[Any, ...]
    delivery: int
    before: Posted | None = None
    took_back: Posted | None = None


@dataclass
class Month:
    """One month of the model. `delivered[n]` are the lines of the n-th delivery."""

    delivered: list[list[tuple[str, str, str, str]]] = field(default_factory=list)
    taken: int | None = None  # the delivery that was ingested and tagged
    key: int = 2
    head: Posted | None = None
    past: list[tuple[Any, ...]] = field(default_factory=list)
    state: str = "open"
    documents: set[int] = field(default_factory=set)  # deliveries of which AWS' invoice is loaded
    sealed: Any = None
    restated: int | None = None  # the delivery that the newest booked change brought
    held: bool = False


def came_late(month: Month) -> bool:
    """A delivery came after the close."""
    return month.state == "closed" and month.taken is not None and len(month.delivered) - 1 > month.taken


def atto(text: str) -> int:
    return int(Decimal(text) * UNIT)


def shared(cost: int, weights: dict[str, int]) -> dict[str, int]:
    """Largest remainder by fractions, ties by name."""
    total = sum(weights.values())
    exact = {name: Fraction(abs(cost) * weight, total) for name, weight in weights.items()}
    whole = {name: int(share) for name, share in exact.items()}
    by_rest = sorted(exact, key=lambda name: (-(exact[name] - whole[name]), name))
    for name in by_rest[: abs(cost) - sum(whole.values())]:
        whole[name] += 1
    return {name: share if cost >= 0 else -share for name, share in whole.items()}


def allocated(  # noqa: C901 one branch per rule, to be read beside INPUTS
    delivered: list[tuple[str, str, str, str]], key: int
) -> dict[str, int] | None:
    """What each tenant bears; `None` when a pool has nothing to be split by."""
    found: defaultdict[str, int] = defaultdict(int)
    pools: defaultdict[tuple[str, str], int] = defaultdict(int)
    direct: defaultdict[str, int] = defaultdict(int)
    for tenant, service, kind, cost in delivered:
        if tenant == ".":
            pools[service, kind] += atto(cost)
        else:
            found[tenant] += atto(cost)
            direct[tenant] += atto(cost)
    for (service, kind), cost in pools.items():
        if cost == 0:
            continue
        if service == "AWSDataTransfer":  # the rule with the lowest number takes every class of it
            for name, share in shared(cost, {"acme": 1, "globex": key}).items():
                found[name] += share
        elif kind == "Tax":
            found["__unallocated__"] += cost
        elif kind == "Credit":
            found["__operator__"] += cost
        else:
            weights = {name: cost for name, cost in direct.items() if cost > 0}
            if not weights:
                return None
            for name, share in shared(cost, weights).items():
                found[name] += share
    return {name: cost for name, cost in found.items() if cost}


def total(delivered: list[tuple[str, str, str, str]]) -> int:
    return sum(atto(cost) for *_, cost in delivered)


# --- the machine -----------------------------------------------------------------------------------------


def refusal_of(act: Callable[[], Any]) -> str:
    """`done`, or the code of the refusal."""
    try:
        act()
    except CopsError as refusal:
        return refusal.code
    return "done"


class Crash(BaseException):
    """The process ends here, as far as the act can tell."""


@contextmanager
def crashing_at(number: int) -> Iterator[None]:
    """Ends the act at its N-th staged file or commit: after the file, before or after the commit."""
    count = 0
    real_commit, real_stage = sa.engine.RootTransaction.commit, DuckDB.stage

    def reached() -> None:
        nonlocal count
        count += 1
        if count == number:
            raise Crash

    def commit(self: Any) -> None:
        reached()
        real_commit(self)
        reached()

    def stage(self: Any, *args: Any, **kwargs: Any) -> int:
        made = real_stage(self, *args, **kwargs)
        reached()
        return made

    sa.engine.RootTransaction.commit, DuckDB.stage = commit, stage  # type: ignore[method-assign]
    try:
        yield
    finally:
        sa.engine.RootTransaction.commit, DuckDB.stage = real_commit, real_stage  # type: ignore[method-assign]


class History(RuleBasedStateMachine):
    """Acts of people and of AWS in any order."""

    books: Books

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cops-history-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.months = {period: Month() for period in MONTHS}
        usage = "period_start,tenant_id,value,refreshed_at\n" + "".join(
            f"{period},{tenant},{value},2025-12-01T03:00:00Z\n"
            for period in MONTHS
            for tenant, value in (("acme", 1), ("globex", 2))
        )
        wide = {"warning_usd": Decimal(10**9), "failure_usd": Decimal(10**9)}
        self.books = home(
            self.folder,
            inputs=INPUTS
            | {
                "tenant_network_usage": usage,
                "invoice_detail": "invoice_id,tenant_id,period_start,amount,currency,status,document_type\n"
                + "".join(f"T-{period},acme,{period},1,USD,issued,invoice\n" for period in MONTHS),
            },
            recon=wide,
            delivery={"shrink_pct": 100, "growth_pct": 10**9, "least_usd": 10**9},
            coverage={"floor_pct": 0, "target_pct": 0},
        )  # fmt: skip

        for period in MONTHS:
            self.deliver_lines(
                period, [("acme", "AmazonEC2", "Usage", "7"), (".", "AmazonEC2", "Usage", "10.1")]
            )
            PROBES[self.materialised(period)] += 1

    def month(self, period: Period) -> Month:
        return self.months[period]

    def attempt(self, act: Callable[[], Any], codes: set[str]) -> str:
        """`done`, or the code it was refused with; a refusal leaves everything as it was."""
        before = self.seen()
        outcome = refusal_of(act)
        if outcome != "done":
            assert outcome in codes
            assert self.seen() == before  # I15
        return outcome

    def seen(self) -> dict[str, Any]:
        """Ledger, heads, locks and journal: what a refusal leaves byte by byte as it was."""
        kept = ("publish_journal", "period_head", "period_lock", "period_lock_event", "run_reversal",
                "adjustment_booking", "approval", "evidence_index")  # fmt: skip
        found = dump(self.books)
        return {
            name: [
                line
                for line in found[name]
                if name not in ("publish_journal", "period_head")
                or "fact_cost_allocated" in line
                or "fact_cost_adjustment" in line
            ]
            for name in kept
        }

    # --- AWS and the operators

    @rule(period=st.sampled_from(MONTHS), delivered=DELIVERY, at_once=st.booleans())
    def deliver(self, period: Period, delivered: list[tuple[str, str, str, str]], at_once: bool) -> None:
        self.deliver_lines(period, delivered)
        if at_once:
            PROBES[self.materialised(period)] += 1

    def deliver_lines(self, period: Period, delivered: list[tuple[str, str, str, str]]) -> None:
        month = self.month(period)
        number = len(month.delivered)
        text = HEADER + "".join(
            f"{kind} {service} 111111111111 {tenant} {'.' if tenant == '.' else 'team'} . {cost}"
            f" I-{period}-{number}\n"
            for tenant, service, kind, cost in delivered
        )
        write(self.folder / "cur", [lines(text, period)], period=period, assembly=f"a{number}")
        aged(self.folder / "cur")
        month.delivered.append(delivered)
        if any(kind == "Credit" and tenant == "." for tenant, _, kind, _ in delivered):
            PROBES["credit pool"] += 1

    @rule(period=st.sampled_from(MONTHS), value=st.sampled_from([1, 2, 5]))
    def load_key(self, period: Period, value: int) -> None:
        month = self.month(period)
        text = f"period_start,tenant_id,value,refreshed_at\n{period},globex,{value},2025-12-01T03:00:00Z\n"
        outcome = self.attempt(
            lambda: give(self.books, self.folder, replace=True, tenant_network_usage=text),
            {"E-PERIOD-CLOSED"},
        )
        if outcome == "done":
            month.key = value
        else:
            assert month.state == "closed"
            assert value != month.key

    @precondition(lambda self: any(month.delivered for month in self.months.values()))
    @rule(data=st.data(), crash=st.none() | st.none() | st.integers(1, 40))
    def materialise(self, data: st.DataObject, crash: int | None) -> None:
        period = data.draw(st.sampled_from([p for p in MONTHS if self.month(p).delivered]))
        if crash is not None:
            try:
                with crashing_at(crash):
                    run(self.books, period)
            except Crash:
                PROBES["crashed"] += 1
                sweep.sweep(self.books)
            except CopsError:
                sweep.sweep(self.books)
        outcome = self.materialised(period)
        PROBES[outcome] += 1

    def materialised(self, period: Period) -> str:
        month = self.month(period)
        newest = len(month.delivered) - 1
        if month.state == "closed":
            before = self.seen()
            run(self.books, period)
            assert self.seen() == before
            return "closed takes nothing"
        if newest != month.taken:
            month.held = False
            if month.state == "final":
                month.state = "provisional"
                PROBES["other bytes after final"] += 1
        inputs = (newest, month.key)
        same = month.head is not None and inputs in (
            month.head.inputs, month.head.took_back.inputs if month.head.took_back else None
        )  # fmt: skip
        if same:
            run(self.books, period)
            month.taken = newest
            return "nothing to do"
        made = allocated(month.delivered[newest], month.key)
        if month.state == "final":
            with pytest.raises(CopsError, match="E-PERIOD-CLOSED" if made is not None else "E-"):
                run(self.books, period)
            return "run refused when final"
        if made is None:
            with pytest.raises(CopsError, match="E-KEY-ZERO"):
                run(self.books, period)
            month.taken = newest
            sweep.sweep(self.books)
            return "key zero refused"
        run(self.books, period)
        month.taken = newest
        if inputs in month.past and month.head is not None:
            PROBES["A, B, A"] += 1
        if month.head is not None:
            PROBES["replaced a run"] += 1
        month.past.append(inputs)
        month.head = Posted(made, inputs, newest, before=month.head)
        return "published"

    @precondition(lambda self: any(month.head for month in self.months.values()))
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        period = data.draw(st.sampled_from([p for p in MONTHS if self.month(p).head]))
        month = self.month(period)
        wrong = month.head
        assert wrong is not None
        run_id = self.head_id(period)
        outcome = self.attempt(
            lambda: reverse.reverse(self.books, run_id, reason="wrong"),
            {"E-REV", "E-PERIOD-CLOSED", "E-VERDICT"},
        )
        if outcome == "done":
            assert wrong.took_back is None
            assert month.taken == wrong.delivery
            assert month.state not in ("final", "closed")
            stands = wrong.before is not None and wrong.before.delivery == wrong.delivery
            tenants = (
                wrong.before.tenants
                if stands and wrong.before
                else {"__unallocated__": sum(wrong.tenants.values())}
            )
            PROBES["taken back to the run before" if stands else "taken back to unallocated"] += 1
            month.head = Posted(
                {name: cost for name, cost in tenants.items() if cost}, ("taken back", run_id),
                wrong.delivery, before=wrong, took_back=wrong,
            )  # fmt: skip
        elif outcome == "E-REV":
            assert wrong.took_back is not None
        elif outcome == "E-VERDICT":
            assert month.taken != wrong.delivery
        else:
            assert month.state in ("final", "closed")

    # --- finance

    @precondition(lambda self: any(month.head for month in self.months.values()))
    @rule(data=st.data())
    def reconcile_and_advance(self, data: st.DataObject) -> None:
        period = data.draw(st.sampled_from([p for p in MONTHS if self.month(p).head]))
        month = self.month(period)
        reconcile.reconcile(self.books, period)
        state = periods.advance(self.books, period)
        if month.state in ("final", "closed"):
            assert state == month.state
        else:
            assert state in ("provisional", "final")
            assert state == "provisional" or not month.held
            month.state = state
            PROBES["final by itself"] += state == "final"

    @precondition(lambda self: any(month.state == "final" for month in self.months.values()))
    @rule(data=st.data())
    def open_again(self, data: st.DataObject) -> None:
        period = data.draw(st.sampled_from([p for p in MONTHS if self.month(p).state == "final"]))
        periods.mark(self.books, period, "provisional", reason="something was found")
        self.month(period).state, self.month(period).held = "provisional", True

    @precondition(lambda self: any(month.head and month.state != "closed" for month in self.months.values()))
    @rule(data=st.data(), documents=st.booleans())
    def close(self, data: st.DataObject, documents: bool) -> None:
        period = data.draw(
            st.sampled_from([p for p in MONTHS if self.month(p).head and self.month(p).state != "closed"])
        )
        month = self.month(period)
        newest = len(month.delivered) - 1
        if documents and newest not in month.documents:
            self.load_document(period, newest)
        sweep.sweep(self.books)
        outcome = self.attempt(lambda: close_by_two(self.books, period), {"E-NOT-READY"})
        PROBES["closed" if outcome == "done" else "close refused"] += 1
        if outcome == "done":
            assert month.head is not None
            assert month.documents == {newest} or total(month.delivered[newest]) == 0
            assert (month.taken, month.head.inputs) == (newest, (newest, month.key))
            assert not month.held
            for other, earlier in self.months.items():
                assert other >= period or earlier.state == "closed" or not self.is_known(other)
            month.state = "closed"
            month.sealed = self.digests(period)

    def load_document(self, period: Period, number: int) -> None:
        month = self.month(period)
        tax = sum(
            (Decimal(cost) for _, _, kind, cost in month.delivered[number] if kind == "Tax"), Decimal(0)
        )
        rest = sum((Decimal(cost) for *_, cost in month.delivered[number]), Decimal(0)) - tax
        tax, rest = (
            one.quantize(CENT, context=amount.ROUNDING) for one in (tax, rest)
        )  # no document carries a part of a cent
        give(
            self.books, self.folder,
            aws_invoices="invoice_id,period_start,payer_account_id,invoice_type,base_currency,amount_before_tax,tax\n"
            f"I-{period}-{number},{period},111111111111,INVOICE,USD,{rest:f},{tax:f}\n",
        )  # fmt: skip
        month.documents.add(number)

    @precondition(lambda self: any(came_late(month) for month in self.months.values()))
    @rule(data=st.data())
    def late_change(self, data: st.DataObject) -> None:
        period = data.draw(st.sampled_from([p for p in MONTHS if came_late(self.month(p))]))
        month = self.month(period)
        newest = len(month.delivered) - 1
        run(self.books, period)  # records it as late
        made: list[str | None] = []
        outcome = refusal_of(lambda: made.append(late.propose(self.books, period)))
        if outcome != "done":
            assert outcome == "E-KEY-ZERO"
            assert allocated(month.delivered[newest], month.key) is None
            return
        if made[0] is None:
            assert month.restated == newest
            return
        outcome = refusal_of(lambda: approve.approve(self.second(), str(made[0]), reason="checked"))
        assert outcome in ("done", "E-APPROVAL-UNKNOWN")  # the other: no line differs
        PROBES["late change booked"] += outcome == "done"
        month.restated = newest

    @precondition(lambda self: any(month.state == "closed" for month in self.months.values()))
    @rule(data=st.data(), bearer=st.sampled_from(["acme", "__unallocated__"]))
    def one_time_rule(self, data: st.DataObject, bearer: str) -> None:
        period = data.draw(st.sampled_from([p for p in MONTHS if self.month(p).state == "closed"]))
        shares = {"acme": Decimal("33.3"), "globex": Decimal("66.7")}

        def act() -> None:
            made = one_time.propose(
                self.books, period, bearer=bearer, shares=shares, reason="agreed", evidence_links="T"
            )
            approve.approve(self.second(), made, reason="checked")

        outcome = refusal_of(act)
        assert outcome in ("done", "E-PARAM")  # the other: the bearer bears nothing there
        PROBES["one-time rule booked"] += outcome == "done"

    # --- what holds after every step

    @invariant()
    def every_promise_holds(self) -> None:
        if not hasattr(self, "books"):
            return
        by_tenant: defaultdict[Period, dict[str, int]] = defaultdict(dict)
        for day, tenant, usd in answer(
            self.books,
            "SELECT period_start, tenant_id, SUM(allocated_cost_usd) FROM fact_cost_allocated GROUP BY 1, 2",
        ):
            if usd:
                by_tenant[Period.of(day)][tenant] = int(usd * UNIT)
        for period, month in self.months.items():
            expected = month.head.tenants if month.head else {}
            assert by_tenant[period] == expected, period  # I1, I2, I4: exactly the head's, to the atto-dollar
        self.reversals_are_opposites()
        self.restated_months_are_their_newest_delivery()
        self.the_journal_is_one_chain()
        closed = [month.state == "closed" for period, month in self.months.items() if self.is_known(period)]
        assert closed == sorted(closed, reverse=True)  # I16
        for period, month in self.months.items():
            if month.sealed:
                assert self.digests(period) == month.sealed  # I6
        assert verify.verify(self.books).status == "ok"  # I12

    def reversals_are_opposites(self) -> None:
        wrong = answer(
            self.books,
            "SELECT COUNT(*) FROM fact_cost_allocated r LEFT JOIN fact_cost_allocated e "
            "ON e.entry_id = r.reverses_entry_id WHERE r.entry_type = 'reversal' AND (e.entry_id IS NULL "
            "OR e.allocated_cost_usd <> -r.allocated_cost_usd OR e.tenant_id <> r.tenant_id "
            "OR e.service <> r.service OR e.charge_class <> r.charge_class OR e.entry_type <> 'allocation')",
        )  # fmt: skip
        twice = answer(
            self.books,
            "SELECT COUNT(*) FROM (SELECT reverses_entry_id FROM fact_cost_allocated "
            "WHERE reverses_entry_id IS NOT NULL GROUP BY 1 HAVING COUNT(*) > 1) AS d",
        )
        assert (wrong, twice) == ([(0,)], [(0,)])  # I3

    def restated_months_are_their_newest_delivery(self) -> None:
        found = {
            Period.of(day): int(usd * UNIT)
            for day, usd in answer(
                self.books, "SELECT usage_period_start, SUM(allocated_cost_usd) FROM cost_restated GROUP BY 1"
            )
        }
        for period, month in self.months.items():
            if month.head is not None:
                number = month.restated if month.restated is not None else month.head.delivery
                assert found[period] == total(month.delivered[number])  # I9, adjustments included

    def the_journal_is_one_chain(self) -> None:
        journal, period_head = t.publish_journal, t.period_head
        with self.books.admin.read() as con:
            rows = con.execute(sa.select(journal).order_by(journal.c.journal_seq)).all()
            heads = {
                (r.table_name, r.period_start, r.source_id): r.run_id
                for r in con.execute(sa.select(period_head))
            }
            states = {period: lock.state_of(con, period) for period in MONTHS}
            live = con.execute(sa.select(t.lake_file.c.run_id)).scalars().all()
        newest: dict[Any, str] = {}
        for row in rows:
            place = row.table_name, row.period_start, row.source_id
            assert row.predecessor_run_id == newest.get(place)
            newest[place] = row.run_id
        assert newest == heads
        assert set(live) <= {row.run_id for row in rows}
        for period, month in self.months.items():
            if month.state in ("final", "closed") or states[period] in ("final", "closed"):
                assert states[period] == month.state

    # --- helpers

    def second(self) -> Books:
        return replace(self.books, settings=self.books.settings.model_copy(update={"actor": "second"}))

    def head_id(self, period: Period) -> str:
        heads = t.period_head
        with self.books.admin.read() as con:
            return str(
                con.execute(
                    sa.select(heads.c.run_id).where(
                        heads.c.table_name == allocate.TABLE, heads.c.period_start == period.start
                    )
                ).scalar_one()
            )

    def is_known(self, period: Period) -> bool:
        shown = t.cur_billing_head
        with self.books.admin.read() as con:
            return bool(
                con.execute(sa.select(shown.c.source_id).where(shown.c.period_start == period.start)).first()
            )

    def digests(self, period: Period) -> Any:
        with self.books.admin.read() as con:
            return seal.of_period(self.books, con, period, self.head_id(period)).result

    def teardown(self) -> None:
        if not hasattr(self, "books"):
            return
        try:
            for period, month in self.months.items():
                if month.state == "closed":  # I13
                    objects = open_objects(self.books.settings.evidence_uri)
                    assert restate.replay(self.folder / "again", objects, period).agrees
        finally:
            self.books.admin.close()
            shutil.rmtree(self.folder, ignore_errors=True)


def campaign(histories: int, steps: int) -> None:
    PROBES.clear()
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=histories, stateful_step_count=steps, deadline=None, derandomize=True,
            suppress_health_check=list(HealthCheck), print_blob=True,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink a history takes minutes
        ),
    )  # fmt: skip


@pytest.mark.long
def test_every_promise_holds_after_every_step_of_some_histories() -> None:
    campaign(6, 20)
    missed = [
        probe for probe in ("published", "replaced a run", "crashed", "close refused") if not PROBES[probe]
    ]
    assert missed == [], dict(PROBES)


@pytest.mark.long
@pytest.mark.skipif(
    "COPS_TEST_HISTORIES" not in os.environ, reason="hours: COPS_TEST_HISTORIES=500 asks for it"
)
def test_every_promise_holds_after_every_step_of_many_histories() -> None:
    campaign(int(os.environ["COPS_TEST_HISTORIES"]), 30)
    missed = [probe for probe in EXPECTED_PROBES if not PROBES[probe]]
    assert missed == [], dict(PROBES)
