"""Every setting, typed, in one object. From `COPS_*`, else `cops.toml` (path in `COPS_CONFIG`).

Belongs here: names, defaults and validation of settings. This is the only module that reads the
environment. Nested settings are written `COPS_TAGS__TENANT_ID='["user_tenant_id"]'`.
"""

from __future__ import annotations

import os
import re
import tomllib
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from cops_dagster.errors import CopsError
from cops_dagster.period import Period

_ROOT_NAME = re.compile(r"(?:(?P<name>[A-Za-z0-9][A-Za-z0-9_-]*)=)?(?P<place>.+)", re.DOTALL)

ChargeBasis = Literal["unblended", "amortized", "net_amortized"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tags(_Section):
    """Which tags name the tenant, plan and component, and how their values are spelled.

    The first non-empty wins. `user_tenant_id` is the key `tenant_id` on the resource, else on the account,
    else as a cost category; a full column name (`account_tag_team`) is that column alone. Values are trimmed,
    brought to `unicode_form` and, with `fold_case`, compared without case.
    """

    tenant_id: tuple[str, ...] = ("user_tenant_id",)
    plan_id: tuple[str, ...] = ("user_plan_id",)
    service_component: tuple[str, ...] = ("user_service_component",)
    fold_case: bool = False
    unicode_form: Literal["NFC", "as_sent"] = "NFC"
    inherit: bool = True

    @field_validator("tenant_id", "plan_id", "service_component")
    @classmethod
    def _column_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not name.isascii() or not name.replace("_", "a").isalnum() or name != name.lower():
                raise ValueError(f"{name!r} is not a tag column such as user_tenant_id")
        return names


class Delivery(_Section):
    """How far a new delivery of a month may differ before a person must approve it."""

    shrink_pct: Decimal = Decimal(20)
    growth_pct: Decimal = Decimal(75)
    least_usd: Decimal = Decimal(1)


class Charge(_Section):
    """What tenants are charged on (design rule 5.1)."""

    basis: ChargeBasis = "unblended"


class Coverage(_Section):
    """Coverage targets in percent, and the services that cannot carry a tag."""

    target_pct: Decimal = Decimal(100)
    floor_pct: Decimal = Decimal(98)
    untaggable: tuple[str, ...] = ()


class Recon(_Section):
    """Tolerance per tenant = max(absolute, basis points of expected, half a cent per line)."""

    warning_usd: Decimal = Decimal("1.00")
    warning_bps: int = 50
    failure_usd: Decimal = Decimal("10.00")
    failure_bps: int = 200


class Budgets(_Section):
    """Budget levels, percent of target; and the account whose AWS Budgets are read beside, if any."""

    warning_pct: Decimal = Decimal(80)
    critical_pct: Decimal = Decimal(95)
    aws_account_id: str | None = Field(None, pattern=r"^\d{12}$")


class Controls(_Section):
    """What is looked at beyond the books: Glue's crawler and its table `database.table`, if there are."""

    crawler: str | None = None
    catalog_table: str | None = Field(None, pattern=r"^[\w-]+\.[\w-]+$")
    delivery_lag_hours: int = Field(48, ge=1)


class Watch(_Section):
    """How often the report roots are looked at for new deliveries."""

    every_seconds: int = Field(300, ge=1)


class Receiver(_Section):
    """One place that alerts go to. What it needs depends on its kind; secrets come from the environment.

    `priorities` and `teams` choose what it gets (no team: of every team), `scopes` are patterns on
    `rule/scope/period` such as `budget_level/tenant-*/*`.
    """

    kind: Literal["sns", "smtp", "slack", "webhook", "console"]
    priorities: tuple[Literal["P1", "P2", "P3", "P4"], ...] = ("P1", "P2", "P3")
    teams: tuple[Literal["finance", "platform", "billing-ops", "data-engineering"], ...] = ()
    scopes: tuple[str, ...] = ()
    topic_arn: str | None = Field(None, pattern=r"^arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[\w-]+(\.fifo)?$")
    url: SecretStr | None = None
    host: str | None = None
    port: int = Field(25, ge=1, le=65535)
    tls: Literal["none", "starttls", "tls"] = "starttls"
    username: str | None = None
    password: SecretStr | None = None
    sender: str | None = None
    to: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Receiver:
        needed = {
            "sns": ("topic_arn",), "smtp": ("host", "sender", "to"), "slack": ("url",), "webhook": ("url",),
        }.get(self.kind, ())  # fmt: skip
        missing = [name for name in needed if not getattr(self, name)]
        if missing:
            raise ValueError(f"a receiver of kind {self.kind} needs {', '.join(missing)}")
        if self.url and urlsplit(self.url.get_secret_value()).scheme not in ("http", "https"):
            raise ValueError("url is no http or https address")
        if any(set("\r\n") & set(text) for text in (self.sender or "", *self.to)):
            raise ValueError("an address is one line")
        return self


class Notify(_Section):
    """Who is told of alerts: receivers by name."""

    receivers: dict[str, Receiver] = {}


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="COPS_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    home: Path = Path("./.cops")
    first_period: str | None = None
    cur: str = ""
    engine: Literal["duckdb"] = "duckdb"
    admin_db: str | None = None
    evidence: str | None = None
    lake: str | None = Field(None, pattern=r"^s3://[a-z0-9][a-z0-9.-]{2,62}(/[\w./=-]*)?$")
    catalog: Literal["file", "glue"] = "file"
    actor: str | None = None
    memory_limit: str = Field("2500MiB", pattern=r"^\d+(MiB|GiB)$")
    tags: Tags = Tags()
    delivery: Delivery = Delivery()
    charge: Charge = Charge()
    coverage: Coverage = Coverage()
    recon: Recon = Recon()
    budgets: Budgets = Budgets()
    controls: Controls = Controls()
    notify: Notify = Notify()
    watch: Watch = Watch()

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("first_period")
    @classmethod
    def _period(cls, text: str | None) -> str | None:
        try:
            return str(Period.parse(text)) if text else None
        except CopsError as problem:
            raise ValueError(f"{problem.found} is not {problem.expected}") from None

    @field_validator("admin_db")
    @classmethod
    def _psycopg2(cls, url: str | None) -> str | None:
        # SQLAlchemy 2.1 reads postgresql:// as psycopg 3; dagster-postgres ships psycopg2.
        return url.replace("postgresql://", "postgresql+psycopg2://", 1) if url else None

    @model_validator(mode="after")
    def _glue_reads_s3(self) -> Settings:
        if self.catalog == "glue" and self.lake is None:
            raise ValueError("catalog: Glue shows tables in S3: set COPS_LAKE to s3://bucket/prefix")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, which wins over `cops.toml`."""
        toml = TomlConfigSettingsSource(settings_cls, Path(os.environ.get("COPS_CONFIG", "cops.toml")))
        return init_settings, env_settings, toml

    @property
    def admin_url(self) -> str:
        """SQLAlchemy URL of the admin database; by default a SQLite file in the home."""
        return self.admin_db or f"sqlite:///{self.home / 'admin.db'}"

    @property
    def evidence_uri(self) -> str:
        """Where proof lies: a folder or `s3://bucket/prefix`; by default below the home."""
        return self.evidence or str(self.home / "evidence")

    @property
    def lake_root(self) -> Path:
        """Folder that the paths in `lake_file` are relative to; with `COPS_LAKE` it holds copies."""
        return self.home / "lake"

    @property
    def deliveries_root(self) -> Path:
        """Where `cops deliver` keeps files that came without a manifest; always a report root."""
        return self.home / "deliveries"

    @property
    def converted_root(self) -> Path:
        """Where the Parquet lies that is read instead of delivered CSV; AWS's bucket is never written to."""
        return self.home / "converted"

    def fetched_place(self, root: str) -> Path:
        """Where the files of a report root in S3 lie once they were fetched."""
        return self.home.joinpath(
            "fetched", *(part for part in root.removeprefix("s3://").split("/") if part)
        )

    @property
    def report_roots(self) -> tuple[str, ...]:
        """Folders and `s3://` addresses of `COPS_CUR`, without `file:`; unset, the demo's if it was made."""
        return tuple(place for _, place in self.named_roots)

    @property
    def named_roots(self) -> tuple[tuple[str, str], ...]:
        """`report_roots`, each with the name that a person gave it (`eu=s3://bucket/x`), or ''.

        What stands before the first `=` is a name when it is letters, digits, `-` and `_` alone; a relative
        folder of such a name is written `./eu=x`.
        """
        if not self.cur:
            demo = self.home / "demo" / "cur"
            return (("", str(demo)),) if demo.is_dir() else ()
        found = [_ROOT_NAME.match(root.strip()) for root in self.cur.split(",") if root.strip()]
        return tuple(
            (one["name"] or "", one["place"].removeprefix("file://").removeprefix("file:"))
            for one in found
            if one
        )

    @property
    def actor_name(self) -> str:
        """Who decides: `COPS_ACTOR`, else the operating-system user."""
        return self.actor or os.environ.get("USER") or os.environ.get("LOGNAME") or "unknown"


def load(**overrides: object) -> Settings:
    """Settings of this process. Raises `E-SETTING` naming the setting that is wrong."""
    config = os.environ.get("COPS_CONFIG")
    if config and not Path(config).is_file():
        raise CopsError(
            "E-SETTING",
            "COPS_CONFIG",
            expected="the path of a readable cops.toml",
            found=config,
            next_step="correct COPS_CONFIG or unset it",
        )
    try:
        _refuse_written_secrets(Path(config or "cops.toml"))
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as problem:
        first = problem.errors(include_input=False, include_url=False)[0]
        raise _refused(".".join(str(part) for part in first["loc"]), str(first["msg"])) from None
    except SettingsError as problem:  # names the field, as in: error parsing value for field "tags"
        raise _refused(str(problem).split('"')[1] if '"' in str(problem) else "", str(problem)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise _refused("file", f"cops.toml is no TOML: {problem}") from None


def _refuse_written_secrets(file: Path) -> None:
    """A secret that stands in a file is copied with it: `cops.toml` holds none."""
    if not file.is_file():
        return
    notify = tomllib.loads(file.read_text(encoding="utf-8")).get("notify", {})
    receivers = notify.get("receivers", {}) if isinstance(notify, dict) else {}
    for name, given in receivers.items() if isinstance(receivers, dict) else ():
        for secret in ("url", "password"):
            if isinstance(given, dict) and secret in given:
                setting = f"notify.receivers.{name}.{secret}"
                raise _refused(setting, "a secret in cops.toml; it belongs in the environment")


def _refused(name: str, found: str) -> CopsError:
    return CopsError(
        "E-SETTING",
        f"setting {name}",
        expected="a setting and value as in the README",
        found=found,
        next_step=f"correct COPS_{name.upper().replace('.', '__')} or cops.toml",
    )


@lru_cache(maxsize=1)
def current() -> Settings:
    """The settings of this process, read once."""
    return load()
