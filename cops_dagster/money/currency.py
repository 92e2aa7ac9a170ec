"""Where each currency ends: the minor units of ISO 4217, by which every amount of money is rounded.

Belongs here: which codes there are, how many decimals each has, the unit in atto-units. Does not belong
here: exchange rates (`reconciliation/documents.py`), rounding a list of amounts (`money/footing.py`).

Source: ISO 4217:2015, list one of its maintenance agency (SIX), with its amendments up to 180; the codes
that were withdrawn since AWS bills at all stand apart, since documents of their time stay what they are.
Metals, funds without a minor unit and codes for tests are no currency of a document.
"""

from __future__ import annotations

import difflib
from decimal import Decimal

from cops_dagster.errors import CopsError
from cops_dagster.money.amount import ATTO, plain, shown

_OTHER_THAN_TWO: dict[int, str] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
"""Decimals → codes. Every other currency has two."""

_TWO = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW
CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF
IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP
SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG
YER ZAR ZMW ZWG
"""

_NO_MORE = "ANG AZM BGN CUC EEK GHC HRK LTL LVL MRO MZM ROL SDD SKK SLL STD TMM TRL VEB VEF ZMK ZWL"
"""Codes with two decimals that were withdrawn since 2006."""

PLACES: dict[str, int] = (
    {"BYR": 0}  # withdrawn too
    | dict.fromkeys((_TWO + _NO_MORE).split(), 2)
    | {code: places for places, codes in _OTHER_THAN_TWO.items() for code in codes.split()}
)
"""Code → decimals."""


def is_known(code: str) -> bool:
    """Whether a code names a currency in which documents are written."""
    return code in PLACES


def places(code: str) -> int:
    """How many decimals an amount of a currency has.

    Raises:
        CopsError: `E-CCY-UNKNOWN` for a code that ISO 4217 does not know; nothing is rounded by guess.
    """
    if code not in PLACES:
        raise unknown(code)
    return PLACES[code]


def unit(code: str) -> int:
    """The smallest amount of a currency, in atto-units of it: 1 yen, 1 cent, 1 fils. Raises as `places`."""
    return int(ATTO // 10 ** places(code))


def told(value: Decimal, code: str) -> str:
    """An amount with the decimals of its currency; all of them where it has more."""
    decimals = places(code) if is_known(code) else 2
    return plain(value) if value % Decimal(1).scaleb(-decimals) else shown(value, decimals)


def unknown(code: str) -> CopsError:
    """The refusal of a code, with the codes that look like it."""
    near = difflib.get_close_matches(code.upper(), sorted(PLACES), n=3)
    return CopsError(
        "E-CCY-UNKNOWN",
        "currency",
        expected="an ISO 4217 code such as USD, EUR or JPY",
        found=repr(code),
        next_step=f"did you mean {' or '.join(near)}? correct the code" if near else "correct the code",
    )
