"""Do two splits come from one distribution? A classifier is asked to tell them apart (D3).

If it can, better than by chance, something differs: the camera, the lighting, the source. The area
under its ROC curve is the chance that it ranks an image of one split above one of the other: 0.5
for splits that are alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats
from striate.core.randomness import permutation
from striate.metrics.curves import curve

_MOST, _REPEATS, _COMPONENTS = 4_000, 200, 32
_STRENGTH, _ROUNDS = 0.05, 50


class Apart(NamedTuple):
    """Area under the curve, with its 95 % bootstrap interval and the images on either side."""

    area: float
    low: float
    high: float
    counts: tuple[int, int]


def told_apart(one: NDArray[Any], other: NDArray[Any], seed: int = 0) -> Apart:
    """Cross-validated logistic regression between features (N, F) and (M, F)."""
    judged, counts = _judged(one, other, seed)
    areas = [_area(judged, np.random.default_rng((seed, i))) for i in range(_REPEATS)]
    low, high = np.quantile(areas, (0.025, 0.975))
    return Apart(_area(judged), float(low), float(high), counts)


def area_between(one: NDArray[Any], other: NDArray[Any], seed: int = 0) -> tuple[float, float]:
    """The same area and its standard error by Hanley and McNeil's formula (1982), in a hundredth of
    the time."""
    judged, (n, m) = _judged(one, other, seed)
    area = _area(judged)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    rest = (n - 1) * (q1 - area**2) + (m - 1) * (q2 - area**2)
    return area, float(np.sqrt(max(area * (1 - area) + rest, 0.0) / (n * m)))


def looks(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What a linear classifier needs to tell sources apart: of uint8 (N, S, S, C) an 8×8 thumbnail
    of the grey levels, and of each channel mean, deviation and how rough it is (N, 64 + 4 C)."""
    pixels = images.astype(np.float32)
    side = pixels.shape[1]
    edges = np.unique(np.linspace(0, side, min(8, side) + 1).astype(int))[:-1]
    grey = np.add.reduceat(np.add.reduceat(pixels.mean(axis=3), edges, axis=1), edges, axis=2)
    rough = [np.abs(np.diff(pixels, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
    whole = [pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2)), *rough]
    rows = [grey.reshape(len(images), -1), *whole]
    return np.concatenate(rows, axis=1).astype(np.float64)


def _judged(
    one: NDArray[Any], other: NDArray[Any], seed: int
) -> tuple[list[tuple[NDArray[Any], NDArray[Any]]], tuple[int, int]]:
    """(for each fold which side an image is of and what was said of it, images of both sides)."""
    sides = [
        side[permutation(seed, 0, "told apart", len(side))[:_MOST]].astype(np.float64)
        for side in (one, other)
    ]
    x = np.concatenate(sides)
    y = np.repeat([0, 1], [len(side) for side in sides])
    folds = min(5, *map(len, sides))
    fold = np.concatenate([np.arange(len(side)) % folds for side in sides])  # sides are shuffled
    kept = min(_COMPONENTS, max(1, min(map(len, sides)) // 10), x.shape[1])
    judged = []  # ranks are compared within a fold: folds have scales of their own
    for number in range(folds):
        test = fold == number
        train, seen = _prepared(x[~test], x[test], kept)
        weights = logistic(train, y[~test], _STRENGTH)
        judged.append((y[test], seen @ weights[:-1] + weights[-1]))
    return judged, (len(sides[0]), len(sides[1]))


def _prepared(x: Floats, others: Floats, kept: int) -> tuple[Floats, Floats]:
    """Both standardised, along the first principal components of x."""
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation[deviation == 0] = 1
    x, others = (x - mean) / deviation, (others - mean) / deviation
    _, vectors = np.linalg.eigh(x.T @ x)
    axes = vectors[:, ::-1][:, :kept]
    return x @ axes, others @ axes


def logistic(x: Floats, y: NDArray[Any], strength: float) -> Floats:
    """Weights (F + 1,), the bias last, of logistic regression with an L2 penalty: they minimise
    ‖w‖² / 2 + strength · Σ log loss, by Newton's method. (scikit-learn's takes two seconds to be
    imported, in every training.)"""
    rows = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    penalty = np.append(np.ones(x.shape[1]), 0.0)
    weights = np.zeros(rows.shape[1])
    for _ in range(_ROUNDS):
        said = 0.5 * (1 + np.tanh(rows @ weights / 2))
        slope = strength * rows.T @ (said - y) + penalty * weights
        curvature = strength * (rows.T * (said * (1 - said))) @ rows + np.diag(penalty)
        step = np.linalg.solve(curvature, slope)
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _area(
    folds: list[tuple[NDArray[Any], NDArray[Any]]], rng: np.random.Generator | None = None
) -> float:
    """Mean over the folds; with `rng` of one bootstrap sample, drawn within each side."""
    areas = []
    for y, scores in folds:
        ids = np.arange(len(y))
        if rng is not None:
            ids = np.concatenate(
                [rng.choice(side, len(side)) for side in (np.flatnonzero(y == k) for k in (0, 1))]
            )
        areas.append(curve(y[ids], scores[ids]).area_under_roc)
    return float(np.mean(areas))
