"""Every setting, typed, in one object. From `COPS_*`, else `cops.toml` (path in `COPS_CONFIG`).

Belongs here: names, defaults and validation of settings, and where each was given. This is the only module
that reads the environment. Nested settings are written `COPS_TAGS__TENANT_ID='["user_tenant_id"]'`. Does not
belong here: what decides numbers (`policy.py`; it is given here and kept in the books), what stands under a
heading (`settings_sections.py`), how places are written (`settings_places.py`), how a wrong setting is told
(`settings_words.py`).
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from cops_dagster import redaction, settings_words
from cops_dagster.errors import CopsError
from cops_dagster.period import Period
from cops_dagster.policy import (
    NAMES,
    Charge,
    Containers,
    Coverage,
    Delivery,
    Margins,
    Policy,
    Recon,
    Section,
    Tags,
    nested,
)
from cops_dagster.settings_places import (
    OTHER_SCHEME,
    ROOT_NAME,
    database,
    folder_place,
    key_place,
    placed_roots,
)
from cops_dagster.settings_sections import (
    Budgets,
    Cluster,
    Controls,
    Exports,
    Lake,
    Notify,
    Security,
    Watch,
    as_lake,
)
from cops_dagster.settings_words import Written


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="COPS_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    home: Path = Path("./.cops")
    access: Literal["owner", "group"] = "owner"
    first_period: str | None = None
    cur: str = ""
    engine: Literal["duckdb", "trino", "athena"] = "duckdb"
    cluster: Cluster = Cluster()
    admin_db: str | None = None
    evidence: str | None = None
    lake: Lake = Lake()
    catalog: Literal["file", "glue"] = "file"
    actor: str | None = None
    signing_key: str | None = None
    security: Security = Security()
    memory_limit: str = Field("2500MiB", pattern=r"^\d+(MiB|GiB)$")
    tags: Tags = Tags()
    delivery: Delivery = Delivery()
    charge: Charge = Charge()
    coverage: Coverage = Coverage()
    recon: Recon = Recon()
    budgets: Budgets = Budgets()
    controls: Controls = Controls()
    margin: Margins = Margins()
    containers: Containers = Containers()
    notify: Notify = Notify()
    exports: Exports = Exports()
    watch: Watch = Watch()
    keys: str | None = None
    sources: dict[str, SecretStr] = Field(default_factory=dict)
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _ignored: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("home", mode="before")
    @classmethod
    def _absolute(cls, home: object) -> object:
        return (
            Path(folder_place(str(home)))
            if isinstance(home, (str, Path)) and str(home)
            else Path(".cops").absolute()
        )

    @field_validator("cur")
    @classmethod
    def _roots(cls, text: str) -> str:
        return placed_roots(text)

    @field_validator("evidence")
    @classmethod
    def _store(cls, text: str | None) -> str | None:
        return folder_place(text) if text and not OTHER_SCHEME.match(text) else text

    @field_validator("first_period")
    @classmethod
    def _period(cls, text: str | None) -> str | None:
        try:
            return str(Period.parse(text)) if text else None
        except CopsError as problem:
            raise ValueError(f"{problem.found} is not {problem.expected}") from None

    @field_validator("signing_key")
    @classmethod
    def _key(cls, text: str | None) -> str | None:
        if text and "PRIVATE KEY" in text:
            raise ValueError("a private key stays in its file or agent: name the file, or the public key")
        return key_place(text) if text else None

    @field_validator("admin_db")
    @classmethod
    def _psycopg2(cls, url: str | None) -> str | None:
        # SQLAlchemy 2.1 reads postgresql:// as psycopg 3; dagster-postgres ships psycopg2.
        return database(url.replace("postgresql://", "postgresql+psycopg2://", 1)) if url else None

    @model_validator(mode="after")
    def _glue_reads_s3(self) -> Settings:
        if self.catalog == "glue" and self.lake.place is None:
            raise ValueError("catalog: Glue shows tables in S3: set COPS_LAKE to s3://bucket/prefix")
        if self.engine != "duckdb" and self.catalog != "glue":
            raise ValueError(f"engine: {self.engine} reads S3 through Glue: set COPS_CATALOG to glue")
        if self.engine == "trino" and self.cluster.url is None:
            raise ValueError("engine: trino needs the address of a server: set COPS_CLUSTER__URL")
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
        given = dict(init_settings.init_kwargs) if isinstance(init_settings, InitSettingsSource) else {}
        file = given.pop("config", None)
        return (
            InitSettingsSource(settings_cls, as_lake(given)),
            _Environment(settings_cls),
            InitSettingsSource(settings_cls, as_lake(_placed(_written(file)))),
        )

    @model_validator(mode="before")
    @classmethod
    def _without_orphans(cls, given: Any) -> Any:
        """A secret whose receiver is gone stops nobody: it is left out, and named by `ignored_secrets`."""
        notify = given.get("notify") if isinstance(given, dict) else None
        receivers = notify.get("receivers") if isinstance(notify, dict) else None
        if not isinstance(receivers, dict) or notify is None:
            return given
        kept = {name: one for name, one in receivers.items() if not _is_orphan(one)}
        return {**given, "notify": {**notify, "receivers": kept}}

    def __repr_args__(self) -> Any:
        """What is shown of settings in messages of others, such as a traceback: no secrets."""
        return [(name, redaction.masked_within(value)) for name, value in super().__repr_args__()]

    @property
    def policy(self) -> Policy:
        """What these settings would decide by, defaults included. What does decide is in the books."""
        values = Policy().values
        for name in NAMES:
            section, _, setting = name.partition(".")
            values[name] = getattr(getattr(self, section), setting)
        return Policy.model_validate(nested(values))

    @property
    def given_policy(self) -> dict[str, tuple[Any, str]]:
        """Settings of the policy that are set, by dotted name: the value, and where it was given."""
        found = {}
        for name in NAMES:
            section, _, setting = name.partition(".")
            here = getattr(self, section)
            if setting in here.model_fields_set:
                found[name] = (getattr(here, setting), self._origins.get(name, "an argument"))
        return found

    @property
    def ignored_secrets(self) -> tuple[str, ...]:
        """Variables that hold a secret of a receiver which no setting describes."""
        return self._ignored

    @property
    def config_file(self) -> Path:
        """The settings file of this process, whether or not it is there."""
        return Path(os.environ.get("COPS_CONFIG") or "cops.toml")

    @property
    def home_named_by(self) -> str:
        """What says where the home is, for people who are in another one than they think."""
        if "COPS_HOME" in os.environ:
            return "COPS_HOME"
        named = "home" in self.model_fields_set
        return os.environ.get("COPS_CONFIG", "cops.toml") if named else "default, in the working directory"

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
    def leaves_in_s3(self) -> bool:
        """Lines are scanned elsewhere, over a lake in S3: of files there outlines do here."""
        return self.engine != "duckdb" and self.lake.place is not None

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
        return self.home.joinpath("fetched", *filter(None, root.removeprefix("s3://").split("/")))

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
        found = [ROOT_NAME.match(root.strip()) for root in self.cur.split(",") if root.strip()]
        return tuple(
            (one["name"] or "", one["place"].removeprefix("file://").removeprefix("file:"))
            for one in found
            if one
        )

    @property
    def actor_name(self) -> str:
        """Who decides: `COPS_ACTOR`, else the operating-system user by name, else by number; never nobody."""
        named = (self.actor, os.environ.get("USER"), os.environ.get("LOGNAME"))
        for name in named:
            if name and name.strip():
                return name.strip()
        try:
            return pwd.getpwuid(os.getuid()).pw_name.strip() or f"uid-{os.getuid()}"
        except KeyError:  # a container's user that no database knows
            return f"uid-{os.getuid()}"


class _Environment(EnvSettingsSource):
    """The variables; `COPS_LAKE` is the lake's place, beside what `COPS_LAKE__…` say of it."""

    def prepare_field_value(
        self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool
    ) -> Any:
        if field_name == "lake" and isinstance(value, str) and not value.lstrip().startswith("{"):
            return {"place": value, **self.explode_env_vars(field_name, field, self.env_vars)}
        return super().prepare_field_value(field_name, field, value, value_is_complex)


