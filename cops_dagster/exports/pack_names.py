"""Names in a tenant's pack: of its folder, and of what people named after somebody else. Pure.

Belongs here: which texts name another tenant and how they are shown then; folder names that every file system
takes. Does not belong here: whose rows a pack holds (`exports/pack_facts.py`).

A rule, a component or a reason may be named after a tenant. In the pack of another it is shown by its digest:
that hides nothing of how an amount came, and tells nobody's name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from cops_dagster.money.digest import digest

_SAFE = re.compile(r"[a-z0-9_][a-z0-9_-]{0,63}", re.ASCII)
_UNSAFE = re.compile(r"[^a-z0-9_-]+", re.ASCII)
_DEVICES = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.ASCII)
"""Names that Windows keeps for itself, alone and before a dot."""
_TURNS = re.compile(r"[\u202a-\u202e\u2066-\u2069]")


def folder_of(tenant_id: str) -> str:
    """A folder name of a tenant, which no other tenant has: its id where that is safe, else with a digest.

    Ids may have slashes, dots and capitals: none of them leads out of a folder, or to another tenant's on a
    file system that does not tell capitals.
    """
    if _SAFE.fullmatch(tenant_id) and not _DEVICES.fullmatch(tenant_id):
        return tenant_id
    plain = _UNSAFE.sub("_", tenant_id.lower()).strip("_-")[:40]
    plain += "_" if _DEVICES.fullmatch(plain) else ""
    return f"{plain or 'tenant'}.{digest('pack-folder-1', tenant_id)[:12]}"


@dataclass(frozen=True)
class _Name:
    tenant_id: str
    pattern: re.Pattern[str]


class Names:
    """What every tenant is called, by id and name, compared without case and as whole words."""

    def __init__(self, tenants: Mapping[str, str]) -> None:
        self._names = [
            _Name(tenant_id, re.compile(rf"(?<![^\W_]){re.escape(_folded(called))}(?![^\W_])"))
            for tenant_id, name in tenants.items()
            for called in sorted({tenant_id, name})
            if _folded(called).strip()
        ]
        self._named: dict[str, list[tuple[str, int, int]]] = {}

    def shown(self, text: str | None, tenant_id: str) -> str:
        """A text as one tenant may read it: by its digest when it names another one."""
        if not text:
            return ""
        found = self._in(text)
        own = [(begin, end) for name, begin, end in found if name == tenant_id]
        for name, begin, end in found:
            if name != tenant_id and not any(a <= begin and end <= b for a, b in own):
                return f"name {digest('pack-name-1', text)[:12]}"
        return spelled(text)

    def _in(self, text: str) -> list[tuple[str, int, int]]:
        """Who is named where in a text; asked once for a text that stands in many packs."""
        if text not in self._named:
            folded = _folded(text)
            self._named[text] = [
                (one.tenant_id, *match.span())
                for one in self._names
                for match in one.pattern.finditer(folded)
            ]
        return self._named[text]


def spelled(text: str) -> str:
    """A text with the signs that turn its direction spelled out: with them a name reads as another one."""
    return _TURNS.sub(lambda sign: f"<U+{ord(sign[0]):04X}>", text)


def _folded(text: str) -> str:
    """As it is compared: a sign within a name that nobody sees does not hide it."""
    seen = "".join(one for one in text if unicodedata.category(one) != "Cf")
    return unicodedata.normalize("NFKC", seen).casefold()
