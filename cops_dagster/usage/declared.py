"""What `keys.toml` declares: measures with their sources and contracts, typed, refused with their place.

Belongs here: the fields, their defaults, what may stand in them, reading the file. Does not belong here:
asking a source (`usage/sources.py`), what a contract means for an answer (`usage/judged.py`).
"""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from cops_dagster import redaction
from cops_dagster.errors import CopsError
from cops_dagster.period import Period
from cops_dagster.policy import Section
from cops_dagster.settings import Settings
from cops_dagster.settings_places import folder_place, is_s3, s3_meant
from cops_dagster.usage import units
from cops_dagster.words import near

FILE = "keys.toml"
CSV = "csv"
ACTIVE = "active"
"""In place of names: every tenant that is active on the day."""


class Csv(Section):
    """Month figures that people load with `cops admin load`."""

    kind: Literal["csv"]


class Files(Section):
    """Parquet or CSV files of a day, in folders or S3, asked by one SELECT as the table `files`.

    Attributes:
        separator: what stands between the values of a line; by default what the engine finds there.
    """

    kind: Literal["files"]
    paths: tuple[str, ...] = Field(min_length=1)
    query: str = Field(min_length=1)
    unit: str | None = None
    separator: str | None = Field(None, min_length=1, max_length=1)

    @field_validator("paths")
    @classmethod
    def _s3(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            if right := s3_meant(path):
                raise ValueError(f"{path!r} is no address of COPS: write {right}")
            if is_s3(path) and any(sign in path.split("/")[2] for sign in "*?["):
                raise ValueError(f"{path!r} names no bucket: patterns stand behind it")
        return paths


class Prometheus(Section):
    """A range query over the day, and how the samples of a series become its figure.

    Attributes:
        url: of the server; with a login in it, it is a source that `server` names.
        server: name of a `COPS_SOURCES__NAME`.
        fold: `rises` of a counter, `sum` or `max` of samples, or the `last` one.
        step_seconds: between two samples.
        max_gap_minutes: how long a series may be silent within the day.
        series: `many` adds up several series of one tenant; `one` refuses them.
        metric: whose unit and type the server is asked for.
    """

    kind: Literal["prometheus"]
    url: str | None = Field(None, pattern=r"^https?://[^\s@?#]+$")
    server: str | None = Field(None, pattern=r"^[a-z][a-z0-9_]*$")
    query: str = Field(min_length=1)
    label: str = Field("tenant_id", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    fold: Literal["rises", "sum", "max", "last"] = "rises"
    step_seconds: int = Field(300, ge=15, le=3600)
    max_gap_minutes: int = Field(15, ge=1, le=1440)
    series: Literal["one", "many"] = "one"
    metric: str | None = Field(None, pattern=r"^[A-Za-z_:][A-Za-z0-9_:]*$")
    unit: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Prometheus:
        if (self.url is None) is (self.server is None):
            raise ValueError("it needs either url or server")
        return self

    @field_validator("step_seconds")
    @classmethod
    def _divides(cls, step: int) -> int:
        if 86_400 % step:
            raise ValueError(f"{step} seconds do not divide a day")
        return step


class Database(Section):
    """One SELECT in a database whose URL is `COPS_SOURCES__NAME`."""

    kind: Literal["database"]
    server: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    query: str = Field(min_length=1)
    unit: str | None = None


def _kind(given: Any) -> str:
    return str(given.get("kind") if isinstance(given, dict) else getattr(given, "kind", None))


Source = Annotated[
    Annotated[Csv, Tag("csv")]
    | Annotated[Files, Tag("files")]
    | Annotated[Prometheus, Tag("prometheus")]
    | Annotated[Database, Tag("database")],
    Discriminator(_kind),
]


class Contract(Section):
    """What must hold of a day's answer, or it is refused.

    Attributes:
        tenants: who must be named; `active` are all who are active on the day.
        min, max: of one tenant's day, in the key's unit.
        monotone: no tenant's figure is below that of the day before, within a month.
        late_hours: how long after the cut-off a day is in time.
        whole_day: who must be named is seen from the day's begin to its end, where a source says when.
        unknown: names that are no tenants: the day is refused, or their figures are held.
        share_points: how many points of a tenant's share may move from day to day.
    """

    tenants: tuple[str, ...] | Literal["active"] = ()
    min: Decimal = Field(Decimal(0), ge=0)
    max: Decimal | None = Field(None, gt=0)
    monotone: bool = False
    whole_day: bool = True
    late_hours: int = Field(6, ge=0, le=24 * 31)
    unknown: Literal["refuse", "hold"] = "refuse"
    share_points: int = Field(20, ge=1, le=100)

    @field_validator("tenants")
    @classmethod
    def _named(cls, tenants: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if any(not one.strip() for one in tenants):
            raise ValueError("a name in every place of the list")
        return tenants

    @model_validator(mode="after")
    def _has_room(self) -> Contract:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"no figure is at least {self.min} and at most {self.max}")
        return self


class Measure(Section):
    """One measure: where its figures come from, what they are, how days become a month.

    Attributes:
        unit: of the key; the source may give another one of the same kind (`source.unit`).
        names: what the first column holds: tenants, or AWS accounts (`account_tenants`).
        aliases: names of the source, each with the tenant that is meant.
        cut_off: time of the next day, UTC, from which a day is complete.
        since: the first day that there is.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    source: Source
    unit: str = Field(min_length=1)
    names: Literal["tenant", "account"] = "tenant"
    aliases: dict[str, str] = Field(default_factory=dict)
    month: Literal["sum", "max", "last"] = "sum"
    cut_off: time = time(1)
    since: date | None = None
    contract: Contract = Contract()

    @field_validator("aliases")
    @classmethod
    def _of_somebody(cls, aliases: dict[str, str]) -> dict[str, str]:
        if blank := next((one for one in aliases.items() if not one[0].strip() or not one[1].strip()), None):
            raise ValueError(f"a name of the source and its tenant, not {blank[0]!r} = {blank[1]!r}")
        return aliases

    @field_validator("cut_off")
    @classmethod
    def _in_utc(cls, cut_off: time) -> time:
        if cut_off.tzinfo is not None:
            raise ValueError("a time of day in UTC, without a zone: 02:00:00")
        return cut_off

    @model_validator(mode="after")
    def _units_fit(self) -> Measure:
        _ = self.power
        return self

    @property
    def asset(self) -> str:
        """The name of its asset, and of the CSV file that it is loaded by."""
        return f"tenant_{self.name}_usage"

    @property
    def asks(self) -> bool:
        """COPS asks its source; the figures of a CSV are brought."""
        return self.source.kind != CSV

    @property
    def query(self) -> str:
        """What its source is asked; empty for a CSV."""
        return getattr(self.source, "query", "")

    @property
    def source_unit(self) -> str:
        """The unit of what the source says."""
        return getattr(self.source, "unit", None) or self.unit

    @property
    def power(self) -> int:
        """The power of ten by which the source's figures are made those of the key."""
        return units.power(self.source_unit, self.unit)

    def complete_at(self, day: date) -> datetime:
        """From when on a day may be asked for."""
        return datetime.combine(day + timedelta(days=1), self.cut_off)

    def due_at(self, day: date) -> datetime:
        """Until when a day is in time."""
        return self.complete_at(day) + timedelta(hours=self.contract.late_hours)

    def days(self, period: Period, at: datetime, *, in_time: bool = False) -> list[date]:
        """The days of a month that are complete at a moment, or that should have been asked for by then."""
        when = self.due_at if in_time else self.complete_at
        first = max(period.start, self.since or period.start)
        found = [first + timedelta(days=number) for number in range((period.end - first).days)]
        return [day for day in found if when(day) <= at]


def place(settings: Settings) -> Path:
    """Where the declarations are: `COPS_KEYS`, else `keys.toml` beside the settings file."""
    return (
        Path(folder_place(settings.keys))
        if settings.keys
        else settings.config_file.absolute().with_name(FILE)
    )


def measures(settings: Settings) -> dict[str, Measure]:
    """The declared measures by name; none where there is no file.

    Raises:
        CopsError: `E-KEYS-FILE` for a file that cannot be read; `E-KEYS-FIELD` naming measure and field.
    """
    file = place(settings)
    if not file.is_file():
        if settings.keys:
            raise _refusal("E-KEYS-FILE", f"file {file}", "a file", "none of this name", "correct COPS_KEYS")
        return {}
    try:
        text = file.read_text(encoding="utf-8")
        data = tomllib.loads(text, parse_float=Decimal)
    except (OSError, ValueError, RecursionError) as problem:
        raise _refusal(
            "E-KEYS-FILE", f"file {file}", "TOML in UTF-8", str(problem), f"correct {file}"
        ) from None
    if secret := redaction.found(text):
        raise _refusal(
            "E-KEYS-FILE",
            f"file {file}",
            "no secret: addresses with a login are COPS_SOURCES__NAME in the environment",
            secret,
            'take it out, and name the source with server = "name"',
        )
    for name in data:
        if name != "measures":
            raise _unknown(file, "", name, ["measures"])
    given = data.get("measures", {})
    if not isinstance(given, dict):
        raise _refusal(
            "E-KEYS-FIELD", f"{file}, measures", "sections [measures.NAME]", repr(given), "correct it"
        )
    return {name: _measure(file, name, one) for name, one in sorted(given.items())}


def measure(settings: Settings, name: str) -> Measure:
    """One declared measure. Raises as `measures`, and `E-KEY-UNKNOWN` for one that is not declared."""
    found = measures(settings)
    if name not in found:
        likely = near(name, found)
        raise _refusal(
            "E-KEY-UNKNOWN",
            f"measure {name!r}",
            f"one of {', '.join(found)}" if found else f"measures in {place(settings)}",
            "none of this name" if found else "no measure is declared",
            f"did you mean {likely}?" if likely else "declare it: cops keys init, cops docs usage-keys",
        )
    return found[name]


def server_url(settings: Settings, name: str) -> str:
    """The address of a named source. Raises `E-KEYS-SOURCE`."""
    secret = settings.sources.get(name)
    if secret is None:
        likely = near(name, settings.sources)
        raise _refusal(
            "E-KEYS-SOURCE", f"source {name}", f"its address in COPS_SOURCES__{name.upper()}",
            "no such variable" + (f"; there is {likely}" if likely else ""),
            f"set COPS_SOURCES__{name.upper()}",
        )  # fmt: skip
    return secret.get_secret_value()


def _measure(file: Path, name: str, given: Any) -> Measure:
    if not isinstance(given, dict):
        raise _refusal("E-KEYS-FIELD", f"{file}, measure {name}", "a section", repr(given)[:80], "correct it")
    data = {**given, "name": name}
    source = data.get("source")
    if isinstance(source, dict) and isinstance(source.get("paths"), list):
        data["source"] = {**source, "paths": [_placed(file, one) for one in source["paths"]]}
    try:
        return Measure.model_validate(data)
    except ValidationError as problem:
        raise _of_field(file, name, problem) from None


def _placed(file: Path, path: object) -> object:
    return (
        path
        if not isinstance(path, str) or is_s3(path) or s3_meant(path)
        else folder_place(path, file.parent)
    )


def _of_field(file: Path, measure: str, problem: ValidationError) -> CopsError:
    first = problem.errors(include_url=False)[0]
    kinds = _kinds()
    told = [str(part) for part in first["loc"] if not isinstance(part, int) and part not in kinds]
    names = [name for name in told if not name.startswith(("tuple[", "literal["))]  # a choice of types
    if first["type"] == "extra_forbidden":
        return _unknown(file, measure, names[-1], _fields(first["loc"], names))
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        given = (first.get("input") or {}).get("kind") if isinstance(first.get("input"), dict) else None
        likely = near(str(given), kinds)
        return _refusal(
            "E-KEYS-FIELD",
            f"{file}, measure {measure}, source.kind",
            f"one of {', '.join(kinds)}",
            repr(given) if given else "no kind",
            f"did you mean {likely}?" if given and likely else "write [measures.NAME.source] with a kind",
        )
    missing = first["type"] == "missing"
    said = re.sub(r"^Value error, ", "", str(first["msg"]))
    return _refusal(
        "E-KEYS-FIELD",
        f"{file}, measure {measure}, {'.'.join(names) or 'source'}",
        "a value" if missing else said,
        "none" if missing else "another address" if names[-1:] == ["url"] else repr(first.get("input"))[:80],
        "add it: cops docs usage-keys shows every field" if missing else "correct it",
    )


def _kinds() -> dict[str, type[Section]]:
    return {"csv": Csv, "database": Database, "files": Files, "prometheus": Prometheus}


def _fields(loc: tuple[int | str, ...], names: list[str]) -> list[str]:
    if len(names) == 1:
        return [name for name in Measure.model_fields if name != "name"]
    if names[0] == "contract":
        return list(Contract.model_fields)
    return next((list(_kinds()[str(part)].model_fields) for part in loc if part in _kinds()), [])


def _unknown(file: Path, measure: str, wrong: str, known: list[str]) -> CopsError:
    likely = near(wrong, known)
    return _refusal(
        "E-KEYS-FIELD",
        f"{file}, " + (f"measure {measure}, {wrong}" if measure else wrong),
        f"one of {', '.join(known)}",
        "no such field",
        f"did you mean {likely}?" if likely else "remove it: cops docs usage-keys shows every field",
    )


def _refusal(code: str, subject: str, expected: str, found: str, next_step: str) -> CopsError:
    return CopsError(code, subject, expected=expected, found=found, next_step=next_step)
