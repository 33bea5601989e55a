"""Objects in pictures that are much larger than a detector's input: found part by part."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats, Ids
from striate.core.boxes import Found, areas, overlaps, shared_areas
from striate.core.geometry import after, identity
from striate.data.decode import Unified
from striate.data.images import Images
from striate.metrics.detection import MOST
from striate.plan.predictor import Predictor
from striate.tasks.detect.answer import found_in
from striate.training.inference import Pass

SHARED = 0.2
"""Share of a tile that its neighbour shows too."""
SAME, INSIDE = 0.6, 0.7
"""Overlap above which two boxes of a class are one object; share of a box that was cut by a tile's
border above which it is a part of another one."""
_NEAR = 2.0


def tiles_of(width: int, height: int, count: int) -> Ids:
    """Windows (T, 4) as left, top, right, bottom: the whole picture, then count × count parts that
    overlap."""
    found = [(0, 0, width, height)]
    for top, bottom in _stretches(height, count):
        found += [(left, top, right, bottom) for left, right in _stretches(width, count)]
    return np.array(found if count > 1 else found[:1], dtype=np.int64)


def _stretches(side: int, count: int) -> Iterator[tuple[int, int]]:
    """`count` equal stretches of a side that share SHARED of each with the next."""
    length = side / (count - (count - 1) * SHARED)
    for number in range(count):
        start = min(side - 1, round(number * length * (1 - SHARED)))
        yield start, min(side, max(start + 1, round(number * length * (1 - SHARED) + length)))


def found_in_tiles(
    predictor: Predictor, images: Images, shape: Unified, count: int
) -> Iterator[Found]:
    """The objects of each image, from the whole picture and from count × count parts of it, in
    pixels of the image. shape: how the run makes every image the same shape. Raises
    UndecodableError."""
    how = Pass(predictor.size, predictor.runtime)
    for i in range(len(images)):
        pixels = images.pixels(i, shape.max_megapixels)  # in full
        windows = tiles_of(pixels.shape[1], pixels.shape[0], count)
        parts = np.stack([
            shape.fit(pixels[top:bottom, left:right]) for left, top, right, bottom in windows
        ])  # fmt: skip
        sides = np.stack([windows[:, 3] - windows[:, 1], windows[:, 2] - windows[:, 0]], axis=1)
        shift = identity(len(windows))
        shift[:, :, 2] = -windows[:, :2]
        moves = after(shift, shape.matrices(sides))
        said = predictor.task.predictions(predictor.net, parts, moves, how)
        each = [found_in(said, t) for t in range(len(windows))]
        yield merged(each, windows.astype(np.float64), (pixels.shape[1], pixels.shape[0]))


def merged(each: list[Found], windows: Floats, sides: tuple[int, int]) -> Found:
    """The objects of all windows (T, 4) of a picture (width, height) together: of boxes of a class
    around one object the surest stays, and a box that a window cut goes where it is a part of
    another one."""
    places, numbers, scores = (np.concatenate(column) for column in zip(*each, strict=True))
    cut = np.concatenate([
        _cut(found.places, window, sides) for found, window in zip(each, windows, strict=True)
    ])  # fmt: skip
    order = np.lexsort((-scores, cut))  # whole ones first
    kept: list[int] = []
    for i in order.tolist():
        rivals = [k for k in kept if numbers[k] == numbers[i]]
        if rivals:
            box, others = places[i : i + 1], places[rivals]
            if (overlaps(box, others) > SAME).any():
                continue
            inside = shared_areas(box, others) / max(float(areas(box)[0]), 1e-9)
            if cut[i] and (inside > INSIDE).any():
                continue
        kept.append(i)
    best = np.array(sorted(kept, key=lambda k: -scores[k])[:MOST], dtype=np.int64)
    return Found(places[best], numbers[best], scores[best])


def _cut(places: Floats, window: Floats, sides: tuple[int, int]) -> NDArray[np.bool_]:
    """Which boxes end at a border of their window that is not one of the picture."""
    inner = np.array([window[0] > 0, window[1] > 0, window[2] < sides[0], window[3] < sides[1]])
    return np.asarray((inner & (np.abs(places - window) < _NEAR)).any(axis=1))
