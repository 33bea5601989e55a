"""What is wrong with wrong boxes (TIDE; Bolya et al. 2020).

A detection that is no hit is of one kind: its place is off, its class is, both are, it repeats a
hit, or there is nothing. An object that no detection came near is missed. How much a kind costs is
by how much average precision would rise if all of that kind were mended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats, Ids
from striate.core.boxes import Found, overlaps
from striate.metrics.detection import Curve, Truth, area_under

NEAR, HIT_FROM = 0.1, 0.5
"""Below the first overlap there is nothing; from the second on an object is found."""
KINDS = ("class", "place", "both", "duplicate", "background", "missed")
HIT, ASIDE = "hit", "ignored"


class Judged(NamedTuple):
    """One image: of each detection its kind (one of KINDS, HIT or ASIDE) and the object that it
    answers for or was meant for (−1: none); of each object whether it was found, or is covered by
    an error of place or class, or is to be ignored."""

    kinds: list[str]
    objects: Ids
    met: NDArray[np.bool_]


def judged(found: Found, truth: Truth) -> Judged:
    """The kinds of one image's detections."""
    count, aside = len(found.scores), truth.ignored | truth.crowd
    overlap = overlaps(found.places, truth.places, truth.crowd)
    same = found.numbers[:, None] == truth.numbers[None]
    kinds, objects = [HIT] * count, np.full(count, -1, dtype=np.int64)
    free, met = np.ones(len(aside), dtype=np.bool_), aside.copy()
    order = np.argsort(-found.scores, kind="stable").tolist()
    wrong = []
    for d in order:
        for usable in (free & ~aside, aside & (free | truth.crowd)):
            here = np.where(usable & same[d], overlap[d], -1.0)
            best = int(here.argmax()) if len(here) else -1
            if best >= 0 and here[best] >= HIT_FROM:
                kinds[d], objects[d] = (ASIDE if aside[best] else HIT), best
                free[best], met[best] = False, True
                break
        else:
            wrong.append(d)
    for d in wrong:
        kinds[d], objects[d] = _kind(overlap[d], same[d], aside)
        if objects[d] >= 0 and kinds[d] in ("class", "place"):
            met[objects[d]] = True
    return Judged(kinds, objects, met)


def _kind(overlap: Floats, same: NDArray[np.bool_], aside: NDArray[np.bool_]) -> tuple[str, int]:
    """(kind, the object that was meant) of a detection that is no hit."""
    if not len(overlap):
        return "background", -1
    own = np.where(same & ~aside, overlap, 0.0)
    other = np.where(~same & ~aside, overlap, 0.0)
    mine, its = int(own.argmax()), int(other.argmax())
    if NEAR <= own[mine] < HIT_FROM:
        return "place", mine
    if own[mine] >= HIT_FROM:
        return "duplicate", mine
    if other[its] >= HIT_FROM:
        return "class", its
    if other[its] >= NEAR:
        return "both", its
    return "background", -1


@dataclass(frozen=True)
class Cost:
    """A kind of error: how many there are among detections of at least the threshold's score (of
    objects: how many are missed), and by how much average precision at an overlap of a half would
    rise without it."""

    kind: str
    count: int
    cost: float


def costs(
    images: Sequence[tuple[Found, Truth]], classes: int, threshold: float = 0.0
) -> list[Cost]:
    """The kinds of errors of many images, the dearest first."""
    table = _table(images)
    right = _mean_precision(table, classes)
    found = []
    for kind in KINDS:
        mended = _mended(table, kind)
        gain = _mean_precision(mended, classes) - right
        here = (table.kind == kind) & (table.score >= threshold)
        count = len(table.missed) if kind == "missed" else int(here.sum())
        found.append(Cost(kind, count, max(0.0, gain)))
    return sorted(found, key=lambda cost: -cost.cost)


class _Table(NamedTuple):
    """Detections of all images: score, class, kind, object (its number in the whole set); objects
    that count, by class; `missed`: classes of those that nothing came near."""

    score: Floats
    number: Ids
    kind: NDArray[np.str_]
    object: Ids
    truth: Ids
    counts: NDArray[np.bool_]
    missed: Ids


def _table(images: Sequence[tuple[Found, Truth]]) -> _Table:
    scores, numbers, kinds, objects, truths, counts, missed = [], [], [], [], [], [], []
    first = 0
    for found, truth in images:
        one = judged(found, truth)
        scores.append(found.scores)
        numbers.append(found.numbers)
        kinds += one.kinds
        objects.append(np.where(one.objects >= 0, one.objects + first, -1))
        truths.append(truth.numbers)
        counts.append(~(truth.ignored | truth.crowd))
        missed.append(truth.numbers[~one.met])
        first += len(truth.numbers)
    none, blank = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
    return _Table(
        np.concatenate([np.zeros(0), *scores]), np.concatenate([none, *numbers]),
        np.array(kinds, dtype="U10"), np.concatenate([none, *objects]),
        np.concatenate([none, *truths]), np.concatenate([blank, *counts]),
        np.concatenate([none, *missed]),
    )  # fmt: skip


def _mended(table: _Table, kind: str) -> _Table:
    """The same without one kind of error: boxes and classes that are off are put right where their
    object was not found, the best one of each; everything else of the kind goes."""
    if kind == "missed":
        positives = table.counts.copy()
        for number in table.missed.tolist():  # as if there were fewer objects
            positives[np.flatnonzero(positives & (table.truth == number))[-1]] = False
        return table._replace(counts=positives)
    of_kind = table.kind == kind
    keep, kinds, numbers = ~of_kind, table.kind.copy(), table.number.copy()
    if kind in ("class", "place"):
        taken = set(table.object[table.kind == HIT].tolist())
        for d in np.flatnonzero(of_kind)[np.argsort(-table.score[of_kind], kind="stable")]:
            meant = int(table.object[d])
            if meant in taken:
                continue
            taken.add(meant)
            keep[d], kinds[d], numbers[d] = True, HIT, table.truth[meant]
    return table._replace(
        score=table.score[keep], number=numbers[keep], kind=kinds[keep], object=table.object[keep]
    )


def _mean_precision(table: _Table, classes: int) -> float:
    """VOC's average precision of the classes that have objects."""
    each = []
    for number in range(classes):
        positives = int((table.counts & (table.truth == number)).sum())
        own = (table.number == number) & (table.kind != ASIDE)
        order = np.argsort(-table.score[own], kind="stable")
        hit = (table.kind[own] == HIT)[order]
        hits, count = np.cumsum(hit), np.arange(1, len(hit) + 1)
        curve = Curve(table.score[own][order], hits / count, hits / max(positives, 1), positives)
        if positives:
            each.append(area_under(curve))
    return float(np.mean(each)) if each else 0.0
