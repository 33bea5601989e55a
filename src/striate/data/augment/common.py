"""What all augmentations share: their random numbers, and moving pixels with a matrix.

Coordinates are continuous: (0, 0) is the upper left corner of the image, (width, height) the lower
right one, so the centre of the first pixel is (0.5, 0.5). A matrix (2, 3) maps a point (x, y, 1) of
the image before to its place afterwards; boxes and key points use the same matrices as pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from striate.data.decode import Pixels

Floats = NDArray[np.float64]
Draw = Callable[[str, int], Floats]
"""(purpose, count) → (N, count) in [0, 1): numbers that depend on (seed, epoch, sample id) only."""


class Moved(NamedTuple):
    """Images uint8 (N, H, W, C) after a change, and where their points went: (N, 2, 3)."""

    images: Pixels
    matrices: Floats


@dataclass(frozen=True)
class About:
    """What members need to know: the input side, and of the training images the mean colour (C,)
    and the colour basis (C, C), whose columns are √eigenvalue-free directions times eigenvalues.

    `masks`: the arrays are label maps, so places move to the nearest pixel and colours stay.
    """

    size: int
    fill: Floats
    basis: Floats = field(default_factory=lambda: np.zeros((3, 3)))
    masks: bool = False


def identity(count: int) -> Floats:
    """Matrices that leave every point where it is."""
    return np.tile(np.array([[1.0, 0, 0], [0, 1.0, 0]]), (count, 1, 1))


def after(first: Floats, then: Floats) -> Floats:
    """The matrices of one movement after another."""
    turned = then[:, :, :2] @ first[:, :, :2]
    shifted = then[:, :, :2] @ first[:, :, 2:] + then[:, :, 2:]
    return np.concatenate([turned, shifted], axis=2)


def move_points(points: Floats, matrices: Floats) -> Floats:
    """(N, K, 2) of (x, y) → where the images' matrices bring them. They may lie outside."""
    return points @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]


def move_boxes(boxes: Floats, matrices: Floats, size: tuple[int, int]) -> Floats:
    """(N, K, 4) of (left, top, right, bottom) → the upright box around each moved box.

    Cut at the image's sides (height, width); a box that left the image has no width or height.
    """
    left, top, right, bottom = np.moveaxis(boxes, 2, 0)
    corners = np.stack([left, top, right, top, left, bottom, right, bottom], axis=2)
    moved = move_points(corners.reshape(len(boxes), -1, 2), matrices)
    moved = moved.reshape(*boxes.shape[:2], 4, 2).clip(0, size[::-1])
    return np.concatenate([moved.min(axis=2), moved.max(axis=2)], axis=2)


def warp(images: Pixels, matrices: Floats, about: About) -> Moved:
    """Move all pixels; bilinear, for masks the nearest; what comes from outside is the mean colour,
    for masks 0."""
    inverse = np.linalg.inv(
        np.concatenate([matrices, np.tile([[[0.0, 0, 1]]], (len(matrices), 1, 1))], axis=1)
    )[:, :2].reshape(-1, 6)
    still = np.isclose(matrices, identity(1)).all(axis=(1, 2))
    result = images.copy()
    how = Image.Resampling.NEAREST if about.masks else Image.Resampling.BILINEAR
    fill = (
        (0,) * images.shape[3] if about.masks else tuple(np.rint(about.fill).astype(int).tolist())
    )
    for i in np.flatnonzero(~still):
        moved = picture(images[i]).transform(
            images.shape[2:0:-1], Image.Transform.AFFINE, tuple(inverse[i]), how,
            fillcolor=fill if len(fill) > 1 else fill[0],
        )  # fmt: skip
        result[i] = np.asarray(moved).reshape(images.shape[1:])
    return Moved(result, matrices)


def about_centre(linear: Floats, height: int, width: int) -> Floats:
    """Linear maps (N, 2, 2) about the image's centre, as matrices."""
    centre = np.array([width / 2, height / 2])
    return np.concatenate([linear, (centre - linear @ centre)[:, :, None]], axis=2)


def picture(image: Pixels) -> Image.Image:
    """uint8 (H, W, C) as a Pillow image."""
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def normals(draw: Draw, purpose: str, count: int) -> Floats:
    """Standard normal numbers (N, count), by Box and Muller's method."""
    u = draw(purpose, 2 * count)
    radius = np.sqrt(-2 * np.log1p(-u[:, :count]))
    return radius * np.cos(2 * np.pi * u[:, count:])


def signed(u: Floats, strength: float) -> Floats:
    """[0, 1) → [−strength, strength)."""
    return (2 * u - 1) * strength
