"""Regions that may hold an object, found without a network (E2): selective search and windows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from striate.core.arrays import Floats, Pixels
from striate.core.errors import MissingExtraError

LONGEST = 200
"""The side at which regions are searched for, in pixels: smaller is quicker."""
LEAST_SIDE = 12.0
SIDES, ASPECTS, STEP = (0.25, 0.4, 0.6, 0.9), (0.5, 1.0, 2.0), 0.25
"""Windows: square roots of their areas as shares of the image's side, widths over heights, and how
far the next one is, as a share of their sides."""


def check_search() -> None:
    """Raises MissingExtraError where OpenCV's further modules are not installed."""
    try:
        import cv2.ximgproc.segmentation  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "OpenCV with its further modules", "proposals", "for selective search"
        ) from None


def selective_search(pixels: Pixels, most: int) -> Floats:
    """At most `most` regions (K, 4) of an image uint8 (H, W, 3) that segments of alike pixels make
    up, joined step by step (Uijlings et al. 2013; the quick form of OpenCV). Raises what
    `check_search` raises."""
    check_search()
    from cv2 import resize
    from cv2.ximgproc.segmentation import createSelectiveSearchSegmentation

    scale = min(1.0, LONGEST / max(pixels.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    search = createSelectiveSearchSegmentation()
    search.setBaseImage(resize(np.ascontiguousarray(pixels[..., ::-1]), (width, height)))
    search.switchToSelectiveSearchFast()
    found = np.asarray(search.process(), dtype=np.float64).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    found /= scale
    sides = (found[:, 2:] - found[:, :2]).min(axis=1)
    return found[sides >= LEAST_SIDE][:most]


def windows(size: int) -> Floats:
    """Windows (K, 4) of several sizes and shapes all over an image of this side: deck E's loop over
    position, scale and aspect (E1)."""
    return np.array([*_windows(size)])


def _windows(size: int) -> Iterator[tuple[float, float, float, float]]:
    for share in SIDES:
        for aspect in ASPECTS:
            wide = min(1.0, share * aspect**0.5) * size
            high = min(1.0, share / aspect**0.5) * size
            for left in _starts(size, wide):
                for top in _starts(size, high):
                    yield left, top, left + wide, top + high


def _starts(size: float, side: float) -> list[float]:
    count = 1 + round((size - side) / (side * STEP))
    return np.linspace(0, size - side, count).tolist()
