"""Tags before they cost anything: every finding with its allowed twin, every file with its refused one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from cops_dagster.errors import CopsError
from cops_dagster.policy import Tags
from cops_dagster.tagging import active, files, policy
from cops_dagster.tagging.active import Snapshot, compare, verdict
from cops_dagster.tagging.files import CostTag, Resource, column_of
from cops_dagster.tagging.policy import Alias, Registry, judge
from cops_dagster_tests.deliveries import give, home

TODAY = date(2025, 9, 15)
GOOD = {"tenant_id": "acme", "plan_id": "team", "service_component": "api"}
KNOWN = Registry(
    tenants={
        "acme": (date(2025, 1, 1), None),
        "globex": (date(2025, 1, 1), date(2025, 9, 15)),
        "initech": (date(2025, 9, 16), None),
        "Straße": (date(2025, 1, 1), None),
    },
    plans=frozenset({"team", "pro"}),
    aliases={
        ("tenant_id", "ACME-Corp"): [Alias("acme", date(1970, 1, 1), None)],
        ("tenant_id", "old"): [
            Alias("globex", date(2025, 1, 1), date(2025, 9, 1)), Alias("acme", date(2025, 9, 1), None),
        ],
        ("tenant_id", "past"): [Alias("acme", date(2025, 1, 1), date(2025, 9, 15))],
        ("plan_id", "t"): [Alias("team", date(1970, 1, 1), None)],
        ("service_component", "API"): [Alias("api", date(1970, 1, 1), None)],
    },
)  # fmt: skip


def found(
    tags: Mapping[str, str], known: Registry | None = KNOWN, mapping: Tags | None = None, **more: Any
) -> list[str]:
    """`finding key`, a warning with `?`."""
    findings = judge([Resource("r", dict(tags), **more)], mapping or Tags(), known, today=TODAY)
    assert all(one.resource == "r" and one.next_step for one in findings)
    return [f"{one.finding}{'?' * (one.severity == 'warning')} {one.key}" for one in findings]


def without(key: str, **more: str) -> dict[str, str]:
    return {name: value for name, value in GOOD.items() if name != key} | more


# --- findings -----------------------------------------------------------------------------------------


def test_a_resource_with_every_tag_has_no_finding() -> None:
    assert found(GOOD) == found(GOOD, None) == found({**GOOD, "Name": " anything "}) == []


@pytest.mark.parametrize(
    ("tags", "findings"),
    [
        (without("tenant_id"), ["key-missing tenant_id"]),
        ({}, ["key-missing tenant_id", "key-missing plan_id", "key-missing service_component"]),
        (without("plan_id", plan_id=" "), ["value-blank plan_id"]),
        (without("plan_id", plan_id=""), ["value-blank plan_id"]),
        (without("tenant_id", TenantId="acme"), ["key-spelling TenantId"]),
        (without("tenant_id", **{"tenant id": "acme"}), ["key-spelling tenant id"]),
        (without("tenant_id", tenantID="acme"), ["key-missing tenant_id"]),  # another column in AWS
        ({**GOOD, "Tenant-Id": "acme"}, ["key-clash tenant_id, Tenant-Id"]),
        ({**GOOD, "tenantID": "acme"}, []),
        (without("tenant_id", tenant_id="x" * 257), ["value-too-long tenant_id"]),
        (without("service_component", service_component="x" * 256), []),
        (without("tenant_id", tenant_id="__operator__"), ["reserved tenant_id"]),
        (without("tenant_id", tenant_id=" __Unallocated__"), ["reserved tenant_id"]),
        (without("service_component", service_component="__operator__"), []),
        (without("tenant_id", tenant_id="acmee"), ["tenant-unknown tenant_id"]),
        (without("tenant_id", tenant_id="globex"), ["tenant-inactive tenant_id"]),
        (without("tenant_id", tenant_id="initech"), ["tenant-inactive tenant_id"]),
        (without("tenant_id", tenant_id="Initech"),
         ["value-spelling tenant_id", "tenant-inactive tenant_id"]),
        (without("tenant_id", tenant_id="ACME-Corp"), ["alias? tenant_id"]),
        (without("tenant_id", tenant_id="old"), ["alias? tenant_id"]),
        (without("tenant_id", tenant_id="past"), ["tenant-unknown tenant_id"]),
        (without("tenant_id", tenant_id="Acme"), ["value-spelling tenant_id"]),
        (without("tenant_id", tenant_id="acme "), ["value-spelling tenant_id"]),
        (without("tenant_id", tenant_id="ac\u200bme"), ["value-spelling tenant_id"]),
        (without("tenant_id", tenant_id="ａｃｍｅ"), ["value-spelling tenant_id"]),
        (without("tenant_id", tenant_id="strasse"), ["value-spelling tenant_id"]),
        (without("tenant_id", tenant_id="Straße"), []),
        (without("plan_id", plan_id="gold"), ["plan-unknown plan_id"]),
        (without("plan_id", plan_id="t"), ["alias? plan_id"]),
        (without("plan_id", plan_id="Team"), ["value-spelling plan_id"]),
        (without("service_component", service_component="API"), ["alias? service_component"]),
        (without("service_component", service_component="Api"), ["value-spelling service_component"]),
        (without("service_component", service_component="a\u0308"), ["value-form service_component"]),
        (without("service_component", service_component="\u00e4"), []),
        (without("service_component", service_component="a\nb"), ["value-form service_component"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_tag_is_said(tags: dict[str, str], findings: list[str]) -> None:
    assert found(tags) == findings


@pytest.mark.parametrize(
    ("value", "findings"),
    [
        ("anyone", []),
        ("Acme", []),
        (" acme", ["value-form tenant_id"]),
        ("acme\x1b[2J", ["value-form tenant_id"]),
        ("", ["value-blank tenant_id"]),
        ("__operator__", ["reserved tenant_id"]),
    ],
)
def test_without_a_registry_presence_and_form_are_judged(value: str, findings: list[str]) -> None:
    assert found(without("tenant_id", tenant_id=value), None) == findings


def test_a_finding_names_what_was_meant() -> None:
    (unknown,) = judge([Resource("r", without("tenant_id", tenant_id="acmee"))], Tags(), KNOWN, today=TODAY)
    assert "acme" in unknown.next_step
    (past,) = judge([Resource("r", without("tenant_id", tenant_id="past"))], Tags(), KNOWN, today=TODAY)
    assert "acme" in past.next_step
    (alias,) = judge([Resource("r", without("tenant_id", tenant_id="old"))], Tags(), KNOWN, today=TODAY)
    assert "acme" in alias.next_step
    (missing,) = judge([Resource("r", without("tenant_id", tenantID="acme"))], Tags(), None, today=TODAY)
    assert "tenantID" in missing.next_step


def test_the_first_key_that_is_not_empty_wins_and_one_of_them_is_enough() -> None:
    mapping = Tags(tenant_id=("user_customer", "user_tenant_id"), plan_id=())
    assert found({"tenant_id": "acme", "service_component": "x"}, mapping=mapping) == []
    assert found({"customer": " ", "tenant_id": "acme", "service_component": "x"}, mapping=mapping) == []
    assert found({"customer": "nobody", "tenant_id": "acme", "service_component": "x"}, mapping=mapping) == [
        "tenant-unknown customer"
    ]
    assert found({"service_component": "x"}, mapping=mapping) == ["key-missing customer or tenant_id"]


def test_a_key_that_only_aws_can_set_is_not_asked_for() -> None:
    mapping = Tags(tenant_id=("aws_created_by",), plan_id=(), service_component=())
    assert found({}, mapping=mapping) == []


def test_columns_that_no_resource_tag_fills_are_not_asked_for() -> None:
    mapping = Tags(tenant_id=("account_tag_tenant",), plan_id=("resource_tags_user_plan_id",))
    assert found({"service_component": "x"}, mapping=mapping) == ["key-missing plan_id"]
    assert active.mapped_columns(mapping).keys() == {"user_plan_id", "user_service_component"}


def test_where_case_is_folded_another_case_is_a_warning() -> None:
    mapping = Tags(fold_case=True)
    assert found(without("tenant_id", tenant_id="Acme"), mapping=mapping) == ["value-spelling? tenant_id"]
    assert found(without("tenant_id", tenant_id="ac me"), mapping=mapping) == ["value-spelling tenant_id"]
    assert found(without("tenant_id", tenant_id="acme-corp"), mapping=mapping) == ["alias? tenant_id"]
    assert found(without("tenant_id", tenant_id="acme-corp")) == ["tenant-unknown tenant_id"]


def test_a_value_that_terraform_does_not_know_yet_is_a_warning_and_one_it_knows_is_judged() -> None:
    late = frozenset({"tenant_id"})
    assert found(without("tenant_id"), unknown=late) == ["value-unknown-yet? tenant_id"]
    assert found(without("plan_id"), unknown=late) == ["key-missing plan_id"]
    assert found(without("tenant_id", tenant_id="x"), unknown=late) == ["tenant-unknown tenant_id"]
    assert len(found({}, unknown=frozenset({"*"}))) == 3


def test_the_spelling_that_is_active_in_the_payer_is_the_one_to_write() -> None:
    known = Registry(spellings={"user_tenant_id": "TenantId"})
    assert found(without("tenant_id", TenantId="x"), known) == []
    assert found(GOOD, known) == ["key-spelling tenant_id"]


def test_the_registry_is_that_of_the_home(tmp_path: Path) -> None:
    books = home(tmp_path)
    give(
        books, tmp_path,
        tag_aliases="tag_name,alias,effective_from,effective_to,canonical\n"
        "tenant_id,AC,2025-01-01,2025-09-01,acme\ntenant_id,AC,2025-09-01,,globex\n",
    )  # fmt: skip
    active.record(books, [CostTag("TenantId", "UserDefined", "Active"),
                               CostTag("plan_id", "UserDefined", "Inactive")])  # fmt: skip
    with books.admin.read() as con:
        known = policy.registry(con)
    assert set(known.tenants) == {"acme", "globex"}
    assert known.plans == {"team"}
    assert [alias.canonical for alias in known.aliases["tenant_id", "AC"]] == ["acme", "globex"]
    assert known.spellings == {"user_tenant_id": "TenantId"}


# --- files --------------------------------------------------------------------------------------------


def change(after: Any, unknown: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "address": "aws_instance.web", "type": "aws_instance", "mode": "managed",
        "change": {"actions": ["create"], "after": after, "after_unknown": unknown or {}}, **more,
    }  # fmt: skip


def plan(*changes: Any, **more: Any) -> str:
    return json.dumps({"format_version": "1.2", "resource_changes": list(changes), **more})


def read(tmp_path: Path, content: str | bytes) -> list[Resource]:
    path = tmp_path / "file"
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return files.resources(path)


@pytest.mark.parametrize(
    ("content", "resources"),
    [
        (plan(change({"tags": {"a": "1"}})), [Resource("aws_instance.web", {"a": "1"})]),
        # what the provider adds by default is on the resource as well
        (plan(change({"tags": {"a": "1"}, "tags_all": {"a": "1", "b": "2"}})),
         [Resource("aws_instance.web", {"a": "1", "b": "2"})]),
        (plan(change({"tags": None}, {"tags_all": True})), [Resource("aws_instance.web", {})]),
        (plan(change({"tags": {}}, {"tags": {"a": True}})),
         [Resource("aws_instance.web", {}, frozenset({"a"}))]),
        (plan(change({}, {"tags": True})), [Resource("aws_instance.web", {}, frozenset({"*"}))]),
        (plan(change({"tag": [{"key": "a", "value": "1", "propagate_at_launch": True}]})),
         [Resource("aws_instance.web", {"a": "1"})]),
        (plan(change({"tags": [{"key": "a", "value": "1"}]}, type="awscc_s3_bucket")),
         [Resource("aws_instance.web", {"a": "1"})]),
        (plan(change({"tags": {"a": None}})), [Resource("aws_instance.web", {})]),
        # deleted, without tags, only read, another cloud's
        (plan(change(None), change({"name": "x"}), change({"tags": {}}, mode="data"),
              change({"tags": ["x"]}, type="google_compute_instance")), []),
        ('{"planned_values": {}}', []),
        ('[{"resource": "r", "tags": {"a": "1", "b": null}}]', [Resource("r", {"a": "1"})]),
        ("[]", []),
        ('{"ResourceTagMappingList": [{"ResourceARN": "arn:x", "Tags": [{"Key": "a", "Value": "1"}]},'
         ' {"ResourceARN": "arn:y", "Tags": []}], "PaginationToken": ""}',
         [Resource("arn:x", {"a": "1"}), Resource("arn:y", {})]),
        ('[{"resource": "r", "tags": {"a": 1.50}}]', [Resource("r", {"a": "1.50"})]),  # as Terraform does
        ("\ufeffresource,a\nr,1\n\ns,\n", [Resource("r", {"a": "1"}), Resource("s", {"a": ""})]),
        # two columns for one key: each resource has the one that is filled
        ("a_b,resource,AB,aB\n1,r,,\n,s,2,3\n", [Resource("r", {"a_b": "1"}),
                                                   Resource("s", {"AB": "2", "aB": "3"})]),
        ('[{"resource": "\\ud800", "tags": {}}]', [Resource("\\ud800", {})]),
    ],
)  # fmt: skip
def test_each_shape_gives_its_resources(tmp_path: Path, content: str, resources: list[Resource]) -> None:
    assert read(tmp_path, content) == resources


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[1]", "{}", "[" * 300 + "]" * 300, "[" * 1_000_000, '["' + '\\"' * 500_000,
        b'[{"resource": "\xff"}]', '{"values": {}}', '[{"resource": "r"}]',
        '[{"resource": true, "tags": {}}]',
        '[{"resource": "r", "tags": {"a": true}}]', '[{"resource": "r", "tags": {"a": "1", "a": "2"}}]',
        '[{"resource": "r", "tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}]',
        '{"ResourceTagMappingList": [{"Tags": []}]}', '{"ResourceTagMappingList": 1}',
        '{"ResourceTagMappingList": [], "PaginationToken": "more"}',
        plan(change({"tags": {}}), errored=True), plan(1), plan({"type": "aws_x"}),
        plan(change({"tags": "a=1"})),
        "a,b\n1,2\n", "resource,a,a\nr,1,2\n", "resource,a\nr\n", "resource,a\n,1\n", 'resource,a\nr,"1\n',
    ],
    ids=range(26),
)  # fmt: skip
def test_a_file_of_another_shape_is_refused(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(CopsError) as refusal:
        read(tmp_path, content)
    assert refusal.value.code == "E-TAGS-FILE"
    assert all((refusal.value.expected, refusal.value.found, refusal.value.next_step))
    assert len(str(refusal.value)) < 2000


def test_a_file_that_is_too_big_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FILE_BYTES_MAX", 3)
    assert read(tmp_path, "[ ]") == []
    with pytest.raises(CopsError, match="E-TAGS-FILE"):
        read(tmp_path, "[  ]")


@pytest.mark.parametrize("name", ["nothing", "."])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CopsError, match="E-TAGS-FILE"):
        files.resources(tmp_path / name)


# --- active cost allocation tags ------------------------------------------------------------------------


def user(key: str, status: str = "Active") -> CostTag:
    return CostTag(key, "UserDefined", status)


ALL = [user(key) for key in GOOD]


@pytest.mark.parametrize(
    ("key", "column"),
    [
        ("tenant_id", "user_tenant_id"), ("TenantId", "user_tenant_id"), ("Tenant-Id", "user_tenant_id"),
        ("tenant id", "user_tenant_id"), ("tenantID", "user_tenant_i_d"), ("aws:createdBy", "aws_created_by"),
        ("user:tenant_id", "user_user_tenant_id"), ("_" * 100_000, "user"),
    ],
)  # fmt: skip
def test_a_key_has_the_column_that_aws_gives_it(key: str, column: str) -> None:
    assert column_of(key) == column


def test_every_mapped_tag_that_is_active_once_is_good() -> None:
    assert {one.finding for one in compare(ALL, Tags())} == {"active"}
    assert verdict(Snapshot(tuple(ALL), datetime(2025, 9, 1)), Tags()).passed is True


def test_a_mapped_tag_that_is_not_active_is_a_finding_that_says_what_to_do() -> None:
    tags = [user("tenant_id", "Inactive"), *ALL[1:]]
    first, *rest = compare(tags, Tags())
    assert (first.finding, first.severity, first.column) == ("not-active", "error", "user_tenant_id")
    assert all(
        words in first.next_step for words in ("activate tenant_id", "24 hours", "backfill", "12 months")
    )
    assert {one.finding for one in rest} == {"active"}
    (never, *_) = compare(ALL[1:], Tags())
    assert never.next_step.startswith("no resource had tenant_id yet")
    other = compare([user("TenantID"), *ALL[1:]], Tags())[0]
    assert "did you mean user_tenant_i_d" in other.next_step


def test_two_active_spellings_of_a_mapped_tag_clash_and_of_another_one_are_a_warning() -> None:
    clash = compare([*ALL, user("TenantId")], Tags())[0]
    assert (clash.finding, clash.severity, clash.keys) == ("E-TAG-CLASH", "error", ("TenantId", "tenant_id"))
    other = compare([*ALL, user("team"), user("Team")], Tags())[0]
    assert (other.finding, other.severity, other.mapped_to) == ("E-TAG-CLASH", "warning", ())
    assert {one.finding for one in compare([*ALL, user("TenantId", "Inactive")], Tags())} == {"active"}


def test_the_verdict_warns_names_the_columns_and_says_nothing_without_a_list() -> None:
    assert verdict(None, Tags()).passed is None
    at = datetime(2025, 9, 1)
    missing = verdict(Snapshot(tuple(ALL[1:]), at), Tags())
    assert (missing.check, missing.passed, missing.severity) == ("mapped_tags_are_active", False, "WARN")
    assert missing.figures["not_active"] == "user_tenant_id"
    clash = verdict(Snapshot((*ALL, user("TenantId")), at), Tags())
    assert (clash.passed, clash.figures["merged_by_aws"]) == (False, "user_tenant_id")
    assert verdict(Snapshot((*ALL, user("a"), user("A")), at), Tags()).passed is True
    assert not missing.refuses


def test_a_snapshot_replaces_the_one_before_it(tmp_path: Path) -> None:
    books = home(tmp_path, inputs=None)
    with books.admin.read() as con:
        assert active.recorded(con) is None
    active.record(books, [user("gone"), user("tenant_id", "Inactive")])
    kept = CostTag("tenant_id", "UserDefined", "Active", "2025-09-01T00:00:00Z", "2025-08-01T00:00:00Z")
    active.record(books, [kept, CostTag("aws:createdBy", "AWSGenerated", "Inactive")])
    with books.admin.read() as con:
        snapshot = active.recorded(con)
    assert snapshot is not None
    assert snapshot.tags == (CostTag("aws:createdBy", "AWSGenerated", "Inactive"), kept)


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        ('{"CostAllocationTags": [{"TagKey": "a", "Type": "UserDefined", "Status": "Active"}]}', False),
        ('{"CostAllocationTags": []}', False),
        ('{"CostAllocationTags": [], "NextToken": "x"}', True),
        ('{"CostAllocationTags": [{"TagKey": "a", "Type": "UserDefined"}]}', True),
        ('{"CostAllocationTags": [{"TagKey": "a", "Type": "Mine", "Status": "Active"}]}', True),
        ('{"CostAllocationTags": {}}', True),
        ("[]", True),
        ("resource,a\n", True),
    ],
)
def test_a_list_of_cost_allocation_tags_is_read_whole_or_refused(
    tmp_path: Path, content: str, refused: bool
) -> None:
    path = tmp_path / "tags.json"
    path.write_text(content)
    if refused:
        with pytest.raises(CopsError, match="E-TAGS-FILE"):
            files.cost_tags(path)
    else:
        assert len(files.cost_tags(path)) == content.count("TagKey")
