"""Every check of the house, as the steps define them: a new constant in a step's `verdicts` is here at once.

Belongs here: them together, and what can be read off that. Does not belong here: a check by name, when one
holds (`verdicts` of its step), who asks it (`checks` of its step, `operations/consequences.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

import cops_dagster.adjustments.verdicts
import cops_dagster.allocation.verdicts
import cops_dagster.ingestion.verdicts
import cops_dagster.operations.verdicts
import cops_dagster.reconciliation.verdicts
import cops_dagster.tagging.verdicts
from cops_dagster.verdict import Check, Teams


def checks_in(*modules: ModuleType) -> tuple[Check, ...]:
    """The checks that modules define, in the order of their lines: a constant is all that it takes."""
    found = (one for module in modules for one in vars(module).values() if isinstance(one, Check))
    return tuple(dict.fromkeys(found))


CHECKS: tuple[Check, ...] = checks_in(
    cops_dagster.ingestion.verdicts,
    cops_dagster.tagging.verdicts,
    cops_dagster.allocation.verdicts,
    cops_dagster.adjustments.verdicts,
    cops_dagster.reconciliation.verdicts,
    cops_dagster.operations.verdicts,
)
"""In the order of the month."""

NAMED: Mapping[str, Check] = {check.name: check for check in CHECKS}
BLOCKING = frozenset(check.name for check in CHECKS if check.blocks)
WHOSE: Mapping[str, Teams] = {check.name: check.whose for check in CHECKS}


def of_table(table: str, checks: tuple[Check, ...] = CHECKS) -> tuple[Check, ...]:
    """The checks that an asset shows, in the order in which they are defined."""
    return tuple(check for check in checks if check.table == table)
