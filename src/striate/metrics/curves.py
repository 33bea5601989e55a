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
        """Σ (Rₙ − Rₙ₋₁) Pₙ; NaN without positives."""
        if not self.positives:
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

    def thinned(self, points: int = 200) -> Curve:
        """About so many of its points, evenly along it, for a picture."""
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


def resampled_areas(
    truth: NDArray[Any], scores: Floats, weights: NDArray[Any]
) -> tuple[Floats, Floats]:
    """(average precisions, areas under ROC) (1 + R,): first as it is, then with each image counted
    weights (R, N) times."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(truth) - 1)
    ends = ends[ends >= 0]
    whole = np.concatenate([np.ones((1, len(truth))), weights[:, order]])
    positive = truth[order] > 0
    hits = np.cumsum(whole * positive, axis=1)[:, ends]
    called = np.cumsum(whole, axis=1)[:, ends]
    if not len(ends):
        none = np.full(len(whole), np.nan)
        return none, none
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(called > 0, hits / np.maximum(called, 1), 1.0)
        recall = hits / hits[:, -1:]
        across = (called - hits) / (called - hits)[:, -1:]
        average = (np.diff(recall, prepend=0.0) * precision).sum(axis=1)
        middle = (recall + np.concatenate([np.zeros((len(whole), 1)), recall[:, :-1]], axis=1)) / 2
        area = (np.diff(across, prepend=0.0) * middle).sum(axis=1)
    return average, area


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
