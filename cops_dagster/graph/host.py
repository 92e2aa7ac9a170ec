"""Whose Dagster the graph stands in: below which keys, under which names, with whose settings.

COPS by itself is its own host: no prefix, the settings of the process. In somebody else's project
(`cops_dagster/component.py`) every asset and check stands below a key prefix, and every name that a project
has once (jobs, sensors, schedules, steps, pool, resource) begins with it (docs/adr/0057).

Belongs here: naming, and which runs are ours. Does not belong here: what there is to be named (`build.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg

from cops_dagster import settings
from cops_dagster.evidence.home import existing_books
from cops_dagster.graph.resources import Ledger
from cops_dagster.graph.run_tags import PARTITION, said
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.settings import Settings

JOB = "materialise_period"
EXPORT_JOB = "export_period"
REFRESH_BUDGETS = "refresh_budgets"
EVALUATE_CONTROLS = "evaluate_controls"
REFRESH_USAGE_KEYS = "refresh_usage_keys"
JOBS = frozenset({JOB, EXPORT_JOB, REFRESH_BUDGETS, EVALUATE_CONTROLS, REFRESH_USAGE_KEYS})
MEASURING = frozenset({REFRESH_BUDGETS, EVALUATE_CONTROLS})
"""Jobs that the clock starts wherever Dagster runs."""


@dataclass(frozen=True)
class Host:
    """Where the graph stands.

    Attributes:
        periods: the months that Dagster offers.
        prefix: parts of a key that stand before a table's name.
        home, config: the home and the settings file that a project names; `None`: as for `cops`.
        group: one group for all assets, instead of one per step.
        owners: who owns the assets, instead of ours.
        automated: sensors and schedules are on when the project is first loaded.
    """

    periods: dg.MonthlyPartitionsDefinition
    prefix: tuple[str, ...] = ()
    home: str | None = None
    config: str | None = None
    group: str | None = None
    owners: tuple[str, ...] = ()
    automated: bool = True

    def settings(self) -> Settings:
        """The settings that this graph works with; read once a process."""
        return settings.current(self.home, self.config)

    def existing_books(self) -> Books | None:
        """The books if there is a home; a sensor never makes one."""
        return existing_books(self.settings())

    def key(self, name: str) -> dg.AssetKey:
        """The key of a table."""
        return dg.AssetKey([*self.prefix, name])

    def keys(self, names: Iterable[str]) -> list[dg.AssetKey]:
        """The keys of tables."""
        return [self.key(name) for name in names]

    def name(self, name: str) -> str:
        """A name that a project may have only once."""
        return "_".join([*self.prefix, name])

    @property
    def resource(self) -> str:
        """The key of our one resource."""
        return self.name("ledger")

    def ledger(self) -> Ledger:
        """Our one resource."""
        return Ledger(home=self.home, config=self.config)

    def books(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Books:
        """The open books, within a step: the context's Dagster run is recorded with what it does."""
        ledger: Ledger = getattr(context.resources, self.resource)
        return ledger.books(context, measures=self.plain(context.run.job_name) in MEASURING)

    def plain(self, name: str) -> str:
        """A job's name without our prefix."""
        return name.removeprefix(self.name("")).removeprefix("__")

    def run_of(self, period: Period, key: str, cause: str, reason: str) -> dg.RunRequest:
        """A run of a month; one that Dagster offers only after a reload is asked for by the month's tag."""
        tags = said(self.settings().actor_name, reason, cause=cause)
        if str(period) in self.periods.get_partition_keys():
            return dg.RunRequest(run_key=key, partition_key=str(period), tags=tags)
        return dg.RunRequest(run_key=key, tags={**tags, PARTITION: str(period)})

    def runs(self, run: dg.DagsterRun) -> bool:
        """Whether a run is of this graph: a guest neither hears nor buries the runs of its host."""
        if not self.prefix or run.job_name in {self.name(job) for job in JOBS}:
            return True
        asked = {*(run.asset_selection or ()), *(one.asset_key for one in run.asset_check_selection or ())}
        return any(tuple(key.path[: len(self.prefix)]) == self.prefix for key in asked)

    @property
    def sensor_status(self) -> dg.DefaultSensorStatus:
        """Of a sensor that nobody has switched yet."""
        return dg.DefaultSensorStatus.RUNNING if self.automated else dg.DefaultSensorStatus.STOPPED

    @property
    def schedule_status(self) -> dg.DefaultScheduleStatus:
        """Of a schedule that nobody has switched yet."""
        return dg.DefaultScheduleStatus.RUNNING if self.automated else dg.DefaultScheduleStatus.STOPPED
