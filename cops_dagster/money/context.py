"""The arithmetic of `Decimal` in every process and thread of COPS: exact, or stopped.

Belongs here: the one context and how it is put in force. Does not belong here: rounding on purpose
(`money/amount.py`), what an amount may be.

Python's own context rounds at 28 digits without a word, in `+`, `-`, `sum`, `abs` and `normalize` alike;
`decimal(38,18)` has 38. A context belongs to a thread, so it is not enough to set it once: new threads
take theirs from `decimal.DefaultContext`, and that is what the package changes when it is imported.
"""

from __future__ import annotations

import decimal

DIGITS = 80
"""Two amounts multiplied have 76 digits, the sum of all amounts that fit into a computer 58."""
_TRAPS = (decimal.Inexact, decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow)


def put_in_force() -> None:
    """Makes decimals exact in this thread and in every thread that begins after this call.

    Whoever needs a quotient or fewer decimals says so with a context that rounds (`amount.ROUNDING`);
    what would be rounded otherwise raises `decimal.Inexact`.
    """
    _make_exact(decimal.DefaultContext)
    hold()


def hold() -> None:
    """Makes this thread exact, if something gave it another context before COPS was imported."""
    mine = decimal.getcontext()
    if mine.prec < DIGITS or not mine.traps[decimal.Inexact]:
        own = mine.copy()  # whoever set the other one may hold it yet
        _make_exact(own)
        decimal.setcontext(own)


def _make_exact(context: decimal.Context) -> None:
    context.prec = DIGITS
    for signal in _TRAPS:
        context.traps[signal] = True
