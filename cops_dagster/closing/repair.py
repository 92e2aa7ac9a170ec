"""Entries whose file was lost, made again from what they were made of, if the bytes come out the same.

Belongs here: what is lost of a month, the append-only tables made again run by run, and the refusal of a
closed month. Does not belong here: lines and tagged cost, which their own acts make again with the next run
(`ledger/publish.py` puts the same bytes back); finding and placing files (`lake/lost.py`).

An entry is never dropped and never renumbered: a run of which other bytes come out stays lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.adjustments import proposals
from cops_dagster.allocation import allocate, entries, post
from cops_dagster.allocation.inputs import gather
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, documents
from cops_dagster.evidence.adoption import recorded
from cops_dagster.lake import live
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.live import LiveFile
from cops_dagster.lake.lost import lost_files, put_back
from cops_dagster.lake.namespace import Namespace
from cops_dagster.lake.tables import APPEND_ONLY, LAKE_TABLES
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.run import attempt
from cops_dagster.period import Period
from cops_dagster.stores import tables as t


def lost(
    books: Books, con: sa.Connection, period: Period, *, digests: bool = False
) -> list[tuple[LiveFile, str]]:
    """Files behind what readers see of a month that are not the published ones, with what was found."""
    return [
        one
        for table in LAKE_TABLES
        for one in lost_files(con, books.lake, table, period.start, digests=digests)
    ]


def require_mendable(books: Books, period: Period) -> None:
    """Refuses to work on a closed month of which a file is lost, and without the evidence store.

    Raises:
        CopsError: `E-DIGEST` naming the file; a closed month is restored, never made again.
            `E-EVIDENCE-MISSING`, `E-EVIDENCE-TAMPERED` for a store that is gone or another home's.
    """
    chain.require_store(books)
    with books.admin.read() as con:
        if lock.is_sealed(con, period) and (found := lost(books, con, period)):
            file, wrong = found[0]
            raise live.refused(file, wrong, next_step=way_out(books, con, file))


def way_out(books: Books, con: sa.Connection, file: LiveFile) -> str:
    """What brings a lost file back, by the state of its month."""
    period = Period.of(file.period_start)
    if not lock.is_sealed(con, period):
        return f"cops materialize {period}"
    return (
        f"the month is closed: restore {file.path} from backup; `cops evidence replay {period}` shows what"
        " the month held"
    )


def mend(books: Books, period: Period) -> list[str]:
    """Makes lost entries of an open month again, in the order they were posted; the runs that stand again.

    Raises:
        CopsError: `E-DIGEST` when other bytes come out, or the month is closed; `E-EVIDENCE-…` when what
            the entries were made from cannot be read. Nothing is changed but files that are whole again.
    """
    require_mendable(books, period)
    with books.admin.read() as con:
        found = {
            file.run_id: (file, wrong)
            for table in APPEND_ONLY
            for file, wrong in lost_files(con, books.lake, table, period.start, digests=True)
        }
        journal = t.publish_journal
        runs = (
            con.execute(
                sa.select(journal).where(journal.c.run_id.in_(list(found))).order_by(journal.c.journal_seq)
            ).all()
            if found
            else []
        )
        for run in runs:
            _make_again(books, con, period, run, *found[run.run_id])
    return [run.run_id for run in runs]


def _make_again(
    books: Books, con: sa.Connection, period: Period, run: Any, file: LiveFile, wrong: str
) -> None:
    with attempt(books) as trying, books.engine() as engine:
        target = trying.target(run.table_name, period, run.run_id)
        if run.table_name == proposals.TABLE:
            _adjustment(books, con, engine, target, run)
        else:
            _allocation(books, con, engine, target, run, file, wrong)
        if not put_back(con, books.lake, run.run_id, [target]):
            raise _other(file, wrong, "made again, it has other bytes")


def _other(file: LiveFile, wrong: str, why: str) -> CopsError:
    return live.refused(
        file, f"{wrong}; {why}", next_step=f"restore {file.path} from backup; see `cops docs operations`"
    )


def _adjustment(books: Books, con: sa.Connection, engine: Engine, target: Path, run: Any) -> None:
    adjustments, bookings = t.adjustment, t.adjustment_booking
    row = con.execute(
        sa.select(adjustments)
        .join(bookings, bookings.c.adjustment_id == adjustments.c.adjustment_id)
        .where(bookings.c.run_id == run.run_id)
    ).one()
    proposals.write(books, engine, target, row, run.run_id, Period.of(run.period_start))


def _allocation(
    books: Books, con: sa.Connection, engine: Engine, target: Path, run: Any, file: LiveFile, wrong: str
) -> None:
    """An allocation from the inputs that its evidence holds, over the lake as it was before it."""
    period = Period.of(run.period_start)
    proof = chain.find(con, "run_inputs", "run", run.run_id)
    if proof is None:
        raise _other(file, wrong, "no evidence says what it was made from")
    given = json.loads(chain.read(books, proof.evidence_seq))
    policy = recorded(given)
    with _before(con, period, run, given["tables"]) as then:
        names = Namespace(engine, then, books.settings, policy.tags, period_start=period.start, digests=True)
        names.provide([allocate.TABLE])
        took_back = given["run"]["params"]
        if "reversed_run_id" in took_back:
            engine.keep(
                "posted_entries",
                "gather_reposted_entries",
                {
                    "period_start": period.start,
                    "reposted_run_id": took_back["reposted_run_id"] or "",
                    "reversed_run_id": took_back["reversed_run_id"],
                },
            )
        else:
            inputs = gather(then, policy, period)
            if inputs.inputs_id != run.inputs_id:
                raise _other(file, wrong, "another version of COPS made it")
            names.provide(["fact_cost_tagged"])
            entries.provide(engine, allocate.compute(engine, inputs, period), inputs.plans, period)
        post.write(engine, target, period, run.run_id, run.predecessor_run_id)


@contextmanager
def _before(
    con: sa.Connection, period: Period, run: Any, tables: dict[str, list[dict[str, Any]]]
) -> Iterator[sa.Connection]:
    """The admin database as it was just before a run, as far as an allocation asks it."""
    journal, lake_file, period_head = t.publish_journal, t.lake_file, t.period_head
    earlier = con.execute(
        sa.select(journal)
        .where(journal.c.period_start == period.start, journal.c.journal_seq < run.journal_seq)
        .order_by(journal.c.journal_seq)
    ).mappings()
    heads = {(row["table_name"], row["source_id"]): dict(row) for row in earlier}
    # what was tagged from the same inputs is the same cost: the newer file may be there where this is not
    newest = [run for run in month.runs(con, period) if run.table_name == "fact_cost_tagged"]
    tagged = heads.get(("fact_cost_tagged", ""))
    if newest and tagged and newest[0].inputs_id == tagged["inputs_id"]:
        heads["fact_cost_tagged", ""] = dict(newest[0]._mapping)
    runs = (
        con.execute(
            sa.select(journal).where(
                journal.c.period_start == period.start,
                sa.or_(
                    sa.and_(journal.c.table_name.in_(APPEND_ONLY), journal.c.journal_seq < run.journal_seq),
                    journal.c.run_id.in_([head["run_id"] for head in heads.values()]),
                ),
            )
        )
        .mappings()
        .all()
    )
    files = (
        con.execute(sa.select(lake_file).where(lake_file.c.run_id.in_([one["run_id"] for one in runs])))
        .mappings()
        .all()
    )
    cur_delivery = t.cur_delivery
    deliveries = (
        con.execute(
            sa.select(cur_delivery).where(
                cur_delivery.c.delivery_id.in_([one["delivery_id"] for one in files if one["delivery_id"]])
            )
        )
        .mappings()
        .all()
    )
    engine = sa.create_engine("sqlite://")
    try:
        t.metadata.create_all(engine)
        with engine.begin() as then:
            documents.restore(then, tables)
            for table, rows in ((cur_delivery, deliveries), (journal, runs), (lake_file, files)):
                if rows:
                    then.execute(sa.insert(table), [dict(row) for row in rows])
            for head in heads.values():
                then.execute(
                    sa.insert(period_head).values(
                        {column.name: head[column.name] for column in period_head.c}
                    )
                )
            yield then
    finally:
        engine.dispose()