def load(**overrides: object) -> Settings:
    """Settings of this process (`config`: for `COPS_CONFIG`). Raises `E-SETTING`: what, and where."""
    written = _written(overrides.get("config"))
    settings_words.refuse_written_secrets(written)
    settings_words.refuse_misspelt(written, Settings)
    made = _made(written, lambda: Settings(**overrides))  # type: ignore[arg-type]
    for name in made.given_policy:
        section, _, setting = name.partition(".")
        given = overrides.get(section)
        is_argument = isinstance(given, Section) or (isinstance(given, dict) and setting in given)
        made._origins[name] = "an argument" if is_argument else written.origin((section, setting))
    known = {name.upper() for name in made.notify.receivers}
    made._ignored = tuple(
        name
        for name in sorted(written.environment)
        if (secret := _SECRET.fullmatch(name)) and secret[1] not in known
    )
    return made


def policy_of(file: Path) -> dict[str, tuple[Any, str]]:
    """Settings of the policy that a file sets, as `Settings.given_policy`; the environment does not count.

    Raises:
        CopsError: `E-SETTING` for a file that cannot be read, and as `load` does.
    """
    written = Written.read(file, {}, must_exist=True)
    settings_words.refuse_written_secrets(written)
    found = {}
    for section, kind in Policy.model_fields.items():
        given = written.data.get(section, {})
        whole = Settings.model_fields[section].annotation
        assert whole is not None
        made = _made(written, lambda given=given, whole=whole: whole.model_validate(given), section)  # type: ignore[misc]
        assert kind.annotation is not None
        for setting in kind.annotation.model_fields:
            if setting in made.model_fields_set:
                name = f"{section}.{setting}"
                found[name] = (getattr(made, setting), written.origin((section, setting)))
    settings_words.refuse_unknown(written, Settings)
    return found


