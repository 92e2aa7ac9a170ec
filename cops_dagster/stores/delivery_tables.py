"""The tables of deliveries: what lies in the report roots, what was read of it, what waits and what is shown.

Belongs here: columns, keys and constraints, once, for both dialects; everybody reads them as names of
`stores/tables.py`. Does not belong here: any query; which columns a delivery must have (`cur/schema.py`).
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.stores.columns import date_column as _date
from cops_dagster.stores.columns import flag_column as _flag
from cops_dagster.stores.columns import int_column as _int
from cops_dagster.stores.columns import key_column as _key
from cops_dagster.stores.columns import metadata
from cops_dagster.stores.columns import money_column as _money
from cops_dagster.stores.columns import seq_column as _seq
from cops_dagster.stores.columns import text_column as _text
from cops_dagster.stores.columns import time_column as _time

# fmt: off
cur_delivery = sa.Table(
    "cur_delivery", metadata,
    _key("delivery_id"), _text("source_id", null=False), _date("period_start", null=False),
    _text("layout", null=False), _text("manifest_path", null=False), _text("assembly_id"),
    _text("schema_digest", null=False), _text("columns_json", null=False),
    _int("row_count", null=False), _money("cost_usd", null=False),
    _text("invoice_state", null=False),  # final | open: do all Anniversary rows carry an invoice id?
    _time("delivered_at", null=False), _time("first_seen_at", null=False),
)
cur_delivery_file = sa.Table(
    "cur_delivery_file", metadata,
    _key("delivery_id"), _key("position", sa.BigInteger), _text("name", null=False),
    _int("size_bytes", null=False), _text("sha256", null=False), _int("row_count", null=False),
)
cur_delivery_profile = sa.Table(  # what was measured of a delivery at first sight
    "cur_delivery_profile", metadata,
    _key("delivery_id"), _text("file_format", null=False), _time("newest_usage_at"),
    _int("quarantined_rows", null=False), _money("quarantined_usd", null=False),
    _text("figures_json", null=False),
)
cur_delivery_breakdown = sa.Table(  # rows and cost by one dimension at a time, for delivery diffs
    "cur_delivery_breakdown", metadata,
    _key("delivery_id"), _key("dimension"), _key("value"),
    _int("row_count", null=False), _money("cost_usd", null=False),
)  # dimension: account | service | invoice | line_type | payer | payer_account (payer/account) | usage_day
cur_delivery_place = sa.Table(  # where a delivery was last seen lying; equal means no byte is read again
    "cur_delivery_place", metadata,
    _key("source_id"), _key("period_start", sa.Date), _key("delivery_id"),
    _text("location_json", null=False), _time("seen_at", null=False),
)
cur_delivery_hold = sa.Table(  # deliveries that wait for a person; released by an approval
    "cur_delivery_hold", metadata,
    _key("delivery_id"), _text("source_id", null=False), _date("period_start", null=False),
    _text("error_code", null=False), _text("found", null=False), _text("requested_by", null=False),
    _time("held_at", null=False), _text("requested_login"),
)  # requested_login: who was logged in to PostgreSQL when it was asked for; NULL on SQLite
approval = sa.Table(  # a second person's yes, bound to the digest of what was approved (rule 5.14)
    "approval", metadata,
    _key("subject_type"), _key("subject_id"), _text("subject_digest", null=False),
    _text("requested_by", null=False), _text("approved_by", null=False), _text("reason", null=False),
    _time("approved_at", null=False), _text("claimed_by"),
)  # claimed_by: who COPS_ACTOR said it was; approved_by is the login where PostgreSQL's roles are in use
cur_read_file = sa.Table(  # the Parquet that is read for a delivered file which is none
    "cur_read_file", metadata,
    _key("delivery_id"), _key("position", sa.BigInteger), _text("path", null=False),
    _text("sha256", null=False), _int("size_bytes", null=False), _int("mtime_ns", null=False),
)
cur_billing_head = sa.Table(  # which delivery `cur_billing_master` shows, and where its files lie now
    "cur_billing_head", metadata,
    _key("source_id"), _key("period_start", sa.Date), _text("delivery_id", null=False),
    _text("location_json", null=False),  # [[path, size_bytes, mtime_ns], …], the manifest first
    _time("seen_at", null=False),
)
foreign_export = sa.Table(  # what lies beside a CUR and is none, and where it lay when it was looked at
    "foreign_export", metadata,
    _key("source_id"), _key("period_start", sa.Date), _text("kind", null=False),
    _text("location_json", null=False), _time("seen_at", null=False),
)
source_event = sa.Table(  # what people decided about a source; in force: `retired` since the last `restored`
    "source_event", metadata,
    _seq("event_seq"), _text("source_id", null=False), _text("event", null=False),
    _date("first_period"), _date("last_period"), _text("delivery_id"), _text("reason", null=False),
    _text("evidence_id", null=False), _text("actor", null=False), _time("occurred_at", null=False),
    sa.CheckConstraint("event IN ('retired','restored','withdrawn')", name="event"),
)  # first_period, last_period: the months it is about, both inclusive; NULL is without end
cur_ingestion_log = sa.Table(
    "cur_ingestion_log", metadata,
    _seq("log_seq"), _text("run_id"), _text("attempt_id", null=False), _text("source_id", null=False),
    _text("delivery_id"), _date("period_start", null=False), _text("status", null=False),
    _int("rows_in"), _int("rows_accepted"), _int("rows_quarantined"),
    _money("cost_in_usd"), _money("cost_accepted_usd"), _money("cost_quarantined_usd"),
    _text("digest_list"), _text("error_code"), _text("error_detail"), _text("actor", null=False),
    _text("dagster_run_id"), _time("started_at", null=False), _time("finished_at"),
    sa.CheckConstraint(
        "status IN ('running','succeeded','failed','delayed','skipped')", name="status"
    ),
)
expected_cur_schema = sa.Table(  # revisions; the views expected_cur_schema_v1 and _vN read it
    "expected_cur_schema", metadata,
    _key("revision", sa.BigInteger), _key("column_name"), _int("position", null=False),
    _text("data_type", null=False), _flag("required"),
)

active_cost_allocation_tag = sa.Table(  # the payer's cost allocation tags as last listed from AWS
    "active_cost_allocation_tag", metadata,
    _key("tag_key"), _key("tag_type"), _text("status", null=False), _text("last_updated_at"),
    _text("last_used_on"), _time("fetched_at", null=False),
)
