"""Loading admin data: what is refused and with which code, what is allowed, and that it is all or nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from cops_dagster.errors import CopsError
from cops_dagster.evidence import decisions
from cops_dagster.inputs import files as frames
from cops_dagster.inputs.load import LoadReport, load
from cops_dagster.inputs.load import read_files as load_files
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.policy import Tags
from cops_dagster.settings import load as settings_of
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import Admin, now, open_admin
from cops_dagster_tests.deliveries import force_state
from cops_dagster_tests.examples import examples

Files = Mapping[str, str | bytes]

GOOD: dict[str, str] = {
    "plans": "plan_id,effective_from,markup_bps\npro,2025-01-01,500\nfree,2025-01-01,0\n",
    "tenants": (
        "tenant_id,name,plan_id,active_from,active_to,currency\n"
        "acme,Acme,pro,2025-01-01,,EUR\nbeta,Beta Söhne,free,2025-01-01,2026-01-01,\n"
    ),
    "tag_aliases": "tag_name,alias,canonical\ntenant_id,ACME ,acme\nservice_component,API,api\n",
    "account_tenants": (
        "usage_account_id,effective_from,effective_to,tenant_id\n"
        "000000000042,2025-01-01,2025-06-01,beta\n000000000042,2025-06-01,,acme\n"
    ),
    "allocation_keys": "key_name,measure,max_age_hours\ntenant_network_usage,network,24\n",
    "allocation_rules": (
        "rule_id,version,effective_from,effective_to,priority,match_service,match_charge_class,method,"
        "key_name,shares,on_zero_key,approved_by\n"
        "net,1,2025-01-01,,10,AmazonVPC,,usage_key,tenant_network_usage,,rule:even,ann\n"
        "net,2,2025-07-01,,10,AmazonVPC,,usage_key,tenant_network_usage,,fail,ann\n"
        'fix,1,2025-01-01,2025-05-01,20,,,fixed,,"{""beta"": 40.0, ""acme"": ""60""}",,ann\n'
        "late,1,2025-05-01,,20,,tax,hold,,,,ann\n"
        "even,1,2025-01-01,,30,,support,even,,,,ann\n"
        "cost,1,2025-01-01,,40,,support,proportional_cost,service,,,ann\n"
    ),
    "tenant_network_usage": (
        "period_start,tenant_id,value,refreshed_at\n"
        "2025-09,acme,12.5,2025-10-01T03:00:00Z\n2025-09-01,beta,0,2025-10-01T05:00:00+02:00\n"
    ),
    "fx_rates": ("base,quote,period_start,rate\nEUR,USD,2025-08,1.1\nEUR,USD,2025-09,1.2\n"),
    "invoice_detail": (
        "invoice_id,tenant_id,period_start,amount,currency,status,document_type,corrects_invoice_id\n"
        "I-1,acme,2025-08,100.00,EUR,issued,invoice,\n"
        "I-2,beta,2025-09,7,USD,issued,invoice,\n"
        "C-1,acme,2025-09,-10,EUR,issued,credit_note,I-1\n"
        "I-3,acme,2025-09,90,EUR,issued,invoice,I-1\n"
    ),
    "aws_invoices": (
        "invoice_id,period_start,payer_account_id,invoice_type,base_currency,amount_before_tax,tax\n"
        "900,2025-09,000000000001,invoice,USD,-5.10,0\n"
    ),
    "budgets": (
        "budget_id,version,scope_type,scope_value,effective_from,effective_to,basis,target_usd\n"
        "b,1,tenant,acme,2025-01-01,,unblended,100\nb,2,tenant,acme,2025-09-01,2026-01-01,unblended,120\n"
    ),
}
"""One good file of every table, by file name. The cases below change one thing."""

RULES_HEADER, *_ = GOOD["allocation_rules"].split("\n")
ALIAS_HEADER = "tag_name,alias,effective_from,effective_to,canonical"
INVOICE_HEADER, *_ = GOOD["invoice_detail"].split("\n")
BUDGET_HEADER, *_ = GOOD["budgets"].split("\n")


def write(folder: Path, files: Files) -> Path:
    """A folder of CSV files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


@dataclass
class Desk:
    """Someone loading files into one database."""

    admin: Admin
    home: Path
    count: int = 0

    @property
    def books(self) -> Books:
        return Books(self.admin, settings_of(home=self.home, actor="ann"), decisions.keep)

    def load(self, files: Files, *, replace: bool = False) -> LoadReport:
        self.count += 1
        return load(self.books, [write(self.home / str(self.count), files)], replace=replace)

    def refused(self, files: Files, *, replace: bool = False) -> CopsError:
        """The refusal, after which the whole database is what it was.

        But for a document in conflict: that somebody sent another version of it is kept.
        """
        before = dump(self.admin)
        with pytest.raises(CopsError) as refusal:
            self.load(files, replace=replace)
        after = dump(self.admin)
        if refusal.value.code == "E-INV-CONFLICT":
            before["document_conflict"] = after["document_conflict"]
        assert after == before
        return refusal.value


def spelled(desk: Desk, tags: Tags) -> Books:
    """The desk's books under a policy that spells tags so."""
    return Books(desk.admin, settings_of(home=desk.home, actor="ann", tags=tags), decisions.keep)


def dump(admin: Admin) -> dict[str, list[tuple[Any, ...]]]:
    with admin.read() as con:
        return {
            table.name: sorted((tuple(row) for row in con.execute(sa.select(table))), key=repr)
            for table in t.metadata.sorted_tables
        }


def inputs(admin: Admin) -> dict[str, list[tuple[Any, ...]]]:
    """The whole database but for the traces of the loads that made it so."""
    traces = ("load_log", "evidence_index", "evidence_head")
    return {name: rows for name, rows in dump(admin).items() if name not in traces}


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("empty") / "admin.db"
    admin = open_admin(f"sqlite:///{path}")
    admin.close()  # the last connection to close writes the WAL back into the file
    return path.read_bytes()


@pytest.fixture
def desk(tmp_path: Path, empty_database: bytes) -> Desk:
    (tmp_path / "admin.db").write_bytes(empty_database)
    return Desk(open_admin(f"sqlite:///{tmp_path / 'admin.db'}"), tmp_path)


