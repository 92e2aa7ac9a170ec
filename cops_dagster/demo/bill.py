"""Month-level lines of the demo's CUR: fees, commitments, tax, credit, refund, Marketplace contracts.

Belongs here: those lines with their amounts in 1e-10 USD. The fees of commitments are computed from
the effective costs of the usage they cover, so that Σ unblended = Σ amortised + Σ true-up + Σ upfront
holds exactly (finops 4.1). Does not belong here: hourly usage (`demo/profile.py`).
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from cops_dagster.demo import catalogue
from cops_dagster.demo.catalogue import UNITS
from cops_dagster.demo.line import Line
from cops_dagster.demo.profile import growth_pct
from cops_dagster.period import Period


@dataclass(frozen=True)
class BillLine:
    """One month-level line. Amounts in 1e-10 USD; `None` where AWS sends none. Times UTC."""

    line: Line
    start: datetime
    end: datetime
    unblended: int
    reservation_upfront: int | None = None
    reservation_unused_upfront: int | None = None
    reservation_unused_recurring: int | None = None
    plan_total: int | None = None
    plan_used: int | None = None
    plan_upfront: int | None = None
    plan_recurring: int | None = None

    @property
    def amortized(self) -> int:
        """Effective cost: of a commitment's fee its unused part, of an upfront fee nothing."""
        match self.line.line_type:
            case "RIFee":
                return (self.reservation_unused_upfront or 0) + (self.reservation_unused_recurring or 0)
            case "SavingsPlanRecurringFee":
                return (self.plan_total or 0) - (self.plan_used or 0)
        return 0 if self.upfront else self.unblended

    @property
    def true_up(self) -> int:
        """Minus the upfront cash of earlier that this month's effective costs carry."""
        return -(self.reservation_upfront or 0) - (self.plan_upfront or 0)

    @property
    def upfront(self) -> int:
        """Cash paid now for later."""
        is_upfront = self.line.line_type == "SavingsPlanUpfrontFee" or (
            self.line.line_type == "Fee" and self.line.reservation_arn
        )
        return self.unblended if is_upfront else 0


def of_month(period: Period, reserved: Mapping[str, int], covered: int) -> list[BillLine]:
    """The month-level lines.

    Args:
        period: the month.
        reserved: reservation ARN → Σ effective cost of the usage it covers, 1e-10 USD.
        covered: Σ effective cost of usage that the savings plan covers, 1e-10 USD.
    """
    return [
        *_savings_plan(period, covered),
        *(_reservation_fee(period, arn, effective) for arn, effective in sorted(reserved.items())),
        _upfront(period),
        *_fees(period),
        *_marketplace(period),
        *_tax(period),
    ]


def filler(period: Period) -> BillLine:
    """A free line: it brings the month to the number of lines asked for where pairs leave one over."""
    line = Line(
        "Usage",
        "AmazonS3",
        "AmazonS3",
        "Amazon Simple Storage Service",
        usage_type="EUC1-DataTransfer-In-Bytes",
        operation="PutObject",
        unit="GB",
        description="$0.000 per GB - data transfer in",
        region=catalogue.REGION,
    )
    return _monthly(period, line, 0)


def _savings_plan(period: Period, covered: int) -> list[BillLine]:
    """One recurring fee a day. `covered` is 94 % of the commitment; a fifth of that was paid upfront."""
    line = Line(
        "SavingsPlanRecurringFee",
        "ComputeSavingsPlans",
        "ComputeSavingsPlans",
        "Savings Plans for AWS Compute usage",
        account=catalogue.PAYER,
        usage_type="ComputeSP:1yrPartialUpfront",
        unit="Hrs",
        term="OnDemand",
        description="1 year Partial Upfront Compute Savings Plan",
        savings_plan_arn=catalogue.SAVINGS_PLAN,
    )
    days = calendar.monthrange(period.year, period.month)[1]
    total = covered * 100 // 94
    found = []
    for day in range(days):
        used = _part(covered, day, days)
        commitment = max(used, _part(total, day, days))
        upfront = commitment // 5
        start = _midnight(period.start) + timedelta(days=day)
        found.append(
            BillLine(
                line,
                start,
                start + timedelta(hours=23, minutes=59, seconds=59),
                commitment - upfront,
                plan_total=commitment,
                plan_used=used,
                plan_upfront=upfront,
                plan_recurring=commitment - upfront,
            )
        )
    return found


def _part(amount: int, index: int, parts: int) -> int:
    """Part `index` of an amount cut into `parts`; the parts add up to it."""
    return amount * (index + 1) // parts - amount * index // parts


def _reservation_fee(period: Period, arn: str, effective: int) -> BillLine:
    """Day 1: the recurring fee = Σ effective + unused − the month's part of the upfront fee."""
    is_database = ":rds:" in arn
    kind = catalogue.KINDS["database" if is_database else "api"]
    upfront = effective * 40 // 100
    unused_upfront = upfront * 3 // 100
    unused_recurring = effective * 2 // 100
    line = Line(
        "RIFee",
        kind.product_code,
        kind.servicecode,
        kind.product_name,
        account=catalogue.PAYER,
        family=kind.family,
        usage_type=f"EUC1-HeavyUsage:{kind.instance_type}",
        operation=kind.operation,
        instance_type=kind.instance_type,
        region=catalogue.REGION,
        term="Reserved",
        unit="Hrs",
        description=f"{kind.product_name}, {kind.instance_type} reserved instance applied, per month",
        reservation_arn=arn,
    )
    return _monthly(
        period,
        line,
        effective + unused_upfront + unused_recurring - upfront,
        reservation_upfront=upfront,
        reservation_unused_upfront=unused_upfront,
        reservation_unused_recurring=unused_recurring,
    )


