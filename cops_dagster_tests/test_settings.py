"""Settings: where each comes from, what wins, and that a wrong one is refused by name."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from cops_dagster import settings
from cops_dagster.errors import CopsError

Patch = pytest.MonkeyPatch


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: Patch) -> Path:
    path = tmp_path / "cops.toml"
    path.write_text("")
    monkeypatch.setenv("COPS_CONFIG", str(path))
    return path


def test_without_settings_everything_lies_in_the_home(tmp_path: Path) -> None:
    found = settings.load()
    assert found.home == tmp_path / "cops-home"
    assert found.admin_url == f"sqlite:///{found.home / 'admin.db'}"
    assert (found.lake_root, found.deliveries_root) == (found.home / "lake", found.home / "deliveries")
    assert found.report_roots == ()
    assert found.charge.basis == "unblended"


def test_a_relative_home_is_made_absolute_and_a_tilde_is_the_users(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert settings.load(home="x").home == tmp_path / "x"
    assert settings.load(home="~/x").home == tmp_path / "me" / "x"


def test_an_argument_wins_over_the_environment_which_wins_over_the_file(
    toml: Path, monkeypatch: Patch
) -> None:
    toml.write_text('cur = "from-file"\nactor = "from-file"\nadmin_db = "sqlite:///from-file"\n')
    monkeypatch.setenv("COPS_CUR", "from-env")
    monkeypatch.setenv("COPS_ACTOR", "from-env")
    found = settings.load(cur="from-argument")
    assert (found.cur, found.actor, found.admin_db) == ("from-argument", "from-env", "sqlite:///from-file")


def test_the_environment_wins_inside_a_section_and_leaves_its_other_settings(
    toml: Path, monkeypatch: Patch
) -> None:
    toml.write_text('[recon]\nwarning_usd = "2.50"\nwarning_bps = 7\n[charge]\nbasis = "amortized"\n')
    monkeypatch.setenv("COPS_RECON__WARNING_USD", "3.75")
    found = settings.load()
    assert (found.recon.warning_usd, found.recon.warning_bps) == (Decimal("3.75"), 7)
    assert found.charge.basis == "amortized"


def test_a_nested_list_is_written_as_json_in_the_environment_and_keeps_its_order(monkeypatch: Patch) -> None:
    monkeypatch.setenv("COPS_TAGS__TENANT_ID", '["user_tenant_id", "user_customer"]')
    tags = settings.load().tags
    assert tags.tenant_id == ("user_tenant_id", "user_customer")
    assert tags.plan_id == ("user_plan_id",)


def test_cops_toml_of_the_working_folder_is_read_when_no_other_is_named(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    (tmp_path / "cops.toml").write_text('[tags]\ntenant_id = ["user_customer"]\n')
    monkeypatch.chdir(tmp_path)
    assert settings.load().tags.tenant_id == ("user_customer",)


REFUSED = """
# variable                    value                       setting in the refusal
COPS_ENGINE                   athena                      engine
COPS_MEMORY_LIMIT             lots                        memory_limit
COPS_MEMORY_LIMIT             2GB                         memory_limit
COPS_CHARGE__BASIS            blended                     charge.basis
COPS_RECON__WARNING_USD       NaN                         recon.warning_usd
COPS_RECON__WARNING_USD       one                         recon.warning_usd
COPS_RECON__WARNING_BPS       0.5                         recon.warning_bps
COPS_RECON__WARNING           1                           recon.warning
COPS_TAGS__TENANT_ID          ["User_Tenant"]             tags.tenant_id
COPS_TAGS__TENANT_ID          ["user:tenant"]             tags.tenant_id
COPS_TAGS__TENANT_ID          [""]                        tags.tenant_id
COPS_TAGS__TENANT_ID          ["x\\";DROP"]               tags.tenant_id
COPS_TAGS__TENANT_ID          user_tenant_id              tags
COPS_FIRST_PERIOD             2025-13                     first_period
COPS_FIRST_PERIOD             september                   first_period
"""


@pytest.mark.parametrize("row", [row for row in REFUSED.strip().splitlines() if not row.startswith("#")])
def test_a_wrong_value_is_refused_with_the_name_of_its_setting(row: str, monkeypatch: Patch) -> None:
    variable, value, setting = row.split()
    monkeypatch.setenv(variable, value)
    with pytest.raises(CopsError) as refusal:
        settings.load()
    assert refusal.value.code == "E-SETTING"
    assert setting in refusal.value.subject


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("COPS_ENGINE", "duckdb"),
        ("COPS_MEMORY_LIMIT", "512MiB"),
        ("COPS_MEMORY_LIMIT", "4GiB"),
        ("COPS_CHARGE__BASIS", "net_amortized"),
        ("COPS_RECON__WARNING_USD", "0.005"),
        ("COPS_TAGS__TENANT_ID", '["user_tenant_id2"]'),
        ("COPS_FIRST_PERIOD", "2025-09"),
    ],
)
def test_a_right_value_is_allowed(variable: str, value: str, monkeypatch: Patch) -> None:
    monkeypatch.setenv(variable, value)
    assert settings.load()


@pytest.mark.parametrize("text", ["a = = 1", '[tags]\ntenant_id = "user_x"', "[nosuch]\na = 1", "hom = 'x'"])
def test_a_file_that_is_no_settings_file_is_refused(toml: Path, text: str) -> None:
    toml.write_text(text)
    with pytest.raises(CopsError) as refusal:
        settings.load()
    assert refusal.value.code == "E-SETTING"


def test_a_file_in_another_encoding_is_refused(toml: Path) -> None:
    toml.write_bytes("actor = 'Jürgen'".encode("latin-1"))
    with pytest.raises(CopsError) as refusal:
        settings.load()
    assert refusal.value.code == "E-SETTING"


def test_a_settings_file_that_is_named_but_not_there_is_refused(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setenv("COPS_CONFIG", str(tmp_path / "nowhere.toml"))
    with pytest.raises(CopsError) as refusal:
        settings.load()
    assert (refusal.value.code, refusal.value.subject) == ("E-SETTING", "COPS_CONFIG")


URLS = """
postgresql://u:p@db/cops              postgresql+psycopg2://u:p@db/cops
postgresql+psycopg2://u@db/cops       postgresql+psycopg2://u@db/cops
sqlite:///x/admin.db                  sqlite:///x/admin.db
"""


@pytest.mark.parametrize("row", URLS.strip().splitlines())
def test_a_postgresql_url_gets_the_driver_that_is_installed(row: str, monkeypatch: Patch) -> None:
    given, url = row.split()
    monkeypatch.setenv("COPS_ADMIN_DB", given)
    assert settings.load().admin_url == url


@pytest.mark.parametrize(
    ("cur", "roots"),
    [
        ("/a", ("/a",)),
        ("file:/a", ("/a",)),
        ("file:///a", ("/a",)),
        (" /a , file:///b,,", ("/a", "/b")),
        ("s3://bucket/prefix", ("s3://bucket/prefix",)),
    ],
)
def test_report_roots_are_the_listed_folders_without_their_scheme(cur: str, roots: tuple[str, ...]) -> None:
    assert settings.load(cur=cur).report_roots == roots


@pytest.mark.parametrize(
    ("cur", "expected"),
    [
        ("eu=s3://bucket-a/x,us=s3://bucket-b/x", (("eu", "s3://bucket-a/x"), ("us", "s3://bucket-b/x"))),
        ("/a, other=/b", (("", "/a"), ("other", "/b"))),
        ("eu=file:///a", (("eu", "/a"),)),
        ("/reports/year=2025", (("", "/reports/year=2025"),)),
        ("s3://bucket/BILLING_PERIOD=2025-09", (("", "s3://bucket/BILLING_PERIOD=2025-09"),)),
        ("./eu=x", (("", "./eu=x"),)),
    ],
)
def test_a_report_root_may_be_given_a_name(cur: str, expected: tuple[tuple[str, str], ...]) -> None:
    loaded = settings.load(cur=cur)
    assert loaded.named_roots == expected
    assert loaded.report_roots == tuple(place for _, place in expected)


def test_without_roots_the_demo_is_read_if_it_was_made() -> None:
    found = settings.load()
    (found.home / "demo" / "cur").mkdir(parents=True)
    assert found.report_roots == (str(found.home / "demo" / "cur"),)
    assert settings.load(cur="/a").report_roots == ("/a",)


def test_the_actor_is_the_setting_else_the_user(monkeypatch: Patch) -> None:
    for name, value in (("LOGNAME", "login"), ("USER", "user"), ("COPS_ACTOR", "actor")):
        monkeypatch.setenv(name, value)
        if name == "LOGNAME":
            monkeypatch.delenv("USER", raising=False)
        assert settings.load().actor_name == value


def test_settings_are_read_once_and_cannot_be_changed(monkeypatch: Patch) -> None:
    first = settings.current()
    monkeypatch.setenv("COPS_CUR", "later")
    assert settings.current() is first
    with pytest.raises(ValueError, match="frozen"):
        first.cur = "x"
    with pytest.raises(ValueError, match="frozen"):
        first.recon.warning_bps = 1


RECEIVERS = '[notify.receivers.oncall]\nkind = "slack"\npriorities = ["P1"]\n'


def test_a_receiver_stands_in_the_file_and_its_secret_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cops.toml").write_text(RECEIVERS)
    monkeypatch.setenv("COPS_CONFIG", str(tmp_path / "cops.toml"))
    with pytest.raises(CopsError, match="needs url"):
        settings.load()
    monkeypatch.setenv("COPS_NOTIFY__RECEIVERS__ONCALL__URL", "https://hooks.example.com/canary")
    oncall = settings.load().notify.receivers["oncall"]
    assert (oncall.kind, oncall.priorities) == ("slack", ("P1",))
    assert oncall.url is not None
    assert oncall.url.get_secret_value() == "https://hooks.example.com/canary"
    assert "canary" not in repr(settings.load())


@pytest.mark.parametrize("secret", ['url = "https://hooks.example.com/canary"', 'password = "canary"'])
def test_a_secret_in_the_file_is_refused_without_being_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    (tmp_path / "cops.toml").write_text(RECEIVERS + secret + "\n")
    monkeypatch.setenv("COPS_CONFIG", str(tmp_path / "cops.toml"))
    with pytest.raises(CopsError, match="E-SETTING") as refusal:
        settings.load()
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "sns"}, {"kind": "sns", "topic_arn": "arn:aws:s3:::bucket"},
        {"kind": "smtp", "host": "h"},
        {"kind": "webhook", "url": "ftp://canary"}, {"kind": "pigeon"},
        {"kind": "console", "teams": ["nobody"]},
        {"kind": "smtp", "host": "h", "sender": "a@b\nBcc: c@d", "to": ["x@y"]},
    ],
)  # fmt: skip
def test_a_receiver_that_cannot_work_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(CopsError, match="E-SETTING") as refusal:
        settings.load(notify={"receivers": {"a": given}})
    assert "canary" not in str(refusal.value)
