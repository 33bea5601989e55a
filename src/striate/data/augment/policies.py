"""TrivialAugment and RandAugment: random operations of one list, with random or fixed strength.

The list and its ranges are those of the papers' "wide" search space (Müller and Hutter 2021, table
2; Cubuk et al. 2020): shears up to 0.99, shifts up to 32 of 224 pixels, rotations up to 135°,
colours by a factor of up to 1 ± 0.99, posterising down to 2 bits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from striate.core.arrays import Floats, Pixels
from striate.core.geometry import after, identity
from striate.data.augment.colour import contrasted, saturated, scaled
from striate.data.augment.common import About, Draw, Moved, about_centre, picture, warp
from striate.data.augment.place import rotated

Operation = Callable[[Pixels, Floats, About], Moved]
"""(images, magnitudes (N,) in [−1, 1], about) → moved images."""


def trivial(images: Pixels, draw: Draw, strength: float, about: About) -> Moved:
    """One operation an image, of a magnitude drawn from 0 to `strength` (TrivialAugment)."""
    operation, magnitude, sign = draw("trivial", 3).T
    return _applied(images, operation, strength * magnitude * _signs(sign), about)


def rand(images: Pixels, draw: Draw, strength: float, about: About) -> Moved:
    """Two operations an image, both of magnitude `strength` (RandAugment)."""
    moved = Moved(images, identity(len(images)))
    for number in (1, 2):
        operation, sign = draw(f"rand {number}", 2).T
        result = _applied(moved.images, operation, strength * _signs(sign), about)
        moved = Moved(result.images, after(moved.matrices, result.matrices))
    return moved


def _applied(images: Pixels, which: Floats, magnitudes: Floats, about: About) -> Moved:
    """Each image by its own operation: images of one operation are changed together."""
    if not magnitudes.any():
        return Moved(images, identity(len(images)))
    result, matrices = images.copy(), identity(len(images))
    numbers = (which * len(OPERATIONS)).astype(np.int64)
    for number, operation in enumerate(OPERATIONS.values()):
        chosen = np.flatnonzero(numbers == number)
        if len(chosen):
            result[chosen], matrices[chosen] = operation(images[chosen], magnitudes[chosen], about)
    return Moved(result, matrices)


def _signs(u: Floats) -> Floats:
    return np.where(u < 0.5, -1.0, 1.0)


def _linear(row: int, column: int) -> Operation:
    def shear(images: Pixels, magnitudes: Floats, about: About) -> Moved:
        linear = np.tile(np.eye(2), (len(images), 1, 1))
        linear[:, row, column] = 0.99 * magnitudes
        return warp(images, about_centre(linear, *images.shape[1:3]), about)

    return shear


def _shift(axis: int) -> Operation:
    def shift(images: Pixels, magnitudes: Floats, about: About) -> Moved:
        matrices = identity(len(images))
        matrices[:, axis, 2] = np.rint(magnitudes * 32 / 224 * images.shape[2 - axis])
        return warp(images, matrices, about)

    return shift


def _rotate(images: Pixels, magnitudes: Floats, about: About) -> Moved:
    return rotated(images, 135 * magnitudes, about)


def _coloured(change: Callable[[Pixels, Floats], Pixels]) -> Operation:
    def operation(images: Pixels, magnitudes: Floats, about: About) -> Moved:
        changed = images if about.masks else change(images, magnitudes)
        return Moved(changed, identity(len(images)))

    return operation


def _each(change: Callable[[Image.Image, float], Image.Image]) -> Operation:
    """An operation of Pillow on one image after another."""

    def together(images: Pixels, magnitudes: Floats) -> Pixels:
        pairs = zip(images, magnitudes.tolist(), strict=True)
        changed = [np.asarray(change(picture(image), m)) for image, m in pairs]
        return np.stack(changed).reshape(images.shape)

    return _coloured(together)


def _brightness(images: Pixels, magnitudes: Floats) -> Pixels:
    factors = 1 + 0.99 * magnitudes[:, None]
    return scaled(images, factors, 0 * factors)


def _posterise(images: Pixels, magnitudes: Floats) -> Pixels:
    bits = (8 - np.rint(6 * np.abs(magnitudes))).astype(np.int64)
    kept: Pixels = images & (0xFF00 >> bits).astype(np.uint8)[:, None, None, None]
    return kept


def _solarise(images: Pixels, magnitudes: Floats) -> Pixels:
    threshold = 256 * (1 - np.abs(magnitudes))[:, None, None, None]
    return np.where(images >= threshold, 255 - images, images)


OPERATIONS: dict[str, Operation] = {
    "identity": _coloured(lambda images, _: images),
    "shear_x": _linear(0, 1),
    "shear_y": _linear(1, 0),
    "shift_x": _shift(0),
    "shift_y": _shift(1),
    "rotate": _rotate,
    "brightness": _coloured(_brightness),
    "saturation": _coloured(lambda images, m: saturated(images, 1 + 0.99 * m)),
    "contrast": _coloured(lambda images, m: contrasted(images, 1 + 0.99 * m[:, None])),
    "sharpness": _each(lambda image, m: ImageEnhance.Sharpness(image).enhance(1 + 0.99 * m)),
    "posterise": _coloured(_posterise),
    "solarise": _coloured(_solarise),
    "autocontrast": _each(lambda image, _: ImageOps.autocontrast(image)),
    "equalise": _each(lambda image, _: ImageOps.equalize(image)),
}
