"""Average precision and recall of boxes, as COCO and Pascal VOC count them (E1).

A detection is a hit where it overlaps an object of its class, not yet taken, by at least the
threshold; detections are asked by falling score. COCO gives a detection the object that it overlaps
most among those that are free; VOC asks only for the one that it overlaps most at all. Detections
of objects that are to be ignored (difficult, crowds, outside an area range) count neither way.

Everything here is of one image (`matched`) or of the rows of many together (`Rows`), which join by
concatenation, so results of several processes or passes are those of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats, Ids
from striate.core.boxes import Found, areas, overlaps

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps from which on COCO counts a hit; its AP is the mean over these."""
RANGES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2),
          "large": (96.0**2, 1e10)}  # fmt: skip
"""Areas of objects in square pixels, lowest and highest."""
MOST = 100
"""Detections of a class in an image that count."""
RECALLS = np.linspace(0, 1, 101)
_FEWER = (1, 10)


class Truth(NamedTuple):
    """Objects of one image: places (G, 4), numbers (G,), whether each is to be ignored, and whether
    it is a crowd, of which any part may be found."""

    places: Floats
    numbers: Ids
    ignored: NDArray[np.bool_]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """Detections and objects of many images, a row each; J counts (range, threshold) pairs, R
    ranges. rank: place among the detections of its class in its image, from 0."""

    image: Ids
    number: Ids
    score: Floats
    rank: Ids
    hit: NDArray[np.bool_]
    """(D, J)"""
    ignored: NDArray[np.bool_]
    """(D, J)"""
    object_image: Ids
    object_number: Ids
    object_ignored: NDArray[np.bool_]
    """(G, R)"""

    @staticmethod
    def joined(parts: Sequence[Rows]) -> Rows:
        """The rows of several, one after the other."""
        columns: list[Any] = [
            np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Rows)
        ]
        return Rows(*columns)


def matched(
    index: int, found: Found, truth: Truth, thresholds: Floats = THRESHOLDS, *, voc: bool = False
) -> Rows:
    """The rows of image `index`, matched as COCO does, or as VOC does. Boxes of one class stand
    together, best first; classes never meet, as boxes of different ones share nothing here."""
    ranges = np.array(list(RANGES.values()))
    size = areas(truth.places)
    aside = truth.ignored | truth.crowd
    out = aside[:, None] | (size[:, None] < ranges[:, 0]) | (size[:, None] > ranges[:, 1])
    order = np.lexsort((-found.scores, found.numbers))
    rank = np.arange(len(order)) - np.searchsorted(found.numbers[order], found.numbers[order])
    order, rank = order[rank < MOST], rank[rank < MOST]
    places, numbers = found.places[order], found.numbers[order].astype(np.int64)
    same = numbers[:, None] == truth.numbers[None]
    overlap = np.where(same, overlaps(places, truth.places, truth.crowd), 0.0)
    if voc:
        hit, ignored = _own_best(overlap, out, thresholds)
    else:
        hit, ignored = _taken(overlap, out, truth.crowd, thresholds)
    wide = areas(places)[:, None]
    beyond = (wide < ranges[:, 0]) | (wide > ranges[:, 1])  # (D, R): free, yet of another size
    ignored |= ~hit & beyond[:, :, None]
    hit &= ~ignored
    count, pairs = len(order), hit.shape[1] * hit.shape[2]
    objects = (np.full(len(size), index), truth.numbers.astype(np.int64), out)
    return Rows(
        np.full(count, index), numbers, found.scores[order], rank, hit.reshape(count, pairs),
        ignored.reshape(count, pairs), *objects,
    )  # fmt: skip