@pytest.fixture
def stocked(desk: Desk) -> Desk:
    desk.load(GOOD)
    return desk


def changed(name: str, old: str, new: str) -> Files:
    """The good files with one text changed."""
    assert old in GOOD[name]
    return {**GOOD, name: GOOD[name].replace(old, new)}


def more_rules(*lines: str) -> Files:
    return {**GOOD, "allocation_rules": GOOD["allocation_rules"] + "".join(line + "\n" for line in lines)}


def aliases(*lines: str) -> Files:
    """The good files with these aliases alone."""
    return {**GOOD, "tag_aliases": "\n".join([ALIAS_HEADER, *lines]) + "\n"}


def more_invoices(*lines: str) -> Files:
    return {**GOOD, "invoice_detail": GOOD["invoice_detail"] + "".join(line + "\n" for line in lines)}


# --- what a load does ---------------------------------------------------------------------------------


def test_one_load_of_every_table_stores_every_row(desk: Desk) -> None:
    report = desk.load(GOOD)
    assert report.actor == "ann"
    assert {name: table.inserted for name, table in report.tables.items()} == {
        **{name: text.count("\n") - 1 for name, text in GOOD.items() if name != "tenant_network_usage"},
        "tenant_usage": 2,
    }
    assert all(table.unchanged == 0 and table.replaced == () for table in report.tables.values())


def test_every_loadable_table_has_exactly_the_columns_of_the_contract() -> None:
    for name, fields in frames.FIELDS.items():
        columns = t.metadata.tables[name].columns
        assert [field.name for field in fields] == columns.keys()
        for field in fields:
            computed = (name, field.name) == ("invoice_detail", "amount_usd")
            optional = columns[field.name].nullable or field.default is not None or computed
            assert field.required is not optional, (name, field.name)


def test_what_is_stored_is_typed_and_exact(stocked: Desk) -> None:
    found = dump(stocked.admin)
    assert ("beta", "Beta Söhne", "free", date(2025, 1, 1), date(2026, 1, 1), "USD") in found["tenants"]
    assert ("tenant_id", "ACME ", date(1970, 1, 1), None, "acme") in found["tag_aliases"]
    refreshed_at = datetime.fromisoformat("2025-10-01T03:00")
    assert (date(2025, 9, 1), "beta", "network", Decimal(0), refreshed_at) in found["tenant_usage"]
    with stocked.admin.read() as con:
        rules = con.execute(sa.select(t.allocation_rules)).mappings().all()
    fixed = next(rule for rule in rules if rule["rule_id"] == "fix")
    assert fixed["shares"] == '{"acme": "60", "beta": "40"}'
    assert fixed["on_zero_key"] == "fail"
    assert fixed["match_service"] is None


def test_dollars_of_a_document_use_the_frozen_rate_and_a_credit_note_that_of_its_invoice(
    stocked: Desk,
) -> None:
    with stocked.admin.read() as con:
        found = dict(
            con.execute(sa.select(t.invoice_detail.c.invoice_id, t.invoice_detail.c.amount_usd)).all()
        )
    assert found == {
        "I-1": Decimal(110), "I-2": Decimal(7), "C-1": Decimal(-11), "I-3": Decimal(108),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("amount", "dollars"),
    [
        ("0.05", "0.000000000000000000"),  # half goes to the even neighbour
        ("0.15", "0.000000000000000002"),
        ("0.25", "0.000000000000000002"),
    ],
)
def test_dollars_are_rounded_half_even_to_18_places(desk: Desk, amount: str, dollars: str) -> None:
    files = dict(changed("fx_rates", "2025-09,1.2", "2025-09,0.00000000000000001"))
    files["invoice_detail"] = f"{INVOICE_HEADER}\nX,acme,2025-09,{amount},EUR,issued,invoice,\n"
    desk.load(files)
    assert [row[5] for row in dump(desk.admin)["invoice_detail"]] == [Decimal(dollars)]


def test_loading_the_same_files_again_changes_nothing(stocked: Desk) -> None:
    before = dump(stocked.admin)
    for overwrite in (False, True):
        report = stocked.load(GOOD, replace=overwrite)
        assert all(table.inserted == 0 and table.replaced == () for table in report.tables.values())
        assert sum(table.unchanged for table in report.tables.values()) == sum(
            text.count("\n") - 1 for text in GOOD.values()
        )
    assert dump(stocked.admin) == before


def test_the_same_content_written_differently_is_the_same_row(stocked: Desk) -> None:
    files: Files = {
        "tenant_usage": (
            "refreshed_at,measure,value,tenant_id,period_start\r\n"
            '"2025-10-01 03:00",network,+12.500,acme,2025-09-01\r\n'
        ),
        "tenants": b"\xef\xbb\xbf" + GOOD["tenants"].encode().replace(b"\n", b"\n\n"),
        "allocation_rules": GOOD["allocation_rules"].replace("40.0", "40"),
    }
    assert {table.inserted for table in stocked.load(files).tables.values()} == {0}


def test_a_file_named_twice_is_loaded_once(desk: Desk) -> None:
    folder = write(desk.home / "twice", GOOD)
    report = load(desk.books, [folder, folder / "aws_invoices.csv"])
    assert report.tables["aws_invoices"].inserted == 1


def test_a_file_with_a_header_only_loads_nothing(desk: Desk) -> None:
    report = desk.load({"plans": "plan_id,effective_from,markup_bps\n"})
    assert (report.tables["plans"].inserted, report.tables["plans"].unchanged) == (0, 0)


def test_an_identical_row_in_two_files_is_stored_once(stocked: Desk) -> None:
    usage = "period_start,tenant_id,value,refreshed_at\n2025-10,acme,1,2025-11-01T00:00Z\n"
    other = "period_start,tenant_id,measure,value,refreshed_at\n2025-10,acme,network,1,2025-11-01T00:00Z\n"
    table = stocked.load({"tenant_network_usage": usage, "tenant_usage": other}).tables["tenant_usage"]
    assert (table.inserted, table.unchanged) == (1, 1)


