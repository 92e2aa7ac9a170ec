"""What each tenant of the demo bears, worked out apart from the pipeline, in exact fractions.

Belongs here: the reference answer that invoices and budgets of the demo are made from. It shares no
code with `rules/` or `ledger/`: only then does a demo that reconciles prove anything.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from cops_dagster.demo import catalogue, rules
from cops_dagster.demo.rules import OPERATOR, UNALLOCATED, Rule
from cops_dagster.demo.totals import MonthTotals
from cops_dagster.period import Period

Shares = dict[str, Fraction]
_PLAN_OF = {tenant.tenant_id: tenant.plan_id for tenant in catalogue.TENANTS}


@dataclass(frozen=True)
class Borne:
    """USD by who bears it and for which service; tenants include `__operator__`, `__unallocated__`."""

    by_tenant_service: dict[tuple[str, str], Fraction]
    unclaimed: Fraction

    def of_tenant(self, tenant_id: str) -> Fraction:
        """Direct cost plus shares of a tenant."""
        return self._sum(tenant=tenant_id)

    def of_service(self, service: str) -> Fraction:
        """Everything under a service, whoever bears it."""
        return self._sum(service=service)

    def of_plan(self, plan_id: str) -> Fraction:
        """What the tenants of a plan bear."""
        return sum(
            (self.of_tenant(tenant) for tenant, plan in _PLAN_OF.items() if plan == plan_id), Fraction(0)
        )

    def total(self) -> Fraction:
        """The whole month."""
        return self._sum()

    def charge(self, tenant_id: str) -> Fraction:
        """What a tenant owes before rounding: its cost and the markup of its plan."""
        markup = catalogue.PLANS[_PLAN_OF[tenant_id]]
        return self.of_tenant(tenant_id) * (10_000 + markup) / 10_000

    def _sum(self, tenant: str | None = None, service: str | None = None) -> Fraction:
        return sum(
            (
                cost
                for (own_tenant, own_service), cost in self.by_tenant_service.items()
                if tenant in (None, own_tenant) and service in (None, own_service)
            ),
            Fraction(0),
        )


def bear(totals: MonthTotals) -> Borne:
    """Direct cost to its tenants, every pool by the first rule that matches it."""
    found: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    direct: dict[str, Shares] = defaultdict(lambda: defaultdict(Fraction))
    for (tenant, service, _), cost in totals.direct.items():
        found[tenant, service] += Fraction(cost)
        direct[service][tenant] += Fraction(cost)
    unclaimed = Fraction(0)
    for (service, charge_class), cost in totals.pools.items():
        rule = next((rule for rule in rules.RULES if rule.matches(service, charge_class)), None)
        if rule is None:
            unclaimed += Fraction(cost)
        weights = _weights(rule, totals, service, direct) if rule else {}
        whole = sum(weights.values(), Fraction(0))
        if rule and whole == 0 and rule.on_zero_key == "even":
            weights, whole = _even()
        for tenant, weight in (weights if whole else {UNALLOCATED: Fraction(1)}).items():
            found[tenant, service] += Fraction(cost) * weight / (whole or 1)
    return Borne(dict(found), unclaimed)


def _weights(rule: Rule, totals: MonthTotals, service: str, direct: Mapping[str, Shares]) -> Shares:
    match rule.method:
        case "fixed":
            return {tenant: Fraction(percent) for tenant, percent in rule.shares}
        case "usage_key":
            return {
                tenant: Fraction(value) for tenant, value in rules.usage(totals.period, rule.key_name).items()
            }
        case "even":
            return _even()[0]
        case "proportional_cost":
            chosen = [direct.get(service, {})] if rule.key_name == "service" else list(direct.values())
            summed: Shares = defaultdict(Fraction)
            for costs in chosen:
                for tenant, cost in costs.items():
                    summed[tenant] += cost
            return {tenant: cost for tenant, cost in summed.items() if cost > 0}
    return {}


def _even() -> tuple[Shares, Fraction]:
    return dict.fromkeys(_PLAN_OF, Fraction(1)), Fraction(len(_PLAN_OF))


def cents(value: Fraction) -> Decimal:
    """Rounded half-even to 0.01."""
    return Decimal(round(value * 100)).scaleb(-2)


def as_text(totals: Mapping[Period, MonthTotals]) -> str:
    """`expected.json`: totals as exact text, and what everybody bears to 12 places, for people."""
    months = {str(p): month.as_dict() | {"borne_usd": _borne_text(month)} for p, month in totals.items()}
    return json.dumps(months, indent=1)


def _borne_text(month: MonthTotals) -> dict[str, str]:
    borne = bear(month)
    names = sorted({tenant for tenant, _ in borne.by_tenant_service} | {OPERATOR, UNALLOCATED})
    return {name: f"{_places(borne.of_tenant(name)):f}" for name in names}


def _places(value: Fraction) -> Decimal:
    return Decimal(round(value * 10**12)).scaleb(-12)
