"""Normalisation measured on the training images (D1): prepared = (pixel − shift) · scale."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from striate.data.decode import Pixels

Kind = Literal["standardise", "mean_image", "unit", "symmetric"]


@dataclass(frozen=True)
class Statistics:
    """Per-channel mean and deviation (C,) and mean image (H, W, C), in grey levels 0–255."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    mean_image: NDArray[np.float64]


def measure(batches: Iterable[Pixels]) -> Statistics:
    """Streaming statistics of uint8 (N, H, W, C) batches, exact in integers."""
    count, total, squares = 0, None, None
    for batch in batches:
        wide = batch.astype(np.int64)
        batch_total, batch_squares = wide.sum(axis=0), (wide * wide).sum(axis=(0, 1, 2))
        total = batch_total if total is None else total + batch_total
        squares = batch_squares if squares is None else squares + batch_squares
        count += len(batch)
    if total is None or squares is None:
        raise ValueError("no images to measure")
    mean_image = total / count
    mean = mean_image.mean(axis=(0, 1))
    variance = squares / (count * total.shape[0] * total.shape[1]) - mean**2
    return Statistics(mean, np.sqrt(np.maximum(variance, 0)), mean_image)


def shift_and_scale(
    kind: Kind, found: Statistics
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The two arrays of the formula: shift (C,) or (H, W, C), scale (C,)."""
    ones = np.ones_like(found.mean)
    constant = found.deviation < 1e-6  # a channel of one value cannot be scaled to deviation 1
    inverse = np.where(constant, 1 / 255, 1 / np.maximum(found.deviation, 1e-6))
    shift, scale = {
        "standardise": (found.mean, inverse),
        "mean_image": (found.mean_image, inverse),
        "unit": (0 * ones, ones / 255),
        "symmetric": (127.5 * ones, ones / 127.5),
    }[kind]
    return shift.astype(np.float32), scale.astype(np.float32)
