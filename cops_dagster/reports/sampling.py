"""Which entries an auditor looks at: chosen by a seed, so that anybody chooses the same again. Pure.

Belongs here: the choice. An entry's rank is the SHA3-256 of `SEED:ENTRY_ID`, and the lowest ranks are taken:
every entry has the same chance, nobody who books an entry knows its rank before the auditor names the seed,
and `sqlite3` computes the same digest (`sha3(…, 256)`).
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable


def rank(seed: str, entry_id: str) -> str:
    """Where an entry stands under a seed: 64 hexadecimal digits, the lowest first."""
    return hashlib.sha3_256(f"{seed}:{entry_id}".encode()).hexdigest()


def chosen(entry_ids: Iterable[str], n: int, seed: str) -> list[tuple[str, str]]:
    """The `n` lowest (rank, entry id), in order; all of them where there are fewer."""
    return heapq.nsmallest(n, ((rank(seed, entry_id), entry_id) for entry_id in entry_ids))
