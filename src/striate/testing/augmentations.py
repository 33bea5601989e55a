"""The laws of augmentations (D2)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from striate.core.arrays import Floats, Pixels
from striate.core.geometry import move_points
from striate.core.randomness import uniform
from striate.data.augment import AUGMENTATIONS, PARTNERS, About, Augmentation
from striate.data.augment.common import Draw
from striate.testing.laws import Laws, difference

_IMAGES, _SIDE, _MARGIN = 40, 64, 12


def check_augmentation(
    member: str | Augmentation, strength: float, *, size: int = 16, tolerance: float = 1.0
) -> list[str]:
    """The laws of one augmentation at a strength.

    member: a name of AUGMENTATIONS, or an `Augmentation` of your own. size: side to which images of
    16 pixels are cut, where it cuts. tolerance: in pixels, by how
    much a point may miss the pixels that it belongs to.
    """
    name = member if isinstance(member, str) else getattr(member.apply, "__name__", "augmentation")
    one = AUGMENTATIONS[member] if isinstance(member, str) else member
    laws, images = Laws(f"the augmentation {name}"), _noise()
    before = images.copy()
    still = _applied(one, images, 0.0, _draws(0), size)
    laws.check("at strength 0 it is the identity", np.array_equal(still, images))
    first, again = (_applied(one, images, strength, _draws(0), size) for _ in range(2))
    laws.check("it repeats for a seed, an epoch and an image", np.array_equal(first, again))
    other = _applied(one, images, strength, _draws(1), size)
    laws.check("it differs between epochs", not np.array_equal(first, other))
    chosen = np.array([31, 4, 17])
    alone = _applied(one, images[chosen], strength, _draws(0, chosen), size, of=chosen)
    laws.check("it does not depend on the batch", np.array_equal(alone, first[chosen]))
    laws.check("images stay uint8", first.dtype == np.uint8, str(first.dtype))
    laws.check("it leaves its input as it was", np.array_equal(images, before))
    if one.kind == "place":
        apart = _missed(one, strength, size / 16)
        law = f"points move with pixels, to {tolerance:g} pixels"
        laws.check(law, apart <= tolerance, f"missed by {apart:.2f} pixels")
    if one.kind == "mix":
        drawn = _draws(0)
        _, lam = one.apply(images, images[::-1], drawn, strength, _about(size))
        laws.check("weights are from 0 to 1", ((lam >= 0) & (lam <= 1)).all(), str(lam))
    return laws.kept


def _noise() -> Pixels:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (_IMAGES, 16, 16, 3), dtype=np.uint8)


def _about(size: int) -> About:
    return About(size, np.array([10.0, 20.0, 30.0]), 20.0 * np.eye(3))


def _draws(epoch: int, ids: np.ndarray | None = None) -> Draw:
    numbers = np.arange(_IMAGES) if ids is None else ids
    return lambda purpose, count: uniform(0, epoch, purpose, numbers, count)


def _applied(
    one: Augmentation,
    images: Pixels,
    strength: float,
    draw: Draw,
    size: int,
    of: np.ndarray | None = None,
) -> Pixels:
    about = _about(size)
    if one.kind == "mix":
        partners = _noise()[::-1]
        partners = partners if of is None else partners[of]
        mixed: Pixels = one.apply(images, partners, draw, strength, about)[0]
        return mixed
    if one.kind == "join":
        others = np.stack([np.roll(_noise(), k, axis=0) for k in range(1, PARTNERS + 1)], axis=1)
        others = others if of is None else others[of]
        joined: Pixels = one.apply(images, others, draw, strength, about).images
        return joined
    result = one.apply(images, draw, strength, about)
    changed: Pixels = result.images if one.kind == "place" else result
    return changed


def _missed(one: Augmentation, strength: float, cut: float) -> float:
    """By how many pixels the centre of a bright blob misses its point, at most (of blobs that are
    still whole in the image and still bright)."""
    images, points = _blobs()
    dark = replace(_about(round(cut * _SIDE)), fill=np.zeros(3))
    moved = one.apply(images, _draws(0), strength, dark)
    places = move_points(points, moved.matrices)[:, 0]
    size = moved.images.shape[1]
    inside = ((places > _MARGIN) & (places < size - _MARGIN)).all(axis=1)
    bright = moved.images[..., 0].max(axis=(1, 2)) > 120
    black = np.median(moved.images[..., 0], axis=(1, 2)) == 0
    shown = inside & bright & black
    if not shown.any():
        return float("inf")
    return difference(_centres(moved.images[shown]), places[shown])


def _blobs() -> tuple[Pixels, Floats]:
    """Images with one bright blob each, and its centre (N, 1, 2) as (x, y)."""
    y, x = np.mgrid[:_SIDE, :_SIDE]
    points = np.random.default_rng(1).uniform(0.4 * _SIDE, 0.6 * _SIDE, (_IMAGES, 2))
    apart = (x + 0.5 - points[:, :1, None]) ** 2 + (y + 0.5 - points[:, 1:, None]) ** 2
    images = np.rint(250 * np.exp(-apart / (2 * (_SIDE / 20) ** 2))).astype(np.uint8)
    return np.repeat(images[..., None], 3, axis=3), points[:, None]


def _centres(images: Pixels) -> Floats:
    """The centre of mass (N, 2) as (x, y) of each image's first channel."""
    weights = images[..., 0].astype(np.float64)
    total = weights.sum(axis=(1, 2))
    y, x = np.mgrid[: images.shape[1], : images.shape[2]] + 0.5
    return np.stack([(weights * axis).sum(axis=(1, 2)) / total for axis in (x, y)], axis=1)
