"""Running the job for one period in this process, for the command line: the same run the UI makes.

Belongs here: the Dagster home of COPS, the run, and what came of it (checks, coded failures).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from cops_dagster.errors import CopsError
from cops_dagster.graph import listening, liveness, loads, standing, storage
from cops_dagster.graph.assets.sources import recorded_by
from cops_dagster.graph.build import JOB, build_defs
from cops_dagster.graph.outcome import texts_of
from cops_dagster.graph.resources import BY_COMMAND, STEP_BEGINS
from cops_dagster.graph.run_tags import said
from cops_dagster.ingestion import places
from cops_dagster.lake import reader
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.operations import consequences
from cops_dagster.operations.all_checks import BLOCKING
from cops_dagster.period import Period
from cops_dagster.reconciliation import record
from cops_dagster.stores import faults

_STOPPED = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
# the run speaks through its event log; the terminal gets the outcome, in COPS' own words
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def launch(
    books: Books,
    period: Period,
    select: list[str] | None,
    *,
    run_id: str | None = None,
    reason: str = "",
    step: Callable[[str], None] = lambda name: None,
) -> list[dict[str, str]]:
    """Materialises a period; the checks of the month that do not hold, with their figures.

    Args:
        reason: why the run is made, as Dagster shows it; by default the command.
        step: is told the name of each step as it begins.

    Raises:
        CopsError: `E-PARAM` for a name in `select` that no run makes; the refusal that stopped a step or a
            blocking check, in the ledger's own words; `E-INTERNAL` for a step that died of anything else.
    """
    first = min(places.first_period(books.settings), period)
    definitions = build_defs(first=first, also=period)
    STEP_BEGINS.set(step)
    job = definitions.resolve_job_def(JOB)
    selection = _selection(definitions, job, select, period) if select else None
    home = books.settings.home / "dagster"
    os.environ["DAGSTER_HOME"] = str(home)
    with storage.opened(books.settings.home) as instance:
        liveness.bury(instance, books.settings.home)
        loads.report(books, instance)
        with _marked(instance, home, run_id or str(uuid.uuid4())) as run_id:
            liveness.hold(books.settings.home, run_id)
            with reader.resting():
                result = job.execute_in_process(
                    run_id=run_id,
                    partition_key=str(period),
                    instance=instance,
                    raise_on_error=False,
                    asset_selection=selection,
                    run_config=_QUIET,
                    tags={
                        **BY_COMMAND,
                        **said(books.actor, reason or "cops materialize"),
                    },
                )
            if _was_stopped(result):
                raise KeyboardInterrupt
        listening.observe(books, instance, run_id)
        standing.restate(instance, run_id)
    asked = result.get_asset_check_evaluations()
    failed = [_failed(evaluation) for evaluation in asked if not evaluation.passed]
    if not result.success:
        _raise_refusal(result, failed, period)
    heard = {evaluation.asset_check_key.name for evaluation in asked}
    # a run of some assets answers for the month all the same
    consequences.settle(books, period)
    return failed + [one for one in consequences.failing(books, period) if one["check"] not in heard]


def _selection(
    definitions: dg.Definitions, job: dg.JobDefinition, select: list[str], period: Period
) -> list[dg.AssetKey]:
    """The assets of these names, each one that a run of the month makes; else `E-PARAM` with who makes it."""
    can = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
    there = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    for name in select:
        if name in can:
            continue
        expected = f"assets that a run makes: {', '.join(sorted(can))}"
        if name in there:
            found, step = "one that it reads or leaves alone", recorded_by(name, period)
        else:
            found, step = "no such asset", "name one of those, or leave --select out"
        raise CopsError("E-PARAM", f"--select {name!r}", expected=expected, found=found, next_step=step)
    return [dg.AssetKey(name) for name in dict.fromkeys(select)]


@contextmanager
def _marked(instance: dg.DagsterInstance, home: Path, run_id: str) -> Iterator[str]:
    """However the run ends, Dagster does not believe that it goes on; a full disk is called one."""
    try:
        yield run_id
    except BaseException as problem:
        try:
            run = instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                instance.report_run_canceled(run, "the command was stopped")
        except Exception as another:  # noqa: BLE001  what stopped it, such as a full disk, may stop this too
            problem.add_note(f"the Dagster run could not be marked: {type(another).__name__}")
        if isinstance(problem, Exception) and (
            known := faults.of(problem, f"Dagster's storage in {home}", home)
        ):
            raise known from problem
        raise
    finally:
        liveness.release(run_id)


def _was_stopped(result: Any) -> bool:
    """Ctrl-C within a step or between two; Dagster calls both a failure."""
    return any(
        event.is_failure
        and getattr(event.event_specific_data, "error", None)
        and event.event_specific_data.error.cls_name in _STOPPED
        for event in result.all_events
    )


def report(books: Books, period: Period) -> None:
    """Tells Dagster of a run that it did not make: entries and reconciliation as they stand now."""
    with storage.opened(books.settings.home) as instance, books.admin.read() as con:
        heads = {
            name: {"run_id": row.run_id}
            for name in ("fact_cost_allocated", "fact_cost_adjustment")
            for row in month.runs(con, period, name)
        }
        newest = record.newest(con, period)
        if newest:
            heads["recon_summary"] = {
                "recon_id": newest.recon_id,
                "status": newest.status,
                "variance_usd": str(newest.variance_usd),
            }
        for name, figures in heads.items():
            instance.report_runless_asset_event(
                dg.AssetMaterialization(name, partition=str(period), metadata=figures)
            )


def _failed(evaluation: Any) -> dict[str, str]:
    figures = texts_of(evaluation)
    refusal = CopsError.of_figures(figures)
    return {
        "check": evaluation.asset_check_key.name,
        "asset": evaluation.asset_key.to_user_string(),
        "severity": evaluation.severity.value,
        "error_code": "",
        "error": str(refusal or ""),
        **(refusal.as_figures() if refusal else {}),
        "figures": ", ".join(f"{name} {value}" for name, value in figures.items()),
    }


def _full(cause: str) -> CopsError | None:
    """A step keeps its error as text: of Dagster's own storage or a library, a full disk looks like this."""
    signs = ("No space left on device", "database or disk is full", "Disk quota exceeded")
    found = next((line for line in cause.splitlines() if any(sign in line for sign in signs)), None)
    return faults.full("the home", found.strip()[:300]) if found else None


