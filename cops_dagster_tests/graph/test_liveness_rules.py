"""When a run that Dagster believes in counts as dead, from what is seen of it on this machine."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cops_dagster.graph.liveness_rules import Machine, Sign, is_dead

OLD, YOUNG = timedelta(minutes=1), timedelta(seconds=5)
HERE = Machine("boot-2", "machine a host-a")


@pytest.mark.parametrize(
    ("sign", "age", "dead"),
    [
        (Sign(held=True, is_seen=True), OLD, False),
        (Sign(held=False, is_seen=True), OLD, True),
        (Sign(held=False, is_seen=True), YOUNG, True),  # its lock was there and is free: no grace needed
        (Sign(held=False, is_seen=False), OLD, False),  # another machine's lock says nothing here
        (Sign(held=True, is_seen=False), OLD, False),
        (Sign(), OLD, False),  # launched elsewhere, or by a launcher that leaves no trace here
        (Sign(has_process=True), OLD, False),
        (Sign(has_process=False), OLD, True),
        (Sign(has_process=False), YOUNG, False),  # it may be between its start and its first step
        (Sign(held=True, is_seen=True, has_process=False), OLD, False),  # the lock outweighs a number
    ],
)
def test_only_a_run_whose_end_can_be_seen_from_here_is_dead(sign: Sign, age: timedelta, dead: bool) -> None:
    assert is_dead(sign, age) is dead


@pytest.mark.parametrize(
    ("maker", "seen"),
    [
        (HERE, True),
        (Machine("boot-2", ""), True),  # another container over the same kernel
        (Machine("boot-1", "machine a host-a"), True),  # this machine, before its last start
        (Machine("boot-1", "machine b host-a"), False),
        (Machine("boot-1", ""), False),
        (Machine("", ""), False),
    ],
)
def test_a_lock_is_judged_by_the_machine_that_would_see_it_held(maker: Machine, seen: bool) -> None:
    assert HERE.sees(maker) is seen
    assert not Machine("", "").sees(Machine("", ""))