# --- what is refused, with its allowed twin -----------------------------------------------------------

DOLLARS = f"{INVOICE_HEADER},amount_usd\nX,acme,2025-09,1,"
SHARES = 'fix,2,2025-09-01,2025-10-01,21,,,fixed,,"{}",,ann'
RULE = "x,1,2025-01-01,,50,,,{}"

REFUSED: list[tuple[str, Files, str, Files]] = [
    # (code, files refused, what the subject must say, files allowed)
    ("E-LOAD-FILE", {"tenant": GOOD["tenants"]}, "tenant.csv", {**GOOD}),
    ("E-LOAD-FILE", {**GOOD, "plans": ""}, "plans.csv", GOOD),
    ("E-LOAD-FILE", {**GOOD, "plans": b"plan_id\xff"}, "plans.csv", GOOD),
    ("E-LOAD-FILE", {**GOOD, "plans": GOOD["plans"] + '"pro,2025-02-01,1\n'}, "plans.csv",
     {**GOOD, "plans": GOOD["plans"] + '"pro","2025-02-01",1\n'}),
    ("E-LOAD-FILE", {**GOOD, "plans": b"PK\x03\x04\0\0"}, "plans.csv", GOOD),
    ("E-LOAD-COLUMN", changed("tenants", ",name", ",nom"), "tenants.csv, line 1, column 'nom'", GOOD),
    ("E-LOAD-COLUMN", changed("tenants", ",name", ",tenant_id"), "line 1, column 'tenant_id'", GOOD),
    ("E-LOAD-COLUMN", {**GOOD, "plans": "plan_id,effective_from\npro,2025-01-01\n"}, "column markup_bps",
     GOOD),
    ("E-LOAD-COLUMN", changed("plans", "free,2025-01-01,0", "free,2025-01-01"), "plans.csv, line 3", GOOD),
    ("E-LOAD-COLUMN", changed("plans", "free,2025-01-01,0", "free,2025-01-01,0,"), "plans.csv, line 3", GOOD),
    ("E-LOAD-COLUMN", changed("tenant_network_usage", "value", "measure"), "line 1, column 'measure'", GOOD),
    ("E-LOAD-VALUE", changed("plans", "free,2025-01-01", "free,2025-02-30"), "line 3, column effective_from",
     changed("plans", "free,2025-01-01", "free,2024-02-29")),
    ("E-LOAD-VALUE", changed("plans", "01,500", "01,5e2"), "line 2, column markup_bps",
     changed("plans", "01,500", "01,-500")),
    ("E-LOAD-VALUE", changed("tenants", "acme,Acme", "acme,Acme "), "line 2, column name",
     changed("tenants", "acme,Acme", 'acme,"Acme, Inc"')),
    ("E-LOAD-VALUE", changed("tenants", "acme,Acme", "acme,"), "line 2, column name", GOOD),
    ("E-LOAD-VALUE", changed("tenants", "beta,Beta", "be ta,Beta"), "line 3, column tenant_id", GOOD),
    ("E-LOAD-VALUE", changed("tenants", ",EUR", ",euro"), "line 2, column currency",
     changed("tenants", ",EUR", ",CHF")),
    ("E-LOAD-VALUE", changed("tenants", "2026-01-01", "2025-01-01"), "column active_to", GOOD),
    ("E-LOAD-VALUE", changed("account_tenants", "000000000042,2025-06", "42,2025-06"),
     "line 3, column usage_account_id", GOOD),
    ("E-LOAD-VALUE", changed("fx_rates", "2025-08,", "2025-08-02,"), "line 2, column period_start",
     changed("fx_rates", "2025-08,", "2025-08-01,")),
    ("E-LOAD-VALUE", changed("allocation_keys", ",24", ",0"), "column max_age_hours",
     changed("allocation_keys", ",24", ",1")),
    ("E-LOAD-VALUE", changed("allocation_rules", ",tax,", ",taxes,"), "column match_charge_class",
     changed("allocation_rules", ",tax,", ",refund,")),
    ("E-LOAD-VALUE", changed("invoice_detail", "credit_note", "memo"), "column document_type", GOOD),
    ("E-LOAD-VALUE", changed("budgets", "unblended,100", "blended,100"), "column basis",
     changed("budgets", "unblended,100", "amortized,100")),
    ("E-LOAD-VALUE", changed("tenant_network_usage", "03:00:00Z", "25:00:00Z"), "column refreshed_at",
     changed("tenant_network_usage", "03:00:00Z", "03:00")),
    ("E-KEY-NEG", changed("tenant_network_usage", "12.5", "-12.5"), "line 2, column value", GOOD),
    ("E-COST-PARSE", changed("tenant_network_usage", "12.5", "NaN"), "line 2, column value", GOOD),
    ("E-KEY-RANGE", changed("tenant_network_usage", "12.5", "1000000000000.000001"), "line 2, column value",
     changed("tenant_network_usage", "12.5", "1000000000000")),
    ("E-COST-PARSE", changed("budgets", ",100", ",1e2"), "line 2, column target_usd", GOOD),
    ("E-COST-PARSE", changed("invoice_detail", "100.00", "100€"), "line 2, column amount", GOOD),
    ("E-COST-SCALE", changed("budgets", ",100", ",0.0000000000000000001"), "line 2, column target_usd",
     changed("budgets", ",100", ",0.000000000000000001")),
    ("E-COST-RANGE", changed("budgets", ",100", ",100000000000000000000"), "line 2, column target_usd",
     changed("budgets", ",100", ",99999999999999999999")),
    ("E-TENANT-RESERVED", changed("tenants", "beta,", "__operator__,"), "line 3, column tenant_id", GOOD),
    ("E-TENANT-RESERVED", changed("tenants", "beta,", "__unallocated__,"), "line 3, column tenant_id",
     GOOD),
    ("E-TENANT-UNKNOWN", changed("tenant_network_usage", "acme", "acmee"), "line 2, column tenant_id", GOOD),
    ("E-TENANT-UNKNOWN", changed("invoice_detail", "I-2,beta", "I-2,gamma"), "line 3, column tenant_id",
     GOOD),
    ("E-TENANT-UNKNOWN", changed("account_tenants", ",acme", ",gamma"), "line 3, column tenant_id", GOOD),
    ("E-TENANT-UNKNOWN", changed("tag_aliases", ",acme", ",gamma"), "line 2, column canonical",
     changed("tag_aliases", ",api", ",gamma")),
    ("E-TENANT-UNKNOWN", changed("allocation_rules", '""beta""', '""gamma""'), "line 4, column shares",
     changed("allocation_rules", '""beta""', '""__operator__""')),
    ("E-PLAN-UNKNOWN", changed("tenants", ",pro,", ",gold,"), "line 2, column plan_id",
     changed("tenants", ",pro,", ",,")),
    ("E-KEY-UNKNOWN", changed("allocation_keys", "tenant_network", "tenant_disk"), "column key_name", GOOD),
    ("E-KEY-UNKNOWN", more_rules(RULE.format("usage_key,,,,ann")), "line 8, column key_name",
     more_rules(RULE.format("usage_key,tenant_network_usage,,,ann"))),
    ("E-RULE-METHOD", more_rules(RULE.format("median,,,,ann")), "line 8, column method",
     more_rules(RULE.format("even,,,,ann"))),
    ("E-RULE-METHOD", more_rules(RULE.format("even,tenant_network_usage,,,ann")), "line 8, column key_name",
     more_rules(RULE.format("proportional_cost,,,,ann"))),
    ("E-RULE-METHOD", more_rules(RULE.format('even,,"{""acme"": 100}",,ann')), "line 8, column shares", GOOD),
    ("E-RULE-METHOD", more_rules(RULE.format("even,,,zero,ann")), "line 8, column on_zero_key",
     more_rules(RULE.format("even,,,hold,ann"))),
    ("E-RULE-METHOD", more_rules(RULE.format("even,,,rule:none,ann")), "line 8, column on_zero_key",
     more_rules(RULE.format("even,,,rule:net,ann"))),
    ("E-RULE-SUM", more_rules(RULE.format("fixed,,,,ann")), "line 8, column shares", GOOD),
    ("E-RULE-SUM", more_rules(SHARES.format('{""acme"": 99.99}')), "line 8, column shares",
     more_rules(SHARES.format('{""acme"": 100.00}'))),
    ("E-RULE-SUM", more_rules(SHARES.format('{""acme"": 110, ""beta"": -10}')), "column shares",
     more_rules(SHARES.format('{""acme"": 100, ""beta"": 0}'))),
    ("E-LOAD-VALUE", more_rules(SHARES.format('{""acme"": 50, ""acme"": 50}')), "column shares", GOOD),
    ("E-LOAD-VALUE", more_rules(SHARES.format('[100]')), "column shares", GOOD),
    ("E-LOAD-VALUE", more_rules(SHARES.format("[" * 100_000)), "column shares", GOOD),
    ("E-COST-PARSE", more_rules(SHARES.format('{""acme"": 1e999999999}')), "column shares", GOOD),
    ("E-RULE-DATES", changed("allocation_rules", "2025-01-01,2025-05-01", "2025-01-01,2025-01-01"),
     "column effective_to", GOOD),
    ("E-RULE-DATES", more_rules("late,2,2025-05-01,,20,,tax,hold,,,,ann"), "line 8, column effective_from",
     more_rules("late,2,2025-05-02,,20,,tax,hold,,,,ann")),
    ("E-RULE-DATES", changed("allocation_rules", "net,1,2025-01-01,", "net,1,2025-01-01,2025-08-01"),
     "column effective_from", changed("allocation_rules", "net,1,2025-01-01,",
     "net,1,2025-01-01,2025-07-01")),
    ("E-RULE-OVERLAP", changed("allocation_rules", "2025-05-01,20", "2025-05-02,20"), "column priority",
     GOOD),
    ("E-RULE-OVERLAP", more_rules("x,1,2030-01-01,,10,,,even,,,,ann"), "line 8, column priority",
     more_rules("x,1,2030-01-01,,11,,,even,,,,ann")),
    ("E-RULE-CYCLE", more_rules("even,2,2025-02-01,,30,,support,even,,,rule:net,ann"), "column on_zero_key",
     # net has no fallback any more by then
     more_rules("even,2,2025-07-01,,30,,support,even,,,rule:net,ann")),
    ("E-RULE-CYCLE", more_rules("old,1,2025-01-01,2025-03-01,50,,,even,,,rule:even,ann",
                                "even,2,2025-02-01,,30,,support,even,,,rule:old,ann"), "column on_zero_key",
     # old has ended by then
     more_rules("old,1,2025-01-01,2025-03-01,50,,,even,,,rule:even,ann",
                "even,2,2025-03-01,,30,,support,even,,,rule:old,ann")),
    ("E-RULE-CYCLE", more_rules(RULE.format("even,,,rule:x,ann")), "line 8, column on_zero_key", GOOD),
    ("E-ACCOUNT-OVERLAP", changed("account_tenants", "2025-01-01,2025-06-01", "2025-01-01,"),
     "column effective_from", GOOD),
    ("E-ACCOUNT-OVERLAP", changed("account_tenants", "2025-06-01,,", "2025-05-31,,"), "effective_from",
     changed("account_tenants", "2025-06-01,,", "2025-07-01,,")),
    ("E-ACCOUNT-OVERLAP", changed("account_tenants", "2025-01-01,2025-06-01", "2025-01-01,2025-01-01"),
     "column effective_to", GOOD),
    # one value, two meanings on one day
    ("E-MAP-DUP", aliases("tenant_id,AC,2025-01-01,,acme", "tenant_id,AC,2025-01-01,,beta"),
     "line 3, column canonical",
     aliases("tenant_id,AC,2025-01-01,,acme", "tenant_id,AC,2025-01-01,,acme")),
    ("E-MAP-DUP", aliases("tenant_id,AC,,,acme", "tenant_id,AC,2025-06-01,,beta"),
     "line 3, column effective_from",
     aliases("tenant_id,AC,,2025-06-01,acme", "tenant_id,AC,2025-06-01,,beta")),
    ("E-MAP-DUP", aliases("tenant_id,AC,2025-06-01,,beta", "tenant_id,AC,,2025-06-02,acme"),
     "column effective_from",
     aliases("tenant_id,AC,2025-06-01,,beta", "plan_id,AC,,2025-06-02,pro")),
    ("E-MAP-DUP", aliases("plan_id,P,2025-01-01,2025-03-01,pro", "plan_id,P,2025-02-28,,free"),
     "line 3, column effective_from",
     aliases("plan_id,P,2025-01-01,2025-03-01,pro", "plan_id,P,2025-03-01,,free")),
    ("E-MAP-DUP", aliases("tenant_id,AC,,,acme", 'tenant_id," AC ",2025-06-01,,beta'),
     "line 3, column effective_from", aliases("tenant_id,AC,,,acme", "tenant_id,A C,2025-06-01,,beta")),
    ("E-MAP-DUP", aliases("tenant_id,beta,,,acme"), "line 2, column alias",
     aliases("tenant_id,acme,,,acme", "service_component,beta,,,acme")),
    ("E-MAP-DUP", aliases("tenant_id,beta,2025-12-31,,acme"), "line 2, column alias",
     aliases("tenant_id,beta,2026-01-01,,acme")),  # merged: beta ended on that day
    ("E-LOAD-CONFLICT", aliases("tenant_id,AC,,2025-06-01,acme", "tenant_id,AC,,2025-07-01,acme"),
     "line 3, column effective_to", aliases("tenant_id,AC,,2025-06-01,acme")),
    ("E-LOAD-VALUE", aliases("tenant_id,AC,2025-06-01,2025-06-01,acme"), "line 2, column effective_to",
     aliases("tenant_id,AC,2025-06-01,2025-06-02,acme")),
    ("E-TENANT-RESERVED", aliases("tenant_id,__operator__,,,acme"), "line 2, column alias",
     aliases("service_component,__operator__,,,acme")),
    ("E-TENANT-RESERVED", aliases('tenant_id," __unallocated__",,,acme'), "line 2, column alias",
     aliases("tenant_id,unallocated,,,acme")),
    ("E-TENANT-RESERVED", aliases("tenant_id,AC,,,__unallocated__"), "line 2, column canonical",
     aliases("service_component,AC,,,__unallocated__")),
    ("E-BUDGET-OVERLAP", changed("budgets", "2025-01-01,,", "2025-01-01,2025-10-01,"), "effective_from",
     changed("budgets", "2025-01-01,,", "2025-01-01,2025-09-01,")),
    ("E-BUDGET-OVERLAP", changed("budgets", "b,2,tenant,acme,2025-09-01", "b,2,tenant,acme,2025-01-01"),
     "effective_from", GOOD),
    ("E-FX", changed("fx_rates", "1.2", "0"), "line 3, column rate", GOOD),
    ("E-FX", changed("fx_rates", "EUR,USD,2025-09", "EUR,CHF,2025-09"), "column currency", GOOD),
    # the credit note is of September, but its invoice is of August
    ("E-FX", changed("fx_rates", "EUR,USD,2025-08,1.1\n", ""), "line 2, column currency", GOOD),
    ("E-FX", {**GOOD, "invoice_detail": f"{DOLLARS}EUR,issued,invoice,,1.3\n"},
     "line 2, column amount_usd",
     {**GOOD, "invoice_detail": f"{DOLLARS}EUR,issued,invoice,,1.20\n"}),
    ("E-FX", {**GOOD, "invoice_detail": f"{DOLLARS}USD,issued,invoice,,1.3\n"},
     "line 2, column amount_usd", GOOD),
    ("E-INV-LINK", changed("invoice_detail", "credit_note,I-1", "credit_note,"), "column corrects_invoice_id",
     GOOD),
    ("E-INV-LINK", changed("invoice_detail", "credit_note,I-1", "credit_note,I-9"), "corrects_invoice_id",
     GOOD),
    ("E-INV-LINK", changed("invoice_detail", "credit_note,I-1", "credit_note,I-2"), "corrects_invoice_id",
     GOOD),
    ("E-INV-LINK", changed("invoice_detail", "EUR,issued,invoice,I-1", "EUR,issued,invoice,I-3"),
     "corrects_invoice_id", GOOD),
    ("E-INV-LINK", changed("invoice_detail", "-10,EUR", "10,EUR"), "line 4, column amount",
     changed("invoice_detail", "-10,EUR", "0,EUR")),
    ("E-INV-LINK", changed("invoice_detail", "2025-09,7", "2025-09,-7"), "line 3, column amount",
     changed("invoice_detail", "2025-09,7", "2025-09,0")),
    ("E-INV-LINK", more_invoices("I-1,acme,2025-07,1,USD,issued,invoice,"), "column corrects_invoice_id",
     more_invoices("I-1,acme,2025-09,1,USD,issued,invoice,")),
    ("E-INV-DUP", more_invoices("I-2,beta,2025-09,7.0,USD,issued,invoice,"), "line 6",
     more_invoices("I-2,beta,2025-10,7.0,USD,issued,invoice,")),
    ("E-INV-DUP", {**GOOD, "aws_invoices": GOOD["aws_invoices"] + GOOD["aws_invoices"].split("\n")[1]},
     "line 3",
     GOOD),
    ("E-INV-CONFLICT", more_invoices("I-2,beta,2025-09,8,USD,issued,invoice,"), "line 6, column amount",
     GOOD),
    ("E-LOAD-CONFLICT", {**GOOD, "plans": GOOD["plans"] + "pro,2025-01-01,501\n"},
     "line 4, column markup_bps",
     {**GOOD, "plans": GOOD["plans"] + "pro,2025-01-01,500\n"}),
]  # fmt: skip