def _made(written: Written, make: Callable[[], Any], *within: str) -> Any:
    try:
        return make()
    except ValidationError as problem:
        raise settings_words.refused(problem, written, Settings, within) from None
    except SettingsError:
        raise settings_words.no_json(written, Settings) from None


def _written(named: object = None) -> Written:
    """The settings file of this process and the environment, as they are now."""
    environment = {
        name.upper(): text for name, text in os.environ.items() if name.upper().startswith("COPS_")
    }
    config = str(named or os.environ.get("COPS_CONFIG") or "")
    file = Path(folder_place(config)) if config else Path("cops.toml").absolute()
    return Written.read(file, environment, must_exist=bool(config))


_SECRET = re.compile(r"COPS_NOTIFY__RECEIVERS__(.+)__(?:URL|PASSWORD)")


def _is_orphan(receiver: object) -> bool:
    return isinstance(receiver, dict) and bool(receiver) and set(receiver) <= {"url", "password"}


def _placed(written: Written) -> dict[str, Any]:
    """What the file says, its relative places made relative to the file and not to the working directory."""
    data, folder = dict(written.data), written.file.parent
    for name, placed in (
        ("home", folder_place),
        ("cur", placed_roots),
        ("evidence", folder_place),
        ("admin_db", database),
        ("signing_key", key_place),
        ("keys", folder_place),
    ):
        text = data.get(name)
        if isinstance(text, str) and text and not (name == "evidence" and OTHER_SCHEME.match(text)):
            try:
                data[name] = placed(text, folder)
            except ValueError:
                continue  # told when the setting is validated
    return data


@lru_cache
def current(home: str | None = None, config: str | None = None) -> Settings:
    """The settings of this process, read once; of a home and a file that a project names, if it does."""
    return load(config=config, **({"home": home} if home else {}))
