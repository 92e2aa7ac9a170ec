"""Reservations and savings plans: what of a discounted commitment was left unused, and halves of one. Pure.

Belongs here: the arithmetic that SQL may not do, and when a commitment's other half lies in another report.
Does not belong here: which line is which (sql/lens.sql).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from cops_dagster.ingestion.verdicts import COMMITMENTS_ARE_DELIVERED_WHOLE
from cops_dagster.verdict import Verdict


def net_unused(unused: int, gross: int, net: int) -> int:
    """Unused × net ÷ gross, rounded half-even to one atto-dollar: a discount is one rate of the whole fee.

    Where net is no part of gross (figures that are no discount), the gross amount stands.

    Args:
        unused: commitment that no usage took, before discounts, in atto-dollars.
        gross, net: the fee line's commitment (recurring + amortised upfront) before and after discounts.
    """
    return round(Fraction(unused * net, gross)) if 0 <= net < gross else unused


@dataclass(frozen=True)
class Commitment:
    """One commitment in one source's month. `residual`: unblended − amortized − true-up − upfront, in USD."""

    source_id: str
    arn: str
    has_fee: bool
    has_usage: bool
    residual: Decimal
    net_residual: Decimal

    @property
    def owner(self) -> str | None:
        """The account that bought it and bears its fee: the fifth part of its ARN."""
        parts = self.arn.split(":")
        return parts[4] or None if parts[0] == "arn" and len(parts) > 5 else None


@dataclass(frozen=True)
class Half:
    """A commitment of which a report holds one half, and what the bridge lacks for it, in USD."""

    arn: str
    missing: Literal["fee", "usage"]
    residual: Decimal
    net_residual: Decimal


def halves(
    commitments: Sequence[Commitment], accounts: Collection[tuple[str, str, str | None]]
) -> list[Half]:
    """The commitments whose other half is in another report (docs/adr/0028).

    The fee is when the owner's account has no line in the source. In a member account's own report either
    half may be: its payer bears the fee of what it uses, other members use what it pays for. Anything else
    that does not add up is a fault of the delivery and stays in the bridge.

    Args:
        accounts: (source, usage account, payer) of every source.
    """
    found = []
    for one in commitments:
        here = [row for row in accounts if row[0] == one.source_id]
        used, payers = {row[1] for row in here}, {row[2] for row in here}
        is_members_own = len(used) == 1 and None not in payers and len(payers) == 1 and used != payers
        is_fee_elsewhere = is_members_own or (one.owner is not None and one.owner not in used)
        if one.has_usage and not one.has_fee and is_fee_elsewhere:
            found.append(Half(one.arn, "fee", one.residual, one.net_residual))
        elif one.has_fee and is_members_own and one.residual > 0:
            found.append(Half(one.arn, "usage", one.residual, one.net_residual))
    return found


def commitments_are_delivered_whole(found: Sequence[Half]) -> Verdict:
    """Every commitment came with its fee and its usage; the cost views of a half do not add up."""
    return Verdict(
        COMMITMENTS_ARE_DELIVERED_WHOLE,
        not found,
        "WARN",
        {
            "commitments": len(found),
            "elsewhere_usd": sum((abs(half.residual) for half in found), Decimal(0)),
            "halves": [
                {"commitment": half.arn, "missing": half.missing, "usd": abs(half.residual)}
                for half in sorted(found, key=lambda half: (-abs(half.residual), half.arn))[:50]
            ],
        },
    )
