"""`cops tags`: exit codes, tables that data cannot play with, homes left alone, and AWS over real HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.cli.main import app
from cops_dagster.errors import CopsError
from cops_dagster.evidence.home import existing_books
from cops_dagster.tagging import active
from cops_dagster_tests.aws_server import SECRET, TOKEN, Aws, aws, failure
from cops_dagster_tests.cli.started import cops, refusal
from cops_dagster_tests.deliveries import give, home

__all__ = ["aws"]  # the fixture
GOOD = {"tenant_id": "acme", "plan_id": "team", "service_component": "api"}


def tags(*arguments: str) -> Result:
    settings.current.cache_clear()
    return CliRunner().invoke(app, ["tags", *arguments], catch_exceptions=False)


def resources(folder: Path, *given: dict[str, str]) -> str:
    path = folder / "resources.json"
    entries = [{"resource": f"r{number}", "tags": one} for number, one in enumerate(given)]
    path.write_text(json.dumps(entries))
    return str(path)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a home, and no setting that names one."""
    monkeypatch.delenv("COPS_HOME")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    books = home(tmp_path)
    give(books, tmp_path, tag_aliases="tag_name,alias,canonical\ntenant_id,ACME-Corp,acme\n")
    books.admin.close()
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    return tmp_path


# --- validate -------------------------------------------------------------------------------------------


def test_clean_tags_end_with_zero_and_a_finding_with_one(registered: Path) -> None:
    assert tags("validate", resources(registered, GOOD)).exit_code == 0
    done = tags("validate", resources(registered, GOOD, GOOD | {"tenant_id": "acmee"}))
    assert done.exit_code == 1
    assert all(words in done.stdout for words in ("tenant-unknown", "r1", "acmee", "did you mean acme?"))
    assert "r0" not in done.stdout


def test_a_warning_fails_only_when_strict(registered: Path) -> None:
    file = resources(registered, GOOD | {"tenant_id": "ACME-Corp"})
    done = tags("validate", file, "--json")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["errors"], said["warnings"], said["has_registry"]) == (0, 0, 1, True)
    assert tags("validate", file, "--strict").exit_code == 1
    assert tags("validate", resources(registered, GOOD), "--strict").exit_code == 0


def test_json_holds_every_finding(registered: Path) -> None:
    done = tags("validate", resources(registered, {"TenantId": "acme"}), "--json")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["resources"], said["errors"]) == (1, 1, 3)
    assert [one["finding"] for one in said["findings"]] == ["key-spelling", "key-missing", "key-missing"]
    assert said["findings"][0] | {"next_step": ""} == {
        "resource": "r0", "finding": "key-spelling", "severity": "error", "key": "TenantId",
        "value": "acme", "next_step": "",
    }  # fmt: skip


def test_without_a_home_form_is_judged_and_no_home_is_made(nowhere: Path) -> None:
    assert tags("validate", resources(nowhere, GOOD | {"tenant_id": "anyone"})).exit_code == 0
    done = tags("validate", resources(nowhere, {}), "--json")
    assert (done.exit_code, json.loads(done.stdout)["has_registry"]) == (1, False)
    assert sorted(path.name for path in nowhere.iterdir()) == ["resources.json"]


