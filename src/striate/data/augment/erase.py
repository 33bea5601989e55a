"""Augmentations that hide a part of the image, and those that mix two images (D2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats, Pixels
from striate.data.augment.common import About, Draw

Shares = NDArray[np.float32]


def cutout(images: Pixels, draw: Draw, side: float, about: About) -> Pixels:
    """Paint a square of `side` pixels, centred anywhere, in the mean colour (DeVries 2017)."""
    size = int(side)
    if size == 0:
        return images
    centres = draw("cutout", 2) * images.shape[1:3]
    top_left = np.floor(centres).astype(np.int64) - size // 2
    result = images.copy()
    for i, (top, left) in enumerate(top_left):
        result[i, max(top, 0) : top + size, max(left, 0) : left + size] = np.rint(about.fill)
    return result


def random_erasing(images: Pixels, draw: Draw, probability: float, about: About) -> Pixels:
    """With this probability, noise over 2 to 33 % of the area, aspect 3:10 to 10:3 (Zhong 2017)."""
    chance, area, aspect, top, left, noise = draw("random erasing", 6).T
    height, width = images.shape[1:3]
    share = 0.02 + 0.31 * area
    ratio = np.exp((2 * aspect - 1) * np.log(10 / 3))
    high = np.sqrt(share / ratio).clip(max=1) * height
    wide = np.sqrt(share * ratio).clip(max=1) * width
    result = images.copy()
    for i in np.flatnonzero(chance < probability):
        y, x = int(top[i] * (height - high[i] + 1)), int(left[i] * (width - wide[i] + 1))
        hole = result[i, y : y + max(1, round(high[i])), x : x + max(1, round(wide[i]))]
        own = np.random.default_rng(int(noise[i] * 2**53))
        hole[...] = own.integers(0, 256, hole.shape, dtype=np.uint8)
    return result


def mixup(
    images: Pixels, partners: Pixels, draw: Draw, alpha: float, about: About
) -> tuple[Pixels, Shares]:
    """λ·image + (1 − λ)·partner, λ ~ Beta(α, α) (Zhang et al. 2018). Returns images and λ (N,)."""
    share = _beta(draw("mixup", 1)[:, 0], alpha).astype(np.float32)
    weight = share[:, None, None, None]
    return np.rint(weight * images + (1 - weight) * partners).astype(np.uint8), share


def cutmix(
    images: Pixels, partners: Pixels, draw: Draw, alpha: float, about: About
) -> tuple[Pixels, Shares]:
    """A box of the partner over a share 1 − λ of the image, λ ~ Beta(α, α) (Yun et al. 2019).

    The box may reach over the border; the returned λ (N,) is the share that is really left.
    """
    chance, y, x = draw("cutmix", 3).T
    height, width = images.shape[1:3]
    side = np.sqrt(1 - _beta(chance, alpha))[:, None] * (height, width)
    centre = np.stack([y * height, x * width], axis=1)
    start = np.rint(centre - side / 2).clip(0, (height, width)).astype(np.int64)
    stop = np.rint(centre + side / 2).clip(0, (height, width)).astype(np.int64)
    result = images.copy()
    for i, ((top, left), (bottom, right)) in enumerate(zip(start, stop, strict=True)):
        result[i, top:bottom, left:right] = partners[i, top:bottom, left:right]
    share = 1 - (stop - start).prod(axis=1) / (height * width)
    return result, share.astype(np.float32)


def _beta(u: Floats, alpha: float) -> Floats:
    """Quantiles of Beta(α, α): random numbers from one uniform each; α = 0 keeps the image."""
    from scipy.special import betaincinv

    values: Floats = betaincinv(alpha, alpha, u) if alpha else np.ones_like(u)
    return values
