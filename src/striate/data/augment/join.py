"""Augmentations that put several images together, each with its objects (D2)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from striate.core.arrays import Floats, Pixels
from striate.core.geometry import identity
from striate.data.augment.common import About, Draw
from striate.data.augment.erase import mixup
from striate.data.decode import resized

PARTNERS = 3
"""Images that are put together with each one."""
_NEAREST, _SPAN = 0.25, 0.5
"""The point in which four images meet lies from a quarter to three quarters of each side."""


class Joined(NamedTuple):
    """Images uint8 (N, S, S, C) of 1 + PARTNERS parts each, the image itself first: where the
    points of each part went, (N, 4, 2, 3), and the region (left, top, right, bottom) that shows
    it, (N, 4, 4), empty where a part is not shown."""

    images: Pixels
    matrices: Floats
    windows: Floats


def mosaic(images: Pixels, partners: Pixels, draw: Draw, share: float, about: About) -> Joined:
    """This share of the images becomes a mosaic of itself and its partners (N, 3, S, S, C), which
    meet in a random point; of each the largest part is shown that fills its place undistorted
    (Bochkovskiy et al. 2020)."""
    size = images.shape[1]
    made = alone(images)
    chance, x, y, turn, *offsets = draw("mosaic", 4 + 1 + PARTNERS).T
    for i in np.flatnonzero(chance < share):
        across, down = (round(size * (_NEAREST + _SPAN * float(u[i]))) for u in (x, y))
        places = [(0, 0, across, down), (across, 0, size, down),
                  (0, down, across, size), (across, down, size, size)]  # fmt: skip
        for k, own in enumerate((images[i], *partners[i])):
            place = places[(k + int(4 * turn[i])) % 4]
            made.matrices[i, k] = _filled(made.images[i], own, place, float(offsets[k][i]))
            made.windows[i, k] = place
    return made


def blended(images: Pixels, partners: Pixels, draw: Draw, alpha: float, about: About) -> Joined:
    """MixUp where targets have places: λ · image + (1 − λ) · its first partner, λ ~ Beta(α, α), and
    the objects of both (Zhang et al. 2019, arXiv:1902.04103)."""
    made = alone(images)
    mixed, _ = mixup(images, partners[:, 0], draw, alpha, about)
    made.windows[:, 1] = made.windows[:, 0]
    return made._replace(images=mixed)


def alone(images: Pixels) -> Joined:
    """Images as they are, without partners."""
    count, size = len(images), images.shape[1]
    matrices = np.tile(identity(1), (count, 1 + PARTNERS, 1, 1))
    windows = np.zeros((count, 1 + PARTNERS, 4))
    windows[:, 0, 2:] = size
    return Joined(images.copy(), matrices, windows)


def _filled(into: Pixels, image: Pixels, place: tuple[int, int, int, int], offset: float) -> Floats:
    """Fill a place of `into` with the largest part of an image that has its proportions, and return
    where the image's points went. offset: from 0 to 1, where that part lies."""
    left, top, right, bottom = place
    size, wide, high = image.shape[0], right - left, bottom - top
    scale = max(wide, high) / size
    part = [min(size, max(1, round(side / scale))) for side in (wide, high)]
    x, y = (int(offset * (size - side + 1)) for side in part)
    window = np.ascontiguousarray(image[y : y + part[1], x : x + part[0]])
    into[top:bottom, left:right] = resized(window, high, wide)
    across, down = wide / part[0], high / part[1]
    return np.array([[across, 0, left - x * across], [0, down, top - y * down]])
