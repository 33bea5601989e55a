"""Splitting: stratified, seeded, recorded (D3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from striate.core.randomness import permutation


def stratified_holdout(
    strata: Sequence[Hashable], fraction: float, seed: int, purpose: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(kept, held) positions: `fraction` of each stratum is held out, at least one of two or more.

    Shares are rounded so that the total is right (largest remainder); a stratum of one is kept.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    order = permutation(seed, 0, purpose, len(strata))
    for position in order:
        groups[strata[position]].append(int(position))
    quotas = _quotas([len(group) for group in groups.values()], fraction)
    held = [p for group, quota in zip(groups.values(), quotas, strict=True) for p in group[:quota]]
    mask = np.zeros(len(strata), dtype=bool)
    mask[held] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def _quotas(sizes: list[int], fraction: float) -> list[int]:
    exact = [size * fraction for size in sizes]
    quotas = [int(share) for share in exact]
    missing = round(sum(exact)) - sum(quotas)
    by_remainder = sorted(range(len(sizes)), key=lambda i: quotas[i] - exact[i])
    for i in by_remainder[:missing]:
        quotas[i] += 1
    # a class of two or more is always represented on both sides
    return [
        min(max(quota, 1), size - 1) if size > 1 and fraction > 0 else 0
        for size, quota in zip(sizes, quotas, strict=True)
    ]
