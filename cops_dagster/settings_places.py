"""Places as people write them, made absolute: folders, addresses in S3, report roots, databases, keys.

Belongs here: how each is read, and which is one in S3. Does not belong here: which setting names a place
(`settings.py`), what lies there (`stores/places.py`).
"""

from __future__ import annotations

import re
from pathlib import Path

_S3_WRITINGS = (
    r"https?://[a-z0-9.-]*console\.aws\.amazon\.com/s3/buckets/(?P<bucket>[^/?]+)"
    r"(?:\?(?:.*?prefix=(?P<prefix>[^&]*))?.*)?",
    r"https?://(?P<bucket>[a-z0-9][a-z0-9.-]*)\.s3[a-z0-9.-]*(?:/(?P<prefix>.*))?",
    r"https?://s3[a-z0-9.-]*/(?P<bucket>[^/]+)(?:/(?P<prefix>.*))?",
    r"arn:aws[a-z-]*:s3:::(?P<bucket>[^/]+)(?:/(?P<prefix>.*))?",
    r"s3[an]?:/*(?P<bucket>[^/]+)(?:/(?P<prefix>.*))?",
)


ROOT_NAME = re.compile(r"(?:(?P<name>[A-Za-z0-9][A-Za-z0-9_-]*)=)?(?P<place>.+)", re.DOTALL)


def is_s3(place: str) -> bool:
    """A place in S3, as COPS writes it; every other one is a folder."""
    return place.startswith("s3://")


def s3_meant(text: str) -> str | None:
    """How COPS writes what is another writing of a place in S3; `None` for what is none, or is right."""
    if is_s3(text) and text[5:6] not in ("", "/"):
        return None
    for pattern in _S3_WRITINGS:
        found = re.fullmatch(pattern, text.strip(), re.IGNORECASE)
        if found:
            prefix = (found["prefix"] or "").strip("/*")
            return f"s3://{found['bucket'].lower()}{'/' + prefix if prefix else ''}"
    return None


OTHER_SCHEME = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)


_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!:|file:)([^?]+)(.*)", re.DOTALL)


def folder_place(text: str, folder: Path | None = None) -> str:
    """A folder as people write it, absolute: `~` is the user's, `file:` is left out, relative to `folder`."""
    bare = text.strip().removeprefix("file://").removeprefix("file:")
    try:
        path = Path(bare).expanduser()
    except RuntimeError:
        raise ValueError(f"no user has the folder {bare.split('/')[0]}") from None
    return str((folder or Path.cwd()) / path)


def key_place(text: str, folder: Path | None = None) -> str:
    """A key's file, absolute; the public key itself (two words, `ssh-ed25519 AAAA…`) stays as it is."""
    return (
        text.strip() if re.match(r"\s*(ssh|ecdsa|sk)-[\w@.-]+\s+AAAA", text) else folder_place(text, folder)
    )


def placed_roots(text: str, folder: Path | None = None) -> str:
    """Report roots, comma-separated, each folder absolute; addresses such as `s3://` stay as they are."""
    found = [ROOT_NAME.match(root.strip()) for root in text.split(",") if root.strip()]
    return ",".join(
        f"{root['name'] + '=' if root['name'] else ''}{_root_place(root['place'], folder)}"
        for root in found
        if root
    )


def _root_place(place: str, folder: Path | None) -> str:
    is_address = re.match(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]*:/", place) or s3_meant(place)
    return place if is_address else folder_place(place, folder)


def database(url: str, folder: Path | None = None) -> str:
    """A database's URL; the file of a SQLite one is absolute once a folder is given, or for `~`."""
    found = _SQLITE.fullmatch(url)
    if found is None or (folder is None and not found[2].startswith("~")):
        return url
    return f"{found[1]}{folder_place(found[2], folder)}{found[3]}"
