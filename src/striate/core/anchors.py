"""Shapes of anchors that suit a set of boxes, and how well they do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats

ROUNDS = 30


def shape_overlaps(sides: Floats, shapes: Floats) -> Floats:
    """IoU of boxes and anchors with one centre: sides (M, 2), shapes (K, 2) → (M, K)."""
    common = np.minimum(sides[:, None], shapes[None]).prod(axis=2)
    return common / (sides.prod(axis=1)[:, None] + shapes.prod(axis=1)[None] - common)


def anchor_shapes(sides: Floats, count: int) -> Floats:
    """`count` shapes (K, 2) for boxes of these sides (M, 2), by k-means under 1 − IoU (YOLO 9000;
    Redmon and Farhadi 2017), by rising area. Begins with boxes at even places in the order of
    areas, so the same boxes give the same shapes."""
    order = np.argsort(sides.prod(axis=1), kind="stable")
    places = (np.arange(count) + 0.5) / count * len(sides)
    shapes = sides[order[places.astype(np.int64)]].astype(np.float64)
    for _ in range(ROUNDS):
        nearest = shape_overlaps(sides, shapes).argmax(axis=1)
        moved = np.array([
            np.median(sides[nearest == k], axis=0) if (nearest == k).any() else shapes[k]
            for k in range(count)
        ])  # fmt: skip
        if np.allclose(moved, shapes):
            break
        shapes = moved
    return shapes[np.argsort(shapes.prod(axis=1), kind="stable")]


def unfit(sides: Floats, shapes: Floats, least: float = 0.5) -> NDArray[np.bool_]:
    """Which boxes no anchor fits: none overlaps them by `least` even with the same centre. The
    share of the others is the best recall that the anchors allow."""
    return np.asarray(shape_overlaps(sides, shapes).max(axis=1) < least)
