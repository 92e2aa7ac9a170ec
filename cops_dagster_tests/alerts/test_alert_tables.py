"""Alerts as text tables: what was seen, minute by minute, and what one receiver is told.

Each row: MINUTE WHAT… → REASON or -     (a tick follows every row; "-" means that nothing is sent)

    P2 2.1        the condition holds, at this priority and figure (steps 2, 5, 10, 25, 50 %)
    ok            it does not hold           none   it could not be judged
    old P2        an observation of data older than what is known
    down / up     the receiver refuses from now on / takes messages again
    ack           somebody takes the alert
    silence P2 60 messages up to P2 are kept back for 60 minutes
    p1 / p1 ok    a P1 of the same month begins / ends
    tick          nothing but a tick
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from cops_dagster.alerts import escalation, lifecycle, telling
from cops_dagster.alerts.lifecycle import Alert, Observation
from cops_dagster.alerts.telling import Sent, Silence
from cops_dagster.period import Period
from cops_dagster.tagging.verdicts import TAG_COVERAGE_AT_TARGET
from cops_dagster.verdict import Severity, Verdict

SEPTEMBER = Period(2025, 9)
BEGIN = datetime(2025, 10, 1)

TABLES = {
    "a condition seen a hundred times is told once": """
        0   P1           → FIRST
        1   P1           → -
        30  P1           → -
        59  P1           → -
    """,
    "a P2 waits five minutes, a P3 fifteen": """
        0   P2 2.1       → -
        4   P2 2.1       → -
        5   P2 2.1       → FIRST
    """,
    "what is over before the wait ends is never told": """
        0   P3           → -
        10  ok           → -
        60  tick         → -
    """,
    "the end is told once": """
        0   P1           → FIRST
        10  ok           → RESOLVED
        11  ok           → -
        12  tick         → -
    """,
    "what fires again after its end is told again, as another episode": """
        0   P1           → FIRST
        10  ok           → RESOLVED
        20  P1           → REFIRED
    """,
    "a threshold crossed again after a credit fires again, however soon": """
        0   P1           → FIRST
        1   ok           → RESOLVED
        2   P1           → REFIRED
        3   ok           → RESOLVED
        4   P1           → REFIRED
    """,
    "what fires again before its end was told needs no end, and is not lost": """
        0   P1           → FIRST
        1   down         → -
        2   ok           → -
        3   P1           → -
        4   up           → RETRY
    """,
    "a P1 is told again every hour, at the hour and not before": """
        0   P1           → FIRST
        59  P1           → -
        60  P1           → REPEAT
        119 P1           → -
        120 P1           → REPEAT
    """,
    "the same figure again is silence, the next step is not": """
        0   P2 2.1       → -
        5   P2 2.1       → FIRST
        6   P2 2.2       → -
        7   P2 5.1       → ESCALATED
        8   P2 4.0       → -
        9   P2 5.1       → -
    """,
    "a graver priority is told at once, also when somebody took the alert": """
        0   P2 2.1       → -
        5   P2 2.1       → FIRST
        6   ack          → -
        7   P1 2.1       → ESCALATED
        8   P2 2.1       → -
        9   P1 2.1       → -
    """,
    "an acknowledged alert is not repeated until the acknowledgement runs out": """
        0   P1           → FIRST
        10  ack          → -
        61  P1           → -
        489 P1           → -
        490 P1           → REPEAT
    """,
    "an acknowledgement is of one episode": """
        0   P1           → FIRST
        1   ack          → -
        2   ok           → RESOLVED
        3   P1           → REFIRED
        63  P1           → REPEAT
    """,
    "a silence keeps a P2 back and its end brings it at once": """
        0   silence P2 60 → -
        1   P2 2.1       → -
        30  P2 2.1       → -
        59  P2 2.1       → -
        60  tick         → FIRST
    """,
    "a silence that names P3 does not cover a P2": """
        0   silence P3 60 → -
        1   P3           → -
        20  P3           → -
        21  P2           → FIRST
    """,
    "a P1 is never silenced": """
        0   silence P2 60 → -
        1   P1           → FIRST
    """,
    "beside a P1 of the month lesser alerts are noise, and are told when it is over": """
        0   p1           → -
        1   P2 2.1       → -
        10  P2 2.1       → -
        20  p1 ok        → FIRST
    """,
    "a receiver that is down is tried again after 1, 2, 4 minutes, until it takes the message": """
        0   down         → -
        1   P1           → -
        2   tick         → -
        3   tick         → -
        4   tick         → -
        5   up           → -
        7   tick         → -
        8   tick         → RETRY
        9   tick         → -
    """,
    "no data is not recovery": """
        0   P1           → FIRST
        10  none         → -
        60  none         → REPEAT
    """,
    "old data is no news": """
        0   P1           → FIRST
        10  ok           → RESOLVED
        11  old P1       → -
    """,
    "a clock that goes back repeats nothing early": """
        60  P1           → FIRST
        0   tick         → -
        119 tick         → -
        120 tick         → REPEAT
    """,
    "what resolves while the receiver is down is told when it is back": """
        0   P1           → FIRST
        1   down         → -
        2   ok           → -
        3   up           → RETRY
    """,
    "what began and ended while the receiver was down is not told": """
        0   down         → -
        1   P1           → -
        2   ok           → -
        3   up           → -
    """,
}


@dataclass
class Timeline:
    """One alert and one receiver."""

    alert: Alert | None = None
    log: list[Sent] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    is_down: bool = False
    inhibited: bool = False

    def see(self, words: list[str], at: datetime) -> None:
        match words:
            case ["down" | "up" as state]:
                self.is_down = state == "down"
            case ["ack"]:
                assert self.alert
                self.alert = replace(self.alert, acked_by="kim", ack_expires_at=at + lifecycle.ACK_FOR)
            case ["silence", severity, minutes]:
                until = at + timedelta(minutes=int(minutes))
                self.silences.append(Silence("rule", None, severity, at, until))  # type: ignore[arg-type]
            case ["p1"]:
                self.inhibited = True
            case ["p1", "ok"]:
                self.inhibited = False
            case ["tick"]:
                pass
            case ["old", severity]:
                self.observe(severity, "0", at, at - timedelta(days=1))
            case ["ok" | "none" as state]:
                self.observe(state, "0", at, at)
            case [severity, *percent]:
                self.observe(severity, (percent or ["0"])[0], at, at)

    def observe(self, state: str, percent: str, at: datetime, data_at: datetime) -> None:
        holds = {"ok": False, "none": None}.get(state, True)
        severity = state if state.startswith("P") else self.alert.severity if self.alert else "P1"
        seen = Observation(
            "rule", "scope", SEPTEMBER, severity, holds, data_at, at, "title",  # type: ignore[arg-type]
            step=escalation.steps_passed(Decimal(percent)),
        )  # fmt: skip
        self.alert, _ = lifecycle.observe(self.alert, seen)

    def tick(self, at: datetime) -> str:
        if self.alert is None:
            return "-"
        due = telling.decide(self.alert, self.log, self.silences, inhibited=self.inhibited, now=at)
        if due is None:
            return "-"
        alert = self.alert
        self.log.append(
            Sent(
                alert.episode, due.reason, due.meant if due.reason == "RETRY" else None, alert.severity,
                alert.step, "failed" if self.is_down else "accepted", at,
            )
        )  # fmt: skip
        return "-" if self.is_down else due.reason


@pytest.mark.parametrize("name", TABLES)
def test_a_receiver_is_told(name: str) -> None:
    timeline = Timeline()
    for row in filter(None, map(str.strip, TABLES[name].splitlines())):
        said, expected = row.split("→")
        minute, *words = said.split()
        at = BEGIN + timedelta(minutes=int(minute))
        timeline.see(words, at)
        assert timeline.tick(at) == expected.strip(), row


def coverage(hours: float, *, severity: Severity = "ERROR", final_at: datetime | None = None) -> Observation:
    """What coverage below its target says of the floor, on data that is `hours` newer than the first."""
    figures = {"tag_coverage_pct": "97"}
    at = final_at or BEGIN + timedelta(hours=hours)
    target, floor = escalation.of_verdict(
        Verdict(TAG_COVERAGE_AT_TARGET, False, severity, figures), SEPTEMBER,
        data_at=BEGIN + timedelta(hours=hours), at=at, run_id=None,
    )  # fmt: skip
    assert (target.severity, target.holds, target.held_for) == ("P4", True, timedelta(0))
    return floor


@pytest.mark.parametrize(
    ("hours", "state"),
    [((0.0,), "pending"), ((0, 12), "pending"), ((0, 24), "pending"), ((0, 24 + 1 / 3600), "firing")],
    ids=["at once", "12 h", "exactly 24 h", "24 h and a second"],
)
def test_low_coverage_is_a_p3_after_strictly_more_than_24_h_of_data(
    hours: tuple[float, ...], state: str
) -> None:
    alert = None
    for hour in hours:
        alert, _ = lifecycle.observe(alert, coverage(hour))
    assert alert
    assert (alert.state, alert.severity) == (state, "P3")


def test_without_newer_data_the_24_hours_do_not_run() -> None:
    alert, _ = lifecycle.observe(None, coverage(0))
    alert, _ = lifecycle.observe(alert, coverage(0, final_at=BEGIN + timedelta(days=9)))
    assert alert
    assert alert.state == "pending"


def test_a_check_without_a_denominator_says_nothing_either_way() -> None:
    found = escalation.of_verdict(
        Verdict(TAG_COVERAGE_AT_TARGET, None, "WARN", {"coverable_usd": "0"}), SEPTEMBER,
        data_at=BEGIN, at=BEGIN, run_id=None,
    )  # fmt: skip
    assert [seen.holds for seen in found] == [None, None]


def test_coverage_below_its_target_and_above_its_floor_is_no_p3() -> None:
    assert coverage(0, severity="WARN").holds is False


@pytest.mark.parametrize(
    ("minutes", "expected"), [(119, False), (120, False), (121, True)], ids=["before", "exactly", "after"]
)
def test_two_intervals_without_an_evaluation_are_an_alert(minutes: int, expected: bool) -> None:
    seen = escalation.of_silence(BEGIN, BEGIN + timedelta(minutes=minutes))
    assert seen
    assert seen.holds is expected


def test_controls_that_were_never_judged_are_no_alert() -> None:
    assert escalation.of_silence(None, BEGIN) is None


def test_neither_priority_nor_figure_is_part_of_an_alerts_identity() -> None:
    first, second = (
        Observation("rule", "a", SEPTEMBER, severity, True, BEGIN, BEGIN, "t", measured=severity)  # type: ignore[arg-type]
        for severity in ("P2", "P3")
    )
    other = Observation("rule", "a", Period(2025, 10), "P2", True, BEGIN, BEGIN, "t")
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("percent", "steps"), [("2", 0), ("2.000001", 1), ("5", 1), ("5.1", 2), ("50", 4), ("51", 5), ("-11", 3)]
)
def test_a_step_is_passed_strictly(percent: str, steps: int) -> None:
    assert escalation.steps_passed(Decimal(percent)) == steps
