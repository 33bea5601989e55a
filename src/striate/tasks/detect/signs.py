"""What the doctor is told of a detector's boxes beside its average precision."""

from __future__ import annotations

import numpy as np

from striate.core.boxes import areas, overlaps
from striate.data.boxes import Boxes
from striate.tasks.detect.answer import found_in
from striate.tasks.task import Predictions

NAMED, NEAR, PLACED = 0.05, 0.1, 0.5
"""The score from which on a box counts as said; overlaps from which on it is near an object, and
around it."""


def signs_of(predictions: Predictions, boxes: Boxes) -> dict[str, float]:
    """Over the objects of many images.

    `objects`: how many; `said`: boxes an image that are said, with the mean of their best `score`;
    shares of objects that a box is `near`, that one is around whatever it calls them (`placed`),
    and that one is around and calls right (`found`); `found_small`, `found_large`: of the smallest
    and the largest third; `size`: the median of how many times too large near boxes are (area);
    `shift`: by how many class numbers boxes around an object are mostly off, and `shifted`: the
    share of them that is off by that; 0 where most are right.
    """
    near, placed, right, size, ratios, offsets, said, best = [], [], [], [], [], [], [], []
    for i in range(len(boxes)):
        own, found = boxes.only(i), found_in(predictions, i)
        own = own.where(own.sure)
        named = found.scores >= NAMED
        said.append(int(named.sum()))
        best.append(float(found.scores.max(initial=0.0)))
        overlap = overlaps(own.places, found.places[named])
        size += areas(own.places).tolist()
        for g, number in enumerate(own.numbers.tolist()):
            closest = int(overlap[g].argmax()) if named.any() else -1
            shared = float(overlap[g, closest]) if closest >= 0 else 0.0
            near.append(shared >= NEAR)
            placed.append(shared >= PLACED)
            around = overlap[g] >= PLACED
            right.append(bool((found.numbers[named][around] == number).any()))
            if shared >= NEAR:
                whole = areas(found.places[named][closest : closest + 1])[0]
                ratios.append(float(whole / max(areas(own.places[g : g + 1])[0], 1e-9)))
            if shared >= PLACED:
                surest = int(np.flatnonzero(around)[0])  # they come by falling score
                offsets.append(int(found.numbers[named][surest]) - number)
    if not near:
        return {"objects": 0.0}
    order = np.argsort(size, kind="stable")
    third = max(1, len(order) // 3)
    hits = np.array(right, dtype=np.float64)
    shift, shifted = _commonest(offsets)
    return {
        "objects": float(len(near)), "said": float(np.mean(said)), "score": float(np.mean(best)),
        "near": float(np.mean(near)), "placed": float(np.mean(placed)), "found": float(hits.mean()),
        "found_small": float(hits[order[:third]].mean()),
        "found_large": float(hits[order[-third:]].mean()),
        "size": float(np.median(ratios)) if ratios else 1.0, "shift": shift, "shifted": shifted,
    }  # fmt: skip


def _commonest(offsets: list[int]) -> tuple[float, float]:
    """(the commonest offset, its share); 0 where there is none."""
    if not offsets:
        return 0.0, 0.0
    values, counts = np.unique(offsets, return_counts=True)
    top = int(counts.argmax())
    return float(values[top]), float(counts[top] / len(offsets))
