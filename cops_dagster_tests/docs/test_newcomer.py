"""A stranger closes a month by the README alone, with files of their own and nothing else."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from cops_dagster.demo import cur
from cops_dagster.period import Period
from cops_dagster_tests.docs import pages
from cops_dagster_tests.docs.conftest import run_cops

AWS = "invoice_id,period_start,payer_account_id,invoice_type,base_currency,amount_before_tax,tax"


def typed(here: Path, line: str) -> str:
    """What a line prints that is typed as it stands."""
    done = run_cops(line, home=here / ".cops", cwd=here, USER="anna")
    assert done.returncode in (0, 1), f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def invoices_of_aws(here: Path) -> str:
    """The file that is filled in from what `cops exceptions list` and `cops source list` say."""
    (payer,) = json.loads(typed(here, "cops source list --json"))[0]["payers"]
    missing: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for one in json.loads(typed(here, "cops exceptions list 2025-06 --json")):
        if one["stage"] == "aws_invoice":
            number, _, what = one["subject_id"].partition(" ")
            missing[number][what == "tax"] -= Decimal(one["amount_usd"])
    rows = [
        f"{number},2025-06,{payer},INVOICE,USD,{net:.2f},{tax:.2f}" for number, (net, tax) in missing.items()
    ]
    return "\n".join([AWS, *rows])


@pytest.mark.long
def test_a_month_closes_by_the_readmes_lines_alone(tmp_path: Path) -> None:
    """Three days of waiting stood in the way of files out of an archive, and nobody said what a second is."""
    here = tmp_path / "here"
    (here / "bills").mkdir(parents=True)
    cur.write_month(tmp_path / "cur", Period(2025, 6), lines=2_000)
    for file in (tmp_path / "cur").rglob("*.parquet"):
        file.rename(here / "bills" / file.name)
    # what `cops init` asks of people, answered: which tag names the tenant, and that none names a plan
    answered = '[tags]\ntenant_id = ["user_tenant_id"]\nplan_id = []\n'
    (here / "cops.toml").write_text(answered, encoding="utf-8")
    first, again, last = (
        block.text.splitlines()
        for block in pages.blocks("text")
        if block.page.endswith("README.md") and "cops " in block.text
    )
    assert AWS in pages.text("README.md")

    for line in first:
        typed(here, line)
    with (here / "inputs" / "tenants.csv").open("a", encoding="utf-8") as tenants:
        for row in json.loads(typed(here, "cops statement 2025-06 --json")):
            tenants.write(f"{row['tenant_id']},{row['tenant_id']},standard,2025-06-01\n")
    (here / "inputs" / "aws_invoices.csv").write_text(invoices_of_aws(here), encoding="utf-8")
    for line in again:
        typed(here, line)
    listed = json.loads(typed(here, f"{again[-1]} --json"))["readiness"]
    assert [one["name"] for one in listed if not one["holds"]] == ["delivery_unchanged_for_72_hours"]
    for line in last:
        typed(here, line)
    assert json.loads(typed(here, "cops status 2025-06 --json"))[0]["state"] == "closed"
    page = (here / "report" / "close_report_2025-06.html").read_text(encoding="utf-8")
    assert "SEALED" in page
    assert "bills/invoice.pdf" in page
    assert "its last word, says anna" in page
    assert "looked at the list and at the report" in page