@pytest.mark.sampled(21)
@pytest.mark.parametrize(
    ("code", "files", "subject", "allowed"), REFUSED, ids=[f"{n}-{case[0]}" for n, case in enumerate(REFUSED)]
)
def test_a_bad_file_is_refused_and_its_twin_is_loaded(
    desk: Desk, code: str, files: Files, subject: str, allowed: Files
) -> None:
    refusal = desk.refused(files)
    assert refusal.code == code, refusal
    assert subject in refusal.subject, refusal
    assert all((refusal.expected, refusal.found, refusal.next_step))
    desk.load(allowed)


def test_a_refusal_lists_every_bad_cell_of_its_file(desk: Desk) -> None:
    refusal = desk.refused({"plans": 'plan_id,effective_from,markup_bps\n"a",x,y\n\nb,2025-01-01,z\n'})
    assert refusal.subject.endswith("plans.csv, line 2, column effective_from")
    assert [(case["line"], case["column"]) for case in refusal.details["failures"]] == [
        (2, "effective_from"), (2, "markup_bps"), (4, "markup_bps"),
    ]  # fmt: skip


def test_a_line_number_counts_lines_inside_quotes(desk: Desk) -> None:
    refusal = desk.refused({"plans": 'plan_id,effective_from,markup_bps\n"a\nb",2025-01-01,1\nb,2025,1\n'})
    assert [case["line"] for case in refusal.details["failures"]] == [2, 4]


