"""COPS in somebody else's Dagster: a component, scaffolded, checked and listed with Dagster's tool `dg`.

```yaml
type: cops_dagster.component.CostLedger
attributes:
  home: .cops
  key_prefix: [finance, aws]
```

Belongs here: what a project may say of it. Does not belong here: how the graph stands in its host
(`graph/host.py`), what it is made of (`graph/build.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import dagster as dg
from pydantic import Field

_START = {"home": ".cops", "key_prefix": ["cops"]}


class _Scaffolder(dg.Scaffolder):
    """Writes a `defs.yaml` that loads as it is: a home beside the project, keys below `cops`."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        dg.scaffold_component(request, _START)


@dg.scaffold_with(_Scaffolder)
class CostLedger(dg.Component, dg.Model, dg.Resolvable):
    """The AWS cost ledger: a month from delivery to reconciled, its checks, sensors and schedules.

    Every asset stands below `key_prefix`, and every job, sensor, schedule, pool and resource begins with it,
    so that nothing of the project is in the way, and two ledgers can stand side by side.
    """

    home: str | None = Field(
        None, description="Folder of the ledger; relative to the project. Left out: COPS_HOME."
    )
    config: str | None = Field(
        None, description="Settings file, relative to the project. Left out: COPS_CONFIG, else cops.toml."
    )
    key_prefix: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]] = Field(
        ..., min_length=1, description="Parts of a key that stand before a table's name; at least one."
    )
    group: str | None = Field(None, description="One group for all assets. Left out: one per step.")
    owners: list[str] | None = Field(
        None, description="Owners of all assets, as `team:name` or an address. Left out: those of COPS."
    )
    automated: bool = Field(
        True, description="Sensors and schedules are on when the project is first loaded."
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The graph, with the project as its host. Raises `E-SETTING` for a wrong setting."""
        from cops_dagster import settings
        from cops_dagster.graph.build import definitions_of
        from cops_dagster.graph.host import Host
        from cops_dagster.graph.partitions import offered

        home, config = (_placed(one, context.project_root) for one in (self.home, self.config))
        return definitions_of(
            Host(
                offered(settings.current(home, config)),
                tuple(self.key_prefix),
                home,
                config,
                self.group,
                tuple(self.owners or ()),
                self.automated,
            )
        )


def _placed(place: str | None, project: Path) -> str | None:
    return str(project / Path(place).expanduser()) if place else None
