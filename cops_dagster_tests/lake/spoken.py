"""The words of Trino and Athena that COPS relies on, and which of a text are others."""

from __future__ import annotations

import re

KNOWN = {
    "ABS", "ARRAY_DISTINCT", "ARRAY_JOIN", "ARRAY_SORT", "AT_TIMEZONE", "CAST", "COALESCE", "CONCAT",
    "CONCAT_WS", "ELEMENT_AT", "FORMAT", "IS_FINITE", "LENGTH", "LOWER", "NULLIF", "REGEXP_EXTRACT",
    "REGEXP_LIKE", "REGEXP_REPLACE", "REPLACE", "SUBSTR", "TRIM", "TRY_CAST",
}  # fmt: skip
"""Functions that Trino 476 and Athena engine 3 have, with the meaning that the views rely on."""
BRACKETED = {
    "AND", "AS", "DECIMAL", "FROM", "IN", "MAP", "NOT", "OR", "THEN", "TIMESTAMP", "VALUES", "WHEN", "WITH",
    "u",
}  # fmt: skip
MORE = {
    "ARBITRARY", "BITWISE_RIGHT_SHIFT_ARITHMETIC", "CARDINALITY", "CHECKSUM", "CHR", "COUNT", "COUNT_IF",
    "DATE_TRUNC", "FROM_BIG_ENDIAN_64", "GROUPING", "JSON_FORMAT", "MAP_KEYS", "MAX", "MIN", "MIN_BY", "MOD",
    "NORMALIZE", "RANK", "ROW_NUMBER", "SIGN", "SPLIT_PART", "STRPOS", "SUBSTRING", "SUM", "TO_UTF8",
    "UNNEST", "UUID", "XXHASH64",
}  # fmt: skip
"""Further functions that Trino 476 and Athena engine 3 have."""
WORDS = BRACKETED | {
    "CASE",
    "ELSE",
    "WHERE",
    "HAVING",
    "OVER",
    "BY",
    "SELECT",
    "UNION",
    "ALL",
    "ON",
    "EXISTS",
    "SETS",
    "JOIN",
    "ROW",
    "given",
    "t",
}


def called(text: str) -> set[str]:
    """Words before a bracket."""
    bare = re.sub(r"'(?:[^']|'')*'|\"[^\"]*\"", "", text)
    return set(re.findall(r"\b([A-Za-z_]\w*)\s*\(", bare))


def unknown(text: str) -> set[str]:
    names = {one for one in called(text) if not re.fullmatch(r"[a-z_0-9]+", one)}
    return names - KNOWN - MORE - WORDS