def test_a_file_that_is_too_big_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "FILE_BYTES_MAX", len(GOOD["plans"]) - 1)
    assert desk.refused({"plans": GOOD["plans"]}).code == "E-LOAD-FILE"
    monkeypatch.setattr(frames, "FILE_BYTES_MAX", len(GOOD["plans"]))
    desk.load({"plans": GOOD["plans"]})


def test_a_line_without_end_is_refused(desk: Desk) -> None:
    assert desk.refused({"plans": GOOD["plans"] + "," * (2 << 20)}).code == "E-LOAD-FILE"


@pytest.mark.parametrize("name", ["missing", "missing.csv", "folder_without_csv"])
def test_a_path_that_names_no_csv_is_refused(desk: Desk, name: str) -> None:
    write(desk.home / "folder_without_csv", {})
    with pytest.raises(CopsError, match="E-LOAD-FILE"):
        load(desk.books, [desk.home / name])


@pytest.mark.long
def test_a_mistake_in_the_last_file_leaves_the_database_as_it_was(stocked: Desk) -> None:
    files = {
        "plans": GOOD["plans"] + "gold,2025-01-01,1\n",
        "tenants": GOOD["tenants"].replace("Acme", "Acme Ltd"),
        "budgets": f"{BUDGET_HEADER}\nb,3,tenant,acme,2025-09-01,,unblended,1\n",  # overlaps version 2
    }
    assert stocked.refused(files, replace=True).code == "E-BUDGET-OVERLAP"
    files["budgets"] = f"{BUDGET_HEADER}\nb,3,tenant,acme,2026-01-01,,unblended,1\n"
    assert stocked.load(files, replace=True).tables["tenants"].replaced


