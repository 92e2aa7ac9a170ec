"""What a golden home is made of: a few lines of CUR for each month, and the admin data that fits them.

Belongs here: invented input, as small text tables. Does not belong here: what is done with it (`make.py`).
Homes made before keep what they were made of; a change here counts for the next one only.

    2025-06  closed: usage, a shared pool, tax, a credit, a resource that names its tenant on one line only
    2025-07  closed, CSV: reservations, a savings plan with untagged negations, refunds, discounts;
             one invoice 3 USD too high, explained; delivered again after its close; tax moved to two tenants
    2025-08  final: one invoice 6 USD too low, explained but not yet approved; a credit note
    2025-09  provisional: AWS has not invoiced it yet; holds the adjustments of July
"""

from __future__ import annotations

from cops_dagster.period import Period

JUNE, JULY, AUGUST, SEPTEMBER = (Period(2025, month) for month in (6, 7, 8, 9))

_PLAIN = """
type   service          account       tenant  plan  component  resource  invoice    cost
Usage  AmazonEC2        111111111111  acme    team  api        i-1       {invoice}  {a}
Usage  AmazonEC2        111111111111  acme    team  worker     i-2       {invoice}  31.0000000001
Usage  AmazonEC2        111111111111  acme    team  worker     i-3       {invoice}  17.125
Usage  AmazonEC2        111111111111  .       .     .          i-3       {invoice}  0.125
Usage  AmazonEC2        111111111111  globex  pro   api        i-4       {invoice}  {b}
Usage  AmazonEC2        111111111111  globex  pro   api        i-5       {invoice}  0.0000001
Usage  AmazonRDS        111111111111  globex  pro   store      db-1      {invoice}  120.01
Usage  AmazonRDS        222222222222  hooli   pro   store      db-2      {invoice}  88.335
Usage  AmazonS3         222222222222  hooli   pro   store      b-1       {invoice}  4.7
Usage  AmazonS3         111111111111  acme    team  store      b-2       {invoice}  1.1
Usage  AmazonS3         333333333333  .       .     .          b-3       {invoice}  2.5
Usage  AWSDataTransfer  111111111111  acme    team  network    .         {invoice}  3.3
Usage  AWSDataTransfer  111111111111  .       .     network    .         {invoice}  5.000000001
Fee    AWSSupport       111111111111  .       .     .          .         {invoice}  29
Tax    AmazonEC2        111111111111  .       .     .          .         {invoice}  {tax}
Credit AmazonEC2        111111111111  .       .     .          .         {invoice}  -1.5
"""

_KINDS = """
type                    service             account       tenant  plan  component  resource  operation     cost         more
Usage                   AmazonEC2           111111111111  acme    team  api        i-1       RunInstances  210.10       .
Usage                   AmazonEC2           111111111111  globex  pro   api        i-4       RunInstances  320.20       .
Usage                   AmazonRDS           222222222222  hooli   pro   store      db-2      CreateDB      88.335       .
SavingsPlanCoveredUsage AmazonEC2           111111111111  acme    team  worker     i-2       RunInstances  10           sp=7,sp_arn=sp-1
SavingsPlanNegation     AmazonEC2           111111111111  .       .     .          .         RunInstances  -10          sp=7,sp_arn=sp-1
SavingsPlanCoveredUsage AmazonEC2           111111111111  globex  pro   worker     i-6       RunInstances  3            sp=2.1,sp_arn=sp-1
SavingsPlanNegation     AmazonEC2           111111111111  globex  pro   worker     i-6       RunInstances  -3           sp=2.1,sp_arn=sp-1
SavingsPlanRecurringFee ComputeSavingsPlans 111111111111  .       .     .          .         .             10           sp_arn=sp-1,sp_total=10,sp_used=9.1
DiscountedUsage         AmazonRDS           222222222222  hooli   pro   store      db-3      CreateDB      0            ri=6.5,ri_arn=ri-1
RIFee                   AmazonRDS           222222222222  .       .     .          .         .             7            ri_arn=ri-1,ri_unused=0.5
EdpDiscount             AmazonEC2           111111111111  acme    team  api        i-1       RunInstances  -4.2         .
Refund                  AmazonEC2           111111111111  .       .     .          i-4       RunInstances  -2.22        .
Refund                  AmazonS3            111111111111  acme    team  store      b-2       .             -0.1         .
Usage                   AmazonS3            111111111111  acme    team  store      b-2       PutObject     1.1          .
Usage                   AWSDataTransfer     111111111111  .       .     network    .         .             5.000000001  .
Fee                     AWSSupport          111111111111  .       .     .          .         .             29           .
Tax                     AmazonEC2           111111111111  .       .     .          .         .             1.07         .
Credit                  AmazonEC2           111111111111  .       .     .          .         .             -1.5         .
"""  # noqa: E501

