"""Augmentations that move pixels: flips, crops, rotation and other affine maps (D2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats, Pixels
from striate.core.geometry import identity
from striate.data.augment.common import About, Draw, Moved, about_centre, signed, warp
from striate.data.decode import Interpolation, resized


def flip(images: Pixels, draw: Draw, probability: float, about: About) -> Moved:
    """Mirror left and right with this probability."""
    chosen = draw("flip", 1)[:, 0] < probability
    matrices = identity(len(images))
    matrices[chosen, 0] = (-1, 0, images.shape[2])
    return Moved(_mirrored(images, chosen, axis=2), matrices)


def vertical_flip(images: Pixels, draw: Draw, probability: float, about: About) -> Moved:
    """Mirror top and bottom with this probability."""
    chosen = draw("vertical flip", 1)[:, 0] < probability
    matrices = identity(len(images))
    matrices[chosen, 1] = (0, -1, images.shape[1])
    return Moved(_mirrored(images, chosen, axis=1), matrices)


def padded_crop(images: Pixels, draw: Draw, padding: float, about: About) -> Moved:
    """Shift by up to `padding` pixels each way; the border is the image mirrored at its edge."""
    pad = int(padding)
    if pad == 0:
        return Moved(images, identity(len(images)))
    offsets = (draw("crop", 2) * (2 * pad + 1)).astype(np.int64)
    windows = cut(bordered(images, pad), offsets, images.shape[1], images.shape[2])
    return Moved(windows, _shifts(pad - offsets))


def window(images: Pixels, draw: Draw, strength: float, about: About) -> Moved:
    """A random `about.size` square of a larger image, as AlexNet's 224 of 256 (D2)."""
    if strength == 0:
        return Moved(images, identity(len(images)))
    free = np.array(images.shape[1:3]) - about.size
    offsets = (draw("window", 2) * (free + 1)).astype(np.int64)
    return Moved(cut(images, offsets, about.size, about.size), _shifts(-offsets))


def resized_crop(images: Pixels, draw: Draw, strength: float, about: About) -> Moved:
    """Cut a random part of 1 − strength to all of the area, aspect 3:4 to 4:3, and resize it.

    As in GoogLeNet's training (Szegedy et al. 2015); whole pixels are cut, then resized to
    `about.size` by the decoder's resizer.
    """
    if strength == 0:
        return Moved(images, identity(len(images)))
    side = np.array(images.shape[1:3])
    area, aspect, top, left = draw("resized crop", 4).T
    share = 1 - strength * area
    ratio = np.exp((2 * aspect - 1) * np.log(4 / 3))
    sides = np.stack([np.sqrt(share / ratio), np.sqrt(share * ratio)], axis=1).clip(max=1) * side
    sides = np.maximum(1, np.rint(sides)).astype(np.int64)
    starts = (np.stack([top, left], axis=1) * (side - sides + 1)).astype(np.int64)
    size, channels = about.size, images.shape[3]
    result = np.empty((len(images), size, size, channels), dtype=np.uint8)
    for i, ((y, x), (high, wide)) in enumerate(zip(starts, sides, strict=True)):
        result[i] = resized(
            images[i, y : y + high, x : x + wide],
            size,
            size,
            "nearest" if about.masks else "bilinear",
        )
    scale = size / sides
    matrices = np.zeros((len(images), 2, 3))
    matrices[:, 0, 0], matrices[:, 1, 1] = scale[:, 1], scale[:, 0]
    matrices[:, :, 2] = (-starts * scale)[:, ::-1]
    return Moved(result, matrices)


def zoom(images: Pixels, draw: Draw, strength: float, about: About) -> Moved:
    """A random square window of 1 − strength to 1 / (1 − strength) of the area, resized to
    `about.size`; a smaller one lies in the image, a larger one around it, with black outside.
    Objects grow and shrink (as in SSD; Liu et al. 2016)."""
    if strength == 0:
        return Moved(images, identity(len(images)))
    side, size = images.shape[1], about.size
    how: Interpolation = "nearest" if about.masks else "bilinear"
    result = np.zeros((len(images), size, size, images.shape[3]), dtype=np.uint8)
    matrices = np.zeros((len(images), 2, 3))
    share, x, y = draw("zoom", 3).T
    for i, wanted in enumerate((1 - strength) ** (share - 0.5)):
        if wanted <= 1:
            part = max(1, round(side * wanted))
            left, top = (int(u * (side - part + 1)) for u in (x[i], y[i]))
            window = images[i, top : top + part, left : left + part]
            result[i], scale = resized(window, size, size, how), size / part
            place = (-left * scale, -top * scale)
        else:
            part = max(1, round(size / wanted))
            left, top = (int(u * (size - part + 1)) for u in (x[i], y[i]))
            result[i, top : top + part, left : left + part] = resized(images[i], part, part, how)
            scale, place = part / side, (left, top)
        matrices[i, 0, 0] = matrices[i, 1, 1] = scale
        matrices[i, :, 2] = place
    return Moved(result, matrices)


def rotation(images: Pixels, draw: Draw, degrees: float, about: About) -> Moved:
    """Turn about the centre by up to `degrees` either way."""
    return rotated(images, signed(draw("rotation", 1)[:, 0], degrees), about)


def affine(images: Pixels, draw: Draw, strength: float, about: About) -> Moved:
    """Shift by up to `strength` of the side, scale by up to 1 ± strength, shear by up to it, at
    once."""
    x, y, scale, shear = signed(draw("affine", 4), strength).T
    linear = np.zeros((len(images), 2, 2))
    linear[:, 0, 0] = linear[:, 1, 1] = np.maximum(1 + scale, 0.1)
    linear[:, 0, 1] = shear
    matrices = about_centre(linear, *images.shape[1:3])
    matrices[:, :, 2] += np.stack([x * images.shape[2], y * images.shape[1]], axis=1)
    return warp(images, matrices, about)


def rotated(images: Pixels, degrees: Floats, about: About) -> Moved:
    """Each image turned clockwise about its centre by its angle (N,)."""
    angle = np.deg2rad(degrees)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1)
    return warp(images, about_centre(turn.reshape(-1, 2, 2), *images.shape[1:3]), about)


def bordered(images: Pixels, pad: int) -> Pixels:
    """Reflect without repeating the edge, as long as the image is wide enough for that."""
    wide = pad < min(images.shape[1:3])
    return np.pad(images, [(0, 0), (pad, pad), (pad, pad), (0, 0)], "reflect" if wide else "edge")


def cut(images: Pixels, offsets: NDArray[np.integer], height: int, width: int) -> Pixels:
    """The height×width window at each image's (top, left)."""
    result = np.empty((len(images), height, width, images.shape[3]), dtype=images.dtype)
    for i, (top, left) in enumerate(offsets):
        result[i] = images[i, top : top + height, left : left + width]
    return result


def _mirrored(images: Pixels, chosen: NDArray[np.bool_], axis: int) -> Pixels:
    """torch turns pixels of three bytes round in a tenth of NumPy's time."""
    import torch

    given = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    result = torch.empty_like(given)
    for into, image, turn in zip(result, given, chosen.tolist(), strict=True):
        into.copy_(image.flip(axis - 1) if turn else image)
    mirrored: Pixels = result.numpy()
    return mirrored


def _shifts(down_right: NDArray[np.integer]) -> Floats:
    matrices = identity(len(down_right))
    matrices[:, :, 2] = down_right[:, ::-1]
    return matrices
