"""The family of augmentations (D2): one visible map, and the pipeline that applies some of them.

Every member works on uint8 batches (N, H, W, C); at strength 0 each is the identity. Laws that hold
for every member are in tests/data/test_augment.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats, Ids, Pixels
from striate.core.geometry import after, identity
from striate.core.randomness import uniform
from striate.data.augment import colour, erase, join, place, policies
from striate.data.augment.common import About, Draw, Moved
from striate.data.augment.join import Joined


@dataclass(frozen=True)
class Augmentation:
    """One member.

    `apply(images, draw, strength, about)` returns images, for the kind "place" a `Moved`, for the
    kind "mix" (with the partners as second argument) images and the share of each first image, for
    the kind "join" (with PARTNERS partners of each) a `Joined`.
    `variants(strength, stored side, size)` counts the different results that one image can have.
    """

    apply: Callable[..., Any]
    kind: Literal["place", "colour", "erase", "mix", "join"]
    strength: str
    variants: Callable[[float, int, int], float] = lambda *_: math.inf


AUGMENTATIONS: dict[str, Augmentation] = {
    "window": Augmentation(
        place.window, "place", "1: on", lambda _, stored, size: (stored - size + 1) ** 2
    ),
    "pad": Augmentation(
        place.padded_crop, "place", "pixels of border", lambda pad, *_: (2 * int(pad) + 1) ** 2
    ),
    "resized": Augmentation(place.resized_crop, "place", "1 − the smallest share of the area"),
    "zoom": Augmentation(place.zoom, "place", "1 − the smallest share of the area"),
    "rotate": Augmentation(place.rotation, "place", "degrees"),
    "affine": Augmentation(place.affine, "place", "share of the side, of the size, shear"),
    "flip": Augmentation(place.flip, "place", "probability", lambda *_: 2),
    "vertical_flip": Augmentation(place.vertical_flip, "place", "probability", lambda *_: 2),
    "trivial": Augmentation(policies.trivial, "place", "largest magnitude, 0 to 1"),
    "rand": Augmentation(policies.rand, "place", "magnitude, 0 to 1"),
    "brightness": Augmentation(colour.brightness, "colour", "factor 1 ± strength"),
    "contrast": Augmentation(colour.contrast, "colour", "factor 1 ± strength"),
    "saturation": Augmentation(colour.saturation, "colour", "factor 1 ± strength"),
    "hue": Augmentation(colour.hue, "colour", "turns of the colour circle"),
    "principal_colours": Augmentation(colour.principal_colours, "colour", "deviation (0.1)"),
    "greyscale": Augmentation(colour.greyscale, "colour", "probability", lambda *_: 2),
    "blur": Augmentation(colour.blur, "colour", "largest deviation in pixels"),
    "cutout": Augmentation(
        erase.cutout, "erase", "side in pixels", lambda _, __, size: float(size**2)
    ),
    "random_erasing": Augmentation(erase.random_erasing, "erase", "probability"),
    "mixup": Augmentation(erase.mixup, "mix", "α of Beta(α, α)"),
    "cutmix": Augmentation(erase.cutmix, "mix", "α of Beta(α, α)"),
    "mosaic": Augmentation(join.mosaic, "join", "probability"),
}
"""In the order in which they are applied."""


TAKEN_IN_TURN = {"flip", "vertical flip"}
"""What is drawn once for each image, u in even epochs and 1 − u in odd ones: with probability ½ it
is then seen both ways in any two epochs, and none is seen twice alike (Jordan 2024)."""


@dataclass(frozen=True)
class Pipeline:
    """The chosen members with their strengths. All randomness is of (seed, epoch, sample id)."""

    seed: int
    strengths: Mapping[str, float]
    about: About

    @property
    def mixes(self) -> bool:
        """Whether images need partners."""
        return any(AUGMENTATIONS[name].kind == "mix" for name in self._active)

    def __call__(self, images: Pixels, ids: Ids, epoch: int) -> Pixels:
        """Change and cut to size; no mixing."""
        return self.moved(images, ids, epoch).images

    def moved(self, images: Pixels, ids: Ids, epoch: int, *, masks: bool = False) -> Moved:
        """Images and the matrices (N, 2, 3) of their points; with `masks` label maps (N, H, W, 1)
        are moved as the images are, and their values kept."""
        draw, about = self._draw(ids, epoch), replace(self.about, masks=masks)
        matrices = identity(len(images))
        for name in self._active:
            member = AUGMENTATIONS[name]
            if member.kind == "place":
                images, then = member.apply(images, draw, self.strengths[name], about)
                matrices = after(matrices, then)
            elif member.kind in ("colour", "erase") and not masks:
                images = member.apply(images, draw, self.strengths[name], about)
        return Moved(centre(images, about.size), after(matrices, centring(images, about.size)))

    def mixed(
        self, images: Pixels, ids: Ids, partners: Pixels, epoch: int
    ) -> tuple[Pixels, NDArray[np.float32]]:
        """Augmented images mixed with augmented partners, and the weight λ (N,) of each first one;
        with several ways of mixing, a coin chooses."""
        ways = [name for name in self._active if AUGMENTATIONS[name].kind == "mix"]
        draw = self._draw(ids, epoch)
        chosen = (draw("way of mixing", 1)[:, 0] * len(ways)).astype(np.int64)
        result, lam = images.copy(), np.ones(len(images), dtype=np.float32)
        for number, name in enumerate(ways):
            mixed, own = AUGMENTATIONS[name].apply(
                images, partners, draw, self.strengths[name], self.about
            )
            here = chosen == number
            result[here], lam[here] = mixed[here], own[here]
        return result, lam

    @property
    def joins(self) -> bool:
        """Whether images whose targets have places are put together with others."""
        return {"mosaic", "mixup"} & set(self._active) != set()

    def joined(self, images: Pixels, ids: Ids, partners: Pixels, epoch: int) -> Joined:
        """Augmented images put together with augmented partners (N, PARTNERS, S, S, C): a share of
        them as mosaics, the others blended where `mixup` is on."""
        draw, about = self._draw(ids, epoch), self.about
        made = join.mosaic(images, partners, draw, self.strengths.get("mosaic", 0.0), about)
        if self.strengths.get("mixup", 0.0) > 0:
            plain = made.windows[:, 1, 2] == 0
            blend = join.blended(images, partners, draw, self.strengths["mixup"], about)
            made.images[plain], made.windows[plain] = blend.images[plain], blend.windows[plain]
        return made

    @property
    def _active(self) -> list[str]:
        return [name for name in AUGMENTATIONS if self.strengths.get(name, 0) > 0]

    def _draw(self, ids: Ids, epoch: int) -> Draw:
        def draw(purpose: str, count: int) -> Floats:
            if purpose in TAKEN_IN_TURN:
                numbers = uniform(self.seed, 0, purpose, ids, count)
                return 1 - numbers - 2.0**-53 if epoch % 2 else numbers
            return uniform(self.seed, epoch, purpose, ids, count)

        return draw


def variants(strengths: Mapping[str, float], stored: int, size: int) -> float:
    """How many different pictures the strengths make of one image, infinite for continuous ones."""
    counts = [
        AUGMENTATIONS[name].variants(strength, stored, size)
        for name, strength in strengths.items()
        if strength > 0
    ]
    return math.prod(counts)


def centring(images: Pixels, size: int) -> Floats:
    """The matrix (1, 2, 3) of `centre`."""
    cut = identity(1)
    cut[:, :, 2] = [-((side - size) // 2) for side in images.shape[2:0:-1]]
    return cut


def centre(images: Pixels, size: int) -> Pixels:
    """The central size×size of (N, S, S, C)."""
    top, left = ((side - size) // 2 for side in images.shape[1:3])
    return images[:, top : top + size, left : left + size]