def _upfront(period: Period) -> BillLine:
    """A purchase: a reservation in even months, a savings plan in odd ones. Invoiced on its own."""
    if period.month % 2 == 0:
        line = Line(
            "Fee",
            "AmazonEC2",
            account=catalogue.PAYER,
            invoice="purchase",
            usage_type="EUC1-HeavyUsage:c6i.xlarge",
            operation="RunInstances",
            term="Reserved",
            description="Sign up charge for subscription: 6f1d2c4e-0002, planId: 226411",
            reservation_arn=f"arn:aws:ec2:{catalogue.REGION}:{catalogue.PAYER}:reserved-instances/6f1d2c4e-0002",
        )
        return _monthly(period, line, 1_200 * UNITS)
    line = Line(
        "SavingsPlanUpfrontFee",
        "ComputeSavingsPlans",
        "ComputeSavingsPlans",
        "Savings Plans for AWS Compute usage",
        account=catalogue.PAYER,
        invoice="purchase",
        usage_type="ComputeSP:1yrPartialUpfront",
        description="One-time fee for Savings Plan",
        savings_plan_arn=f"arn:aws:savingsplans::{catalogue.PAYER}:savingsplan/4b7c9a10-0002",
    )
    return _monthly(period, line, 900 * UNITS)


def _fees(period: Period) -> list[BillLine]:
    cents = UNITS // 100
    size = growth_pct(period)
    support = Line(
        "Fee",
        "AWSSupportBusiness",
        product_name="AWS Support (Business)",
        account=catalogue.PAYER,
        usage_type="Dollar",
        unit="Dollar",
        description="AWS Support (Business)",
    )
    domain = Line(
        "Fee",
        "AmazonRegistrar",
        product_name="Amazon Registrar",
        account=catalogue.PLATFORM,
        usage_type="Global-DomainRegistration",
        operation="RenewDomain",
        description="Renewal of a .example domain",
    )
    credit = Line(
        "Credit",
        "AmazonEC2",
        product_name="Amazon Elastic Compute Cloud",
        usage_type="EUC1-BoxUsage:m6i.large",
        operation="RunInstances",
        description="AWS Activate promotional credit",
    )
    refund = Line(
        "Refund",
        "AmazonS3",
        product_name="Amazon Simple Storage Service",
        invoice="refund",
        usage_type="EUC1-Requests-Tier1",
        operation="PutObject",
        description="Service level refund for elevated error rates",
    )
    return [
        _monthly(period, support, 2_637 * size * cents + 4_183 * UNITS // 10_000),
        _monthly(period, domain, 14 * UNITS),
        _monthly(period, credit, -412 * size * cents),
        _monthly(period, refund, -(8_125 * size * cents) // 100),
    ]


def _marketplace(period: Period) -> list[BillLine]:
    contract = Line(
        "Fee",
        "2h7qx9d4m0k6w1v8s3z5cr2tb",
        product_name="Observability Suite Pro",
        invoice="marketplace",
        account=catalogue.PAYER,
        usage_type="MP:contract",
        description="Observability Suite Pro, monthly contract",
    )
    trial = Line(
        "Usage",
        "5n1yv8c3j7p2f6a9t4g0mk8xe",
        product_name="Market Data Feed",
        invoice="marketplace",
        account=catalogue.PLATFORM,
        usage_type="MP:feed-requests",
        description="Market Data Feed, per request",
    )
    return [
        _monthly(period, contract, 1_149 * UNITS + 8_750_000_000),
        _monthly(period, trial, 44 * UNITS + 6_251_234_567),
    ]


def _tax(period: Period) -> list[BillLine]:
    """Rounded to cents a row, as AWS does. Together 0.15 % of the month, since no rule claims tax."""
    cents = UNITS // 100
    size = growth_pct(period)
    rows = (
        ("AmazonEC2", catalogue.PRODUCTION, 4_512),
        ("AmazonS3", catalogue.PLATFORM, 822),
        ("AWSSupportBusiness", catalogue.PAYER, 2_136),
    )
    return [
        _monthly(
            period,
            Line(
                "Tax",
                product,
                account=account,
                tax_type="VAT",
                usage_type=f"{product}-Tax",
                description="Tax for product code " + product,
            ),
            amount * size // 100 * cents,
        )
        for product, account, amount in rows
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min)


def _monthly(
    period: Period,
    line: Line,
    unblended: int,
    *,
    reservation_upfront: int | None = None,
    reservation_unused_upfront: int | None = None,
    reservation_unused_recurring: int | None = None,
) -> BillLine:
    # monthly lines end at 23:59:59, not at the exclusive midnight of hourly ones
    start = _midnight(period.start)
    end = _midnight(period.end) - timedelta(seconds=1)
    return BillLine(
        line,
        start,
        end,
        unblended,
        reservation_upfront,
        reservation_unused_upfront,
        reservation_unused_recurring,
    )
