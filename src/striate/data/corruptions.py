"""Corruptions of test images at five strengths, as a camera, a network or a careless hand makes
them: how much does a classifier bear? (after Hendrycks and Dietterich 2019, arXiv:1903.12261)

Each is a function (images uint8 (N, H, W, C), strength 1 to 5, u (N, 2) in [0, 1)) → images; what
it does to an image depends on that image's number alone.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from striate.core.arrays import Floats, Ids, Pixels
from striate.core.randomness import uniform
from striate.data.augment.colour import contrasted, scaled
from striate.data.augment.common import About, picture
from striate.data.augment.place import bordered, cut, rotated
from striate.data.loader import Store

Draws = NDArray[np.float64]
STRENGTHS = (1, 2, 3, 4, 5)


def noise(images: Pixels, strength: int, u: Draws) -> Pixels:
    """Normal, the same for all channels and pixels apart: a dark room."""
    deviation = (8, 16, 28, 42, 60)[strength - 1]
    result = np.empty_like(images)
    for i, image in enumerate(images):
        rng = np.random.default_rng(int(u[i, 0] * 2**52))
        shaken = image + rng.normal(0, deviation, image.shape)
        result[i] = np.rint(shaken).clip(0, 255)
    return result


def blur(images: Pixels, strength: int, u: Draws) -> Pixels:
    """Gaussian: out of focus. It grows with the root of the side, as details do."""
    deviation = (0.4, 0.7, 1.0, 1.5, 2.2)[strength - 1] * (images.shape[1] / 32) ** 0.5
    return _each(images, lambda p: p.filter(ImageFilter.GaussianBlur(deviation)))


def brightness(images: Pixels, strength: int, u: Draws) -> Pixels:
    """Half of the images darker, half brighter."""
    change = (0.15, 0.3, 0.45, 0.6, 0.75)[strength - 1]
    factors = np.where(u[:, :1] < 0.5, 1 - change, 1 + change)
    return scaled(images, factors, 0 * factors)


def contrast(images: Pixels, strength: int, u: Draws) -> Pixels:
    """Towards the image's mean grey: fog."""
    return contrasted(images, np.full((len(images), 1), (0.7, 0.5, 0.35, 0.22, 0.12)[strength - 1]))


def jpeg(images: Pixels, strength: int, u: Draws) -> Pixels:
    """Compressed at a quality of 50 down to 5."""
    quality = (50, 30, 18, 10, 5)[strength - 1]

    def squeezed(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return _each(images, squeezed)


def shift(images: Pixels, strength: int, u: Draws) -> Pixels:
    """Along some direction by up to a quarter of the side; the border is mirrored."""
    side = images.shape[1]
    far = max(strength, round((0.03, 0.06, 0.1, 0.16, 0.25)[strength - 1] * side))
    angle = 2 * np.pi * u[:, 0]
    way = np.rint(far * np.stack([np.sin(angle), np.cos(angle)], axis=1)).astype(int)
    return cut(bordered(images, far), far + way, *images.shape[1:3])


def rotation(images: Pixels, strength: int, u: Draws) -> Pixels:
    """Either way by 5 to 40 degrees; what comes from outside is mirrored."""
    degrees = (5, 10, 15, 25, 40)[strength - 1] * np.where(u[:, 0] < 0.5, -1.0, 1.0)
    side = images.shape[1]
    pad = side // 4
    turned = rotated(bordered(images, pad), degrees, About(side, np.zeros(images.shape[3]))).images
    return turned[:, pad : pad + side, pad : pad + images.shape[2]]


CORRUPTIONS: dict[str, Callable[[Pixels, int, Draws], Pixels]] = {
    f.__name__: f for f in (noise, blur, brightness, contrast, jpeg, shift, rotation)
}


@dataclass(frozen=True)
class Corrupted:
    """A store whose images are corrupted as they are loaded."""

    store: Store
    name: str
    strength: int
    seed: int = 0

    def __len__(self) -> int:
        return len(self.store)

    @property
    def threads(self) -> int | None:
        return self.store.threads

    def matrices(self, ids: Ids) -> Floats:
        return self.store.matrices(ids)

    def load(self, ids: Ids) -> Pixels:
        u = uniform(self.seed, 0, f"corruption {self.name}", ids, 2)
        return CORRUPTIONS[self.name](self.store.load(ids), self.strength, u)


def _each(images: Pixels, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    result = np.empty_like(images)
    for i, image in enumerate(images):
        result[i] = np.asarray(change(picture(image))).reshape(images.shape[1:])
    return result
