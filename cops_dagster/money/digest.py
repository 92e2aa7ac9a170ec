"""Canonical digests: SHA-256 over length-prefixed fields, so no two field lists share one input.

Belongs here: the encoding that every id of the ledger rests on. Changing it changes every id;
`VERSION` says which encoding made one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

from cops_dagster.money import amount

VERSION = b"\x01"
Field = str | int | bool | date | datetime | Decimal | None | Iterable["Field"]


def digest(*fields: Field) -> str:
    """Hex SHA-256 of the fields. Types count: `1`, `"1"` and `True` differ; dicts are refused."""
    state = hashlib.sha256(VERSION)
    for field in fields:
        state.update(_encode(field))
    return state.hexdigest()


def encoded(*fields: Field) -> bytes:
    """The bytes that `digest` hashes, for people who want to hash them with a program of their own."""
    return VERSION + b"".join(_encode(field) for field in fields)


def _encode(field: Field) -> bytes:
    match field:
        case None:
            tag, body = b"n", b""
        case str():
            tag, body = b"s", field.encode("utf-8", "surrogatepass")
        case bool():
            tag, body = b"b", b"1" if field else b"0"
        case int():
            tag, body = b"i", str(field).encode()
        case Decimal():
            tag, body = b"m", amount.to_text(amount.from_decimal(field)).encode()
        case datetime() | date():
            tag, body = b"d", field.isoformat().encode()
        case dict():
            raise TypeError("order the mapping first: digest(sorted(mapping.items()))")
        case _:
            tag, body = b"l", b"".join(_encode(item) for item in field)
    return tag + len(body).to_bytes(8, "big") + body
