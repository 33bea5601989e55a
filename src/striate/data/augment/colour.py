"""Augmentations that change colours and leave pixels where they are (D2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFilter

from striate.core.arrays import Floats, Pixels
from striate.data.augment.common import About, Draw, normals, picture, signed

GREY = np.array([0.299, 0.587, 0.114])
"""ITU-R 601 weights of red, green and blue in grey."""
_TO_YIQ = np.array([GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def brightness(images: Pixels, draw: Draw, strength: float, about: About) -> Pixels:
    """Multiply by 1 ± strength."""
    factors = 1 + signed(draw("brightness", 1), strength)
    return scaled(images, factors, 0 * factors)


def contrast(images: Pixels, draw: Draw, strength: float, about: About) -> Pixels:
    """Multiply the distance from the image's mean grey by 1 ± strength."""
    factors = 1 + signed(draw("contrast", 1), strength)
    return contrasted(images, factors)


def saturation(images: Pixels, draw: Draw, strength: float, about: About) -> Pixels:
    """Multiply the distance from grey by 1 ± strength; grey images stay."""
    return saturated(images, 1 + signed(draw("saturation", 1)[:, 0], strength))


def hue(images: Pixels, draw: Draw, strength: float, about: About) -> Pixels:
    """Turn the colour circle by up to `strength` turns either way (in YIQ); grey images stay."""
    if images.shape[3] == 1:
        return images
    angle = 2 * np.pi * signed(draw("hue", 1)[:, 0], strength)
    turn = np.tile(np.eye(3), (len(images), 1, 1))
    turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle)
    turn[:, 2, 1] = np.sin(angle)
    turn[:, 1, 2] = -turn[:, 2, 1]
    return recoloured(images, np.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ, np.zeros((len(images), 3)))


def greyscale(images: Pixels, draw: Draw, probability: float, about: About) -> Pixels:
    """Take all colour away with this probability."""
    return saturated(images, np.where(draw("greyscale", 1)[:, 0] < probability, 0.0, 1.0))


def principal_colours(images: Pixels, draw: Draw, strength: float, about: About) -> Pixels:
    """AlexNet's colour alteration: add P·(α∘λ), α normal with deviation `strength`.

    P and λ are the eigenvectors and eigenvalues of the covariance of the training pixels' colours
    on the scale 0 to 1 (Krizhevsky et al. 2012, section 4.1, with 0.1); `about.basis` is P·diag(λ).
    """
    channels = images.shape[3]
    alpha = strength * normals(draw, "principal colours", channels)
    shift = 255 * alpha @ about.basis[:channels, :channels].T
    return scaled(images, np.ones_like(shift), shift)


def blur(images: Pixels, draw: Draw, strength: float, about: About) -> Pixels:
    """Gaussian blur with a deviation of up to `strength` pixels."""
    result = images.copy()
    for i, radius in enumerate((strength * draw("blur", 1)[:, 0]).tolist()):
        blurred = picture(images[i]).filter(ImageFilter.GaussianBlur(radius))
        result[i] = np.asarray(blurred).reshape(images.shape[1:])
    return result


def scaled(images: Pixels, factors: Floats, shifts: Floats) -> Pixels:
    """images · factors (N, C or 1) + shifts (N, C or 1), rounded and clipped."""
    levels = np.arange(256)
    if np.prod(images.shape[1:3]) < 2 * len(levels) or factors.shape[1] > 1:
        wide = images * factors[:, None, None].astype(np.float32)
        wide += shifts[:, None, None].astype(np.float32)
        return np.rint(wide, out=wide).clip(0, 255, out=wide).astype(np.uint8)
    table = np.rint(levels * factors + shifts).clip(0, 255).astype(np.uint8)
    return np.stack([row[image] for row, image in zip(table, images, strict=True)])


def contrasted(images: Pixels, factors: Floats) -> Pixels:
    """Each image's distance from its mean grey times its factor (N, 1)."""
    means = images.mean(axis=(1, 2))
    mean = (means @ GREY if images.shape[3] == 3 else means[:, 0])[:, None]
    return scaled(images, factors, (1 - factors) * mean)


def saturated(images: Pixels, factors: Floats) -> Pixels:
    """Each pixel's distance from its grey times the image's factor (N,)."""
    if images.shape[3] == 1:
        return images
    kept = factors[:, None, None] * np.eye(3)
    return recoloured(
        images, kept + (1 - factors)[:, None, None] * GREY, np.zeros((len(images), 3))
    )


def recoloured(images: Pixels, matrices: Floats, shifts: Floats) -> Pixels:
    """Colours c → M·c + shift, M (N, 3, 3); images whose M is the identity are not touched."""
    result = images.copy()
    changed = ~np.isclose(matrices, np.eye(3)).all(axis=(1, 2)) | (shifts != 0).any(axis=1)
    if not changed.any():
        return result
    flat = images[changed].reshape(changed.sum(), -1, 3).astype(np.float32)
    wide = flat @ _single(matrices[changed].transpose(0, 2, 1)) + _single(shifts[changed, None])
    result[changed] = np.rint(wide).clip(0, 255).astype(np.uint8).reshape(-1, *images.shape[1:])
    return result


def _single(values: Floats) -> NDArray[np.float32]:
    return values.astype(np.float32)