def _both_ends(cause: str) -> str:
    """What went wrong stands first, where it began last."""
    return cause if len(cause) <= 2_000 else f"{cause[:800]} … {cause[-1_200:]}"


def _raise_refusal(result: Any, failed: list[dict[str, str]], period: Period) -> None:
    for check in failed:
        refusal = CopsError.of_figures(check)
        # what is wrong with one source alone did not stop the run
        if refusal and check["severity"] == "ERROR" and check["check"] in BLOCKING:
            raise refusal
    for event in result.all_events:
        if event.is_step_failure:
            given = event.step_failure_data.user_failure_data
            texts = {name: str(one.value) for name, one in given.metadata.items()} if given else {}
            refusal = CopsError.of_figures(texts)
            if refusal:
                raise refusal
    blocking = [check for check in failed if check["severity"] == "ERROR" and check["check"] in BLOCKING]
    if blocking:
        raise CopsError(
            "E-VERDICT",
            f"period {period}",
            expected=", ".join(check["check"].replace("_", " ") for check in blocking),
            found="; ".join(check["figures"] for check in blocking),
            next_step="later steps did not run and what they publish is as it was",
        )
    causes = [
        event.step_failure_data.error_display_string
        for event in result.all_events
        if event.is_step_failure and event.step_failure_data.error
    ]
    for cause in causes:
        if known := _full(cause):
            raise known
    raise CopsError(
        "E-INTERNAL",
        f"period {period}",
        expected="a run without an unforeseen error",
        found=_both_ends((causes or ["no step said why"])[0]),
        next_step="run again: a run resumes; if it fails again, report this with the Dagster run",
    )
