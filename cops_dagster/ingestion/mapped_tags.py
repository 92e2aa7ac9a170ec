"""The tags that `[tags]` maps against the columns of a month's deliveries, as recorded at first sight.

Belongs here: reading the recorded columns for `mapped_tags_are_delivered`, and refusing to tag by a mapping
that names nothing. Does not belong here: when it holds (`ingestion/tag_mapping.py`), which tags the payer has
activated (`tagging/active.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from cops_dagster.cur import schema
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import tag_mapping
from cops_dagster.ingestion.tag_mapping import Mapped
from cops_dagster.lake import tag_columns
from cops_dagster.ledger import month
from cops_dagster.period import Period
from cops_dagster.policy import Tags
from cops_dagster.stores import tables as t
from cops_dagster.verdict import Verdict

_KINDS_OF = {"tenant_id": tag_columns.KINDS, "plan_id": tag_columns.KINDS, "service_component": ("resource",)}
"""By setting, the kinds of tags that may speak for it, as tagging asks them."""


def mapped(tags: Tags) -> list[Mapped]:
    """Every name of `[tags]` with the columns it means."""
    default = Tags()
    return [
        Mapped(
            setting,
            name,
            tuple(column for kind in kinds for column in tag_columns.columns_of([name], kind)),
            is_default=getattr(tags, setting) == getattr(default, setting),
        )
        for setting, kinds in _KINDS_OF.items()
        for name in getattr(tags, setting)
    ]


def verdict(con: sa.Connection, tags: Tags, period: Period) -> Verdict:
    """`mapped_tags_are_delivered` of a month."""
    deliveries, accounts = t.cur_delivery, t.account_tenants
    names = mapped(tags)
    sources = {row.source_id: _columns([row.columns_json]) for row in month.shown(con, period)}
    ever = {column for columns in sources.values() for column in columns}
    if any(not ever.intersection(one.columns) for one in names if one.setting == "tenant_id"):
        ever |= _columns(con.execute(sa.select(deliveries.c.columns_json).distinct()).scalars())
    by_account = con.execute(
        sa.select(accounts.c.usage_account_id)
        .where(
            accounts.c.effective_from < period.end,
            sa.or_(accounts.c.effective_to.is_(None), accounts.c.effective_to > period.start),
        )
        .limit(1)
    ).first()
    return tag_mapping.mapped_tags_are_delivered(
        names, sources, ever, accounts_name_tenants=by_account is not None
    )


def require(con: sa.Connection, tags: Tags, period: Period) -> None:
    """A mapping that names no delivered column would leave every cent untagged: nothing is tagged by it.

    Raises:
        CopsError: `E-TAG-MAP` with the near name.
    """
    found = verdict(con, tags, period)
    if found.refuses:
        raise CopsError(
            "E-TAG-MAP",
            f"[tags] tenant_id of {period}",
            expected="a tag that a delivery of the month has",
            found=f"no delivery has {found.figures['not_delivered']}; near:"
            f" {found.figures['near'] or 'none'}; delivered tags: {found.figures['delivered_tags']}",
            next_step=str(found.figures["next_step"]),
        )


def _columns(texts: Iterable[str]) -> set[str]:
    return {name.lower() for text in texts for name in schema.from_json(text)}
