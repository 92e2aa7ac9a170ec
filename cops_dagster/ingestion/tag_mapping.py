"""The names in `[tags]` against the delivered tag columns: a name that nobody delivers maps nothing. Pure.

Belongs here: which mapped tags are missing, the delivered name that was likely meant, and how grave it is.
Does not belong here: which CUR columns a name means (`lake/tag_columns.py`), whether a tag is active in the
payer (`tagging/active.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cops_dagster.ingestion.verdicts import MAPPED_TAGS_ARE_DELIVERED
from cops_dagster.verdict import Severity, Verdict
from cops_dagster.words import near

_PREFIXES = ("resource_tags_", "account_tag_", "cost_category_")
_OF_AWS = "resource_tags_aws_"
_VERY_NEAR = 85
"""Per cent that a delivered name must be alike a default one before anybody is asked whether it was meant."""


@dataclass(frozen=True)
class Mapped:
    """One name of `[tags]`: the setting it stands in, and the CUR columns that it means."""

    setting: str
    name: str
    columns: tuple[str, ...]
    is_default: bool = False


def tag_names(delivered: Iterable[str]) -> list[str]:
    """Delivered columns that carry a tag somebody chose, as `[tags]` would name them.

    AWS's own tags (`aws:createdBy`) are left out: nobody puts a tenant there.
    """
    return sorted(
        {
            name.removeprefix("resource_tags_")
            for name in delivered
            if name.startswith(_PREFIXES) and not name.startswith(_OF_AWS)
        }
    )


def mapped_tags_are_delivered(
    mapped: Sequence[Mapped],
    sources: Mapping[str, Collection[str]],
    ever: Collection[str],
    *,
    accounts_name_tenants: bool,
) -> Verdict:
    """The tags that `[tags]` maps stand in the deliveries of the month.

    An error, which blocks, when other tags came and none of those that a person mapped to `tenant_id`: every
    cent would count as untagged. A warning only where accounts name tenants, or where nobody chose the name
    (the default) and nothing like it came; no verdict where no tag came at all: there nothing is misspelt,
    and the coverage says what is missing. Warnings, too: a source without any tenant tag while others have
    one, a name that no delivery ever had, a plan or component tag that was asked for and did not come.

    Args:
        mapped: every name of `[tags]`, in order.
        sources: source → delivered columns, of the month.
        ever: columns of any delivery so far.
        accounts_name_tenants: `account_tenants` has a row for the month.
    """
    delivered = {column for columns in sources.values() for column in columns}
    names = tag_names(delivered)
    missing = [one for one in mapped if not delivered.intersection(one.columns)]
    tenant = [one for one in mapped if one.setting == "tenant_id"]
    is_lost = bool(tenant) and all(one in missing for one in tenant)
    without = [
        source
        for source, columns in sorted(sources.items())
        if tenant and not is_lost and not any(set(columns).intersection(one.columns) for one in tenant)
    ]
    wrong = [one for one in missing if _matters(one, names, ever, is_lost=is_lost)] if names else []
    is_meant = any(not one.is_default or _near(one.name, names, _VERY_NEAR) for one in tenant)
    severity: Severity = "ERROR" if is_lost and names and is_meant and not accounts_name_tenants else "WARN"
    if not sources or (is_lost and not names):
        passed = None
    else:
        passed = not wrong and (accounts_name_tenants or not without)
    meant = list(dict.fromkeys(filter(None, (_near(one.name, names) for one in wrong))))
    return Verdict(
        MAPPED_TAGS_ARE_DELIVERED,
        passed,
        severity,
        {
            "not_delivered": ", ".join(f"{one.setting} {one.name}" for one in wrong),
            "near": ", ".join(meant),
            "delivered_tags": ", ".join(names[:50]),
            "sources_without_tenant_tag": "" if accounts_name_tenants else ", ".join(without),
            "next_step": _next_step(meant) if is_lost and names else "",
        },
    )


def _matters(one: Mapped, names: Sequence[str], ever: Collection[str], *, is_lost: bool) -> bool:
    """A missing name that somebody should hear of; a default that nobody chose is none."""
    if one.setting == "tenant_id":
        return is_lost or not set(one.columns).intersection(ever)
    if one.is_default:
        return _near(one.name, names, _VERY_NEAR) is not None
    return True


def _near(name: str, names: Sequence[str], alike_pct: int = 60) -> str | None:
    """The delivered name that was likely meant; `user_`, which most have, makes none alike."""
    keys = {one.removeprefix("user_"): one for one in names}
    found = near(name.removeprefix("user_"), keys, alike_pct=alike_pct)
    return keys[found] if found else None


def _next_step(meant: Sequence[str]) -> str:
    """What mends a mapping that names nothing: the near name, else the way without tags."""
    name = meant[0] if meant else "one of the delivered tags"
    return (
        f'map it in [tags]: tenant_id = ["{name}"]; or tenant_id = [] where accounts alone'
        " (account_tenants.csv) or rules say who bears the cost"
    )
