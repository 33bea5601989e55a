"""What all augmentations share: their random numbers, and moving pixels with a matrix (see
`striate.core.geometry`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image

from striate.core.arrays import Floats, Pixels
from striate.core.geometry import identity

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
