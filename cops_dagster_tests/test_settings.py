"""Settings: where each comes from, what wins, and that a wrong one is refused by name."""

from __future__ import annotations

import os
import pwd
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
    toml.write_text('cur = "/from-file"\nactor = "from-file"\nadmin_db = "sqlite:////from-file"\n')
    monkeypatch.setenv("COPS_CUR", "/from-env")
    monkeypatch.setenv("COPS_ACTOR", "from-env")
    found = settings.load(cur="/from-argument")
    assert (found.cur, found.actor, found.admin_db) == ("/from-argument", "from-env", "sqlite:////from-file")


def test_the_environment_wins_inside_a_section_and_leaves_its_other_settings(
    toml: Path, monkeypatch: Patch
) -> None:
    toml.write_text('[recon]\nwarning_usd = "2.50"\nwarning_bps = 7\n[charge]\nbasis = "amortized"\n')
    monkeypatch.setenv("COPS_RECON__WARNING_USD", "3.75")
    found = settings.load()
    assert (found.recon.warning_usd, found.recon.warning_bps) == (Decimal("3.75"), 7)
    assert found.charge.basis == "amortized"


LAKES = {  # file, variables, argument: place, days
    "nothing": ("", {}, None, 14),
    "a text": ('lake = "s3://cops/lake"', {}, "s3://cops/lake", 14),
    "a section": ('[lake]\nplace = "s3://cops/lake"\nkeep_superseded_days = 3', {}, "s3://cops/lake", 3),
    "a section without place": ("[lake]\nkeep_superseded_days = 3", {}, None, 3),
    "the variable": ("", {"COPS_LAKE": "s3://cops/lake"}, "s3://cops/lake", 14),
    "the variable beside the section": (
        "[lake]\nkeep_superseded_days = 3", {"COPS_LAKE": "s3://cops/lake"}, "s3://cops/lake", 3,
    ),
    "the variable over the text": (
        'lake = "s3://cops/file"', {"COPS_LAKE": "s3://cops/lake"}, "s3://cops/lake", 14,
    ),
    "both variables": (
        "", {"COPS_LAKE": "s3://cops/lake", "COPS_LAKE__KEEP_SUPERSEDED_DAYS": "5"}, "s3://cops/lake", 5,
    ),
    "the inner variable beside the text": (
        'lake = "s3://cops/lake"', {"COPS_LAKE__KEEP_SUPERSEDED_DAYS": "5"}, "s3://cops/lake", 5,
    ),
    "the variable in JSON": (
        "", {"COPS_LAKE": '{"place": "s3://cops/lake", "keep_superseded_days": 5}'}, "s3://cops/lake", 5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("given", LAKES)
def test_the_lake_is_a_place_or_a_section(given: str, toml: Path, monkeypatch: Patch) -> None:
    text, variables, place, days = LAKES[given]
    toml.write_text(text)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    found = settings.load().lake
    assert (found.place, found.keep_superseded_days) == (place, days)
    argued = settings.load(lake="s3://cops/argued").lake
    assert (argued.place, argued.keep_superseded_days) == ("s3://cops/argued", days)


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
        ("./eu=x", (("", str(Path.cwd() / "eu=x")),)),
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


# --- where folders are, whoever asks ----------------------------------------------------------------------


def test_places_in_a_file_are_relative_to_the_file_wherever_one_stands(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    """`cur = "billing/cur"`, as the README writes it, was looked for in the working directory."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "cops.toml").write_text(
        'home = "h"\ncur = "billing/cur, s3://bucket/p"\nevidence = "proof"\nadmin_db = "sqlite:///x.db"\n'
    )
    monkeypatch.delenv("COPS_HOME")
    monkeypatch.setenv("COPS_CONFIG", "../a/cops.toml")
    monkeypatch.chdir(tmp_path / "b")
    found = settings.load()
    assert found.home.resolve() == tmp_path / "a" / "h"
    assert Path(found.report_roots[0]).resolve() == tmp_path / "a" / "billing" / "cur"
    assert found.report_roots[1] == "s3://bucket/p"
    assert Path(found.evidence_uri).resolve() == tmp_path / "a" / "proof"
    assert Path(found.admin_url.removeprefix("sqlite:///")).resolve() == tmp_path / "a" / "x.db"


def test_places_in_the_environment_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COPS_CUR", "x,file:y")
    monkeypatch.setenv("COPS_EVIDENCE", "proof")
    found = settings.load()
    assert found.report_roots == (str(tmp_path / "x"), str(tmp_path / "y"))
    assert found.evidence_uri == str(tmp_path / "proof")


@pytest.mark.parametrize("where", ["file", "environment"])
def test_a_tilde_is_the_users_folder_in_every_place(where: str, toml: Path, monkeypatch: Patch) -> None:
    me = toml.parent / "me"
    monkeypatch.setenv("HOME", str(me))
    given = {"home": "~/h", "cur": "~/a, file:~/b", "evidence": "file:~/p", "admin_db": "sqlite:///~/x.db"}
    if where == "file":
        monkeypatch.delenv("COPS_HOME")
        toml.write_text("".join(f'{name} = "{text}"\n' for name, text in given.items()))
    else:
        for name, text in given.items():
            monkeypatch.setenv(f"COPS_{name.upper()}", text)
    found = settings.load()
    assert (found.home, found.evidence_uri) == (me / "h", str(me / "p"))
    assert found.report_roots == (str(me / "a"), str(me / "b"))
    assert found.admin_url == f"sqlite:///{me / 'x.db'}"


def test_a_tilde_leads_to_the_settings_file(tmp_path: Path, monkeypatch: Patch) -> None:
    (tmp_path / "mine.toml").write_text('actor = "anna"\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COPS_CONFIG", "~/mine.toml")
    assert settings.load().actor_name == "anna"


def test_the_folder_of_nobody_is_refused(toml: Path) -> None:
    toml.write_text('cur = "~nosuchuser/cur"\n')
    with pytest.raises(CopsError, match="no user has the folder ~nosuchuser"):
        settings.load()


def test_an_address_is_no_folder(monkeypatch: Patch) -> None:
    monkeypatch.setenv("COPS_CUR", "https://bucket.s3.amazonaws.com/x")
    assert settings.load().report_roots == ("https://bucket.s3.amazonaws.com/x",)


# --- wrong settings in the words of the file --------------------------------------------------------------

WORDS = [  # a file, and what the refusal says: expected, found, where
    ('[tag]\ntenant_id = ["x"]', "", "no such section [tag]; did you mean [tags]?", "tag"),
    (
        '[tags]\ntenant = ["x"]',
        "",
        "no such setting tenant in [tags]; did you mean tenant_id?",
        "[tags] tenant",
    ),
    ('tenant_id = ["x"]', "", "no such setting tenant_id; it stands in [tags]", "tenant_id"),
    ('[tags]\ncur = "x"', "", "it stands at the top of the file", "[tags] cur"),
    ('hom = "x"', "", "did you mean home?", "hom"),
    (
        '[tags]\ntenant_id = "user_x"',
        'a list: tenant_id = ["user_x"]',
        'tenant_id = "user_x"',
        "[tags] tenant_id",
    ),
    ('[tags]\ntenant_id = ["user:CostCenter"]', "", "write user_cost_center", "[tags] tenant_id"),
    ('[tags]\nplan_id = ["CostCenter"]', "", "write user_cost_center", "[tags] plan_id"),
    ('[tags]\ntenant_id = ["aws:createdBy"]', "", "write aws_created_by", "[tags] tenant_id"),
    ('[tags]\ntenant_id = ["resourceTags/user:Team"]', "", "write user_team", "[tags] tenant_id"),
    ('[tags]\nfold_case = "maybe"', "true or false", "'maybe'", "[tags] fold_case"),
    ("[recon]\nwarning_bps = 0.5", "a whole number", "0.5", "[recon] warning_bps"),
    ("[recon]\nwarning_bps = true", "a whole number", "True", "[recon] warning_bps"),
    ("[recon]\nwarning_usd = 1e30", "at most 20 digits before the point", "1e+30", "[recon] warning_usd"),
    ("[recon]\nwarning_usd = 1e-19", "18 after it", "1e-19", "[recon] warning_usd"),
    ('[coverage]\nfloor_pct = "1e-999999999"', "18 after it", "1e-999999999", "[coverage] floor_pct"),
    ('[recon]\nwarning_usd = "1_000"', "a number such as 2.50", "1_000", "[recon] warning_usd"),
    ("[watch]\nevery_seconds = true", "a whole number", "True", "[watch] every_seconds"),
    ("[watch]\nevery_seconds = " + "9" * 5000, "TOML", "4300 digits", ""),
    ("[recon]\nwarning_usd = -1", "0 or more", "-1", "[recon] warning_usd"),
    ('[recon]\nwarning_usd = "one"', "a number such as 2.50", "'one'", "[recon] warning_usd"),
    ("[coverage]\ntarget_pct = 200", "100 at most", "200", "[coverage] target_pct"),
    (
        '[charge]\nbasis = "blended"',
        "one of unblended, amortized, net_amortized",
        "'blended'",
        "[charge] basis",
    ),
    ('tags = "x"', "a section: [tags]", "'x'", "tags"),
    ("actor = 3", "text in quotes: actor", "3", "actor"),
    ('lake = "lake"', "s3://bucket/prefix", "'lake'", "lake"),
    ("lake = 3", "a section: [lake]", "3", "lake"),
    ('[lake]\nplace = "/data"', "s3://bucket/prefix", "'/data'", "[lake] place"),
    ("[lake]\nkeep_superseded_days = -1", "0 or more", "-1", "[lake] keep_superseded_days"),
    ("[retention]\nkeep_superseded_days = 3", "", "it is [lake] now", "retention"),
    ("keep_superseded_days = 3", "", "it stands in [lake]", "keep_superseded_days"),
    ('memory_limit = "2GB"', "2500MiB", "'2GB'", "memory_limit"),
    ('[budgets]\naws_account_id = "123"', "12 digits", "'123'", "[budgets] aws_account_id"),
    ("a = = 1", "TOML", "line 1", ""),
    ('cur = "x"\ncur = "y"\n', "TOML", "line 2", ""),
]


@pytest.mark.parametrize(("text", "expected", "found", "place"), WORDS)
def test_a_wrong_file_is_told_in_its_own_words(
    text: str, expected: str, found: str, place: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    monkeypatch.setenv("COPS_CONFIG", str(file))
    with pytest.raises(CopsError) as refusal:
        settings.load()
    told = refusal.value
    assert told.code == "E-SETTING"
    assert expected in told.expected
    assert found in told.found
    assert told.next_step == f"correct {file}{', ' if place else ''}{place}"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("COPS_TAGS__TENANT_ID", "user_x", "COPS_TAGS__TENANT_ID='[\"user_x\"]'"),
        ("COPS_TAGS", "{tenant", "COPS_TAGS__TENANT_ID=…"),
        ("COPS_RECON__WARNING_USD", "one", "a number such as 2.50"),
        ("COPS_TAGS__TENANT", "[]", "a setting that exists"),
        ("COPS_LAKE", "lake", "s3://bucket/prefix"),
        ("COPS_LAKE", "", "s3://bucket/prefix"),
        ("COPS_LAKE__PLACE", "lake", "s3://bucket/prefix"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, expected: str, monkeypatch: Patch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(CopsError) as refusal:
        settings.load()
    assert expected in refusal.value.expected
    assert refusal.value.next_step == f"correct {variable}"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("COPS_TAG__TENANT_ID", "COPS_TAGS__TENANT_ID"), ("COPS_CHARGES__BASIS", "COPS_CHARGE__BASIS"),
        ("COPS_HOMES", "COPS_HOME"), ("COPS_ADMINDB", "COPS_ADMIN_DB"),
        ("COPS_RETENTION__KEEP_SUPERSEDED_DAYS", "COPS_LAKE__KEEP_SUPERSEDED_DAYS"),
    ],
)  # fmt: skip
def test_a_misspelt_variable_is_not_passed_over(variable: str, meant: str, monkeypatch: Patch) -> None:
    """The first run would have adopted the default in its place."""
    monkeypatch.setenv(variable, "x")
    with pytest.raises(CopsError, match=rf"did you mean {meant}\?"):
        settings.load()


@pytest.mark.parametrize(
    "variable", ["COPS_DB_PASSWORD", "COPS_LOG_BUCKET", "COPS_TEST_POSTGRES_URL", "COPS_X"]
)
def test_a_variable_of_another_program_is_its_own_affair(variable: str, monkeypatch: Patch) -> None:
    monkeypatch.setenv(variable, "x")
    assert settings.load()


def test_a_file_in_another_encoding_says_which_line(toml: Path) -> None:
    toml.write_bytes(b'cur = "x"\nactor = "J\xfcrgen"\n')
    with pytest.raises(CopsError, match=r"line 2 is in another encoding.*UTF-8"):
        settings.load()


def test_the_mark_that_an_editor_of_windows_writes_is_no_fault(toml: Path) -> None:
    toml.write_bytes(b'\xef\xbb\xbfactor = "anna"\r\n')
    assert settings.load().actor_name == "anna"


# --- secrets that nothing belongs to ------------------------------------------------------------------------


def test_a_secret_that_was_left_behind_stops_nobody(monkeypatch: Patch) -> None:
    monkeypatch.setenv("COPS_NOTIFY__RECEIVERS__ONCALL__URL", "https://hooks.example.com/canary")
    monkeypatch.setenv("COPS_NOTIFY__RECEIVERS__MAIL__PASSWORD", "canary")
    found = settings.load()
    assert found.notify.receivers == {}
    assert found.ignored_secrets == (
        "COPS_NOTIFY__RECEIVERS__MAIL__PASSWORD", "COPS_NOTIFY__RECEIVERS__ONCALL__URL",
    )  # fmt: skip


def test_a_secret_that_belongs_to_a_receiver_is_not_called_left_behind(
    toml: Path, monkeypatch: Patch
) -> None:
    toml.write_text(RECEIVERS)
    monkeypatch.setenv("COPS_NOTIFY__RECEIVERS__ONCALL__URL", "https://hooks.example.com/canary")
    assert settings.load().ignored_secrets == ()


# --- what is set -----


def test_of_the_policy_what_is_set_is_told_apart_from_what_is_not(toml: Path, monkeypatch: Patch) -> None:
    toml.write_text('[tags]\nplan_id = []\n[budgets]\naws_account_id = "111111111111"\n')
    monkeypatch.setenv("COPS_RECON__WARNING_USD", "1.00")
    monkeypatch.setenv("COPS_CHARGE", '{"basis": "amortized"}')
    assert settings.load(coverage={"floor_pct": 1}).given_policy == {
        "tags.plan_id": ((), f"{toml}, [tags] plan_id"),
        "charge.basis": ("amortized", "COPS_CHARGE"),
        "coverage.floor_pct": (Decimal(1), "an argument"),
        "recon.warning_usd": (Decimal(1), "COPS_RECON__WARNING_USD"),
    }
    assert settings.load().policy.charge.basis == "amortized"


# --- who decides -----


@pytest.mark.parametrize("given", [None, "", "  "])
def test_without_a_name_the_password_database_is_asked(given: str | None, monkeypatch: Patch) -> None:
    """In a container or under cron the actor was `unknown`, whoever it was."""
    for name in ("USER", "LOGNAME", "COPS_ACTOR"):
        monkeypatch.delenv(name, raising=False)
        if given is not None:
            monkeypatch.setenv(name, given)
    assert settings.load().actor_name == pwd.getpwuid(os.getuid()).pw_name


def test_a_user_whom_nothing_names_is_a_number(monkeypatch: Patch) -> None:
    for name in ("USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2_000_000_123)
    assert settings.load().actor_name == "uid-2000000123"


def test_blanks_around_an_actor_are_not_part_of_the_name(monkeypatch: Patch) -> None:
    monkeypatch.setenv("COPS_ACTOR", " anna ")
    assert settings.load().actor_name == "anna"


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
