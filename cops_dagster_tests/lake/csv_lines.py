"""A delivery as CSV, with columns of the test's choice."""

from __future__ import annotations


def csv_lines(header: str, *lines: str) -> str:
    """A CSV of lines of 1.5 USD each in the usual columns, behind them those of `header`."""
    usual = "identity/LineItemId,bill/InvoiceId,bill/BillingPeriodStartDate,lineItem/UsageAccountId," \
            "lineItem/CurrencyCode,lineItem/ProductCode,lineItem/UnblendedCost"  # fmt: skip
    rows = [f"{n:02d},I-1,2025-09-01T00:00:00Z,000000000042,USD,AmazonEC2,1.5" for n in range(len(lines))]
    return "\n".join([f"{usual},{header}", *(f"{row},{line}" for row, line in zip(rows, lines, strict=True))])


SPAN_HEADER = "lineItem/LineItemType,lineItem/UsageStartDate,lineItem/UsageEndDate"


USAGE = "Usage,2025-09-01T00:00:00Z,2025-09-02T00:00:00Z"
