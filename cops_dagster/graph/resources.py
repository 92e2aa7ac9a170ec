"""The one resource: the books, opened from this process's settings when a step first needs them.

Also the one place where a coded refusal becomes a Dagster failure.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import TypeVar

import dagster as dg
from pydantic import PrivateAttr

from cops_dagster import settings
from cops_dagster.errors import CopsError
from cops_dagster.evidence import home
from cops_dagster.evidence.home import open_books, require_books
from cops_dagster.graph import liveness
from cops_dagster.graph.run_tags import REASON, said
from cops_dagster.lake import bill
from cops_dagster.ledger.books import Books
from cops_dagster.settings import Settings

Outcome = TypeVar("Outcome")
TRANSIENT = frozenset(
    {
        "E-AWS-THROTTLED", "E-AWS-UNREACHABLE", "E-CONTENTION", "E-DB-BUSY", "E-DB-UNREACHABLE",
        "E-EVIDENCE-STORE", "E-LAKE-STORE", "E-USAGE-SOURCE",
    }
)  # fmt: skip
"""Refusals that may be gone a minute later without anybody doing anything."""
RETRIES = 3
WAIT_SECONDS = 60
BY_COMMAND = {"cops/cause": "command"}
"""Tags of a run whose outcome a person at a terminal waits for."""

STEP_BEGINS: ContextVar[Callable[[str], None]] = ContextVar("step_begins", default=lambda name: None)
"""Who is told the name of a step that asks for the books: a person at a terminal who waits for it."""


class Ledger(dg.ConfigurableResource):
    """Opens the books lazily; nothing is read when definitions load.

    Attributes:
        home, config: the home and the settings file; `None`: `COPS_HOME` and `COPS_CONFIG`, as for `cops`.
    """

    home: str | None = None
    config: str | None = None
    _books: Books | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Shows that the run lives, before its first step, and in whose name it acts."""
        if context.run is not None:
            self._say(context.run, context.instance)
            with suppress(CopsError):  # of wrong settings the first step says so
                liveness.hold(self._settings().home, context.run.run_id)

    def _say(self, run: dg.DagsterRun, instance: dg.DagsterInstance | None) -> None:
        """Of a run that a person launched in Dagster: who is recorded with what it does."""
        if instance is None or REASON in run.tags:
            return
        with suppress(CopsError):
            instance.add_run_tags(run.run_id, said(self._settings().actor_name, "launched in Dagster"))

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """The run's steps are done."""
        if context.run is not None:
            liveness.release(context.run.run_id)

    def _settings(self) -> Settings:
        return settings.current(self.home, self.config)

    def books(
        self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, *, measures: bool
    ) -> Books:
        """The open books, acting within the context's Dagster run.

        A month that is materialised may make the home; what measures by the clock finds one or refuses.
        """
        STEP_BEGINS.get()(context.op_execution_context.op.name)
        bill.begin(context.run.run_id)
        if self._books is None:
            opened = require_books if measures else open_books
            self._books = act(lambda: opened(self._settings()))
        return self._books.during(context.run.run_id)


def no_home(current: Settings) -> dg.SkipReason:
    """What a sensor says that finds no home: it watches one, and never makes it."""
    refusal = home.missing(current)
    return dg.SkipReason(f"there is no home yet: {refusal.found}; next: {refusal.next_step}")


def act(act: Callable[[], Outcome]) -> Outcome:
    """Runs an act; a coded refusal becomes a failure that no retry layer repeats.

    What time alone may mend (somebody else's lock, a store that does not answer) is tried again some minutes,
    within the step and visibly, unless a person waits for the answer.
    """
    try:
        return act()
    except CopsError as refusal:
        if refusal.code in TRANSIENT and _may_wait():
            raise dg.RetryRequested(RETRIES, WAIT_SECONDS) from refusal
        raise dg.Failure(
            description=str(refusal),
            metadata=refusal.as_figures(),
            allow_retries=False,
        ) from refusal


def is_waited_for(run: dg.DagsterRun) -> bool:
    """Whether a person at a terminal waits for what comes of a run."""
    return any(run.tags.get(name) == value for name, value in BY_COMMAND.items())


def _may_wait() -> bool:
    try:
        context = dg.AssetExecutionContext.get()
    except dg.DagsterInvariantViolationError:  # a check: it is asked again with the next run
        return False
    return not is_waited_for(context.run) and context.retry_number < RETRIES
