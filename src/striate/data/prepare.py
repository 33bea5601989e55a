"""Normalisation measured on the training images (D1): prepared = (pixel − shift) · scale."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Pixels

Kind = Literal["standardise", "mean_image", "unit", "symmetric", "whiten"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Of the training images, in grey levels 0–255: per-channel mean and deviation (C,), mean image
    (H, W, C), the covariance of a pixel's channels (C, C), and that of patches of 3×3 pixels
    (9C, 9C) in the order channel, row, column."""

    mean: Floats
    deviation: Floats
    mean_image: Floats
    covariance: Floats
    patches: Floats

    @property
    def colour_axes(self) -> tuple[Floats, Floats]:
        """Eigenvalues (C,), largest first, and eigenvectors as columns (C, C), for colours on the
        scale 0 to 1; each vector's largest entry is positive, so the signs are fixed."""
        values, vectors = np.linalg.eigh(self.covariance / 255**2)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        return values, vectors * np.sign(
            vectors[np.abs(vectors).argmax(axis=0), range(len(values))]
        )

    @property
    def colour_basis(self) -> Floats:
        """P·diag(λ), for AlexNet's colour alteration."""
        values, vectors = self.colour_axes
        return vectors * values


def measure(batches: Iterable[Pixels]) -> Statistics:
    """Streaming statistics of uint8 (N, H, W, C) batches, exact in integers."""
    count, total, products = 0, None, None
    patches = _Patches()
    for batch in batches:
        patches.add(batch)
        flat = batch.reshape(-1, batch.shape[3]).astype(np.float64)
        batch_total = batch.sum(axis=0, dtype=np.int64)
        batch_products = flat.T @ flat  # integers below 2⁵³: exact in float64
        total = batch_total if total is None else total + batch_total
        products = batch_products if products is None else products + batch_products
        count += len(batch)
    if total is None or products is None:
        raise ValueError("no images to measure")
    mean_image = total / count
    mean = mean_image.mean(axis=(0, 1))
    pixels = count * total.shape[0] * total.shape[1]
    covariance = products / pixels - np.outer(mean, mean)
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
    return Statistics(mean, deviation, mean_image, covariance, patches.covariance())


class _Patches:
    """Streaming covariance of 3×3 patches, of about a thousand places in each image."""

    def __init__(self) -> None:
        self.count, self.total, self.products = 0, np.zeros(1), np.zeros((1, 1))

    def add(self, batch: Pixels) -> None:
        channels, step = batch.shape[3], max(1, min(batch.shape[1:3]) // 32)
        if min(batch.shape[1:3]) < 3:
            batch = np.pad(batch, [(0, 0), (1, 1), (1, 1), (0, 0)], "edge")
        windows = np.lib.stride_tricks.sliding_window_view(batch, (3, 3), axis=(1, 2))
        flat = windows[:, ::step, ::step].reshape(-1, 9 * channels).astype(np.float64)
        self.count += len(flat)
        self.total = self.total + flat.sum(axis=0)
        self.products = self.products + flat.T @ flat

    def covariance(self) -> Floats:
        mean = self.total / self.count
        return self.products / self.count - np.outer(mean, mean)


def patch_covariance(kind: Kind, found: Statistics) -> Floats:
    """Covariance of prepared 3×3 patches (9C, 9C): what the first layer sees."""
    scale = shift_and_scale(kind, found)[1].astype(np.float64)
    mix = scale if len(scale.shape) == 2 else np.diag(scale)
    whole = np.kron(mix, np.eye(9))
    return whole.T @ found.patches @ whole


def shift_and_scale(
    kind: Kind, found: Statistics
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The two arrays of the formula: shift (C,) or (H, W, C), scale (C,).

    For "whiten" scale is the matrix (C, C) of `(pixel − shift) @ scale`: along the eigenvectors of
    the colours' covariance, each divided by its deviation, so channels are uncorrelated.
    """
    ones = np.ones_like(found.mean)
    constant = found.deviation < 1e-6  # a channel of one value cannot be scaled to deviation 1
    inverse = np.where(constant, 1 / 255, 1 / np.maximum(found.deviation, 1e-6))
    shift, scale = {
        "standardise": (found.mean, inverse),
        "mean_image": (found.mean_image, inverse),
        "unit": (0 * ones, ones / 255),
        "symmetric": (127.5 * ones, ones / 127.5),
        "whiten": (found.mean, _whitening(found)),
    }[kind]
    return shift.astype(np.float32), scale.astype(np.float32)


def _whitening(found: Statistics) -> Floats:
    """A direction (nearly) without variance, as of grey images in colour, is not blown up."""
    values, vectors = found.colour_axes
    floor = max(1e-4 * values.max(), 1e-8)
    return vectors / (255 * np.sqrt(np.maximum(values, floor)))
