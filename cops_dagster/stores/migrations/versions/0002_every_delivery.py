"""Every layout and every delivery: profiles, holds, approvals, dated aliases, CUR schema revision 2."""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa
from alembic import op

from cops_dagster.stores.tables import Money

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_APPEND_ONLY = ("cur_delivery_profile", "cur_delivery_breakdown", "cur_delivery_hold", "approval")

_EXPECTED = (
    (
        "varchar",
        "bill_payer_account_name line_item_usage_account_name line_item_iam_principal "
        "pricing_lease_contract_length pricing_offering_class pricing_purchase_option pricing_rate_code "
        "product_comment product_fee_code product_fee_description product_from_location "
        "product_from_location_type product_from_region_code product_instance_family product_instancesku "
        "product_location product_location_type product_operation product_pricing_unit "
        "product_to_location product_to_location_type product_to_region_code product_usagetype "
        "reservation_availability_zone reservation_end_time reservation_modification_status "
        "reservation_normalized_units_per_reservation reservation_number_of_reservations "
        "reservation_start_time reservation_total_reserved_normalized_units "
        "reservation_total_reserved_units reservation_units_per_reservation savings_plan_end_time "
        "savings_plan_instance_type_family savings_plan_offering_type savings_plan_payment_option "
        "savings_plan_purchase_term savings_plan_region savings_plan_savings_plan_rate "
        "savings_plan_start_time split_line_item_parent_resource_id account_tag_tenant_id "
        "account_tag_plan_id cost_category_tenant_id",
    ),
    (
        "double",
        "reservation_unused_normalized_unit_quantity reservation_unused_quantity "
        "split_line_item_actual_usage split_line_item_reserved_usage split_line_item_split_usage "
        "split_line_item_split_usage_ratio discount_bundled_discount discount_total_discount "
        "reservation_net_amortized_upfront_cost_for_usage reservation_net_recurring_fee_for_usage "
        "reservation_net_upfront_value reservation_upfront_value split_line_item_net_split_cost "
        "split_line_item_net_unused_cost split_line_item_public_on_demand_split_cost "
        "split_line_item_public_on_demand_unused_cost split_line_item_split_cost "
        "split_line_item_unused_cost",
    ),
)
_OWN = ("source_id", "delivery_id")

_VIEWS = {
    "expected_cur_schema_v2": (
        "SELECT column_name, data_type, required FROM expected_cur_schema WHERE revision = 2"
    ),
}


def upgrade() -> None:
    """Adds what issue 3 needs; every stored row stays."""
    _tables()
    _date_the_aliases()
    _expect_cur_schema()
    for name, select in _VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {select}")
    if op.get_context().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _expect_cur_schema() -> None:
    expected = sa.table(
        "expected_cur_schema",
        sa.column("revision", sa.BigInteger),
        sa.column("column_name", sa.Text),
        sa.column("position", sa.BigInteger),
        sa.column("data_type", sa.Text),
        sa.column("required", sa.Boolean),
    )
    before = [
        (row.column_name, row.data_type, row.required)
        for row in op.get_bind().execute(
            sa.select(expected).where(expected.c.revision == 1).order_by(expected.c.position)
        )
    ]
    added = [(name, data_type, False) for data_type, group in _EXPECTED for name in group.split()]
    delivered = [column for column in before if column[0] not in _OWN]
    own = [column for column in before if column[0] in _OWN]
    op.bulk_insert(
        expected,
        [
            {
                "revision": 2,
                "column_name": name,
                "position": position,
                "data_type": kind,
                "required": required,
            }
            for position, (name, kind, required) in enumerate(delivered + added + own, start=1)
        ],
    )


def _date_the_aliases() -> None:
    # SQLite cannot alter a primary key, so the rows step aside while the table is made anew
    rows = [tuple(row) for row in op.get_bind().execute(sa.text("SELECT * FROM tag_aliases"))]
    op.drop_table("tag_aliases")
    aliases = op.create_table(
        "tag_aliases",
        sa.Column("tag_name", sa.Text, nullable=False),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("effective_from", sa.Date, nullable=False),
        sa.Column("effective_to", sa.Date, nullable=True),
        sa.Column("canonical", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("tag_name", "alias", "effective_from", name=op.f("pk_tag_aliases")),
    )
    op.bulk_insert(
        aliases,
        [
            {"tag_name": name, "alias": alias, "effective_from": date(1970, 1, 1), "canonical": canonical}
            for name, alias, canonical in rows
        ],
    )


def _guard_sqlite() -> None:
    for table in _APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY {table} takes no {verb}'); END"
            )


def _guard_postgresql() -> None:
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION cops_append_only()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION cops_append_only()"
        )


def _tables() -> None:
    op.create_table(
        "cur_delivery_profile",
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("file_format", sa.Text, nullable=False),
        sa.Column("newest_usage_at", sa.DateTime, nullable=True),
        sa.Column("quarantined_rows", sa.BigInteger, nullable=False),
        sa.Column("quarantined_usd", Money, nullable=False),
        sa.Column("figures_json", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_cur_delivery_profile")),
    )
    op.create_table(
        "cur_delivery_breakdown",
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("dimension", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("cost_usd", Money, nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "dimension", "value", name=op.f("pk_cur_delivery_breakdown")),
    )
    op.create_table(
        "cur_delivery_place",
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("location_json", sa.Text, nullable=False),
        sa.Column("seen_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint(
            "source_id", "period_start", "delivery_id", name=op.f("pk_cur_delivery_place")
        ),
    )
    op.create_table(
        "cur_delivery_hold",
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("error_code", sa.Text, nullable=False),
        sa.Column("found", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("held_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_cur_delivery_hold")),
    )
    op.create_table(
        "approval",
        sa.Column("subject_type", sa.Text, nullable=False),
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("subject_digest", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("approved_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("approved_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("subject_type", "subject_id", name=op.f("pk_approval")),
    )
    op.create_table(
        "cur_read_file",
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "position", name=op.f("pk_cur_read_file")),
    )
    op.create_table(
        "active_cost_allocation_tag",
        sa.Column("tag_key", sa.Text, nullable=False),
        sa.Column("tag_type", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("last_updated_at", sa.Text, nullable=True),
        sa.Column("last_used_on", sa.Text, nullable=True),
        sa.Column("fetched_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("tag_key", "tag_type", name=op.f("pk_active_cost_allocation_tag")),
    )