# --- what is stored already ---------------------------------------------------------------------------


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("plans", ",500", ",501", "E-LOAD-CONFLICT"),
        ("tenants", "Acme,pro", "Acme,free", "E-LOAD-CONFLICT"),
        ("tag_aliases", ",api", ",apis", "E-MAP-DUP"),
        ("account_tenants", "2025-06-01,,acme", "2025-06-01,,beta", "E-LOAD-CONFLICT"),
        ("allocation_keys", ",24", ",25", "E-LOAD-CONFLICT"),
        ("allocation_rules", "support,even,,,,ann", "support,even,,,,bob", "E-LOAD-CONFLICT"),
        ("tenant_network_usage", "12.5", "12.6", "E-LOAD-CONFLICT"),
        ("fx_rates", "1.2", "1.3", "E-LOAD-CONFLICT"),
        ("invoice_detail", "USD,issued", "USD,paid", "E-INV-CONFLICT"),
        ("aws_invoices", "-5.10", "-5.11", "E-INV-CONFLICT"),
        ("budgets", ",120", ",121", "E-LOAD-CONFLICT"),
    ],
)
def test_a_stored_row_is_never_overwritten(stocked: Desk, name: str, old: str, new: str, code: str) -> None:
    refusal = stocked.refused({name: changed(name, old, new)[name]})
    assert refusal.code == code
    assert refusal.details["table"] in (name, "tenant_usage")
    ((column, values),) = refusal.details["columns"].items()
    assert column in refusal.subject
    assert values["stored"] in refusal.expected
    assert values["given"] in refusal.found


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("name", "old", "new", "before", "after"),
    [
        ("tenants", "Acme,pro,2025-01-01,,", "Acme,free,2025-01-01,2027-01-01,",
         {"plan_id": "pro", "active_to": None}, {"plan_id": "free", "active_to": date(2027, 1, 1)}),
        ("tenants", "acme,Acme", "acme,Acme Ltd", {"name": "Acme"}, {"name": "Acme Ltd"}),
        ("tag_aliases", ",api", ",apis", {"canonical": "api"}, {"canonical": "apis"}),
        ("tag_aliases", "ACME ,acme", "ACME ,beta", {"canonical": "acme"}, {"canonical": "beta"}),
        ("account_tenants", "2025-06-01,,acme", "2025-06-01,2025-12-01,beta",
         {"effective_to": None, "tenant_id": "acme"},
         {"effective_to": date(2025, 12, 1), "tenant_id": "beta"}),
        ("tenant_network_usage", "12.5", "12.6", {"value": Decimal("12.5")}, {"value": Decimal("12.6")}),
        ("tenants", ",EUR", ",USD", {"currency": "EUR"}, {"currency": "USD"}),
        ("budgets", ",120", ",121", {"target_usd": Decimal(120)}, {"target_usd": Decimal(121)}),
    ],
)  # fmt: skip
def test_a_descriptive_column_is_replaced_on_request_and_both_values_are_reported(
    stocked: Desk, name: str, old: str, new: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    ((_, table),) = stocked.load({name: changed(name, old, new)[name]}, replace=True).tables.items()
    (replaced,) = table.replaced
    assert (replaced.old, replaced.new) == (before, after)
    assert replaced.key
    assert table.inserted == 0
    assert stocked.load({name: changed(name, old, new)[name]}).tables.popitem()[1].replaced == ()


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("plans", ",500", ",501"),
        ("allocation_keys", ",24", ",25"),
        ("allocation_rules", "support,even,,,,ann", "support,even,,,,bob"),
        ("fx_rates", "1.2", "1.3"),
        ("invoice_detail", "USD,issued", "USD,paid"),
        ("aws_invoices", "-5.10", "-5.11"),
    ],
)
def test_what_has_been_used_is_not_replaced_even_on_request(
    stocked: Desk, name: str, old: str, new: str
) -> None:
    assert stocked.refused({name: changed(name, old, new)[name]}, replace=True).code == "E-LOAD-IMMUTABLE"


