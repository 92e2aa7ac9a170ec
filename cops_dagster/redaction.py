"""What of a text is a secret: found, so that a file with one is refused; masked, where text is shown. Pure.

Belongs here: the shapes by which passwords, keys and tokens are known in addresses and messages. Does not
belong here: which settings are secrets by their name (`settings.py`), how a refusal is worded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

MASK = "***"
_NAME = (
    r"[\w.-]*?(?:pass(?:word|wd|phrase|code)|(?<![a-z])pass|pwd|secret|token|signature|sig|credentials?"
    r"|(?:api|access|account|private|secret|shared)[_-]?key(?:[_-]?id)?|auth(?:orization)?)"
)
_HOOKS = (
    r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/",
    r"(?:\w+\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/",
    r"[\w.-]+\.webhook\.office\.com/\w+/",
    r"api\.telegram\.org/bot",
    r"events\.pagerduty\.com/integration/",
)
"""Addresses whose path is the secret."""


@cache
def _shapes() -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    """What a secret is called, what is shown instead, how it is known. Compiled when first asked for."""
    return tuple(
        (what, shown, re.compile(pattern, re.IGNORECASE))
        for what, shown, pattern in (
            (
                "a private key",
                MASK,
                r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*-----|\Z)",
            ),
            ("the secret of a webhook", rf"\1{MASK}", rf"(https?://(?:{'|'.join(_HOOKS)}))[^\s\"'<>]+"),
            (
                "a password in an address",
                rf"\1{MASK}@",
                r"(://[^\s:/?#@\"'<>]*:)(?!\d{1,5}(?:/|$))[^\s\"'<>]+@",
            ),
            ("a token in an address", rf"\1{MASK}@", r"(\bhttps?://)(?!\*)[^\s:/?#@\"'<>]+@"),
            ("a secret in an address", rf"\1{MASK}", rf"([?&;](?:{_NAME}|key)=)(?!\*)[^\s&;#\"'<>]+"),
            (
                "a password",
                rf"\1{MASK}",
                rf"((?:^|[^\w-]){_NAME}=)(?!\*|[\w+.-]+://)(?:'[^']+'|\"[^\"]+\"|[^\s&;,\"'<>]+)",
            ),
            ("a password", rf'\1"{MASK}"', rf"([\"']{_NAME}[\"']\s*:\s*)(?:\"[^\"]+\"|'[^']+')"),
            ("a token", rf"\1{MASK}", r"(\b(?:Bearer|Basic) +)(?=[\w+/.~-]*\d)[\w+/.~-]{16,}=*"),
            ("an access key of AWS", MASK, r"(?-i:\b(?:AKIA|ASIA)[A-Z0-9]{16}\b)"),
            ("a token", MASK, r"(?-i:\b(?:xox[abeoprs]-[\w-]{10,}|gh[opsur]_\w{20,}|glpat-[\w-]{20,}))"),
        )
    )


def found(text: str) -> str | None:
    """What secret stands in a text, in words; `None` for none. Escapes such as `%73` hide nothing."""
    for one in (text, unquote(text)):
        for what, _, shape in _shapes():
            if shape.search(one):
                return what
    return None


def masked(text: str) -> str:
    """The text with its secrets replaced by `***`; masking twice changes nothing."""
    for _, shown, shape in _shapes():
        text = shape.sub(shown, text)
    return text


def masked_within(value: Any) -> Any:
    """As `masked`, of every text in lists and mappings."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {name: masked_within(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(masked_within(one) for one in value) if type(value) in (list, tuple) else value
    return value


def is_secret_name(name: str) -> bool:
    """Whether a parameter of this name holds a secret."""
    return re.fullmatch(_NAME, name, re.IGNORECASE) is not None


_PLACES = ("host", "hostaddr", "port", "dbname", "user")
_OPTIONS = ("sslmode", "connect_timeout", "options", "application_name", "service", "target_session_attrs")
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def without_options(text: str, password: str, options: Mapping[str, str | tuple[str, ...]]) -> str:
    """A message of a driver without what of its URL may be a secret; a short one is hidden where it is one.

    libpq quotes an option that it does not know, such as the rest of a password with an `&`, and the value of
    one that it does.
    """
    given = {password}
    for name, value in options.items():
        if name not in _PLACES:
            given |= {value} if isinstance(value, str) else set(value)
        if name not in (*_PLACES, *_OPTIONS) and not is_secret_name(name):
            given.add(name)
    for secret in sorted(given - set(_MODES), key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, MASK)
        elif secret:
            text = text.replace(f":{secret}@", f":{MASK}@")
    return masked(text)
