"""Chains of the rules that a load would leave: what can never be split is refused before it is stored.

Does not belong here: what is wrong with a chain (`allocation/chain_set.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from cops_dagster.allocation import chain_set, in_force, rule_set, rules


def check(con: sa.Connection, added: Iterable[Mapping[str, Any]]) -> None:
    """Asks the stored set, with rows that were just added to it, from the first day that these rule.

    Raises:
        CopsError: `E-CHAIN-CYCLE`, `E-RULE-METHOD` (a share of a rule that is not in force).
    """
    held = in_force.read(con)
    for day in rule_set.changes(held.rules, min(row["effective_from"] for row in added)):
        found = chain_set.problems(rules.in_force(held.rules, day), held.tenants)
        rule_set.require([rule_set.Problem(*one) for one in found])
