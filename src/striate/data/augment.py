"""Augmentation (D2): functions on uint8 batches (N, H, W, C), and the views of test time.

Each takes `draw(purpose, count)` → float64 (N, count) in [0, 1), numbers that depend on (seed,
epoch, sample id) only, and a strength; at strength 0 each is the identity. Laws that hold for every
member of AUGMENTATIONS are in tests/data/test_augment.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from striate.core.randomness import uniform
from striate.data.decode import Pixels
from striate.data.loader import Ids

Draw = Callable[[str, int], NDArray[np.float64]]
Augmentation = Callable[[Pixels, Ids, int], Pixels]
"""(images, sample ids, epoch) → images."""


def flip(images: Pixels, draw: Draw, probability: float) -> Pixels:
    """Mirror left and right with this probability."""
    chosen = draw("flip", 1)[:, 0] < probability
    return np.where(chosen[:, None, None, None], images[:, :, ::-1], images)


def padded_crop(images: Pixels, draw: Draw, padding: float) -> Pixels:
    """Shift by up to `padding` pixels each way; the border is the image mirrored at its edge."""
    pad = int(padding)
    if pad == 0:
        return images
    height, width = images.shape[1:3]
    bordered = _mirrored_border(images, pad)
    offsets = (draw("crop", 2) * (2 * pad + 1)).astype(np.int64)
    result = np.empty_like(images)
    for i, (top, left) in enumerate(offsets):
        result[i] = bordered[i, top : top + height, left : left + width]
    return result


def resized_crop(images: Pixels, draw: Draw, strength: float, size: int | None = None) -> Pixels:
    """Cut a random part of 1 − strength to all of the area, aspect 3:4 to 4:3, and resize it.

    To size×size, or back to its own size. As in GoogLeNet's training (Szegedy et al. 2015);
    bilinear with antialiasing.
    """
    if strength == 0:
        return images
    size = size or images.shape[1]
    side = np.array(images.shape[1:3])
    area, aspect, top, left = draw("resized crop", 4).T
    share = 1 - strength * area
    ratio = np.exp((2 * aspect - 1) * np.log(4 / 3))
    sides = np.stack([np.sqrt(share / ratio), np.sqrt(share * ratio)], axis=1).clip(max=1) * side
    starts = np.stack([top, left], axis=1) * (side - sides)
    boxes = np.concatenate([starts, starts + sides], axis=1)
    return np.stack([_cut(image, box, size) for image, box in zip(images, boxes, strict=True)])


def cutout(images: Pixels, draw: Draw, side: float, fill: NDArray[np.float64]) -> Pixels:
    """Paint a square of `side` pixels, centred anywhere, in the mean colour (DeVries 2017)."""
    size = int(side)
    if size == 0:
        return images
    height, width = images.shape[1:3]
    centres = draw("cutout", 2) * (height, width)
    top_left = np.floor(centres).astype(np.int64) - size // 2
    result = images.copy()
    for i, (top, left) in enumerate(top_left):
        result[i, max(top, 0) : top + size, max(left, 0) : left + size] = np.rint(fill)
    return result


AUGMENTATIONS: dict[str, Callable[..., Pixels]] = {
    "flip": flip,
    "pad": padded_crop,
    "resized": resized_crop,
    "cutout": cutout,
}


def pipeline(
    seed: int, strengths: dict[str, float], fill: NDArray[np.float64], size: int
) -> Augmentation:
    """Apply the named augmentations in order, then cut the centre to `size`."""
    extras: dict[str, dict[str, Any]] = {"cutout": {"fill": fill}, "resized": {"size": size}}
    members = [
        (partial(AUGMENTATIONS[name], **extras.get(name, {})), strength)
        for name, strength in strengths.items()
        if strength > 0
    ]

    def apply(images: Pixels, ids: Ids, epoch: int) -> Pixels:
        def draw(purpose: str, count: int) -> NDArray[np.float64]:
            return uniform(seed, epoch, purpose, ids, count)

        for member, strength in members:
            images = member(images, draw, strength)
        return centre(images, size)

    return apply


def centre(images: Pixels, size: int) -> Pixels:
    """The central size×size of (N, S, S, C)."""
    top, left = ((side - size) // 2 for side in images.shape[1:3])
    return images[:, top : top + size, left : left + size]


def views_of(images: Pixels, kind: str) -> list[Pixels]:
    """The views whose outputs are averaged: single, flip, shift (three places), flip_shift."""
    views = [images]
    if "shift" in kind:
        step = max(1, round(images.shape[1] / 32))
        height, width = images.shape[1:3]
        bordered = _mirrored_border(images, step)
        views.append(bordered[:, :height, :width])
        views.append(bordered[:, 2 * step :, 2 * step :])
    if "flip" in kind:
        views += [view[:, :, ::-1] for view in views]
    return views


def _mirrored_border(images: Pixels, pad: int) -> Pixels:
    """Reflect without repeating the edge, as long as the image is wide enough for that."""
    wide = pad < min(images.shape[1:3])
    return np.pad(images, [(0, 0), (pad, pad), (pad, pad), (0, 0)], "reflect" if wide else "edge")


def _cut(image: Pixels, box: NDArray[np.float64], size: int) -> Pixels:
    top, left, bottom, right = box.tolist()
    channels = image.shape[2]
    picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)
    cut = picture.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.asarray(cut).reshape(size, size, channels)
