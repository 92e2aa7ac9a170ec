"""Files that COPS made of delivered ones, and where they lie.

Belongs here: the path of a conversion as it is recorded, and that no other path is taken for one. Does not
belong here: making one (`lake/convert.py`), proof of its bytes (`evidence/conversions.py`).
"""

from __future__ import annotations

import re
from pathlib import Path

from cops_dagster.errors import CopsError

_CONVERSION = re.compile(r"converted/[0-9a-f]{32}\.parquet", re.ASCII)


def conversion(home: Path, recorded: str) -> Path:
    """Where a file lies that COPS made of a delivered one, as `cur_read_file` records it.

    Raises:
        CopsError: `E-EVIDENCE-TAMPERED` for any other path: it would be read, and deleted, as ours.
    """
    if _CONVERSION.fullmatch(recorded) is None:
        raise CopsError(
            "E-EVIDENCE-TAMPERED",
            "cur_read_file",
            expected="a file of COPS's own, converted/….parquet",
            found=recorded[:120],
            next_step="stop: find out who wrote to the admin database, and restore it from its backup",
        )
    return home / recorded
