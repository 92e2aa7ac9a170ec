"""Taking a run back: one new run that negates the head and re-posts the run before it (design rule 5.12).

Belongs here: `cops reverse`. Stored lines are copied with the opposite sign, never computed again, so
Σ = raw at every instant. Does not belong here: ordinary runs, which reverse what they replace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cops_dagster.allocation import allocate, post, run_log
from cops_dagster.allocation.run_log import Recipe
from cops_dagster.errors import CopsError, require_said
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.ledger.publish import refuse
from cops_dagster.ledger.run import Run, attempt, settle
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

ALGORITHM = "reversal-1"


@dataclass(frozen=True)
class Reversed:
    """Outcome. `reposted_run_id` is the run whose lines stand again; `None`: the cost is unallocated."""

    period: Period
    run_id: str
    reversed_run_id: str
    reposted_run_id: str | None


def reverse(books: Books, run: str, *, reason: str) -> Reversed:
    """Takes back the newest allocation of a period.

    Args:
        run: its id, or an unambiguous beginning of it.

    Raises:
        CopsError: `E-REV` for a run that is unknown, replaced since, or itself took one back; `E-PARAM`
            without a reason; `E-PERIOD-CLOSED`. Nothing is written in any case.
    """
    require_policy(books)
    require_said(
        reason,
        subject="reason",
        expected="why the run is taken back, in words",
        next_step="add --reason '…'; it stands beside the run for ever",
    )
    return settle(f"reversal of {run}", _planned, books, run, reason.strip())


def _planned(books: Books, named: str, reason: str) -> Reversed:
    with attempt(books) as trying, books.admin.read() as con:
        wrong = _reversible(con, named)
        period = Period.of(wrong.period_start)
        reposted = _to_repost(con, wrong)
        run = Run(allocate.TABLE, period, "", digest("reversal", ALGORITHM, wrong.run_id), wrong.run_id)
        recipe = Recipe(
            run,
            _deliveries(con, wrong.run_id),
            [],
            {"reversed_run_id": wrong.run_id, "reposted_run_id": reposted},
            ALGORITHM,
            post.STATEMENT,
            note=reason,
        )
        with run_log.logged(books, trying, recipe):
            with books.engine() as engine:
                names = books.namespace(engine, con, period)
                names.provide(["line_pool", "fact_cost_tagged", allocate.TABLE])
                engine.keep(
                    "posted_entries",
                    "gather_reposted_entries",
                    {
                        "period_start": period.start,
                        "reposted_run_id": reposted or "",
                        "reversed_run_id": wrong.run_id,
                    },
                )
                target = trying.target(allocate.TABLE, period, run.id)
                posted = post.stage(engine, target, names.paths[allocate.TABLE], recipe)
                refuse(posted.judged, f"{allocate.TABLE} of {period}")
            post.publish_run(
                books,
                con,
                trying,
                recipe,
                posted,
                posted.judged,
                sql=("gather_reposted_entries", post.STATEMENT, "fetch_conservation"),
                also=lambda writing: _record(writing, books, recipe, reposted),
            )
    return Reversed(period, run.id, wrong.run_id, reposted)


def _reversible(con: sa.Connection, run: str) -> Any:
    journal, reversals = t.publish_journal, t.run_reversal
    found = (
        con.execute(
            sa.select(journal).where(
                journal.c.table_name == allocate.TABLE, journal.c.run_id.startswith(run, autoescape=True)
            )
        ).all()
        if run
        else []
    )
    if len(found) != 1:
        raise _refused(run, f"{len(found)} published allocations of this id")
    one = found[0]
    if con.execute(sa.select(reversals.c.run_id).where(reversals.c.run_id == one.run_id)).first():
        raise _refused(run, "a run that itself took one back; materialise the period instead")
    by = con.execute(sa.select(reversals.c.run_id).where(reversals.c.reversed_run_id == one.run_id)).scalar()
    if by:
        raise _refused(run, f"taken back already, by run {by[:16]}")
    newest = head(con, allocate.TABLE, Period.of(one.period_start))
    if newest is None or newest.run_id != one.run_id:
        raise _refused(run, f"a run that {newest.run_id[:16] if newest else 'none'} replaced")
    return one


def _refused(run: str, found: str) -> CopsError:
    return CopsError(
        "E-REV",
        f"run {run!r}",
        expected="the newest allocation of its period",
        found=found,
        next_step="take the run from `cops runs PERIOD`; nothing was written",
    )


def _to_repost(con: sa.Connection, wrong: Any) -> str | None:
    """The run before, if it was made from the same deliveries: another delivery's cost is not this one's."""
    before = wrong.predecessor_run_id
    if before is None or _deliveries(con, before) != _deliveries(con, wrong.run_id):
        return None
    return str(before)


def _deliveries(con: sa.Connection, run_id: str) -> tuple[str, ...]:
    files = t.lake_file
    ids = con.execute(sa.select(files.c.delivery_id).where(files.c.run_id == run_id)).scalars()
    return tuple(sorted({one for joined in ids for one in (joined or "").split(",") if one}))


def _record(con: sa.Connection, books: Books, recipe: Recipe, reposted: str | None) -> None:
    run = recipe.run
    con.execute(
        sa.insert(t.run_reversal).values(
            run_id=run.id,
            reversed_run_id=run.predecessor,
            reposted_run_id=reposted,
            period_start=run.period.start,
            reason=recipe.note,
            actor=books.actor,
            reversed_at=now(),
        )
    )