_MORE = {
    "ri": "reservation_effective_cost",
    "ri_arn": "reservation_reservation_a_r_n",
    "ri_unused": "reservation_unused_recurring_fee",
    "sp": "savings_plan_savings_plan_effective_cost",
    "sp_arn": "savings_plan_savings_plan_a_r_n",
    "sp_total": "savings_plan_total_commitment_to_date",
    "sp_used": "savings_plan_used_commitment",
}


def _spread(text: str, invoice: str) -> str:
    """`more` as columns of its own, and the invoice that every line is on."""
    header, *rows = (line.split() for line in text.strip().splitlines())
    made = [[*header[:-1], *_MORE.values(), "invoice"]]
    for *cells, more in rows:
        said = dict(pair.split("=") for pair in more.split(",")) if more != "." else {}
        made.append([*cells, *(said.get(name, ".") for name in _MORE), invoice])
    return "\n".join(map(" ".join, made))


LINES = {
    JUNE: _PLAIN.format(invoice="I-06", a="201.01", b="301.3", tax="0.97"),
    JULY: _spread(_KINDS, "I-07"),
    AUGUST: _PLAIN.format(invoice="I-08", a="222.2", b="333.33", tax="1.13"),
    SEPTEMBER: _PLAIN.format(invoice=".", a="230.7", b="345.6789", tax="1.2"),
}
"""Each month as it was first delivered, in the form of `cops_dagster_tests/deliveries.py`."""

LATE = LINES[JULY].replace(" 320.20 ", " 311.20 ")
"""July as AWS delivered it again after its close: 9 USD less of one tenant's usage."""

_KEYS = "period_start,tenant_id,value,refreshed_at\n" + "".join(
    f"{period},acme,{acme},{period.end}T03:00:00Z\n{period},globex,{globex},{period.end}T03:00:00Z\n"
    for period, acme, globex in (
        (JUNE, "100.5", "200"), (JULY, "101", "201.25"), (AUGUST, "99", "204"), (SEPTEMBER, "102", "203"),
    )
)  # fmt: skip

INPUTS = {
    "plans": "plan_id,effective_from,markup_bps\nteam,2025-01-01,0\npro,2025-01-01,800\n",
    "tenants": (
        "tenant_id,name,plan_id,active_from,active_to,currency\nacme,Acme,team,2025-01-01,,USD\n"
        "globex,Globex,pro,2025-01-01,,USD\nhooli,Hooli,pro,2025-01-01,,EUR\n"
    ),
    "tag_aliases": (
        "tag_name,alias,effective_from,effective_to,canonical\ntenant_id,acme-corp,2025-01-01,,acme\n"
    ),
    "account_tenants": (
        "usage_account_id,effective_from,effective_to,tenant_id\n333333333333,2025-01-01,,hooli\n"
    ),
    "allocation_keys": "key_name,measure,max_age_hours\nnetwork,network,24\n",
    "allocation_rules": (
        "rule_id,version,effective_from,priority,match_service,match_charge_class,method,key_name,shares,"
        "on_zero_key,approved_by\n"
        "transfer,1,2025-01-01,10,AWSDataTransfer,,usage_key,network,,fail,kim\n"
        'credits,1,2025-01-01,20,,credit,fixed,,"{""__operator__"": ""100""}",fail,kim\n'
        'commitments,1,2025-01-01,30,,commitment_fee,fixed,,"{""__operator__"": ""100""}",fail,kim\n'
        "support,1,2025-01-01,40,AWSSupport,,even,,,hold,kim\n"
        "refunds,1,2025-01-01,50,,refund,proportional_cost,,,hold,kim\n"
        "rest,1,2025-01-01,60,,usage,proportional_cost,,,fail,kim\n"
    ),
    "tenant_network_usage": _KEYS,
    "fx_rates": "base,quote,period_start,rate\n"
    + "".join(f"EUR,USD,{period.start},{1 + period.month / 50:.4f}\n" for period in LINES),
    "aws_invoices": (
        "invoice_id,period_start,payer_account_id,invoice_type,base_currency,amount_before_tax,tax\n"
    ),
    "invoice_detail": (
        "invoice_id,tenant_id,period_start,amount,currency,status,document_type,corrects_invoice_id\n"
    ),
    "budgets": (
        "budget_id,version,scope_type,scope_value,effective_from,effective_to,basis,target_usd\n"
        "total,1,total,,2025-06-01,,unblended,1200.00\ntenant-acme,1,tenant,acme,2025-06-01,,unblended,290.00\n"
    ),
}
"""The admin tables, each as the CSV that `cops admin load` takes."""
