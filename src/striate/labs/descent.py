"""Update rules on landscapes: their paths, where they diverge, and the best rates (O3, O6, O8)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import RecipeError, perhaps
from striate.textbook.landscapes import LANDSCAPES, Landscape
from striate.textbook.updates import RULES, descend

LOWEST: dict[str, tuple[float, float]] = {
    "ravine": (0.0, 0.0),
    "saddle": (0.0, 1.0),
    "minima": (0.0, 0.0),
    "rosenbrock": (1.0, 1.0),
}
"""Where each landscape is lowest."""
PRESETS = {
    "small rate, no momentum": ("momentum", 1e-3, 0.0),
    "larger rate, no momentum": ("momentum", 5e-3, 0.0),
    "small rate, momentum": ("momentum", 1e-3, 0.9),
}
"""Deck E's three settings: rule, rate, momentum (O3)."""
_BEYOND = 1e6
"""A walker that is this far away has diverged."""


@dataclass(frozen=True)
class Path:
    """A rule's path (≤ steps + 1, 2) with the value at each point. `left`: the step at which it
    left all bounds; `arrived`: the step from which on it stays at the goal."""

    rule: str
    points: NDArray[np.float64]
    values: NDArray[np.float64]
    left: int | None
    arrived: int | None


@dataclass(frozen=True)
class Best:
    """The best rates for a quadratic of these curvatures: of gradient descent 2/(λ₁ + λ₂), of
    momentum (2/(√λ₁ + √λ₂))² with β = ((√κ − 1)/(√κ + 1))², κ = λ₁/λ₂. None where the landscape
    is not curved upwards in all directions."""

    curvatures: tuple[float, float]
    rate: float | None
    momentum_rate: float | None
    momentum: float | None


def landscape(name: str) -> Landscape:
    """Raises RecipeError for an unknown name."""
    if name not in LANDSCAPES:
        raise RecipeError(f"no landscape '{name}'", perhaps(name, LANDSCAPES))
    return LANDSCAPES[name]


def walk(
    on: str, rule: str, rate: float, momentum: float | None, steps: int,
    start: Sequence[float] = (),
) -> Path:  # fmt: skip
    """A path from the landscape's start or another one. Raises RecipeError."""
    place = landscape(on)
    if rule not in RULES:
        raise RecipeError(f"no update rule '{rule}'", perhaps(rule, RULES))
    if not 0 < rate < math.inf or not 0 <= (momentum or 0) < 1 or not 1 <= steps <= 5000:
        raise RecipeError("expected a rate above 0, momentum from 0 to below 1, 1 to 5,000 steps")
    takes = "beta" in inspect.signature(RULES[rule]).parameters
    knobs = {"beta": momentum} if takes and momentum is not None else {}
    points: list[NDArray[Any]] = [np.array(start or place.start, dtype=np.float64)]
    left = None
    with np.errstate(all="ignore"):
        for step, w in enumerate(
            islice(descend(RULES[rule], place.gradient, points[0], rate, **knobs), steps), start=1
        ):
            if not np.isfinite(place.f(w)) or np.abs(w).max() > _BEYOND:
                left = step
                break
            points.append(w)
        path = np.array(points)
        values = np.array([float(place.f(w)) for w in path])
    above = np.flatnonzero(values > place.goal())
    last = int(above[-1]) + 1 if len(above) else 0
    arrived = last if left is None and last < 0.95 * len(path) else None
    return Path(rule, path, values, left, arrived)


def best_rates(on: str) -> Best:
    """From the curvature where the landscape is lowest."""
    place, at = landscape(on), np.array(LOWEST[on])
    nearby = 1e-4
    columns = [
        (place.gradient(at + nearby * e) - place.gradient(at - nearby * e)) / (2 * nearby)
        for e in np.eye(2)
    ]
    hessian = np.stack(columns, axis=1)
    low, high = (float(v) for v in np.linalg.eigvalsh((hessian + hessian.T) / 2))
    if low <= 0:
        return Best((low, high), None, None, None)
    root = math.sqrt(high / low)
    return Best(
        (low, high), 2 / (low + high), (2 / (math.sqrt(low) + math.sqrt(high))) ** 2,
        ((root - 1) / (root + 1)) ** 2,
    )  # fmt: skip


def heights(on: str, side: int = 60) -> NDArray[np.float64]:
    """Values on a grid over the box worth drawing, row by row from the top."""
    place = landscape(on)
    left, right, bottom, top = place.box
    x, y = np.meshgrid(np.linspace(left, right, side), np.linspace(top, bottom, side))
    found: NDArray[np.float64] = np.asarray(place.f(np.stack([x.ravel(), y.ravel()])))
    return found.reshape(side, side)