def test_a_home_that_is_named_and_not_there_is_not_made_either(nowhere: Path) -> None:
    for url in ("", f"sqlite:///{nowhere}/other.db"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COPS_HOME", str(nowhere / "home"))
            if url:
                patch.setenv("COPS_ADMIN_DB", url)
            assert tags("validate", resources(nowhere, GOOD)).exit_code == 0
    assert sorted(path.name for path in nowhere.iterdir()) == ["resources.json"]


def test_a_url_that_is_none_is_refused_by_its_code(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPS_ADMIN_DB", "nonsense")
    with pytest.raises(CopsError, match="E-DB-URL"):
        tags("validate", resources(nowhere, GOOD))


def test_text_of_the_file_cannot_play_with_the_terminal(nowhere: Path) -> None:
    path = nowhere / "x.json"
    name = "\x1b[2J[bold]r[/bold]\n::error::"
    path.write_text(json.dumps([{"resource": name, "tags": {**GOOD, "tenant_id": "\u202eacme\r"}}]))
    done = tags("validate", str(path))
    assert done.exit_code == 1
    assert not set("\x1b\r\u202e") & set(done.output)
    assert "[bold]r[/bold]" in done.stdout
    assert not any(line.startswith("::") for line in done.output.splitlines())


@pytest.mark.long
def test_a_bad_file_ends_with_two_and_its_code(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\xff")
    for name in ("bad.json", "nowhere.json"):
        assert refusal(cops(tmp_path, "tags", "validate", str(tmp_path / name)))["code"] == "E-TAGS-FILE"
        assert refusal(cops(tmp_path, "tags", "active", str(tmp_path / name)))["code"] == "E-TAGS-FILE"
    assert not (tmp_path / "home").exists()


# --- active, from a file --------------------------------------------------------------------------------


def entry(key: str, status: str = "Active", kind: str = "UserDefined") -> dict[str, str]:
    return {"TagKey": key, "Type": kind, "Status": status, "LastUpdatedDate": "2025-09-01T00:00:00Z"}


def listing(folder: Path, *entries: dict[str, str]) -> str:
    path = folder / "tags.json"
    path.write_text(json.dumps({"CostAllocationTags": entries}))
    return str(path)


ALL = [entry(key) for key in GOOD]


def kept() -> set[tuple[str, str]] | None:
    settings.current.cache_clear()
    books = existing_books(settings.current())
    if books is None:
        return None
    with books.admin.read() as con:
        snapshot = active.recorded(con)
    books.admin.close()
    return {(tag.key, tag.status) for tag in snapshot.tags} if snapshot else None


def test_active_tags_end_with_zero_and_are_kept(registered: Path) -> None:
    done = tags("active", listing(registered, *ALL))
    assert (done.exit_code, kept()) == (0, {(key, "Active") for key in GOOD})


def test_an_inactive_tag_ends_with_one_and_says_what_to_do(registered: Path) -> None:
    done = tags("active", listing(registered, entry("tenant_id", "Inactive"), *ALL[1:]), "--json")
    assert done.exit_code == 1
    first = json.loads(done.stdout)["findings"][0]
    assert (first["finding"], first["column"]) == ("not-active", "user_tenant_id")
    assert ("tenant_id", "Inactive") in (kept() or set())


def test_two_spellings_end_with_one_and_the_code_of_a_clash(registered: Path) -> None:
    done = tags("active", listing(registered, *ALL, entry("TenantId")))
    assert done.exit_code == 1
    assert all(words in done.stdout for words in ("E-TAG-CLASH", "TenantId, tenant_id"))
    assert tags("active", listing(registered, *ALL, entry("TenantId", "Inactive"))).exit_code == 0


def test_without_a_home_the_list_is_compared_and_not_kept(nowhere: Path) -> None:
    done = tags("active", listing(nowhere, *ALL), "--json")
    assert (done.exit_code, json.loads(done.stdout)["is_kept"]) == (0, False)
    assert sorted(path.name for path in nowhere.iterdir()) == ["tags.json"]


def test_a_home_that_is_named_and_not_there_is_not_made_to_keep_the_list(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPS_HOME", str(nowhere / "new"))
    assert tags("active", listing(nowhere, *ALL)).exit_code == 0
    assert not (nowhere / "new").exists()


# --- active, from AWS -----------------------------------------------------------------------------------


def page(*entries: dict[str, str], following: str = "") -> tuple[int, dict[str, Any]]:
    return 200, {"CostAllocationTags": list(entries), **({"NextToken": following} if following else {})}


def refused(code: str) -> CopsError:
    with pytest.raises(CopsError) as given:
        tags("active")
    assert given.value.code == code, given.value
    shown = json.dumps(given.value.as_dict())
    assert not any(secret in shown for secret in (SECRET, TOKEN, "AKIDEXAMPLE"))
    return given.value


def test_every_page_is_read_and_kept(registered: Path, aws: Aws) -> None:
    aws.answers = [
        page(*ALL[:2], following="more"),
        page(*ALL[2:], entry("aws:createdBy", kind="AWSGenerated")),
    ]
    done = tags("active", "--json")
    assert (done.exit_code, json.loads(done.stdout)["listed"]) == (0, 4)
    assert aws.targets == {"AWSInsightsIndexService.ListCostAllocationTags"}
    assert [asked.get("NextToken") for asked in aws.asked] == [None, "more"]
    assert kept() == {(key, "Active") for key in (*GOOD, "aws:createdBy")}


def test_a_clash_over_two_pages_is_found(registered: Path, aws: Aws) -> None:
    aws.answers = [page(*ALL, following="more"), page(entry("TenantId"))]
    done = tags("active")
    assert (done.exit_code, "E-TAG-CLASH" in done.stdout) == (1, True)


@pytest.mark.parametrize("code", ["ThrottlingException", "LimitExceededException"])
def test_throttling_is_waited_out(registered: Path, aws: Aws, code: str) -> None:
    aws.answers = [(400, failure(code)), page(*ALL)]
    assert tags("active").exit_code == 0
    assert len(aws.asked) == 2


def test_throttling_without_end_is_refused_and_the_list_kept_before_stays(registered: Path, aws: Aws) -> None:
    aws.answers = [page(*ALL)]
    assert tags("active").exit_code == 0
    aws.answers = [page(entry("other"), following="more"), (400, failure("ThrottlingException"))]
    refused("E-AWS-THROTTLED")
    assert kept() == {(key, "Active") for key in GOOD}


@pytest.mark.long
@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException",
             "ExpiredTokenException"],
)  # fmt: skip
def test_a_denied_call_is_refused_without_the_words_of_aws(registered: Path, aws: Aws, code: str) -> None:
    aws.answers = [(400, failure(code))]
    assert code in refused("E-AWS-DENIED").found


def test_no_credentials_are_a_denied_call(
    registered: Path, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    refused("E-AWS-DENIED")
    assert aws.asked == []


@pytest.mark.long
@pytest.mark.parametrize(
    "answer",
    [
        (500, failure("InternalFailure")),
        (400, failure("ValidationException")),
        (200, {"CostAllocationTags": [{"TagKey": "a"}]}),
        page(*ALL, following="the same for ever"),
    ],
    ids=["5xx", "invalid", "no status", "endless"],
)
def test_an_answer_that_cannot_be_used_is_refused(
    registered: Path, aws: Aws, answer: tuple[int, dict[str, Any]]
) -> None:
    aws.answers = [answer]
    refused("E-AWS-UNREACHABLE")
    assert kept() is None


@pytest.mark.parametrize("url", ["http://user:{}@127.0.0.1:1", "no url {}"])
def test_no_answer_at_all_is_refused_without_the_password_of_the_endpoint(
    registered: Path, aws: Aws, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url.format(SECRET))
    refused("E-AWS-UNREACHABLE")
