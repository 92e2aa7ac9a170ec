"""What may be concluded from a time on record when clocks can be wrong. Pure.

Belongs here: whether something is recent. Does not belong here: order, which sequences say.
"""

from __future__ import annotations

from datetime import datetime, timedelta

APART = timedelta(minutes=5)
"""How far the clocks of two machines may be apart without that being a fault."""


def is_within(moment: datetime | None, length: timedelta, now: datetime) -> bool:
    """Whether something is no longer ago than that.

    What never was is not, nor is a moment that lies ahead: a clock that was wrong when it was written would
    otherwise make it look new for as long as it was ahead.
    """
    return moment is not None and -APART <= now - moment <= length
