"""Doubles whose decimal an engine may miss."""

from __future__ import annotations

import random
import struct


def hard_doubles(count: int) -> list[float]:
    """Rounded money, many digits, random bits, and what is no number."""
    chance = random.Random(18)
    values = [0.0, -0.0, 5e-324, float("nan"), float("inf"), float("-inf"), 1e20, 1e-19, 0.1 + 0.2]
    while len(values) < count:
        kind = len(values) % 4
        if kind == 0:
            values.append(round(chance.uniform(-1e6, 1e6), chance.randrange(11)))
        elif kind == 1:
            values.append(chance.randrange(10**17) * 10.0 ** chance.randrange(-24, 4))
        elif kind == 2:
            values.append(struct.unpack("<d", struct.pack("<Q", chance.getrandbits(64)))[0])
        else:
            values.append(chance.uniform(1.8e16, 9.2e18))
    return values
