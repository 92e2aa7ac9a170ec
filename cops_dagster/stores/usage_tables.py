"""The tables of usage keys: answers of each day, what a month was loaded from, refusals, frozen versions.

Belongs here: columns, keys and constraints, once, for both dialects; everybody reads them as names of
`stores/tables.py`. Does not belong here: any query; the month's figures (`tenant_usage`, which people may
load as well). `usage/record.py` and `usage/roll_up.py` alone write days, refusals and months,
`allocation/key_versions.py` what a frozen key names.
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.stores.columns import date_column as _date
from cops_dagster.stores.columns import int_column as _int
from cops_dagster.stores.columns import key_column as _key
from cops_dagster.stores.columns import metadata
from cops_dagster.stores.columns import money_column as _money
from cops_dagster.stores.columns import seq_column as _seq
from cops_dagster.stores.columns import text_column as _text
from cops_dagster.stores.columns import time_column as _time

# fmt: off
usage_day = sa.Table(  # one answer to the question of a day; a correction is the next version
    "usage_day", metadata,
    _seq("usage_seq"), _text("measure", null=False), _date("usage_day", null=False),
    _int("version", null=False), _date("period_start", null=False), _text("source_kind", null=False),
    _text("query_text", null=False),
    _text("unit", null=False), _text("figures_digest", null=False), _int("tenant_count", null=False),
    _int("held_count", null=False), _text("month_state", null=False), _text("evidence_id", null=False),
    _time("taken_at", null=False), _text("actor", null=False),
    sa.UniqueConstraint("measure", "usage_day", "version"),
)  # month_state: of the month when it was taken; in one that was closed it changes nothing
sa.Index("ix_usage_day_period_start", usage_day.c.period_start)
usage_day_value = sa.Table(  # what a version says of each tenant, in the key's unit
    "usage_day_value", metadata,
    _key("measure"), _key("usage_day", sa.Date), _key("version", sa.BigInteger), _key("tenant_id"),
    _key("standing"), _date("period_start", null=False), _money("value", null=False),
    sa.CheckConstraint("standing IN ('taken','held')", name="standing"),
)  # held: tenant_id is a name of the source that names nobody, and counts in no month
usage_month = sa.Table(  # which versions a month's figures in tenant_usage were made of
    "usage_month", metadata,
    _seq("usage_month_seq"), _text("usage_id", null=False), _text("measure", null=False),
    _date("period_start", null=False), _text("roll_up", null=False), _text("unit", null=False),
    _int("days", null=False), _date("last_day", null=False), _text("versions_json", null=False),
    _text("figures_digest", null=False), _text("load_id"), _time("rolled_up_at", null=False),
    _text("actor", null=False),
)
sa.Index("ix_usage_month_period_start", usage_month.c.period_start)
usage_refusal = sa.Table(  # a question of a day that got no answer that could be taken
    "usage_refusal", metadata,
    _seq("refusal_seq"), _text("measure", null=False), _date("usage_day", null=False),
    _date("period_start", null=False), _text("source_kind", null=False), _text("error_code", null=False),
    _text("error_detail", null=False), _time("refused_at", null=False), _text("actor", null=False),
)
key_usage_version = sa.Table(  # the version that a frozen key of allocation_key_snapshot was made of
    "key_usage_version", metadata,
    _key("inputs_id"), _key("key_name"), _date("period_start", null=False), _text("measure", null=False),
    _text("usage_id", null=False),
)
# fmt: on
