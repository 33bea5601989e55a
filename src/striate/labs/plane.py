"""Points in the plane with two classes or a height, and what is computed of their coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import RecipeError, perhaps
from striate.core.randomness import permutation

Points = NDArray[np.float64]
SIDE = 6.0
"""Points lie between −6 and 6 in both directions."""
MOST = 2000


def _circle(rng: np.random.Generator, count: int, noise: float) -> tuple[Points, Points]:
    """A disc of one class inside a ring of the other; noise moves points before they are named."""
    inside = np.arange(count) % 2 == 0
    radius = np.where(inside, rng.uniform(0, 2.5, count), rng.uniform(3.5, 5, count))
    angle = rng.uniform(0, 2 * np.pi, count)
    xy = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    seen = xy + rng.uniform(-5, 5, xy.shape) * noise
    return xy, (np.hypot(*seen.T) < 2.5).astype(float)


def _xor(rng: np.random.Generator, count: int, noise: float) -> tuple[Points, Points]:
    """One class where x and y have the same sign."""
    xy = rng.uniform(-5, 5, (count, 2))
    xy += np.sign(xy) * 0.3
    seen = xy + rng.uniform(-5, 5, xy.shape) * noise
    return xy, (seen[:, 0] * seen[:, 1] >= 0).astype(float)


def _gaussians(rng: np.random.Generator, count: int, noise: float) -> tuple[Points, Points]:
    """Two round clouds."""
    label = (np.arange(count) % 2).astype(float)
    centre = np.where(label[:, None] > 0, 2.0, -2.0)
    return centre + rng.normal(0, 0.7 + 3.5 * noise, (count, 2)), label


def _spiral(rng: np.random.Generator, count: int, noise: float) -> tuple[Points, Points]:
    """Two arms, each once and three quarters around."""
    label = (np.arange(count) % 2).astype(float)
    along = (np.arange(count) // 2) / max(1, (count + 1) // 2)
    angle = 1.75 * along * 2 * np.pi + np.pi * label
    xy = 5 * along[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return xy + rng.uniform(-1, 1, xy.shape) * noise * 2, label


def _moons(rng: np.random.Generator, count: int, noise: float) -> tuple[Points, Points]:
    """Two half circles that reach into each other."""
    label = (np.arange(count) % 2).astype(float)
    angle = rng.uniform(0, np.pi, count)
    upper = np.stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25], axis=1)
    xy = np.where(label[:, None] > 0, -upper, upper) * 3
    return xy + rng.normal(0, 0.15 + 1.5 * noise, (count, 2)), label


def _plane(rng: np.random.Generator, count: int, noise: float) -> tuple[Points, Points]:
    """The height (x + y)/10, between −1.2 and 1.2."""
    xy = rng.uniform(-SIDE, SIDE, (count, 2))
    return xy, (xy.sum(axis=1)) / 10 + rng.uniform(-1, 1, count) * noise


def _hills(rng: np.random.Generator, count: int, noise: float) -> tuple[Points, Points]:
    """Two hills and two hollows."""
    xy = rng.uniform(-SIDE, SIDE, (count, 2))
    tops = np.array([(-3, 3), (3, -3), (3, 3), (-3, -3)], dtype=float)
    signs = np.array([1.0, 1.0, -1.0, -1.0])
    away = np.linalg.norm(xy[:, None] - tops, axis=2)
    height = (signs * np.clip(1 - away / 3, 0, 1)).sum(axis=1)
    return xy, height + rng.uniform(-1, 1, count) * noise


@dataclass(frozen=True)
class Kind:
    """How points are drawn, and whether their label is a height (else class 0 or 1)."""

    draw: Callable[[np.random.Generator, int, float], tuple[Points, Points]]
    heights: bool = False


KINDS: dict[str, Kind] = {
    "circle": Kind(_circle),
    "xor": Kind(_xor),
    "gaussians": Kind(_gaussians),
    "spiral": Kind(_spiral),
    "moons": Kind(_moons),
    "plane": Kind(_plane, heights=True),
    "hills": Kind(_hills, heights=True),
}

FEATURES: dict[str, Callable[[Points], Points]] = {
    "x1": lambda p: p[:, 0],
    "x2": lambda p: p[:, 1],
    "x1²": lambda p: p[:, 0] ** 2 / SIDE,
    "x2²": lambda p: p[:, 1] ** 2 / SIDE,
    "x1x2": lambda p: p[:, 0] * p[:, 1] / SIDE,
    "sin x1": lambda p: np.sin(p[:, 0]),
    "sin x2": lambda p: np.sin(p[:, 1]),
}
"""What the network may be given of a point; squares and the product are divided by 6, so that all
are of one size."""


@dataclass(frozen=True)
class Drawn:
    """Points (N, 2) with labels (N,): those to learn from, and those that only judge."""

    train: tuple[Points, Points]
    test: tuple[Points, Points]
    heights: bool


def draw(kind: str, count: int, noise: float, test_share: float, seed: int) -> Drawn:
    """`count` points, a share of which is for the test. Raises RecipeError for an unknown kind."""
    if kind not in KINDS:
        raise RecipeError(f"no data '{kind}' in the plane", perhaps(kind, KINDS))
    xy, label = KINDS[kind].draw(np.random.default_rng(seed), count, noise)
    return divided(xy, label, test_share, seed, heights=KINDS[kind].heights)


def painted(points: Sequence[Sequence[float]], test_share: float, seed: int) -> Drawn:
    """Points that a person has painted: (x, y, label) each. Raises RecipeError for others."""
    try:
        rows = np.array(points, dtype=np.float64).reshape(-1, 3)
    except (ValueError, TypeError):
        raise RecipeError("a painted point is x, y and its class, 0 or 1") from None
    sound = np.isfinite(rows).all() and np.isin(rows[:, 2], (0, 1)).all()
    if not sound or len(rows) > MOST or np.abs(rows[:, :2]).max(initial=0) > SIDE:
        raise RecipeError(
            f"painted points: expected at most {MOST:,} of x and y between −{SIDE:g} and {SIDE:g} "
            "with the class 0 or 1"
        )
    return divided(rows[:, :2], rows[:, 2], test_share, seed)


def divided(
    xy: Points, label: Points, test_share: float, seed: int, *, heights: bool = False
) -> Drawn:
    """Points divided at random, at least one of them to learn from."""
    order = permutation(seed, 0, "plane", len(xy))
    kept = max(min(1, len(xy)), len(xy) - round(test_share * len(xy)))
    train, test = order[:kept], order[kept:]
    return Drawn((xy[train], label[train]), (xy[test], label[test]), heights)


def grid(side: int) -> Points:
    """The centres of side × side cells over the whole plane, row by row from the upper left."""
    at = (np.arange(side) + 0.5) / side * 2 * SIDE - SIDE
    x, y = np.meshgrid(at, -at)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def features(names: Sequence[str], xy: Points) -> NDArray[np.float32]:
    """(N, features) of points (N, 2). Raises RecipeError for an unknown name."""
    for name in names:
        if name not in FEATURES:
            raise RecipeError(f"no feature '{name}'", perhaps(name, FEATURES))
    columns: list[Any] = [FEATURES[name](xy) for name in names]
    found: NDArray[np.float32] = np.stack(columns, axis=1).astype(np.float32)
    return found
