"""Losses (L11) of scores (N, C), means over N images, and penalties (T4): (value, gradient)."""

import numpy as np
from numpy.typing import ArrayLike

from striate.textbook.arrays import Array, TextbookError, expect, finite


def softmax_cross_entropy(scores: ArrayLike, labels: ArrayLike) -> tuple[float, Array]:
    """−log p[y] with p = softmax(s) = eˢ / Σ eˢ; the gradient is p − 1[y], over N."""
    s, truth = _checked(scores, labels, "softmax_cross_entropy")
    shifted = s - s.max(axis=1, keepdims=True)  # the same p, and nothing overflows
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-(truth * logs).sum() / len(s)), (np.exp(logs) - truth) / len(s)


def hinge(scores: ArrayLike, labels: ArrayLike, margin: float = 1.0) -> tuple[float, Array]:
    """Σ_{j≠y} max(0, s[j] − s[y] + margin). torch's multi_margin_loss is this over C.

    Each j that violates the margin pushes s[j] down by 1 and s[y] up by 1.
    """
    s, truth = _checked(scores, labels, "hinge")
    own = (s * truth).sum(axis=1, keepdims=True)
    excess = np.maximum(0, s - own + margin) * (1 - truth)
    violates = (excess > 0).astype(s.dtype)
    gradient = violates - truth * violates.sum(axis=1, keepdims=True)
    return float(excess.sum() / len(s)), gradient / len(s)


def mse(predictions: ArrayLike, targets: ArrayLike) -> tuple[float, Array]:
    """The mean of (p − t)² over all values; the gradient is 2(p − t) over their number."""
    p, t = finite(predictions, "mse: the predictions"), finite(targets, "mse: the targets")
    expect(t.shape, p.shape, "mse: the targets")
    return float(((p - t) ** 2).mean()), 2 * (p - t) / p.size


def l2(weights: Array, strength: float) -> tuple[float, Array]:
    """λ/2 · Σ w²; the gradient is λ w."""
    return float(strength / 2 * (weights**2).sum()), strength * weights


def l1(weights: Array, strength: float) -> tuple[float, Array]:
    """λ · Σ |w|; the gradient is λ sign w, and 0 at 0."""
    return float(strength * np.abs(weights).sum()), strength * np.sign(weights)


def _checked(scores: ArrayLike, labels: ArrayLike, where: str) -> tuple[Array, Array]:
    """Scores, and labels one-hot in their shape."""
    s, y = finite(scores, f"{where}: the scores"), np.asarray(labels)
    expect(s.shape, ("N", "C"), f"{where}: the scores")
    expect(y.shape, (len(s),), f"{where}: the labels")
    if not np.issubdtype(y.dtype, np.integer):
        raise TextbookError(f"{where}: the labels are {y.dtype}, expected class numbers")
    for i in np.flatnonzero((y < 0) | (y >= s.shape[1])):
        raise TextbookError(f"{where}: label {i} is {y[i]}, expected 0 to {s.shape[1] - 1}")
    return s, (y[:, None] == np.arange(s.shape[1])).astype(s.dtype)
