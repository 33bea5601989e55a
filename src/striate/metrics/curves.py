"""Precision–recall and ROC curves of one class, and thresholds chosen on them (E1).

truth: 0/1 (N,); scores: float (N,), larger is more likely. Equal scores are one threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Curve:
    """What calling an image positive from a threshold on gives, thresholds falling: all (K,).

    `hits` and `false_alarms` are counts.
    """

    thresholds: Floats
    hits: Floats
    false_alarms: Floats
    positives: int
    negatives: int

    @property
    def precision(self) -> Floats:
        """Share of those called positive that are."""
        found: Floats = self.hits / np.maximum(self.hits + self.false_alarms, 1)
        return found

    @property
    def recall(self) -> Floats:
        """Share of the positives that are called so; the true-positive rate."""
        found: Floats = self.hits / self.positives if self.positives else self.hits * np.nan
        return found

    @property
    def false_positive_rate(self) -> Floats:
        """Share of the negatives that are called positive."""
        alarms = self.false_alarms
        found: Floats = alarms / self.negatives if self.negatives else alarms * np.nan
        return found

    @property
    def average_precision(self) -> float:
        """Σ (Rₙ − Rₙ₋₁) Pₙ; NaN without positives, and for a single image, which has no order."""
        if not self.positives or self.positives + self.negatives < 2:
            return float("nan")
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())

    @property
    def area_under_roc(self) -> float:
        """Probability that a positive image scores above a negative one; NaN without both."""
        if not self.positives or not self.negatives:
            return float("nan")
        across = np.concatenate([[0.0], self.false_positive_rate])
        up = np.concatenate([[0.0], self.recall])
        return float((np.diff(across) * (up[1:] + up[:-1]) / 2).sum())

    def called(self, threshold: float) -> tuple[float, float]:
        """(hits, false alarms) of calling positive from this threshold on."""
        above = int((self.thresholds >= threshold).sum())
        return (
            (float(self.hits[above - 1]), float(self.false_alarms[above - 1])) if above else (0, 0)
        )

    def thinned(self, points: int = 200) -> Curve:
        """About `points` of its points, evenly along it, for a picture."""
        if len(self.thresholds) <= points:
            return self
        way = np.cumsum(
            np.hypot(np.diff(self.recall, prepend=0), np.diff(self.precision, prepend=1))
        )
        places = np.unique(np.searchsorted(way, np.linspace(0, way[-1], points)))
        places = np.unique(np.append(places.clip(max=len(way) - 1), len(way) - 1))
        return Curve(self.thresholds[places], self.hits[places], self.false_alarms[places],
                     self.positives, self.negatives)  # fmt: skip


def curve(truth: NDArray[Any], scores: Floats) -> Curve:
    """The points at all distinct scores."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order] > 0)
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(truth) - 1)
    last_of_ties = last_of_ties[last_of_ties >= 0]
    positives = int(hits[-1]) if len(hits) else 0
    chosen = hits[last_of_ties].astype(np.float64)
    return Curve(
        scores[order][last_of_ties], chosen, last_of_ties + 1 - chosen,
        positives, len(truth) - positives,
    )  # fmt: skip


@dataclass(frozen=True)
class Areas:
    """Average precision and area under ROC, and by how much each image moves them (N,): the
    derivative by its weight, times N. NaN and zeros without positives, or without negatives."""

    average_precision: float
    area_under_roc: float
    moves_precision: Floats
    moves_roc: Floats


def areas(truth: NDArray[Any], scores: Floats) -> Areas:
    """Both areas with their influence functions; of the area under ROC these are DeLong's (1988).

    The standard error of any mean of such areas is the deviation of the same mean of moves, over
    the root of N (the infinitesimal jackknife, Efron 1982): no image need be drawn anew.
    """
    n = len(truth)
    order = np.argsort(-scores, kind="stable")
    positive = (truth[order] > 0).astype(np.float64)
    negative, count = 1 - positive, float(positive.sum())
    if not count or n < 2:
        return Areas(float("nan"), float("nan"), np.zeros(n), np.zeros(n))
    new = np.flatnonzero(np.diff(scores[order])) + 1
    starts, ends = np.append(0, new), np.append(new, n)
    tie = np.repeat(np.arange(len(starts)), ends - starts)
    first, last = starts[tie], ends[tie]  # of each image, the ties that it is among
    hits = np.append(0.0, np.cumsum(positive))
    precision = hits[last] / last
    average = float(precision @ positive / count)
    lifts, falls = (_from(part)[first] for part in (positive / last, positive * precision / last))
    moves = positive * (precision + lifts - average) - falls
    placed = np.empty((2, n))
    placed[0, order] = moves * n / count
    if n == count:
        return Areas(average, float("nan"), placed[0], np.zeros(n))
    alarms = np.append(0.0, np.cumsum(negative))
    below = alarms[-1] - (alarms[last] + alarms[first]) / 2  # ties count half
    above = (hits[last] + hits[first]) / 2
    area = float(below @ positive / count / alarms[-1])
    wins = positive * (below / alarms[-1] - area) / count
    losses = negative * (above / count - area) / alarms[-1]
    placed[1, order] = (wins + losses) * n
    return Areas(average, area, placed[0], placed[1])


def _from(values: Floats) -> Floats:
    """Sums from each place to the end, and 0 after it."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)


def threshold_for(
    found: Curve, *, precision: float | None = None, recall: float | None = None
) -> float | None:
    """The threshold that reaches a wanted precision with the most recall, or a wanted recall with
    the most precision; None if none does. Choose it on validation, never on test (D3)."""
    if precision is not None and recall is None:
        wanted, other = found.precision >= precision, found.recall
    elif recall is not None and precision is None:
        wanted, other = found.recall >= recall, found.precision
    else:
        raise ValueError("give a precision or a recall")
    able = np.flatnonzero(wanted)
    if not len(able):
        return None
    return float(found.thresholds[able[np.argmax(other[able])]])
