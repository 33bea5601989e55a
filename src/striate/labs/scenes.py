"""Pictures of two shapes with everything that can truly be said of them (M6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

COLOURS = {
    "red": (220, 50, 40), "green": (40, 170, 60), "blue": (50, 80, 220), "yellow": (230, 210, 50),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "cross")
RELATIONS = ("left of", "right of", "above", "below")
SIDE, _REACH = 24, 4
WORDS = ("end", *COLOURS, *SHAPES, *RELATIONS)
"""The vocabulary; the first word ends a caption, and begins it."""
INVERSE = (1, 0, 3, 2)
"""How the other object then stands."""
Numbers = NDArray[np.int64]


class Scenes(NamedTuple):
    """images (N, 3, SIDE, SIDE) in [0, 1]; facts (N, 2, 4): of each object its colour, shape, how
    it stands to the other, and which words these are; centres (N, 2, 2) as (row, column)."""

    images: NDArray[np.float32]
    facts: Numbers
    centres: Numbers


def draw(facts: Numbers, rng: np.random.Generator) -> Scenes:
    """Scenes of given facts (N, 5): colour and shape of one object, how it stands to the other,
    colour and shape of that."""
    count = len(facts)
    along = rng.integers(10, 13, count)  # between centres, so that nothing overlaps
    across = rng.integers(-3, 4, count)
    first = np.zeros((count, 2), dtype=np.int64)
    relation = facts[:, 2]
    upright = relation >= 2
    sign = np.where(relation % 2 == 0, 1, -1)  # left of, above: the other one follows
    offset = np.where(upright[:, None], np.stack([along, across], 1), np.stack([across, along], 1))
    offset[:, 0] *= np.where(upright, sign, 1)
    offset[:, 1] *= np.where(upright, 1, sign)
    for axis in (0, 1):
        low = np.maximum(_REACH + 1, _REACH + 1 - offset[:, axis])
        high = np.minimum(SIDE - _REACH - 2, SIDE - _REACH - 2 - offset[:, axis])
        first[:, axis] = rng.integers(low, high + 1)
    centres = np.stack([first, first + offset], axis=1)
    images = rng.normal(0.45, 0.06, (count, 3, SIDE, SIDE)) + rng.normal(0, 0.05, (count, 3, 1, 1))
    colours = np.array([*COLOURS.values()]) / 255
    for which, (colour, shape) in enumerate(((0, 1), (3, 4))):
        inside = _inside(centres[:, which], facts[:, shape])
        paint = colours[facts[:, colour]] + rng.normal(0, 0.04, (count, 3))
        images = np.where(inside[:, None], paint[:, :, None, None], images)
    both = np.stack([
        np.stack([facts[:, 0], facts[:, 1], relation], 1),
        np.stack([facts[:, 3], facts[:, 4], np.array(INVERSE)[relation]], 1),
    ], axis=1)  # fmt: skip
    return Scenes(np.clip(images, 0, 1).astype(np.float32), both, centres)


def _inside(centres: Numbers, shapes: Numbers) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    dy = rows[None] - centres[:, 0, None, None]
    dx = columns[None] - centres[:, 1, None, None]
    near = (abs(dx) <= _REACH) & (abs(dy) <= _REACH)
    kinds = np.stack([
        dx**2 + dy**2 <= _REACH**2, (abs(dx) <= 3) & (abs(dy) <= 3),
        near & (2 * abs(dx) <= dy + _REACH), near & ((abs(dx) <= 1) | (abs(dy) <= 1)),
    ])  # fmt: skip
    return kinds[shapes, np.arange(len(shapes))]


def every_triple() -> Numbers:
    """All (colour, shape, relation), (64, 3)."""
    sizes = (len(COLOURS), len(SHAPES), len(RELATIONS))
    return np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, 3)


def captions(scenes: Scenes, first: Numbers) -> Numbers:
    """(N, 6) words of the caption that begins with object `first` (0 or 1) of each scene."""
    rows = np.arange(len(first))
    one, other = scenes.facts[rows, first], scenes.facts[rows, 1 - first]
    colour, shape, relation = 1, 1 + len(COLOURS), 1 + len(COLOURS) + len(SHAPES)
    end = np.zeros(len(first), dtype=np.int64)
    words = [one[:, 0] + colour, one[:, 1] + shape, one[:, 2] + relation,
             other[:, 0] + colour, other[:, 1] + shape, end]  # fmt: skip
    return np.stack(words, axis=1)


def is_true(caption: Numbers, scenes: Scenes) -> NDArray[np.bool_]:
    """Whether each caption (N, 6) is complete and every word of it is true of its scene."""
    zeros = np.zeros(len(caption), dtype=np.int64)
    found: NDArray[np.bool_] = np.zeros(len(caption), dtype=bool)
    for first in (zeros, zeros + 1):
        found |= (caption == captions(scenes, first)).all(axis=1)
    return found


def in_words(caption: Numbers) -> str:
    """`a red circle left of a blue square`."""
    said = [WORDS[i] for i in caption[: [*caption, 0].index(0)]]
    return " ".join(f"a {word}" if word in COLOURS else word for word in said)
