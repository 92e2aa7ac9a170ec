"""AWS Budgets of an account, as its API tells them.

Belongs here: the call, its pages and the pauses between them. COPS reads them beside its own budgets and
never writes them. The API throttles early, so pages are asked for one after another.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from cops_dagster.stores.aws.call import Call, calling

REGION = "us-east-1"
"""AWS Budgets lives in one region."""
PAUSE_SECONDS = 0.25
PAGES_MAX = 200


def describe_budgets(account_id: str) -> list[dict[str, Any]]:
    """Every budget of an account: name, type, time unit, currency, limit, actual and forecast spend.

    Raises:
        CopsError: `E-AWS-DENIED`, `E-AWS-THROTTLED` (after growing pauses), `E-AWS-UNREACHABLE`.
    """
    call = Call("budgets", "AWS Budgets", "budgets:ViewBudget")
    found: list[dict[str, Any]] = []
    with calling(call):
        client = call.client(REGION)
        token: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            page = client.describe_budgets(AccountId=account_id, MaxResults=100, **token)
            found += [_budget(account_id, one) for one in page.get("Budgets", [])]
            if not page.get("NextToken"):
                return found
            token = {"NextToken": page["NextToken"]}
            time.sleep(PAUSE_SECONDS)
        raise call.unreachable(f"more than {PAGES_MAX} pages")


def _budget(account_id: str, one: dict[str, Any]) -> dict[str, Any]:
    limit, spend = one.get("BudgetLimit", {}), one.get("CalculatedSpend", {})
    return {
        "account_id": account_id, "budget_name": one["BudgetName"], "budget_type": one["BudgetType"],
        "time_unit": one["TimeUnit"],
        "currency": str(limit.get("Unit") or spend.get("ActualSpend", {}).get("Unit") or ""),
        "limit_amount": _amount(limit), "actual_amount": _amount(spend.get("ActualSpend", {})),
        "forecast_amount": _amount(spend.get("ForecastedSpend", {})),
    }  # fmt: skip


def _amount(spend: dict[str, str]) -> Decimal | None:
    """AWS tells amounts as text, so they stay exact."""
    return Decimal(spend["Amount"]) if "Amount" in spend else None
