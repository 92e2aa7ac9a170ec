"""The first `keys.toml`: an example of every kind of source, commented out.

Belongs here: writing it where none is. Does not belong here: what may stand in it (`usage/declared.py`).
"""

from __future__ import annotations

from pathlib import Path

from cops_dagster.errors import CopsError
from cops_dagster.settings import Settings
from cops_dagster.stores import faults
from cops_dagster.usage import declared

EXAMPLE = Path(__file__).with_name("keys.example.toml")


def begin(settings: Settings) -> Path:
    """Writes the example; the file. Raises `E-KEYS-FILE` where there is one, or no room for it."""
    file = declared.place(settings)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(EXAMPLE.read_text(encoding="utf-8"))
    except FileExistsError:
        raise CopsError(
            "E-KEYS-FILE",
            f"file {file}",
            expected="no file of this name yet",
            found="one",
            next_step="add measures to it: cops docs usage-keys",
        ) from None
    except OSError as problem:
        raise faults.of_disk(problem, str(file)) or CopsError(
            "E-KEYS-FILE",
            f"file {file}",
            expected="a folder that can be written to",
            found=str(problem.strerror),
            next_step="correct COPS_KEYS",
        ) from None
    return file
