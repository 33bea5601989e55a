"""Boxes: (left, top, right, bottom) in the continuous pixel coordinates of `striate.core.geometry`.

The upper left corner of an image is (0, 0), the lower right one (width, height); a box around one
pixel is 1 wide. `striate.data.sources.annotations` says how each format of annotations counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats, Ids


def areas(boxes: Floats) -> Floats:
    """Square pixels of boxes (…, 4); 0 for those without width or height."""
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


class Found(NamedTuple):
    """Boxes that were found in one image: places float64 (K, 4), their classes int64 (K,), scores
    float64 (K,)."""

    places: Floats
    numbers: Ids
    scores: Floats


def shared_areas(one: Floats, other: Floats) -> Floats:
    """Square pixels that each of (M, 4) has in common with each of (N, 4): (M, N)."""
    upper = np.maximum(one[:, None, :2], other[None, :, :2])
    lower = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return np.prod(np.maximum(lower - upper, 0), axis=2)


def overlaps(one: Floats, other: Floats, crowd: NDArray[np.bool_] | None = None) -> Floats:
    """Intersection over union of each of (M, 4) with each of (N, 4): (M, N); 0 where both are
    empty. With a `crowd` (N,), a box around many objects, over the area of the one (COCO)."""
    common = shared_areas(one, other)
    whole = areas(one)[:, None] + areas(other)[None] - common
    if crowd is not None:
        whole = np.where(crowd[None], areas(one)[:, None], whole)
    return np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)


def clipped(boxes: Floats, width: float, height: float) -> Floats:
    """The part of boxes (…, 4) that lies in an image."""
    return np.clip(boxes, 0, np.array([width, height, width, height]))


def sides_of(boxes: Floats) -> Floats:
    """(width, height) of boxes (…, 4): (…, 2)."""
    return boxes[..., 2:] - boxes[..., :2]


def suppressed(boxes: Floats, scores: Floats, most: float) -> Ids:
    """Positions of the boxes (N, 4) that remain, by falling score: a box goes where one with a
    higher score overlaps it by more than `most`. Of equal scores the first remains (E1)."""
    order = np.argsort(-scores, kind="stable")
    overlap = overlaps(boxes[order], boxes[order]) > most
    kept: list[int] = []
    gone = np.zeros(len(order), dtype=np.bool_)
    for i in range(len(order)):
        if not gone[i]:
            kept.append(i)
            gone |= overlap[i]
    return order[np.array(kept, dtype=np.int64)]
