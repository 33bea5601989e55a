"""Views of a small scene, rendered by ray casting: spheres before a chequered wall (T4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
WALL = 2.0
"""The depth of the wall; cameras stand near depth −2 and look along +z."""
_BALLS = (  # centre, radius, colour
    ((-0.75, 0.25, 0.2), 0.45, (0.9, 0.3, 0.2)),
    ((0.6, -0.4, 0.9), 0.5, (0.2, 0.5, 0.9)),
    ((0.15, 0.55, -0.5), 0.3, (0.95, 0.8, 0.2)),
)
_LIGHT = np.array([-0.5, 0.7, -0.6]) / np.linalg.norm([-0.5, 0.7, -0.6])
SPAN = 0.75
"""Half the width of an image at distance 1."""


class Views(NamedTuple):
    """Rays of several images: origins and directions (V, H·W, 3) with directions' z = 1, colours
    (V, H·W, 3) in [0, 1]."""

    origins: Array
    directions: Array
    colours: Array
    side: int


def views_from(cameras: NDArray[np.float64], side: int) -> Views:
    """What cameras at these places (V, 3) see, all looking along +z."""
    line = SPAN * ((np.arange(side) + 0.5) / side * 2 - 1)
    y, x = np.meshgrid(-line, line, indexing="ij")
    one = np.stack([x, y, np.ones_like(x)], -1).reshape(1, -1, 3)
    directions = np.broadcast_to(one, (len(cameras), side * side, 3))
    origins = np.broadcast_to(cameras[:, None], directions.shape)
    return Views(
        origins.astype(np.float32), directions.astype(np.float32),
        _seen(origins, directions).astype(np.float32), side,
    )  # fmt: skip


def _seen(origins: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    depth = (WALL - origins[..., 2]) / directions[..., 2]
    at = origins + depth[..., None] * directions
    dark = (np.floor(2.0 * at[..., 0]) + np.floor(2.0 * at[..., 1])) % 2 == 0
    colours = np.where(dark[..., None], (0.25, 0.3, 0.3), (0.75, 0.75, 0.65))
    squared = (directions**2).sum(-1)
    for centre, radius, paint in _BALLS:
        away = origins - np.array(centre)
        b, c = (away * directions).sum(-1), (away**2).sum(-1) - radius**2
        inside = b * b - squared * c
        first = (-b - np.sqrt(np.maximum(inside, 0))) / squared
        hit = (inside > 0) & (first > 0) & (first < depth)
        normal = (origins + first[..., None] * directions - np.array(centre)) / radius
        shade = 0.35 + 0.65 * np.maximum(normal @ _LIGHT, 0)
        colours = np.where(hit[..., None], shade[..., None] * np.array(paint), colours)
        depth = np.where(hit, first, depth)
    return colours


def ring(count: int, radius: float, turn: float = 0.0, z: float = -2.0) -> NDArray[np.float64]:
    """Cameras (count, 3) on a circle."""
    angles = 2 * np.pi * (np.arange(count) + turn) / count
    return np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(count, z)], 1)
