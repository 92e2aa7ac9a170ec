"""Splitting an amount over weights, on integers, to difference 0."""

from __future__ import annotations

from collections.abc import Mapping


def split(amount: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Largest-remainder (Hamilton) split of `amount` atto-dollars by `weights`.

    Each name gets ⌊|amount|·wᵢ/Σw⌋; the atto-dollars left over go one each to the largest remainders,
    ties by name; the sign is put back at the end. So Σ shares = amount exactly, |share − exact| < 1
    atto, weight 0 gives 0, the order of `weights` does not matter and split(−a) = −split(a).
    The method is neither monotone nor additive (Alabama paradox): a reversal copies stored lines.

    Raises:
        ValueError: no positive weight, or a negative one. Callers decide before they split.
    """
    total = sum(weights.values())
    if total <= 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("weights must be non-negative with a positive sum")
    size = abs(amount)
    parts = {name: divmod(size * weight, total) for name, weight in weights.items()}
    shares = {name: whole for name, (whole, _) in parts.items()}
    left = size - sum(shares.values())
    for name in sorted(parts, key=lambda name: (-parts[name][1], name))[:left]:
        shares[name] += 1
    return {name: -share if amount < 0 else share for name, share in shares.items()}
