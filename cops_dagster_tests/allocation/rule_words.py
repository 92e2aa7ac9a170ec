"""Rules and pools read from lines of words, and the keys that they name."""

from __future__ import annotations

from datetime import date

from cops_dagster.allocation.rules import Costs, Key, Keys, Pool, Rule
from cops_dagster.money import amount

START = date(2025, 9, 1)


USD = amount.ATTO


KEYS = Keys(
    usage={
        "gb": Key("gb", "network", {"acme": 3 * USD, "beta": USD, "idle": 0}),
        "none": Key("none", "network", {}),
        "zeros": Key("zeros", "network", {"acme": 0, "beta": 0}),
    },
    active_tenants=frozenset({"acme", "beta", "corp"}),
    direct_cost={
        "EC2": {"acme": 30 * USD, "beta": 10 * USD},
        "S3": {"beta": 20 * USD, "corp": -5 * USD},
        "RDS": {"corp": -5 * USD},
    },
)
"""Usage, active tenants and direct cost that every table below is split by."""


def read_rule(words: list[str]) -> Rule:
    rule_id, priority, how, *more = words
    options = dict(word.split("=", 1) for word in more)
    method, _, detail = how.partition(":")
    shares = [share.split("*") for share in detail.split(",")] if method == "fixed" else []
    until = options.pop("until", None)
    return Rule(
        rule_id,
        int(options.pop("v", "1")),
        date.fromisoformat(options.pop("since", "2025-01-01")),
        date.fromisoformat(until) if until else None,
        int(priority),
        on_zero_key=options.pop("zero", "fail"),
        matches=tuple(options.items()),
        method=method,
        key_name=None if method == "fixed" else detail or None,
        shares=tuple((name, amount.parse(share)) for name, share in shares),
    )


def read_pool(words: list[str]) -> Pool:
    service, charge_class, usd, *more = words
    options = dict(word.split("=", 1) for word in more)
    cost = amount.parse(usd)
    return Pool(
        service, options.get("component"), charge_class, options.get("account"), options.get("plan"), "d",
        Costs(cost, -cost, 3 * cost),
    )  # fmt: skip
