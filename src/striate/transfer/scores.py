"""Cheap signals of how well features suit a data set: LogME, LEEP, nearest neighbours.

None of them trains anything, and none foresees what fine-tuning gains; docs/transfer.md has what
they were worth in a measurement.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NEIGHBOURS = 5
_ROUNDS = 100
_LIKE, _TINY = 1e-6, 1e-9
"""Rounds end where the ratio of both precisions changes by less than this share; precisions stay
between the second and its inverse."""


def logme(features: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """The log evidence, in nats an image, of a Bayesian linear regression of each column of `truth`
    (N, classes), 0 or 1, on features (N, D), at its most likely precisions; the mean over the
    columns (You and others 2021)."""
    x, table = features.astype(np.float64), truth.astype(np.float64)
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    squares = singular**2
    squares = squares / (squares.mean() or 1.0)  # the scale of features says nothing
    along = (left.T @ table) ** 2
    beside = np.maximum((table**2).sum(axis=0) - along.sum(axis=0), 0.0)
    found = [
        _evidence(squares, along[:, c], float(beside[c]), *x.shape) for c in range(table.shape[1])
    ]
    return float(np.mean(found))


def _evidence(squares: Floats, along: Floats, beside: float, images: int, features: int) -> float:
    """Of one column, in nats an image. squares: of the singular values; along: squared parts of the
    column along the left singular vectors, `beside` all others."""
    prior = noise = 1.0  # the precisions α and β
    for _ in range(_ROUNDS):
        ratio = prior / noise
        effective = float((squares / (squares + ratio)).sum())
        length = float((squares * along / (squares + ratio) ** 2).sum())
        missed = float((along / (1 + squares / ratio) ** 2).sum()) + beside
        prior = float(np.clip(effective / max(length, _TINY), _TINY, 1 / _TINY))
        noise = float(np.clip((images - effective) / max(missed, _TINY), _TINY, 1 / _TINY))
        if abs(prior / noise - ratio) <= _LIKE * ratio:
            break
    determinant = float(np.log(prior + noise * squares).sum())
    determinant += (features - len(squares)) * np.log(prior)
    whole = images * np.log(noise) + features * np.log(prior) - determinant
    whole -= noise * missed + prior * length + images * np.log(2 * np.pi)
    return float(whole / 2 / images)


def leep(source: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """The mean log probability of the true labels under the classifier that the source classes
    imply (Nguyen and others 2020).

    source: what the trained head says, probabilities (N, source classes); truth: 0 or 1
    (N, classes), where an image may have several labels: then the mean over all of them.
    """
    weights, table = source.astype(np.float64), truth.astype(np.float64)
    given = (table.T @ weights) / np.maximum(weights.sum(axis=0), 1e-12)  # P(class | source class)
    said = np.clip(weights @ given.T, 1e-12, 1.0)
    if (table.sum(axis=1) == 1).all():
        return float(np.log(said[table > 0]).mean())
    right = np.where(table > 0, said, np.clip(1 - said, 1e-12, 1.0))
    return float(np.log(right).mean())


def neighbour_scores(
    features: NDArray[np.floating], truth: NDArray[np.floating], count: int = NEIGHBOURS
) -> Floats:
    """The mean of `truth` (N, classes) over each image's `count` nearest others, by the cosine of
    their features (N, D)."""
    x = features.astype(np.float64)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    near = x @ x.T
    np.fill_diagonal(near, -np.inf)
    count = min(count, len(x) - 1)
    nearest = np.argpartition(-near, count - 1, axis=1)[:, :count]
    found: Floats = truth[nearest].astype(np.float64).mean(axis=1)
    return found
