"""Where a classifier is worse than elsewhere: parts of the images, with intervals and a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.metrics.intervals import of_mean

_PARTS, _LEAST, _MOST_VALUES = 4, 10, 50
"""Numbers are cut into four equal parts; parts of fewer than ten images are left out, and columns
of more than 50 values (names, not kinds)."""
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Slice:
    """Images with one value of a column: how many, their score with its interval, the score of all
    others, and the probability of such a difference by chance, corrected for all slices (Holm)."""

    column: str
    value: str
    n: int
    score: float
    low: float
    high: float
    others: float
    p: float

    @property
    def worse(self) -> bool:
        """Significantly below the others."""
        return self.score < self.others and self.p < SIGNIFICANT


def by_slice(right: NDArray[np.float64], columns: Mapping[str, NDArray[Any]]) -> list[Slice]:
    """The slices of all columns, the worst first.

    right: what each image contributes to the score (N,); columns: numbers or texts (N,).
    """
    found = []
    for name, values in columns.items():
        for value, here in _parts(np.asarray(values)):
            if _LEAST <= here.sum() < len(here):
                found.append((name, value, here, _by_chance(right[here], right[~here])))
    corrected = holm(np.array([row[3] for row in found]))
    slices = []
    for (name, value, here, _), p in zip(found, corrected, strict=True):
        n, score = int(here.sum()), float(right[here].mean())
        low, high = of_mean(right[here])
        others = float(right[~here].mean())
        slices.append(Slice(name, value, n, score, low, high, others, float(p)))
    return sorted(slices, key=lambda s: (not s.worse, s.score - s.others))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities corrected for their number (Holm 1979)."""
    order = np.argsort(p)
    scaled = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(scaled, 1.0)
    return corrected


def _parts(values: NDArray[Any]) -> list[tuple[str, NDArray[np.bool_]]]:
    distinct = np.unique(values)
    if values.dtype.kind not in "fiu":
        return [(str(v), values == v) for v in distinct if len(distinct) <= _MOST_VALUES]
    if len(distinct) <= _PARTS:
        return [(f"{v:.4g}", values == v) for v in distinct]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _PARTS + 1)))
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return [(f"{edges[i]:.4g} to {edges[i + 1]:.4g}", place == i) for i in range(len(edges) - 1)]


def _by_chance(here: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Fisher's exact test of right and wrong answers; of shares Welch's t-test."""
    from scipy.stats import fisher_exact, ttest_ind

    if np.isin(here, (0.0, 1.0)).all() and np.isin(others, (0.0, 1.0)).all():
        rows = [[part.sum(), len(part) - part.sum()] for part in (here, others)]
        return float(fisher_exact(rows)[1])
    if not (here.std() or others.std()):
        return 1.0
    return float(ttest_ind(here, others, equal_var=False).pvalue)
