"""The documents as data: their fenced blocks with what the comment above each says, and their links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIAGNOSTICS = sorted((ROOT / "sql" / "diagnostics").glob("*.sql"))

_BLOCK = re.compile(r"^((?:<!-- .*? -->\n)*)```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PARAMS = re.compile(r"<!-- params: (.*?) -->")
_FILE = re.compile(r"<!-- file: ([\w.-]+) -->")


@dataclass(frozen=True)
class Block:
    """One fenced block; `notes` are the comments above it."""

    page: str
    number: int
    kind: str
    text: str
    notes: str

    @property
    def params(self) -> list[str]:
        """`name=value` pairs, as `--param` takes them."""
        found = _PARAMS.search(self.notes)
        return found[1].split() if found else []

    @property
    def file(self) -> str | None:
        """The name under which the reader is asked to save the block."""
        found = _FILE.search(self.notes)
        return found[1] if found else None

    def __str__(self) -> str:
        return f"{Path(self.page).stem}-{self.number}"


def pages() -> list[Path]:
    """The documents for users; `docs/adr` tells builders why."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@cache
def text(name: str) -> str:
    """A page by its path below the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def everything() -> str:
    """All pages as one text."""
    return "\n".join(page.read_text(encoding="utf-8") for page in pages())


def blocks(kind: str) -> list[Block]:
    """Every fenced block of a kind, in order."""
    return [
        Block(str(page.relative_to(ROOT)), number, found[2], found[3], found[1])
        for page in pages()
        for number, found in enumerate(_BLOCK.finditer(page.read_text(encoding="utf-8")), start=1)
        if found[2] == kind
    ]


def lines(block: Block, program: str) -> list[str]:
    """The block's command lines that call a program."""
    return [line for line in block.text.splitlines() if line.split(" ")[0] == program]
