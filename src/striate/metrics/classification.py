"""Scores of classifiers: pure functions on arrays, tested against scikit-learn.

truth: int (N,), class numbers; scores: float (N, classes), larger is more likely; for several
labels an image truth is 0/1 (N, classes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.metrics.curves import curve

Floats = NDArray[np.floating[Any]]
Whole = NDArray[np.integer[Any]]


def accuracy(truth: Whole, scores: Floats) -> float:
    """Share of images whose best score is the truth; NaN without images."""
    return float((scores.argmax(axis=1) == truth).mean()) if len(truth) else float("nan")


def top_k_error(truth: Whole, scores: Floats, k: int = 5) -> float:
    """M2: share of images whose truth is not among the k best scores; NaN without images.

    A tie with the k-th best counts against the network, so equal scores for all are no success.
    """
    if not len(truth):
        return float("nan")
    own = scores[np.arange(len(truth)), truth][:, None]
    at_least_as_good = (scores >= own).sum(axis=1) - 1
    return float((at_least_as_good >= k).mean())


def confusion(truth: Whole, predicted: Whole, classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): rows are truths, columns predictions."""
    flat = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def precision_recall_f1(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Per class (classes, 3) from a confusion table. NaN is what does not exist: recall and F1 of a
    class without images, precision of one that was never predicted. F1 of a class with images that
    was never predicted is 0."""
    right = np.diag(table).astype(np.float64)
    predicted, true = table.sum(axis=0), table.sum(axis=1)
    precision, recall = _share(right, predicted), _share(right, true)
    f1 = np.where(true > 0, _share(2 * right, predicted + true), np.nan)
    return np.stack([precision, recall, f1], axis=1)


def balanced_accuracy(right: Floats, predicted: Floats, true: Floats) -> Any:
    """Mean recall of the classes that occur: counts (…, classes) of images that are right,
    predicted and true → (…,); NaN without images."""
    del predicted
    known = true > 0
    with np.errstate(invalid="ignore"):
        recall = np.where(known, right / np.maximum(true, 1), 0.0)
        return recall.sum(axis=-1) / known.sum(axis=-1)


def macro_f1(right: Floats, predicted: Floats, true: Floats) -> Any:
    """Mean F1 of the classes that occur or are predicted, from counts as `balanced_accuracy`."""
    met = predicted + true
    with np.errstate(invalid="ignore"):
        each = np.where(met > 0, 2 * right / np.maximum(met, 1), 0.0)
        return each.sum(axis=-1) / (met > 0).sum(axis=-1)


def per_class(
    truth: NDArray[Any], scores: Floats, classes: Sequence[str]
) -> list[dict[str, float | str]]:
    """A row for each class: n, precision, recall, f1. truth: int (N,)."""
    each = precision_recall_f1(confusion(truth, scores.argmax(axis=1), len(classes)))
    counts = np.bincount(truth, minlength=len(classes))
    return [
        {"class": c, "n": int(n), "precision": float(p), "recall": float(r), "f1": float(f)}
        for c, n, (p, r, f) in zip(classes, counts, each, strict=True)
    ]


def per_class_of_sets(
    truth: NDArray[Any], scores: Floats, classes: Sequence[str]
) -> list[dict[str, float | str]]:
    """A row for each class: n, average_precision. truth: 0/1 (N, classes)."""
    return [
        {
            "class": name,
            "n": int(truth[:, c].sum()),
            "average_precision": average_precision(truth[:, c], scores[:, c]),
        }
        for c, name in enumerate(classes)
    ]


def worst_confusions(
    truth: Whole, scores: Floats, classes: Sequence[str], limit: int = 5
) -> list[dict[str, str | int]]:
    """The commonest mistakes: true class, predicted class, count n."""
    table = confusion(truth, scores.argmax(axis=1), len(classes))
    np.fill_diagonal(table, 0)
    order = np.argsort(-table, axis=None, kind="stable")[:limit]
    pairs = [np.unravel_index(i, table.shape) for i in order]
    return [
        {"true": classes[t], "predicted": classes[p], "n": int(table[t, p])}
        for t, p in pairs
        if table[t, p]
    ]


def average_precision(truth: NDArray[Any], scores: Floats) -> float:
    """Σ (Rₙ − Rₙ₋₁) Pₙ over thresholds at distinct scores; NaN without positives.

    truth: 0/1 (N,), scores: (N,).
    """
    return curve(truth, scores).average_precision


def mean_average_precision(truth: NDArray[Any], scores: Floats) -> float:
    """Mean over the classes that have positives; NaN if none has. truth, scores: (N, classes)."""
    each = [average_precision(truth[:, c], scores[:, c]) for c in range(truth.shape[1])]
    known = [value for value in each if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def exact_match(truth: NDArray[Any], scores: Floats) -> float:
    """Share of images with every label right at score 0 (probability ½); NaN without images."""
    return float(((scores > 0) == (truth > 0)).all(axis=1).mean()) if len(truth) else float("nan")


def _share(part: NDArray[np.float64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
