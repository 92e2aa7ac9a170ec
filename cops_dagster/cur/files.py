"""The `Files` port: what COPS needs to know of a place where AWS delivers, a folder or a bucket.

Belongs here: the port and its records. The implementations are in `stores/files.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class FileStat:
    """One regular file as listed. `version` changes when the bytes may have changed.

    Attributes:
        path: opaque address that the same port reads; never built from delivered text.
        name: last part of the address.
        size: bytes.
        version: modification time in ns for a folder; the ETag number or version for a bucket.
    """

    path: str
    name: str
    size: int
    version: int


class Files(Protocol):
    """Read-only access to one report root."""

    def folders_named(self, fits: Callable[[str], bool]) -> list[tuple[str, ...]]:
        """Every folder below the root whose name fits, as its parts below the root; none inside those."""
        ...

    def listing(self, parts: tuple[str, ...]) -> list[FileStat]:
        """The regular files directly in a folder; links and pipes are not regular files."""
        ...

    def folders(self, parts: tuple[str, ...]) -> list[str]:
        """Names of the folders directly in a folder."""
        ...

    def read(self, file: FileStat, limit: int) -> bytes:
        """The bytes of a small file. Raises `E-MANIFEST` when it is larger than `limit`."""
        ...

    def sha256(self, file: FileStat) -> str:
        """Hex digest of the file's bytes."""
        ...
