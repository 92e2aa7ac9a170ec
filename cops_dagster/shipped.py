"""Files that are shipped with the package: `sql/`, `docs/` and the README, in a wheel and in a checkout.

Belongs here: finding and naming them. `<package>/../sql` in a checkout is `<package>/sql` in a wheel.
Does not belong here: what is in them.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def find(name: str) -> Path:
    """The file or folder of this name. Raises `FileNotFoundError` when it was not installed."""
    for path in (_PACKAGE / name, _PACKAGE.parent / name):
        if path.exists():
            return path
    raise FileNotFoundError(f"{name} is not installed")


def diagnostics() -> dict[str, Path]:
    """The queries of `sql/diagnostics`, by the name that `cops sql @NAME` takes."""
    return {path.stem: path for path in sorted(find("sql/diagnostics").glob("*.sql"))}


def topics() -> dict[str, Path]:
    """The documents, by the topic that `cops docs TOPIC` takes; decisions are `adr/0001`."""
    docs = find("docs")
    found = {path.stem: path for path in sorted(docs.glob("*.md"))}
    found["readme"] = find("README.md")
    return found | {f"adr/{path.name[:4]}": path for path in sorted((docs / "adr").glob("*.md"))}


def first_words(path: Path) -> str:
    """What a file says it is: its first line, without the marks of its kind."""
    return path.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("-# ").rstrip()


def near(name: str, names: Collection[str]) -> list[str]:
    """Names that may have been meant, the nearest first."""
    given = name.lower()
    if len(given) < 3:
        return []
    return [one for one in names if given in one] or difflib.get_close_matches(given, names, n=3)
