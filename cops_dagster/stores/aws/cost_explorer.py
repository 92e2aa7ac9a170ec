"""What the payer's Cost Explorer API knows of cost allocation tags.

Belongs here: the call and its pages. Does not belong here: what the answer means (`tagging/active.py`),
AWS's failures (`stores/aws/call.py`).
"""

from __future__ import annotations

from typing import Any

from cops_dagster.stores.aws.call import Call, calling

REGION = "us-east-1"
"""Cost Explorer lives in one region."""
PAGES_MAX = 1000


def list_cost_allocation_tags() -> list[dict[str, Any]]:
    """Every entry of ListCostAllocationTags, active and inactive, from all pages.

    Raises:
        CopsError: `E-AWS-DENIED` (no credentials, or none that may), `E-AWS-THROTTLED`,
            `E-AWS-UNREACHABLE` (no answer, or none that can be used).
    """
    call = Call(
        "ce",
        "Cost Explorer",
        "ce:ListCostAllocationTags",
        "give the list as a FILE (`aws ce list-cost-allocation-tags --output json > FILE`)",
    )
    found: list[dict[str, Any]] = []
    with calling(call):
        pages = (
            call.client(REGION)
            .get_paginator("list_cost_allocation_tags")
            .paginate(PaginationConfig={"PageSize": 1000})
        )
        for number, page in enumerate(pages, start=1):
            found += page.get("CostAllocationTags", [])
            if number == PAGES_MAX:
                raise call.unreachable(f"more than {PAGES_MAX} pages")
    return found
