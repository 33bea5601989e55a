"""How sure the scores of a detector are: images are drawn again with replacement (bootstrap).

Average precision is no mean over images, so its interval comes from resamples: image i counts
`weights[b, i]` times in resample b. The areas under the curves are taken exactly instead of at 101
recalls; an interval is what they spread by, around the score itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats
from striate.metrics.detection import MOST, RANGES, Rows
from striate.metrics.intervals import (
    FEW_IMAGES,
    NONE,
    RESAMPLES,
    Interval,
    drawn_again,
    spread_of,
    wilson,
)

FEWEST = 40
"""Resamples at least, where each takes long."""
_WORK = 4e8
"""About as many numbers are touched."""


def intervals_of(
    rows: Rows, images: int, scores: Mapping[str, float], of_classes: Sequence[float]
) -> tuple[dict[str, Interval], list[Interval]]:
    """The intervals of scores by name (those of `Resampled.scores`), and of the average precision
    of each class."""
    if images < FEW_IMAGES:
        return {}, [NONE] * len(of_classes)
    work = max(1.0, float(len(rows.score)) * rows.hit.shape[1])
    weights = drawn_again(images, int(np.clip(_WORK / work, FEWEST, RESAMPLES)))
    counts = ~rows.object_ignored[:, 0]
    found = resampled(rows, len(of_classes), weights)
    named = {
        name: _interval(scores[name], each, int(counts.sum()))
        for name, each in found.scores.items()
        if name in scores
    }
    each = [
        _interval(value, found.classes[:, c], int((counts & (rows.object_number == c)).sum()))
        for c, value in enumerate(of_classes)
    ]
    return named, each


def _interval(value: float, resamples: Floats, objects: int) -> Interval:
    """Of a score, from what it is in resamples; the first of these is the whole set."""
    low, high = spread_of(resamples)
    if not np.isfinite(value + low):
        return NONE
    if low == high:  # nothing moves it: what that many objects allow
        return wilson(value * objects, objects)
    return max(0.0, value + low), min(1.0, value + high)


class Resampled(NamedTuple):
    """Score → (B,), and the average precision of each class (B, C): what they are where image i
    counts weights[b, i] times; NaN where nothing is to be found."""

    scores: dict[str, Floats]
    classes: Floats


def resampled(rows: Rows, classes: int, weights: Floats) -> Resampled:
    """What scores are under these weights (B, N) of the images."""
    ranges = list(RANGES)
    times = rows.hit.shape[1] // len(ranges)
    areas = np.full((len(weights), classes, len(ranges), times), np.nan)
    recalls = np.full_like(areas, np.nan)
    for number in range(classes):
        _of_class(rows, number, weights, areas[:, number], recalls[:, number])
    with np.errstate(all="ignore"):
        found = {
            "average_precision": _mean(areas[:, :, 0]),
            "average_precision_50": _mean(areas[:, :, 0, 0]),
            "average_precision_75": _mean(areas[:, :, 0, times // 2]),
            "voc_average_precision": _mean(areas[:, :, 0, 0]),
            f"average_recall_{MOST}": _mean(recalls[:, :, 0]),
        }
        for place, name in enumerate(ranges[1:], 1):
            found[f"average_precision_{name}"] = _mean(areas[:, :, place])
            found[f"average_recall_{name}"] = _mean(recalls[:, :, place])
        return Resampled(found, areas[:, :, 0].mean(axis=2))


def _of_class(rows: Rows, number: int, weights: Floats, areas: Floats, recalls: Floats) -> None:
    """Fills (B, ranges, thresholds) of one class."""
    own = np.flatnonzero(rows.number == number)
    own = own[np.argsort(-rows.score[own], kind="stable")]
    times = weights[:, rows.image[own]]
    objects = rows.object_number == number
    for r in range(areas.shape[1]):
        counted = rows.object_image[objects & ~rows.object_ignored[:, r]]
        positives = weights @ np.bincount(counted, minlength=weights.shape[1]).astype(np.float64)
        positives = np.where(positives > 0, positives, np.nan)
        for t in range(areas.shape[2]):
            pair = r * areas.shape[2] + t
            hit, ignored = rows.hit[own, pair], rows.ignored[own, pair]
            hits = np.cumsum(times[:, hit], axis=1)
            if not hits.shape[1]:
                areas[:, r, t] = recalls[:, r, t] = np.where(np.isnan(positives), np.nan, 0)
                continue
            wrong = np.cumsum(times * (~hit & ~ignored), axis=1)[:, hit]
            precision = hits / np.maximum(hits + wrong, 1e-12)
            falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            areas[:, r, t] = (falling * times[:, hit]).sum(axis=1) / positives
            recalls[:, r, t] = hits[:, -1] / positives


def _mean(values: NDArray[np.float64]) -> Floats:
    """(B, …) → (B,), over what is known."""
    flat = values.reshape(len(values), -1)
    known = np.isfinite(flat)
    total = np.where(known, flat, 0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)
