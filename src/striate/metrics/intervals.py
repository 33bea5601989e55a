"""How sure a figure is: 95 % intervals of shares, means, and what follows from a confusion table.

Shares have Wilson's interval (Wilson 1927), which holds for few images and near 0 and 1; means that
of their standard error, areas under curves that of the infinitesimal jackknife, both with Student's
quantile for the number of images that really count; what follows from a confusion table, the
table's posterior distribution. Images are taken as independent: intervals are too narrow where many
show the same thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
_Z = 1.959964
_RESAMPLES, _MOST_NUMBERS = 1000, 20_000_000
"""Resamples of a bootstrap; fewer where they would hold more numbers than that."""

RESAMPLES = 400
"""How often images are drawn anew for scores that are no means over them."""
FEW_IMAGES = 5
"""With fewer nobody knows how such a score would vary."""

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


def exact(right: float, n: float) -> Interval:
    """Clopper's and Pearson's interval (1934) of right / n, for any n above 0, whole or not: it
    holds at least as often as it says."""
    from scipy.special import betaincinv  # scipy.stats has them too, but takes a second to import

    tail = (1 - LEVEL) / 2
    low = float(betaincinv(right, n - right + 1, tail)) if right > 0 else 0.0
    return low, float(betaincinv(right + 1, n - right, 1 - tail)) if right < n else 1.0


def of_mean(values: NDArray[Any], worst: float | None = None) -> Interval:
    """Of a mean, by its standard error, or of a share by Wilson's where every value is 0 or 1 (the
    standard error of all right is 0); NaN below two values. worst: what a value may be that was not
    seen; the upper end then allows for one of it, as few mistakes hide how bad they can be."""
    if len(values) < 2:
        return NONE
    if worst is None and bool(np.isin(values, (0, 1)).all()):
        return wilson(float(values.sum()), len(values))
    wide = values.astype(np.float64)
    mean, more = float(wide.mean()), wide if worst is None else np.append(wide, worst)
    return mean - _half(wide), max(mean, float(more.mean())) + _half(more)


def _half(values: NDArray[np.float64]) -> float:
    """Half of the interval of a mean."""
    return quantile_of(values) * float(values.std(ddof=1)) / math.sqrt(len(values))


def quantile_of(values: NDArray[Any]) -> float:
    """Student's quantile for as many degrees of freedom as values matter: where three of a hundred
    make nearly all of the variance, there are three (Satterthwaite 1946)."""
    from scipy.special import stdtrit

    squares = (values - values.mean()) ** 2
    fourth = float((squares**2).sum())
    count = float(squares.sum()) ** 2 / fourth if fourth > 0 else float(len(values))
    return float(stdtrit(max(2.0, count), 0.5 + LEVEL / 2))


def of_area(value: float, moves: NDArray[Any]) -> Interval:
    """Of a share that images (N,) move by so much each (their influence), on the scale of log odds,
    so that it stays between 0 and 1; both ends are the value where nothing moves it."""
    if not 0 < value < 1 or len(moves) < 2:
        return (value, value) if math.isfinite(value) and len(moves) else NONE
    error = _half(moves.astype(np.float64)) / (value * (1 - value))
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
    """Of figures that follow from a confusion table (rows are truths), from its posterior
    distribution: each class that is there has one answer more than was counted, right as often as
    all answers are, so that a class without mistakes is not taken for perfect.

    A statistic takes counts (draws, classes) of images that are right, predicted and true, and
    gives shares (draws,); its interval is the exact one of as many images as would make a share
    vary as much.
    """
    n, classes = int(table.sum()), len(table)
    if not n:
        return dict.fromkeys(statistics, NONE)
    there = table.sum(axis=1) > 0
    share = (float(table.diagonal().sum()) + 0.5) / (n + 1)
    mistakes = table - np.diag(table.diagonal())
    usual = np.where(mistakes.any(axis=1), mistakes.argmax(axis=1), mistakes.sum(axis=0).argmax())
    usual = np.where(usual == np.arange(classes), (usual + 1) % classes, usual)
    prior = np.zeros(table.shape)
    prior[there, usual[there]] += 1 - share
    prior[there, np.flatnonzero(there)] += share
    truth, predicted = np.nonzero(table + prior)
    shape = (table + prior)[truth, predicted]
    draws = max(100, min(_RESAMPLES, _MOST_NUMBERS // max(len(shape), classes)))
    drawn = np.random.default_rng(seed).gamma(shape, size=(draws, len(shape)))
    drawn *= n / drawn.sum(axis=1, keepdims=True)
    sums = [np.zeros((classes, draws)) for _ in range(3)]
    hit = truth == predicted
    np.add.at(sums[0], truth[hit], drawn.T[hit])
    np.add.at(sums[1], predicted, drawn.T)
    np.add.at(sums[2], truth, drawn.T)
    drawn_counts = [part.T for part in sums]
    diagonal = table.diagonal().astype(np.float64)[None]
    counted = [
        diagonal,
        table.sum(axis=0)[None].astype(float),
        table.sum(axis=1)[None].astype(float),
    ]
    found = {}
    for name, f in statistics.items():
        values, value = f(*drawn_counts), float(f(*counted)[0])
        mean, variance = float(values.mean()), float(values.var())
        images = mean * (1 - mean) / variance if variance > 0 else float(n)
        found[name] = exact(value * images, images)
    return found


def percentiles(values: NDArray[Any]) -> Any:
    """(low, high) of resampled figures (resamples,), or one pair for each of (resamples, K); those
    that do not exist (NaN) are left out."""
    if len(values.shape) == 2:
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
    from scipy.special import bdtr

    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    fewer, both = min(only_ours, only_theirs), only_ours + only_theirs
    return min(1.0, 2 * float(bdtr(fewer, both, 0.5)))


def drawn_again(images: int, count: int, seed: int = 0) -> NDArray[np.float64]:
    """(1 + count, images): how often each image is drawn, with replacement; the first row takes
    each once (bootstrap; Efron 1979)."""
    rng = np.random.default_rng((seed, images))
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=count)
    return np.concatenate([np.ones((1, images)), drawn])


def spread_of(resamples: NDArray[np.float64]) -> Interval:
    """By how much resamples are below and above the first one, at the ends of 95 % of them; NaN
    where too few are known."""
    known, tail = resamples[1:][np.isfinite(resamples[1:])], (1 - LEVEL) / 2
    if 2 * len(known) < len(resamples) or not len(known):
        return NONE
    low, high = (np.quantile(known, (tail, 1 - tail)) - resamples[0]).tolist()
    return low, high


def mean_interval(values: Sequence[float]) -> Interval:
    """Student's 95 % interval of the mean of two values or more."""
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.5 + LEVEL / 2)) * float(np.std(values, ddof=1))
    mean, root = float(np.mean(values)), math.sqrt(len(values))
    return mean - half / root, mean + half / root
