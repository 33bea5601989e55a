"""Views of an image at test time, whose outputs are averaged (D2)."""

from __future__ import annotations

from collections.abc import Callable

from striate.core.arrays import Pixels
from striate.data.augment.family import centre
from striate.data.augment.place import bordered

Views = list[Pixels]


def views_of(images: Pixels, kind: str, size: int) -> Views:
    """The views size×size of stored images (N, S, S, C); the first is the centre.

    A kind is a name of VIEWS.
    """
    return VIEWS[kind](images, size)


def _single(images: Pixels, size: int) -> Views:
    return [centre(images, size)]


def _shift(images: Pixels, size: int) -> Views:
    """Three places, a 32nd of the side apart, over a mirrored border."""
    middle = centre(images, size)
    step = max(1, round(size / 32))
    wide = bordered(middle, step)
    return [middle, wide[:, :size, :size], wide[:, 2 * step :, 2 * step :]]


def _ten_crop(images: Pixels, size: int) -> Views:
    """Centre and corners of the larger stored image, and their mirror images (AlexNet)."""
    end = images.shape[1] - size
    corners = [
        images[:, top : top + size, left : left + size] for top in (0, end) for left in (0, end)
    ]
    return _mirrored([centre(images, size), *corners])


def _mirrored(views: Views) -> Views:
    return [*views, *(view[:, :, ::-1] for view in views)]


VIEWS: dict[str, Callable[[Pixels, int], Views]] = {
    "single": _single,
    "flip": lambda images, size: _mirrored(_single(images, size)),
    "shift": _shift,
    "flip_shift": lambda images, size: _mirrored(_shift(images, size)),
    "ten_crop": _ten_crop,
}
"""ten_crop needs images that are stored larger than the network's input."""