def _taken(
    overlap: Floats, out: NDArray[np.bool_], crowd: NDArray[np.bool_], thresholds: Floats
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(whether a detection took an object, whether that one is ignored), both (D, R, T): in order
    each takes the object that it overlaps most among the free ones, those that count first; of
    equal ones the last."""
    least = np.minimum(thresholds, 1 - 1e-10)
    took = np.zeros((len(overlap), out.shape[1], len(least)), dtype=np.bool_)
    aside = np.zeros_like(took)
    if not overlap.size:
        return took, aside
    near = overlap >= least[0]
    choice = near.sum(axis=1) > 1
    contested = near[choice].any(axis=0)
    plain = near.any(axis=1) & ~choice & ~near[:, contested].any(axis=1)
    _take_only(np.flatnonzero(plain), overlap, out, crowd, least, (took, aside))
    free = np.ones((out.shape[1], len(least), overlap.shape[1]), dtype=np.bool_)
    counts = ~out.T[:, None, :]
    for d in np.flatnonzero(near.any(axis=1) & ~plain):
        possible = (free | crowd) & (overlap[d] >= least[:, None])
        for group, ignored in ((possible & counts, False), (possible & ~counts, True)):
            value = np.where(group, overlap[d], -1.0)[..., ::-1]
            best = value.shape[-1] - 1 - value.argmax(axis=-1)
            now = group.any(axis=-1) & ~took[d]
            took[d] |= now
            if ignored:
                aside[d] |= now
            r, t = np.nonzero(now)
            free[r, t, best[r, t]] = False
    return took, aside


def _take_only(
    rows: Ids,
    overlap: Floats,
    out: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
    least: Floats,
    into: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> None:
    """The same, at once, for detections that are near one object only, as are all others that are
    near it: the first of these that overlaps it enough takes it, a crowd all of them."""
    took, aside = into
    own = overlap[rows].argmax(axis=1)
    order = np.argsort(own, kind="stable")
    rows, own = rows[order], own[order]
    enough = overlap[rows, own][:, None] >= least
    before = np.cumsum(enough, axis=0) - enough
    first = np.searchsorted(own, own)
    taken = enough & ((before == before[first]) | crowd[own][:, None])
    took[rows] = taken[:, None, :]
    aside[rows] = taken[:, None, :] & out[own][:, :, None]


def _own_best(
    overlap: Floats, out: NDArray[np.bool_], thresholds: Floats
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The same by VOC's rule: a detection asks only for the object that it overlaps most, and is
    wrong where that one is taken."""
    count, ranges = len(overlap), out.shape[1]
    took = np.zeros((count, ranges, len(thresholds)), dtype=np.bool_)
    aside = np.zeros_like(took)
    free = np.ones((overlap.shape[1], ranges, len(thresholds)), dtype=np.bool_)
    for d in range(count if overlap.size else 0):
        best = int(overlap[d].argmax())
        near = overlap[d, best] >= thresholds
        aside[d] = near & out[best][:, None]
        took[d] = near & ~out[best][:, None] & free[best]
        free[best] &= ~took[d]
    return took | aside, aside


class Curve(NamedTuple):
    """Precision over recall of one class: one point a detection that counts, by falling score;
    `positives` objects were to be found."""

    score: Floats
    precision: Floats
    recall: Floats
    positives: int


def curve_of(rows: Rows, number: int, threshold: int = 0, most: int = MOST) -> Curve:
    """The curve of a class at THRESHOLDS[threshold], over objects of any size."""
    use = (rows.number == number) & (rows.rank < most) & ~rows.ignored[:, threshold]
    order = np.argsort(-rows.score[use], kind="stable")
    hit = rows.hit[use, threshold][order]
    positives = int((~rows.object_ignored[rows.object_number == number, 0]).sum())
    hits, count = np.cumsum(hit), np.arange(1, len(hit) + 1)
    return Curve(rows.score[use][order], hits / count, hits / max(positives, 1), positives)


def area_under(curve: Curve) -> float:
    """VOC 2010's average precision: the area under the curve, which is made to fall; NaN without
    objects."""
    if not curve.positives:
        return float("nan")
    recall = np.concatenate([[0], curve.recall])
    precision = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return float((np.diff(recall) * precision).sum())


def eleven_points(curve: Curve) -> float:
    """VOC 2007's average precision: the mean of the highest precision from recalls 0, 0.1, … 1 on;
    NaN without objects."""
    if not curve.positives:
        return float("nan")
    best = [curve.precision[curve.recall >= r - 1e-12] for r in np.linspace(0, 1, 11)]
    return float(np.mean([values.max(initial=0) for values in best]))


class Table(NamedTuple):
    """COCO's figures before they are averaged: average precision and highest recall of each class,
    range, threshold: (C, R, T), NaN where there is nothing to find; recall by numbers of detections
    too."""

    precision: Floats
    recall: Mapping[int, Floats]


def coco_table(rows: Rows, classes: int) -> Table:
    """The figures of many images, as pycocotools has them."""
    ranges, pairs = len(RANGES), rows.hit.shape[1]
    shape = (classes, ranges, pairs // ranges)
    precision = np.full(shape, np.nan)
    recall = {most: np.full(shape, np.nan) for most in (*_FEWER, MOST)}
    by_class = np.argsort(rows.number, kind="stable")
    ends = np.searchsorted(rows.number[by_class], np.arange(classes + 1))
    for number in range(classes):
        own = by_class[ends[number] : ends[number + 1]]
        own = own[np.argsort(-rows.score[own], kind="stable")]
        positives = (~rows.object_ignored[rows.object_number == number]).sum(axis=0)
        hit = rows.hit[own].reshape(-1, *shape[1:])
        ignored = rows.ignored[own].reshape(-1, *shape[1:])
        for most, table in recall.items():
            few = rows.rank[own] < most
            hits = np.cumsum(hit[few], axis=0)
            last = hits[-1] if len(hits) else np.zeros(shape[1:])
            with np.errstate(invalid="ignore", divide="ignore"):
                table[number] = np.where(positives[:, None] > 0, last / positives[:, None], np.nan)
            if most == MOST:
                misses = np.cumsum(~hit[few] & ~ignored[few], axis=0)
                for r in np.flatnonzero(positives):
                    for t in range(shape[2]):
                        precision[number, r, t] = _mean_precision(
                            hits[:, r, t], misses[:, r, t], int(positives[r])
                        )
    return Table(precision, recall)


def _mean_precision(hits: NDArray[Any], misses: NDArray[Any], positives: int) -> float:
    """The mean over 101 recalls of the highest precision from there on; 0 beyond the last."""
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits / positives, RECALLS, side="left")
    return float(np.concatenate([falling, [0.0]])[places].mean())


def coco_scores(table: Table) -> dict[str, float]:
    """AP, AP50, AP75, AP by size, AR by detections and by size; NaN where nothing is to be found
    (pycocotools writes −1)."""
    names = list(RANGES)
    precision, recall = table.precision, table.recall
    return {
        "average_precision": _mean(precision[:, 0]),
        "average_precision_50": _mean(precision[:, 0, 0]),
        "average_precision_75": _mean(precision[:, 0, 5]),
        **{f"average_precision_{n}": _mean(precision[:, names.index(n)]) for n in names[1:]},
        **{f"average_recall_{most}": _mean(recall[most][:, 0]) for most in (*_FEWER, MOST)},
        **{f"average_recall_{n}": _mean(recall[MOST][:, names.index(n)]) for n in names[1:]},
    }


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
