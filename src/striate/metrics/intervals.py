"""How sure a figure is: 95 % intervals of shares, means, and what follows from a confusion table.

Shares have Wilson's interval (Wilson 1927), which holds for few images and near 0 and 1; means that
of their standard error, areas under curves that of the infinitesimal jackknife, all others a
bootstrap over images (Efron 1979). Images are taken as independent: intervals are too
narrow where many show the same thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
_Z = 1.959964
_RESAMPLES, _MOST_NUMBERS = 1000, 20_000_000
"""Resamples of a bootstrap; fewer where they would hold more numbers than that."""

Interval = tuple[float, float]
Counts = NDArray[np.floating[Any]]
NONE: Interval = (math.nan, math.nan)


def wilson(right: float, n: float) -> Interval:
    """Of the share right / n; NaN without images."""
    if not n:
        return NONE
    share, spread = right / n, _Z * _Z / n
    centre = share + spread / 2
    half = _Z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return (0.0 if right == 0 else low), (1.0 if right == n else high)


def of_mean(values: NDArray[Any]) -> Interval:
    """Of a mean, by its standard error; NaN below two values."""
    if len(values) < 2:
        return NONE
    error = _Z * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - error, float(values.mean()) + error


def of_area(value: float, moves: NDArray[Any]) -> Interval:
    """Of a share that images (N,) move by so much each (their influence), on the scale of log odds,
    so that it stays between 0 and 1; both ends are the value where nothing moves it."""
    if not 0 < value < 1 or len(moves) < 2:
        return (value, value) if math.isfinite(value) and len(moves) else NONE
    error = _Z * float(moves.std(ddof=1)) / math.sqrt(len(moves)) / (value * (1 - value))
    odds = math.log(value / (1 - value))
    low, high = (
        1 / (1 + math.exp(-min(max(x, -700.0), 700.0))) for x in (odds - error, odds + error)
    )
    return low, high


def of_table(
    table: NDArray[np.integer[Any]],
    statistics: dict[str, Callable[[Counts, Counts, Counts], NDArray[Any]]],
    seed: int = 0,
) -> dict[str, Any]:
    """Of figures that follow from a confusion table (rows are truths), by drawing its images anew.

    A statistic takes counts (resamples, classes) of images that are right, predicted and true, and
    gives (resamples,) or (resamples, classes); its interval is (low, high), or one for each class.
    """
    truth, predicted = np.nonzero(table)
    n = int(table.sum())
    if not n:
        return dict.fromkeys(statistics, NONE)
    cells = table[truth, predicted]
    resamples = max(100, min(_RESAMPLES, _MOST_NUMBERS // max(len(cells), len(table))))
    drawn = np.random.default_rng(seed).multinomial(n, cells / n, size=resamples).astype(float)
    sums = [np.zeros((len(table), resamples)) for _ in range(3)]
    hit = truth == predicted
    np.add.at(sums[0], truth[hit], drawn.T[hit])
    np.add.at(sums[1], predicted, drawn.T)
    np.add.at(sums[2], truth, drawn.T)
    right, called, true = (part.T for part in sums)
    return {name: percentiles(f(right, called, true)) for name, f in statistics.items()}


def percentiles(values: NDArray[Any]) -> Any:
    """(low, high) of resampled figures (resamples,), or one pair for each of (resamples, K); those
    that do not exist (NaN) are left out."""
    if values.ndim == 2:
        return [percentiles(column) for column in values.T]
    known, tail = values[np.isfinite(values)], 50 * (1 - LEVEL)
    if not len(known):
        return NONE
    low, high = np.percentile(known, (tail, 100 - tail))
    return float(low), float(high)


def difference(ours: NDArray[Any], theirs: NDArray[Any], seed: int = 0) -> tuple[float, Interval]:
    """(mean of ours − theirs, its interval) on the same images (N,), by a paired bootstrap."""
    apart = np.asarray(ours, dtype=np.float64) - theirs
    if not len(apart):
        return math.nan, NONE
    values, counts = np.unique(apart, return_counts=True)
    rng, n = np.random.default_rng(seed), len(apart)
    if len(values) <= 1000:  # the same as drawing images, without as many numbers
        drawn = rng.multinomial(n, counts / n, size=_RESAMPLES) @ values / n
    else:
        resamples = max(100, min(_RESAMPLES, _MOST_NUMBERS // n))
        drawn = np.array([apart[rng.integers(0, n, n)].mean() for _ in range(resamples)])
    return float(apart.mean()), percentiles(drawn)


def mcnemar(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> float:
    """Probability of such a difference by chance, if both were right equally often: exact, from the
    images that only one of them gets right (McNemar 1947)."""
    from scipy.stats import binomtest

    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    if not only_ours + only_theirs:
        return 1.0
    return float(binomtest(only_ours, only_ours + only_theirs).pvalue)
