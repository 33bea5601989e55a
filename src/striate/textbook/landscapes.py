"""Landscapes in two dimensions, to watch update rules walk (O3, O8).

A point is an array (2,), or (2, R) for R walkers at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from striate.textbook.arrays import Array


@dataclass(frozen=True)
class Landscape:
    """f and its gradient; where walks start; the lowest value; the corners worth drawing."""

    about: str
    f: Callable[[Array], Array]
    gradient: Callable[[Array], Array]
    start: tuple[float, float]
    lowest: float
    box: tuple[float, float, float, float]  # x from, x to, y from, y to

    def goal(self) -> float:
        """The value at which all but 1/10,000 of the descent is done."""
        return self.lowest + 1e-4 * (float(self.f(np.array(self.start))) - self.lowest)


LANDSCAPES = {
    "ravine": Landscape(
        "x²/2 + 150y²: 300 times steeper across than along; plain steps zig-zag or crawl",
        lambda w: w[0] ** 2 / 2 + 150 * w[1] ** 2,
        lambda w: np.stack([w[0], 300 * w[1]]),
        (-1.1, 0.37), 0.0, (-1.2, 0.4, -0.5, 0.5),
    ),
    "saddle": Landscape(
        "15x² − y²/2 + y⁴/4: flat along y at the saddle (0, 0), lowest at (0, ±1)",
        lambda w: 15 * w[0] ** 2 - w[1] ** 2 / 2 + w[1] ** 4 / 4,
        lambda w: np.stack([30 * w[0], w[1] ** 3 - w[1]]),
        (-0.33, 1e-3), -0.25, (-0.4, 0.35, -0.6, 1.5),
    ),
    "minima": Landscape(
        "(x² + y²)/10 with bumps: many small minima around the lowest at (0, 0)",
        lambda w: (w**2 / 10 + 0.08 * (1 - np.cos(5 * w))).sum(axis=0),
        lambda w: 0.2 * w + 0.4 * np.sin(5 * w),
        (-2.4, 1.9), 0.0, (-2.8, 1.4, -1.4, 2.4),
    ),
    "rosenbrock": Landscape(
        "(1 − x)² + 100(y − x²)²: a bent ravine, lowest at (1, 1)",
        lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2,
        lambda w: np.stack([2 * (w[0] - 1) - 400 * w[0] * (v := w[1] - w[0] ** 2), 200 * v]),
        (-1.2, 1.0), 0.0, (-1.6, 1.5, -0.4, 1.8),
    ),
}  # fmt: skip
