"""What decides numbers and verdicts: the policy, typed, in one canonical form, and how two differ.

Belongs here: the sections that are kept in the books (ADR 26), their limits, equality. Does not belong
here: places, limits and secrets (`settings.py`), which policy is in force (`ledger/books.py`).
A field that is new gets its default in policies that were stored before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from cops_dagster.cur.names import athena_name
from cops_dagster.errors import CopsError
from cops_dagster.money import amount
from cops_dagster.money.digest import digest

ChargeBasis = Literal["unblended", "amortized", "net_amortized"]


class Section(BaseModel):
    """Some settings that belong together; no others. Its numbers are digits, and fit beside amounts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _digits(cls, given: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        kinds = {kind, *get_args(kind)}
        if isinstance(given, bool) and int in kinds and bool not in kinds:
            raise PydanticCustomError("int_type", "a whole number")
        is_text = bool({int, Decimal} & kinds) and isinstance(given, str)
        if is_text and (not given.isascii() or "_" in given):  # Python reads `1_000`, and every script
            raise PydanticCustomError("int_parsing" if int in kinds else "decimal_parsing", "plain digits")
        return given

    @field_validator("*", mode="after")
    @classmethod
    def _fits(cls, value: Any) -> Any:
        try:
            _ = amount.from_decimal(value) if isinstance(value, Decimal) else 0
        except CopsError as problem:
            raise PydanticCustomError("decimal_size", problem.expected) from None
        return value


class Tags(Section):
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
                raise ValueError(f"{name!r} is not a tag column such as user_tenant_id{_meant(name)}")
        return names


def _meant(name: str) -> str:
    """What AWS calls the column of a key as its console shows it (`user:CostCenter`)."""
    column = athena_name(name).removeprefix("resource_tags_")
    if not column:
        return ""
    known = ("user_", "aws_", "account_tag_", "cost_category_")
    return f": write {column if column.startswith(known) else f'user_{column}'}"


class Delivery(Section):
    """How far a new delivery of a month may differ before a person must approve it."""

    shrink_pct: Decimal = Field(Decimal(20), ge=0)
    growth_pct: Decimal = Field(Decimal(75), ge=0)
    least_usd: Decimal = Field(Decimal(1), ge=0)


class Charge(Section):
    """What tenants are charged on (design rule 5.1)."""

    basis: ChargeBasis = "unblended"


class Coverage(Section):
    """Coverage targets in percent, and the services that cannot carry a tag."""

    target_pct: Decimal = Field(Decimal(100), ge=0, le=100)
    floor_pct: Decimal = Field(Decimal(98), ge=0, le=100)
    untaggable: tuple[str, ...] = ()


class Recon(Section):
    """Tolerance per tenant = max(absolute, basis points of expected, half a cent per line)."""

    warning_usd: Decimal = Field(Decimal("1.00"), ge=0)
    warning_bps: int = Field(50, ge=0)
    failure_usd: Decimal = Field(Decimal("10.00"), ge=0)
    failure_bps: int = Field(200, ge=0)


class BudgetLevels(Section):
    """Budget levels, percent of target."""

    warning_pct: Decimal = Field(Decimal(80), ge=0)
    critical_pct: Decimal = Field(Decimal(95), ge=0)


class Margins(Section):
    """Margins in percent of what is charged below which somebody is told; where none is set, nobody asks."""

    tenant_floor_pct: Decimal | None = Field(None, le=100)
    month_floor_pct: Decimal | None = Field(None, le=100)


class Lateness(Section):
    """After how many hours without a delivery a source is late."""

    delivery_lag_hours: int = Field(48, ge=1)


class Containers(Section):
    """Who bears an instance that runs containers: whoever its own tags name, or the tenants of its pods.

    Attributes:
        use: `parent` or `split` (docs/adr/0054); never both.
        unused: what no pod used goes by use (`spread`), to the `operator`, or is parked (`hold`).
        namespaces: tenants by the names of namespaces, or `cluster/namespace`; for tasks the service's name.
    """

    use: Literal["parent", "split"] = "parent"
    unused: Literal["spread", "operator", "hold"] = "spread"
    namespaces: dict[str, str] = Field(default_factory=dict)

    @field_validator("namespaces")
    @classmethod
    def _sorted(cls, names: dict[str, str]) -> dict[str, str]:
        for name, tenant in names.items():
            if not name.strip() or not tenant.strip():
                raise ValueError(f"{name!r} = {tenant!r} names no namespace or no tenant")
        return dict(sorted(names.items()))

    @property
    def as_input(self) -> list[Any]:
        """What of it decides who bears what, in one canonical form."""
        return [self.use, self.unused, [list(pair) for pair in self.namespaces.items()]]


class Policy(Section):
    """Everything that decides numbers or verdicts, every value explicit."""

    tags: Tags = Tags()
    charge: Charge = Charge()
    coverage: Coverage = Coverage()
    recon: Recon = Recon()
    delivery: Delivery = Delivery()
    budgets: BudgetLevels = BudgetLevels()
    controls: Lateness = Lateness()
    margin: Margins = Margins()
    containers: Containers = Containers()

    @property
    def values(self) -> dict[str, Any]:
        """Every value by its dotted name such as `tags.tenant_id`, amounts as plain decimals."""
        return {
            f"{section}.{name}": _plain(getattr(getattr(self, section), name))
            for section in type(self).model_fields
            for name in type(getattr(self, section)).model_fields
        }

    @property
    def as_json(self) -> str:
        """The canonical form: sections in order, plain decimals, no blank."""
        return json.dumps(nested(self.values), separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """Equal policies have equal digests, however they were written."""
        return digest("policy-1", *(f"{name}={shown(name, one)}" for name, one in self.values.items()))

    def replaced(self, given: Mapping[str, Any]) -> Policy:
        """This policy with other values, by dotted name."""
        return Policy.model_validate(nested({**self.values, **given}))


@dataclass(frozen=True)
class Difference:
    """A setting whose given value is not the adopted one; `origin` is where it was given."""

    name: str
    adopted: str
    given: str
    origin: str


def differing(adopted: Policy, given: Mapping[str, tuple[Any, str]]) -> list[Difference]:
    """Which given values, name → (value, origin), are others than those adopted."""
    stands = adopted.values
    found = []
    for name, (value, origin) in given.items():
        before, after = shown(name, stands[name]), shown(name, _plain(value))
        if before != after:
            found.append(Difference(name, before, after, origin))
    return found


def shown(name: str, value: Any) -> str:
    """A value as people write it in a settings file; equal values look alike."""
    if isinstance(value, list) and name in _UNORDERED:
        value = sorted(set(value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict, bool)) else str(value)


def nested(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Values by dotted name as sections."""
    made: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, setting = name.partition(".")
        made.setdefault(section, {})[setting] = value
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value else "0"
    return list(value) if isinstance(value, tuple) else value


NAMES = tuple(Policy().values)
"""Dotted names of every setting of the policy."""
_UNORDERED = ("coverage.untaggable",)
"""Lists of which the order decides nothing."""
