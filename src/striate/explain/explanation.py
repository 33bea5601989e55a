"""What looking inside a network gives: plain values and arrays, to be drawn or read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Picture:
    """An image with what is known of it; `true` is empty where nothing is."""

    name: str
    pixels: Pixels
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Maps:
    """What some channels of a layer give for an image: (K, h, w)."""

    layer: str
    channels: tuple[int, ...]
    values: Floats


@dataclass(frozen=True)
class Unit:
    """A unit's strongest patches uint8 (h, w, C), and each way back to pixels, signed (h, w, C)."""

    layer: str
    unit: int
    values: tuple[float, ...]
    patches: list[Pixels]
    back: dict[str, list[Floats]]


@dataclass(frozen=True)
class Neighbour:
    """A training image, and its likeness (cosine of the features)."""

    picture: Picture
    likeness: float


@dataclass(frozen=True)
class MadeBox:
    """A box (left, top, right, bottom) that was found, its class and score in words, and what
    speaks for it: maps (S, S) by the name of where they come from."""

    picture: Picture
    box: tuple[float, float, float, float]
    text: str
    speaking: dict[str, Floats]


@dataclass(frozen=True)
class Answering:
    """The objects of an image (G, 4) with their classes, and which boxes (K, 4) – cells, anchors or
    regions – answer for which of them (K,)."""

    picture: Picture
    objects: Floats
    classes: tuple[str, ...]
    boxes: Floats
    which: NDArray[np.int64]


@dataclass
class Explanation:
    """What was found, by topic; `rows`: of each layer, its probe and whether it moves along;
    `trust`: of each attribution, whether it can be believed; `stopped`: topics that were not looked
    at, or not to the end, because somebody stopped it."""

    classes: tuple[str, ...]
    split: str = ""
    images: int = 0
    filters: Floats | None = None
    maps: list[tuple[Picture, list[Maps]]] = field(default_factory=list)
    patches: list[Unit] = field(default_factory=list)
    maximised: list[tuple[str, Pixels]] = field(default_factory=list)
    attributions: list[tuple[Picture, dict[str, Floats]]] = field(default_factory=list)
    errors: list[tuple[Picture, list[Neighbour]]] = field(default_factory=list)
    boxes: list[MadeBox] = field(default_factory=list)
    answering: list[Answering] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    trust: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stopped: tuple[str, ...] = ()
