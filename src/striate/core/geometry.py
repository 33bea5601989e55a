"""Where points go: matrices that move pixels, boxes and key points alike.

Coordinates are continuous: (0, 0) is the upper left corner of the image, (width, height) the lower
right one, so the centre of the first pixel is (0.5, 0.5). A matrix (2, 3) maps a point (x, y, 1) of
the image before to its place afterwards.
"""

from __future__ import annotations

import numpy as np

from striate.core.arrays import Floats


def identity(count: int) -> Floats:
    """Matrices (N, 2, 3) that leave every point where it is."""
    return np.tile(np.array([[1.0, 0, 0], [0, 1.0, 0]]), (count, 1, 1))


def after(first: Floats, then: Floats) -> Floats:
    """The matrices (N, 2, 3) of one movement after another."""
    turned = then[:, :, :2] @ first[:, :, :2]
    shifted = then[:, :, :2] @ first[:, :, 2:] + then[:, :, 2:]
    return np.concatenate([turned, shifted], axis=2)


def move_points(points: Floats, matrices: Floats) -> Floats:
    """(N, K, 2) of (x, y) → where the images' matrices bring them. They may lie outside."""
    return points @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]


def move_boxes(boxes: Floats, matrices: Floats, size: tuple[int, int]) -> Floats:
    """(N, K, 4) of (left, top, right, bottom) → the upright box around each moved box.

    Cut at the image's sides (height, width); a box that left the image has no width or height.
    """
    height, width = size
    return hulls(boxes, matrices).clip(0, np.array([width, height, width, height]))


def hulls(boxes: Floats, matrices: Floats) -> Floats:
    """The same without cutting: boxes may lie outside."""
    left, top, right, bottom = np.moveaxis(boxes, 2, 0)
    corners = np.stack([left, top, right, top, left, bottom, right, bottom], axis=2)
    moved = move_points(corners.reshape(len(boxes), -1, 2), matrices)
    moved = moved.reshape(*boxes.shape[:2], 4, 2)
    return np.concatenate([moved.min(axis=2), moved.max(axis=2)], axis=2)
