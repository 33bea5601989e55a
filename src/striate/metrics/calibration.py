"""Do probabilities mean what they say? Reliability, its error, and one number that mends it.

probabilities: float (N, classes) that sum to 1; truth: int (N,).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Whole = NDArray[np.integer[Any]]
BINS = 15
_DRAWS, _UNSURE = 400, 4.0
_TAILS = (0.5, 99.5)
"""Wider than 95 % of the draws: reflected, these would hold in 90 % of the cases only."""


@dataclass(frozen=True)
class Reliability:
    """Images in bins of the probability of the predicted class: how many (B,), the mean of what was
    said, and the share that is right; NaN for empty bins."""

    edges: Floats
    images: Whole
    said: Floats
    right: Floats

    @property
    def error(self) -> float:
        """Expected calibration error: the mean of |said − right| over images (Guo et al. 2017)."""
        known = self.images > 0
        if not known.any():
            return float("nan")
        apart = np.abs(self.said[known] - self.right[known])
        return float(np.average(apart, weights=self.images[known]))


def reliability(probabilities: Floats, truth: Whole, bins: int = BINS) -> Reliability:
    """Of the predicted class's probability, in bins of equal width; a bin ends with its edge."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    if not len(truth):
        none = np.full(bins, np.nan)
        return Reliability(edges, np.zeros(bins, dtype=np.int64), none, none)
    images, said, right = bin_sums(probabilities, truth, bins)
    with np.errstate(invalid="ignore"):
        return Reliability(edges, images.astype(np.int64), said / images, right / images)


def bin_sums(probabilities: Floats, truth: Whole, bins: int = BINS) -> Floats:
    """(3, B): images in each bin, the sum of what was said of them, and how many are right."""
    sure, right, place = _binned(probabilities, truth, bins)
    sums = [
        np.bincount(place, weights=w, minlength=bins) for w in (np.ones(len(truth)), sure, right)
    ]
    return np.stack(sums)


def resampled_error(
    probabilities: Floats, truth: Whole, draws: int = _DRAWS, bins: int = BINS
) -> Floats:
    """Expected calibration errors (draws,) of as many images, drawn anew from these."""
    sure, right, place = _binned(probabilities, truth, bins)
    apart, n, rng = sure - right, len(truth), np.random.default_rng(0)
    found = []
    for _ in range(draws if n else 0):
        drawn = rng.integers(0, n, n)
        sums = np.bincount(place[drawn], weights=apart[drawn], minlength=bins)
        found.append(np.abs(sums).sum() / n)
    return np.array(found)


def error_interval(probabilities: Floats, truth: Whole, bins: int = BINS) -> tuple[float, float]:
    """95 % interval of the expected calibration error: a bootstrap, reflected at the error, since
    chance only ever adds to it. It begins at 0 where an honest network, whose answers are right as
    often as it says, would show such an error too (Bröcker and Smith 2007). NaN without images."""
    if not len(truth):
        return float("nan"), float("nan")
    error = reliability(probabilities, truth, bins).error
    low, high = np.percentile(resampled_error(probabilities, truth, bins=bins), _TAILS)
    sure, _, place = _binned(probabilities, truth, bins)
    rng, honest = np.random.default_rng(1), []
    for _ in range(_DRAWS):
        apart = sure - (rng.random(len(sure)) < sure)
        honest.append(np.abs(np.bincount(place, weights=apart, minlength=bins)).sum() / len(sure))
    perhaps = error <= float(np.percentile(honest, 97.5))
    return 0.0 if perhaps else max(0.0, 2 * error - high), max(error, 2 * error - low)


def _binned(probabilities: Floats, truth: Whole, bins: int) -> tuple[Floats, Floats, Whole]:
    """Of each image: the predicted class's probability, whether it is right, and its bin."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    sure = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    return sure, right, np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)


def brier(probabilities: Floats, truth: Whole) -> Floats:
    """Σ over classes of (p − 1{true})² for each image (N,): 0 is best, 2 worst (Brier 1950)."""
    each = probabilities.astype(np.float64) ** 2
    own = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    found: Floats = each.sum(axis=1) + 1 - 2 * own
    return found


def temperature(logits: Floats, truth: Whole) -> float:
    """The number by which logits are divided so that their softmax fits best (least cross-entropy):
    above 1 the network was too sure. It changes no answer (Guo et al. 2017, arXiv:1706.04599).

    Few mistakes say little: with k mistakes seen and expected together, log T is drawn towards 0 by
    the factor k / (k + 4), and a normal prior with deviation 1 keeps it from running away. 1 where
    there is nothing to learn from.
    """
    from scipy.optimize import minimize_scalar

    n = len(truth)
    if not n or not np.isfinite(logits).all():
        return 1.0
    x = logits.astype(np.float64)
    x = x - x.max(axis=1, keepdims=True)
    own = x[np.arange(n), truth]

    def loss(log_t: float) -> float:
        scaled = x / np.exp(log_t)
        nats = np.log(np.exp(scaled).sum(axis=1)) - own / np.exp(log_t)
        return float(nats.mean() + log_t**2 / (2 * n))

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    sure = 1 / np.exp(x).sum(axis=1)
    mistakes = float((own < 0).sum() + (1 - sure).sum())
    return float(np.exp(found.x * mistakes / (mistakes + _UNSURE)))