def test_a_budget_version_is_replaced_until_an_evaluation_has_used_it(stocked: Desk) -> None:
    first = changed("budgets", ",100", ",101")["budgets"]
    later = changed("budgets", ",120", ",121")["budgets"]
    with stocked.admin.write() as con:
        con.execute(
            sa.insert(t.budget_history).values(
                budget_id="b", period_start=date(2025, 8, 1), refreshed_at=now(), target_usd=Decimal(100),
                actual_usd=Decimal(1), level="ok",
            )
        )  # fmt: skip
    assert stocked.refused({"budgets": first}, replace=True).code == "E-LOAD-IMMUTABLE"
    stocked.load({"budgets": later}, replace=True)


def lock(desk: Desk, month: date, state: str) -> None:
    with desk.admin.write() as con:
        force_state(con, state, Period.of(month))


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tenant_network_usage", "12.5", "12.6"),
        ("tenants", "2026-01-01", "2025-09-15"),
        ("tag_aliases", "API,api", "API,apis"),
        ("account_tenants", "2025-06-01,,acme", "2025-06-01,,beta"),
        ("account_tenants", "2025-06-01,,acme", "2025-06-01,2025-09-01,acme"),
    ],
)
def test_a_value_of_a_closed_period_is_not_replaced_and_one_of_an_open_period_is(
    stocked: Desk, name: str, old: str, new: str
) -> None:
    files = {name: changed(name, old, new)[name]}
    lock(stocked, date(2025, 9, 1), "closed")
    assert stocked.refused(files, replace=True).code == "E-PERIOD-CLOSED"
    with stocked.admin.write() as con:
        force_state(con, "provisional")
    stocked.load(files, replace=True)


def test_an_account_may_move_after_a_closed_period(stocked: Desk) -> None:
    lock(stocked, date(2025, 9, 1), "closed")
    moved = changed("account_tenants", "2025-06-01,,acme", "2025-06-01,2025-10-01,acme")["account_tenants"]
    report = stocked.load({"account_tenants": str(moved) + "000000000042,2025-10-01,,beta\n"}, replace=True)
    assert (report.tables["account_tenants"].inserted, len(report.tables["account_tenants"].replaced)) == (
        1,
        1,
    )


def test_a_refused_alias_names_both_of_its_meanings(stocked: Desk) -> None:
    stocked.load({"tag_aliases": f"{ALIAS_HEADER}\ntenant_id,AC,2025-01-01,,acme\n"})
    for begin in ("2025-01-01", "2025-06-01"):
        refusal = stocked.refused({"tag_aliases": f"{ALIAS_HEADER}\ntenant_id,AC,{begin},,beta\n"})
        assert refusal.code == "E-MAP-DUP"
        assert all(name in str(refusal) for name in ("AC", "acme", "beta")), refusal


def test_an_alias_ends_in_an_open_month_and_means_another_tenant_from_then_on(stocked: Desk) -> None:
    stocked.load({"tag_aliases": f"{ALIAS_HEADER}\ntenant_id,AC,,,acme\n"})
    lock(stocked, date(2025, 9, 1), "closed")

    def moved(day: str) -> Files:
        return {"tag_aliases": f"{ALIAS_HEADER}\ntenant_id,AC,,{day},acme\ntenant_id,AC,{day},,beta\n"}

    assert stocked.refused(moved("2025-09-30"), replace=True).code == "E-PERIOD-CLOSED"
    report = stocked.load(moved("2025-10-01"), replace=True).tables["tag_aliases"]
    (replaced,) = report.replaced
    assert (report.inserted, replaced.old, replaced.new) == (
        1, {"effective_to": None}, {"effective_to": date(2025, 10, 1)},
    )  # fmt: skip
    assert stocked.load(moved("2025-10-01")).tables["tag_aliases"].unchanged == 2


def test_a_tenant_cannot_take_the_name_of_an_alias_of_another_one(stocked: Desk) -> None:
    stocked.load({"tag_aliases": f"{ALIAS_HEADER}\ntenant_id,gamma,,,acme\ntenant_id,delta,,,delta2\n",
                  "tenants": "tenant_id,name,active_from\ndelta2,D,2025-01-01\n"})  # fmt: skip
    tenant = "tenant_id,name,active_from\n{},New,2025-01-01\n"
    refusal = stocked.refused({"tenants": tenant.format("gamma")})
    assert (refusal.code, "line 2, column tenant_id" in refusal.subject) == ("E-MAP-DUP", True)
    stocked.load({"tenants": tenant.format("epsilon")})


def test_a_tenant_that_ended_cannot_come_back_while_its_name_is_an_alias(stocked: Desk) -> None:
    stocked.load({"tag_aliases": f"{ALIAS_HEADER}\ntenant_id,beta,2026-01-01,,acme\n"})
    back = str(changed("tenants", "2026-01-01", "2026-02-01")["tenants"])
    assert stocked.refused({"tenants": back}, replace=True).code == "E-MAP-DUP"
    stocked.load({"tenants": back.replace("2026-02-01", "2025-12-01")}, replace=True)


