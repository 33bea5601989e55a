"""Principal components of any number of rows, in one pass (D4)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
MOST_COLUMNS = 8192
"""Their covariance matrix must fit into memory and be decomposed."""


@dataclass(frozen=True)
class Principal:
    """The mean row (D,), the directions of largest variance as rows (K, D), largest first, the
    variance along each (K,), which is its eigenvalue, and the variance in all directions."""

    mean: Floats
    axes: Floats
    variances: Floats
    total: float

    def project(self, rows: Floats) -> Floats:
        """(N, D) → (N, K)."""
        found: Floats = (rows - self.mean) @ self.axes.T
        return found

    @property
    def explained(self) -> float:
        """Share of all variance that these directions hold."""
        return float(self.variances.sum() / self.total) if self.total else 0.0


def principal(batches: Iterable[Floats], count: int) -> Principal:
    """The `count` first principal components of all rows (N, D) of all batches: eigenvectors of the
    covariance matrix (divided by N − 1), by eigenvalue. A component's largest entry is positive.

    Memory is D² whatever N is; of fewer rows than columns the N×N products of rows are decomposed
    instead. Raises ValueError below two rows and for more than 8,192 columns.
    """
    batches = iter(batches)
    held: list[Floats] = []
    for batch in batches:
        held.append(np.asarray(batch, dtype=np.float64))
        rows = sum(len(part) for part in held)
        if rows > held[0].shape[1]:
            return _of_columns(itertools.chain(held, batches), count)
    held = [part for part in held if len(part)]
    if not held or sum(map(len, held)) < 2:
        raise ValueError("principal components need two rows or more")
    if held[0].shape[1] > MOST_COLUMNS:
        raise ValueError(f"{held[0].shape[1]:,} columns; at most {MOST_COLUMNS:,}")
    return _of_rows(np.concatenate(held), count)


def _of_rows(rows: Floats, count: int) -> Principal:
    """By the products of rows with each other: V = Xᵀ U / √λ (Turk and Pentland 1991)."""
    mean = rows.mean(axis=0)
    centred = rows - mean
    values, vectors = np.linalg.eigh(centred @ centred.T)
    order = np.argsort(-values, kind="stable")[: min(count, rows.shape[1])]
    values = np.maximum(values[order], 0.0)
    axes = (vectors[:, order].T @ centred) / np.sqrt(np.maximum(values, 1e-300))[:, None]
    lost = values <= 1e-12 * max(float(values.max()), 1e-300)  # no direction is left
    axes[lost] = 0.0
    variances = values / (len(rows) - 1)
    total = float((centred**2).sum() / (len(rows) - 1))
    return Principal(mean, _signed(axes), variances, total)


def _signed(axes: Floats) -> Floats:
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    signed: Floats = axes * np.where(largest < 0, -1.0, 1.0)
    return signed


def _of_columns(batches: Iterable[Floats], count: int) -> Principal:
    """By the covariance of columns, streaming."""
    number, origin, total, products = 0, None, None, None
    for batch in batches:
        if not len(batch):
            continue
        rows = np.asarray(batch, dtype=np.float64)
        if origin is None:
            if rows.shape[1] > MOST_COLUMNS:
                raise ValueError(f"{rows.shape[1]:,} columns; at most {MOST_COLUMNS:,}")
            origin = rows.mean(axis=0)  # near the mean, so that products do not cancel
            total, products = np.zeros_like(origin), np.zeros((len(origin), len(origin)))
        centred = rows - origin
        total = total + centred.sum(axis=0)
        products = products + centred.T @ centred
        number += len(rows)
    if origin is None or total is None or products is None or number < 2:
        raise ValueError("principal components need two rows or more")
    shift = total / number
    covariance = (products - number * np.outer(shift, shift)) / (number - 1)
    variances, vectors = np.linalg.eigh(covariance)
    order = np.argsort(-variances, kind="stable")[:count]
    axes = _signed(vectors[:, order].T)
    found = np.maximum(variances[order], 0.0)
    return Principal(origin + shift, axes, found, float(np.trace(covariance)))
