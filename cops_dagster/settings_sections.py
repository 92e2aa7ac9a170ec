"""The sections of the settings: budgets, controls, the watch, the lake, receivers, security; each validated.

Belongs here: names, defaults and limits of what stands under one heading of `cops.toml`. Does not belong
here: the sections that decide numbers (`policy.py`), what stands under no heading (`settings.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from cops_dagster.policy import (
    BudgetLevels,
    Lateness,
    Section,
)
from cops_dagster.settings_places import s3_meant


class Budgets(BudgetLevels):
    """Budget levels (policy); and the account whose AWS Budgets are read beside, if any."""

    aws_account_id: str | None = Field(None, pattern=r"^\d{12}$")


class Controls(Lateness):
    """When a source is late (policy); Glue's crawler and its table `database.table`, if there are."""

    crawler: str | None = None
    catalog_table: str | None = Field(None, pattern=r"^[\w-]+\.[\w-]+$")


class Watch(Section):
    """How often the report roots are looked at for new deliveries."""

    every_seconds: int = Field(300, ge=1)


class Lake(Section):
    """Where the lake's files are kept beside the home, and how long what a later delivery replaced stays.

    Attributes:
        place: `s3://bucket/prefix` of every published file; without it the home alone has them.
        keep_superseded_days: days that the bytes of replaced deliveries stay, in open months.
        export: after each ingestion write the month's lines as a typed copy too (`cops lake export`).
    """

    place: str | None = Field(None, pattern=r"^s3://[a-z0-9][a-z0-9.-]{2,62}(/[\w./=-]*)?$")
    keep_superseded_days: int = Field(14, ge=0)
    export: bool = False

    @field_validator("place", mode="before")
    @classmethod
    def _s3(cls, place: object) -> object:
        right = s3_meant(place) if isinstance(place, str) else None
        if right:
            raise ValueError(f"{place!r} is no address of COPS: write {right}")
        return place


class Cluster(Section):
    """Where lines are read when `engine` is `trino` or `athena`, and within which limits.

    Attributes:
        url, user, password: of the Trino server; the password comes from the environment.
        catalog: the engine's catalog of Iceberg tables over Glue.
        database: where a session's tables are, which go when it ends.
        workgroup: of Athena.
        output: `s3://bucket/prefix` for a session's files and Athena's results; else beside the lake.
        max_gib, max_minutes: what a session may scan, and what a statement may take.
        usd_per_tb: the price of a terabyte scanned, for the bill that is shown.
    """

    url: str | None = Field(None, pattern=r"^https?://[^/@\s]+/?$")
    user: str = "cops"
    password: SecretStr | None = None
    catalog: str = Field("AwsDataCatalog", pattern=r"^[\w-]+$")
    database: str = Field("cops_scratch", pattern=r"^[a-z0-9_]+$")
    workgroup: str | None = None
    output: str | None = Field(None, pattern=r"^s3://[a-z0-9][a-z0-9.-]{2,62}(/[\w./=-]*)?$")
    max_gib: int = Field(1024, ge=1)
    max_minutes: int = Field(60, ge=1)
    usd_per_tb: Decimal = Field(Decimal(5), ge=0)


def as_lake(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose `lake` is a section: a text there is its place, `lake = "s3://bucket/prefix"`."""
    lake = given.get("lake")
    return {**given, "lake": {"place": lake}} if isinstance(lake, str) else dict(given)


class Receiver(Section):
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
            "sns": ("topic_arn",),
            "smtp": ("host", "sender", "to"),
            "slack": ("url",),
            "webhook": ("url",),
        }.get(self.kind, ())
        missing = [name for name in needed if not getattr(self, name)]
        if missing:
            raise ValueError(f"a receiver of kind {self.kind} needs {', '.join(missing)}")
        if self.url and urlsplit(self.url.get_secret_value()).scheme not in ("http", "https"):
            raise ValueError("url is no http or https address")
        if any(set("\r\n") & set(text) for text in (self.sender or "", *self.to)):
            raise ValueError("an address is one line")
        return self


class Notify(Section):
    """Who is told of alerts: receivers by name."""

    receivers: dict[str, Receiver] = Field(default_factory=dict)


class Exports(Section):
    """What leaves COPS: who issues the tenants' invoices, and service categories beside the shipped ones."""

    issuer: str = Field("Commercial-Ops", min_length=1)
    focus_services: Path | None = None


class Security(Section):
    """Whether decisions are signed, as a person expects it; whether they are is in the books (ADR 38)."""

    signed: bool | None = None