def test_names_that_differ_in_case_are_two_names_until_the_settings_fold_case(stocked: Desk) -> None:
    tenant = write(stocked.home / "t", {"tenants": "tenant_id,name,active_from\nAcme,A,2025-01-01\n"})
    alias = write(stocked.home / "a", {"tag_aliases": f"{ALIAS_HEADER}\ntenant_id,Acme,,,beta\n"})
    alone = write(stocked.home / "o", {"tag_aliases": f"{ALIAS_HEADER}\ntenant_id,ACME,,,beta\n"})
    for folder in (tenant, alias, alone):
        with pytest.raises(CopsError, match="E-MAP-DUP") as refusal:
            load(spelled(stocked, Tags(fold_case=True)), [folder])
        assert "acme" in str(refusal.value)
    load(spelled(stocked, Tags(fold_case=False)), [tenant])


def test_two_unicode_forms_of_an_alias_are_one_name_unless_taken_as_sent(stocked: Desk) -> None:
    rows = f"{ALIAS_HEADER}\ntenant_id,\u00e4,,,acme\ntenant_id,a\u0308,,,beta\n"
    assert stocked.refused({"tag_aliases": rows}).code == "E-MAP-DUP"
    folder = write(stocked.home / "forms", {"tag_aliases": rows})
    load(spelled(stocked, Tags(unicode_form="as_sent")), [folder])


def test_a_document_in_two_files_of_one_load_is_stored_once(desk: Desk) -> None:
    paths = [write(desk.home / name, GOOD) for name in ("one", "two")]
    report = load(desk.books, paths).tables["invoice_detail"]
    assert (report.inserted, report.unchanged) == (4, 4)


def test_a_stored_rate_to_another_currency_is_not_used(stocked: Desk) -> None:
    invoice = f"{INVOICE_HEADER}\nX,acme,2025-10,1,EUR,issued,invoice,\n"
    stocked.load({"fx_rates": "base,quote,period_start,rate\nEUR,CHF,2025-10,0.9\n"})
    assert stocked.refused({"invoice_detail": invoice}).code == "E-FX"
    stocked.load({"fx_rates": "base,quote,period_start,rate\nEUR,USD,2025-10,1.1\n"})
    stocked.load({"invoice_detail": invoice})


def test_references_may_be_stored_by_an_earlier_load(stocked: Desk) -> None:
    stocked.load(
        {
            "tenants": "tenant_id,name,plan_id,active_from\ngamma,Gamma,pro,2025-09-01\n",
            "allocation_rules": f"{RULES_HEADER}\n"
            "net,3,2025-08-01,,10,,,usage_key,tenant_network_usage,,rule:even,ann\n",
            "invoice_detail": f"{INVOICE_HEADER}\nC-2,acme,2025-10,-1,EUR,issued,credit_note,I-1\n",
        }
    )
    assert ("C-2", Decimal("-1.1")) in {(row[0], row[5]) for row in dump(stocked.admin)["invoice_detail"]}


def test_a_new_rule_version_is_checked_against_the_stored_ones(stocked: Desk) -> None:
    line = "{},2025-08-01,,{},,,even,,,,ann\n"
    same_day = f"{RULES_HEADER}\nnet,3,2025-07-01,,10,,,even,,,,ann\n"
    assert stocked.refused({"allocation_rules": same_day}).code == "E-RULE-DATES"
    priority = f"{RULES_HEADER}\n" + line.format("net,3", 30)
    assert stocked.refused({"allocation_rules": priority}).code == "E-RULE-OVERLAP"
    stocked.load({"allocation_rules": f"{RULES_HEADER}\n" + line.format("net,3", 31)})


# --- order does not matter ----------------------------------------------------------------------------


@pytest.mark.long
@given(st.data())
@settings(max_examples=examples(25), deadline=None)
def test_rows_in_any_order_and_any_split_into_files_and_loads_give_the_same_tables(
    tmp_path_factory: pytest.TempPathFactory, empty_database: bytes, data: st.DataObject
) -> None:
    home = tmp_path_factory.mktemp("split")
    for name in ("whole", "split"):
        (home / f"{name}.db").write_bytes(empty_database)
    whole, split = (
        Desk(open_admin(f"sqlite:///{home / name}.db"), home / name) for name in ("whole", "split")
    )
    whole.load(GOOD)
    paths: list[Path] = []
    for name, text in GOOD.items():
        header, *lines = text.strip().split("\n")
        shuffled = data.draw(st.permutations(lines))
        cut = data.draw(st.integers(0, len(lines)))
        for part, rows in enumerate((shuffled[:cut], shuffled[cut:])):
            folder = write(home / f"part{part}", {name: "\n".join([header, *rows])})
            paths.append(folder / f"{name}.csv")
    for batch in batches(data.draw(st.permutations(paths)), data.draw(st.booleans())):
        load(split.books, batch)
    assert inputs(split.admin) == inputs(whole.admin)
    for desk in (whole, split):
        desk.admin.close()


def batches(paths: Sequence[Path], separate: bool) -> list[Sequence[Path]]:
    """All in one load; or one load for each table, in the order of references."""
    if not separate:
        return [paths]
    order = [re.sub("^tenant_usage$", "tenant_network_usage", name) for name in frames.FIELDS]
    return [[path for path in paths if path.stem == name] for name in order]


# --- what a spreadsheet saves ---------------------------------------------------------------------------


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_another_separator_is_named(tmp_path: Path, separator: str, name: str) -> None:
    """The advice was to remove the column: there was only one."""
    file = tmp_path / "plans.csv"
    file.write_text("plan_id,effective_from,markup_bps\nteam,2025-01-01,0\n".replace(",", separator))
    with pytest.raises(CopsError) as refusal:
        load_files([file])
    assert (refusal.value.code, refusal.value.found) == ("E-LOAD-COLUMN", f"columns separated by {name}")
    assert "commas" in refusal.value.next_step
    file.write_text(file.read_text().replace(separator, ","))
    assert len(load_files([file])["plans"]) == 1


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"PK\x03\x04\x14\x00", "workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "workbook"),
        (b"\x1f\x8b\x08", "gzip"),
        ("plan_id\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_what_only_has_the_name_of_a_csv_is_told_by_its_kind(
    tmp_path: Path, content: bytes, found: str
) -> None:
    file = tmp_path / "plans.csv"
    file.write_bytes(content)
    with pytest.raises(CopsError) as refusal:
        load_files([file])
    assert refusal.value.code == "E-LOAD-FILE"
    assert found in refusal.value.found
