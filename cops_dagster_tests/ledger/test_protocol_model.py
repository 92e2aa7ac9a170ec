"""The publish and close protocol explored whole: every interleaving of a few processes, a crash anywhere.

The model says why the design is as it is: the same protocol with one guard left out is shown wrong.
A run reads the head (plan), stages, and commits in one transaction; a projector copies the journal to the
lake; a closer moves the period to closing, waits for the projector, seals what it reads, moves it to closed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest


@dataclass(frozen=True)
class Design:
    """Which guards stand."""

    compares_head: bool = True  # the commit compares the head with the one planned over
    locks_row: bool = True  # state check and write are one transaction under the period's row lock
    commits_in_database: bool = True  # readers follow the journal; else they follow the lake, written first
    drains_outbox: bool = True  # the closer waits until everything published is projected
    closing_refuses: bool = True  # nobody publishes from the moment the seal is being computed


@dataclass(frozen=True)
class World:
    """One state of everything: runs are (step, what it planned over), the journal is (run, predecessor)."""

    runs: tuple[tuple[str, int | None], ...]
    closer: str = "waits"
    state: str = "open"
    journal: tuple[tuple[int, int | None], ...] = ()
    lake: tuple[int, ...] = ()  # runs in the order in which the lake holds them
    sealed: tuple[int, ...] | None = None
    crashes: int = 0


def head(world: World) -> int | None:
    return world.journal[-1][0] if world.journal else None


def faults(world: World, design: Design) -> set[str]:
    found, live = set(), None
    for run, predecessor in world.journal:
        if predecessor != live:
            found.add("two live runs")
        live = run
    if len({run for run, _ in world.journal}) != len(world.journal):
        found.add("a run twice")
    read = tuple(run for run, _ in world.journal) if design.commits_in_database else world.lake
    if world.state == "closed" and world.sealed != read:
        found.add("a closed period changed")
    if world.state == "closed" and design.commits_in_database and world.lake != read:
        found.add("closed before it was projected")
    return found


def steps(world: World, design: Design) -> Iterator[World]:
    for number, (step, planned) in enumerate(world.runs):
        yield from run_steps(world, design, number, step, planned)
        if world.crashes and step not in ("start", "done"):
            yield moved(replace(world, crashes=world.crashes - 1), number, "start", None)
    yield from closer_steps(world, design)
    projected = len(world.lake)
    if design.commits_in_database and projected < len(world.journal):
        yield replace(world, lake=(*world.lake, world.journal[projected][0]))


def moved(world: World, number: int, step: str, planned: int | None) -> World:
    runs = list(world.runs)
    runs[number] = (step, planned)
    return replace(world, runs=tuple(runs))


def run_steps(world: World, design: Design, number: int, step: str, planned: int | None) -> Iterator[World]:
    published = number in {run for run, _ in world.journal}
    refuses = ("closed", "closing") if design.closing_refuses else ("closed",)
    if step == "start":
        yield moved(world, number, "done" if published else "staged", head(world))
    elif step == "staged" and not design.commits_in_database:  # lock check → lake → mark in the database
        if world.state in refuses:
            yield moved(world, number, "done", None)
        else:
            yield moved(world, number, "checked", planned)
    elif step == "checked" and not design.commits_in_database:
        lake = world.lake if number in world.lake else (*world.lake, number)
        yield moved(replace(world, lake=lake), number, "in lake", planned)
    elif step == "in lake":
        journal = world.journal if published else (*world.journal, (number, planned))
        yield moved(replace(world, journal=journal), number, "done", None)
    elif step == "staged" and not design.locks_row:
        yield moved(world, number, "done" if world.state in refuses else "checked", planned)
    elif step in ("staged", "checked"):
        yield committed(world, design, number, planned)


def committed(world: World, design: Design, number: int, planned: int | None) -> World:
    """The commit: one transaction."""
    refuses = ("closed", "closing") if design.closing_refuses else ("closed",)
    if design.locks_row and world.state in refuses:
        return moved(world, number, "done", None)
    if design.compares_head and head(world) != planned:
        return moved(world, number, "start", None)  # superseded: plan again
    if number in {run for run, _ in world.journal}:
        return moved(world, number, "done", None)
    return moved(replace(world, journal=(*world.journal, (number, planned))), number, "done", None)


def closer_steps(world: World, design: Design) -> Iterator[World]:
    if world.closer == "waits" and world.journal:
        yield replace(world, closer="closing", state="closing")
    elif world.closer == "closing":
        is_drained = len(world.lake) == len(world.journal)
        if is_drained or not design.drains_outbox or not design.commits_in_database:
            read = tuple(run for run, _ in world.journal) if design.commits_in_database else world.lake
            yield replace(world, closer="sealed", sealed=read)
    elif world.closer == "sealed":
        yield replace(world, closer="done", state="closed")
    if world.crashes and world.closer == "sealed":  # the seal was not recorded: it is made again
        yield replace(world, closer="closing", sealed=None, crashes=world.crashes - 1)


def explored(design: Design, runs: int, crashes: int) -> tuple[int, set[str], int]:
    """Number of states, the faults found, and how many states are stuck before everything is done."""
    first = World(runs=(("start", None),) * runs, crashes=crashes)
    seen, queue, found, stuck = {first}, deque([first]), set[str](), 0
    while queue:
        world = queue.popleft()
        wrong = faults(world, design)
        if wrong:
            found |= wrong
            continue
        following = set(steps(world, design))
        is_done = all(step == "done" for step, _ in world.runs)
        stuck += not following and not is_done
        for one in following - seen:
            seen.add(one)
            queue.append(one)
    return len(seen), found, stuck


@pytest.mark.parametrize(("runs", "crashes"), [(1, 3), (2, 2), (3, 1), (3, 3)])
def test_the_protocol_has_one_live_run_and_a_closed_period_never_changes(runs: int, crashes: int) -> None:
    states, found, stuck = explored(Design(), runs, crashes)
    assert (found, stuck) == (set(), 0)
    assert states > 15 * runs


WRONG = [
    (Design(compares_head=False), "two live runs"),
    (Design(locks_row=False), "a closed period changed"),
    (Design(commits_in_database=False), "a closed period changed"),
    (Design(commits_in_database=False, compares_head=False), "two live runs"),
    (Design(drains_outbox=False), "closed before it was projected"),
    (Design(closing_refuses=False), "a closed period changed"),
]


@pytest.mark.parametrize(("design", "fault"), WRONG)
def test_a_design_without_one_of_its_guards_is_shown_wrong(design: Design, fault: str) -> None:
    assert fault in explored(design, 2, 2)[1]
