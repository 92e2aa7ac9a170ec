"""Money as a signed integer of atto-dollars (10⁻¹⁸) in code, `decimal(38,18)` at rest.

Belongs here: the conversions between the two and decimal text. No float enters or leaves.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow

from cops_dagster.errors import CopsError

SCALE = 18
ATTO = 10**SCALE
ROUNDING = Context(prec=120, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
"""For what is rounded on purpose: everywhere else a digit that would be lost stops the act."""


def parse(text: str, *, subject: str = "amount") -> int:
    """Atto-dollars of plain decimal text (`-12.50`).

    Raises:
        CopsError: `E-COST-PARSE` for anything but digits, sign and point; `E-COST-SCALE` for more
            than 18 decimals; `E-COST-RANGE` for more than 20 digits before the point.
    """
    plain = text.strip()
    if not plain or not plain.isascii() or plain.strip("+-.0123456789"):
        raise _refused("E-COST-PARSE", subject, "decimal digits with a point, such as -12.50", text)
    try:
        value = Decimal(plain)
    except InvalidOperation:
        raise _refused("E-COST-PARSE", subject, "decimal digits with a point", text) from None
    return from_decimal(value, subject=subject)


def from_decimal(value: Decimal, *, subject: str = "amount") -> int:
    """Atto-dollars of a `Decimal`, exactly; refuses what 18 decimals cannot hold."""
    if not value.is_finite():
        raise _refused("E-COST-NAN", subject, "a finite amount", str(value))
    if value and value.adjusted() >= 20:  # before any arithmetic: an exponent can name a million digits
        raise _refused("E-COST-RANGE", subject, "at most 20 digits before the point", _short(value))
    sign, digits, exponent = value.as_tuple()
    surplus = -int(exponent) - SCALE  # decimals beyond the 18th; only zeros may stand there
    if surplus > 0:
        if any(digits[-surplus:]) or (value and surplus >= len(digits)):
            raise _refused("E-COST-SCALE", subject, f"at most {SCALE} decimals", _short(value))
        digits, surplus = digits[:-surplus], 0
    if not any(digits):
        return 0
    atto = int("".join(map(str, digits))) * 10**-surplus
    return -atto if sign else atto


def _short(value: Decimal) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def to_decimal(atto: int) -> Decimal:
    """The amount as a `Decimal` with 18 places."""
    return Decimal(atto).scaleb(-SCALE, ROUNDING)


def to_text(atto: int) -> str:
    """Canonical text with 18 decimals: what digests and the SQLite column hold (`0`, never `-0`)."""
    sign, digits = ("-" if atto < 0 else ""), str(abs(atto)).rjust(SCALE + 1, "0")
    return f"{sign}{digits[:-SCALE]}.{digits[-SCALE:]}"


def show(atto: int, places: int = 2) -> str:
    """The amount for people: rounded half-even to `places`, thousands separated."""
    return shown(to_decimal(atto), places)


def shown(value: Decimal, places: int = 2) -> str:
    """As `show`, of a `Decimal`. What rounds to nothing is `0.00`, never `-0.00`."""
    rounded = value.quantize(Decimal(1).scaleb(-places), context=ROUNDING)
    return f"{rounded or abs(rounded):,f}"


def plain(value: Decimal) -> str:
    """All digits, for programs; zero has no sign."""
    return f"{value or value.copy_abs():f}"


def percent(part: int, whole: int, places: int = 6) -> Decimal | None:
    """100 × part ÷ whole as an exact-rounded `Decimal`; `None` when `whole` is 0."""
    if whole == 0:
        return None
    return ROUNDING.divide(Decimal(100 * part), Decimal(whole)).quantize(
        Decimal(1).scaleb(-places), context=ROUNDING
    )


def converted(value: Decimal, rate: Decimal) -> Decimal:
    """An amount times an exchange rate, rounded half-even to 18 places."""
    return ROUNDING.multiply(value, rate).quantize(Decimal(1).scaleb(-SCALE), context=ROUNDING)


def basis_points(atto: int, bps: int) -> int:
    """`bps` ten-thousandths of an amount, rounded half-even to one atto-dollar."""
    quotient, rest = divmod(abs(atto) * bps, 10_000)
    if rest > 5_000 or (rest == 5_000 and quotient % 2):
        quotient += 1
    return -quotient if atto < 0 else quotient


def _refused(code: str, subject: str, expected: str, found: str) -> CopsError:
    return CopsError(
        code, subject, expected=expected, found=repr(found), next_step="correct the amount at its source"
    )
