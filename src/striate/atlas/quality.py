"""How far a map can be believed: neighbours kept, trustworthiness, stability over seeds (D4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
NEIGHBOURS = 15
_ASKED, _SMALL = 1000, 3000
"""Points whose neighbours are looked up among all; points of the smaller maps."""


@dataclass(frozen=True)
class Quality:
    """Shares of 0 to 1. `kept`: of the nearest 15 (`neighbours`: fewer of few images) among the
    rows that were placed, how many are among the nearest on the map, of up to 1,000 points; by
    chance neighbours / (N − 1). `trustworthiness`: 1 if no point is near on the map that is far
    in the rows (Venna and Kaski 2001), by chance about ½, of up to 3,000 points. `stable`: of the
    nearest on a map of these that starts at random, how many are on that of another seed; None
    where it was not asked."""

    kept: float
    trustworthiness: float
    stable: float | None
    asked: int
    neighbours: int


def quality(
    rows: Floats, places: Floats, again: Callable[[Floats, int], Floats] | None = None
) -> Quality:
    """Of a map (N, 2) of rows (N, D). again: makes a map of some rows for a seed."""
    from sklearn.manifold import trustworthiness

    asked = np.unique(np.linspace(0, len(rows) - 1, min(_ASKED, len(rows))).astype(int))
    small = np.unique(np.linspace(0, len(rows) - 1, min(_SMALL, len(rows))).astype(int))
    few = max(1, min(NEIGHBOURS, (len(small) - 1) // 2))
    stable = None
    if again is not None:
        maps = [nearest_of(again(rows[small], seed), np.arange(len(small)), few) for seed in (1, 2)]
        stable = _shared(*maps)
    trust = trustworthiness(rows[small], places[small], n_neighbors=few)
    kept = _shared(
        nearest_of(rows, asked, few), nearest_of(places, asked, few)
    )  # fmt: skip
    return Quality(kept, float(trust), stable, len(asked), few)


def nearest_of(rows: Floats, asked: NDArray[Any], count: int) -> NDArray[np.int64]:
    """The nearest others of some rows among all: positions (K, count), nearest first."""
    from sklearn.neighbors import NearestNeighbors

    count = min(count, len(rows) - 1)
    found = NearestNeighbors(n_neighbors=count + 1).fit(rows)
    near = found.kneighbors(rows[asked], return_distance=False)
    others = [row[row != i][:count] for row, i in zip(near, asked, strict=True)]
    return np.array(others, dtype=np.int64).reshape(len(asked), count)


def _shared(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Mean share of each row of a that is in the same row of b."""
    hits = [len(np.intersect1d(x, y)) / max(1, len(x)) for x, y in zip(a, b, strict=True)]
    return float(np.mean(hits)) if hits else float("nan")
