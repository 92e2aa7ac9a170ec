"""What columns of the admin database are made of: exact money, times, keys, for both dialects.

Belongs here: types and the metadata with its naming of constraints. Does not belong here: any table
(`stores/tables.py`).
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from cops_dagster.errors import CopsError
from cops_dagster.money import amount
from cops_dagster.stores import faults


class Money(sa.types.TypeDecorator[Decimal]):
    """`decimal(38,18)`: NUMERIC where the database has exact decimals, canonical text on SQLite.

    The admin database never sums or compares money, so the text form loses nothing (design 3).
    """

    impl = sa.Numeric(38, 18)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """Text on SQLite, whose NUMERIC would store a float."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(sa.Numeric(38, 18))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Refuses NaN and more than 18 decimals before the database sees them."""
        if value is None:
            return None
        text = amount.to_text(amount.from_decimal(value))
        return text if dialect.name == "sqlite" else Decimal(text)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """The stored amount as `Decimal`; what is none, no act of ours wrote.

        Raises:
            CopsError: `E-DB-CORRUPT`.
        """
        if value is None:
            return None
        try:
            stored = Decimal(value)
        except InvalidOperation:
            stored = Decimal("NaN")
        if not stored.is_finite():  # also NaN and Infinity, which PostgreSQL's NUMERIC takes
            raise CopsError(
                "E-DB-CORRUPT",
                "admin database",
                expected="an amount in every amount column",
                found=repr(value)[:60],
                next_step=faults.RESTORE,
            )
        return stored


metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def key_column(name: str, type_: Any = sa.Text) -> sa.Column[Any]:
    """Part of the primary key."""
    return sa.Column(name, type_, primary_key=True)


def text_column(name: str, *, null: bool = True) -> sa.Column[Any]:
    """Text of any length."""
    return sa.Column(name, sa.Text, nullable=null)


def date_column(name: str, *, null: bool = True) -> sa.Column[Any]:
    """A day."""
    return sa.Column(name, sa.Date, nullable=null)


def time_column(name: str, *, null: bool = True) -> sa.Column[Any]:
    """A time in UTC, without zone."""
    return sa.Column(name, sa.DateTime, nullable=null)


def int_column(name: str, *, null: bool = True) -> sa.Column[Any]:
    """A 64-bit number."""
    return sa.Column(name, sa.BigInteger, nullable=null)


def money_column(name: str, *, null: bool = True) -> sa.Column[Any]:
    """An exact amount."""
    return sa.Column(name, Money, nullable=null)


def flag_column(name: str) -> sa.Column[Any]:
    """Yes or no, never unknown."""
    return sa.Column(name, sa.Boolean, nullable=False)


def seq_column(name: str) -> sa.Column[Any]:
    """A number that the database counts up."""
    # BIGINT does not autoincrement on SQLite; the variant keeps one definition.
    return sa.Column(
        name, sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
    )
