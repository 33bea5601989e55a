"""t-SNE by its formulas, for a few hundred points (D4): see them, check them, then use a library.

Points are X (N, D), places on the map Y (N, d). P and Q are (N, N), symmetric, 0 on the diagonal,
with sum 1: how likely each pair is to be called neighbours in the data, and on the map.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from striate.textbook.arrays import Array, TextbookError

_TINY = 1e-300


def squared_distances(X: Array) -> Array:
    """|xᵢ − xⱼ|² (N, N)."""
    squares = (X * X).sum(axis=1)
    return np.maximum(squares[:, None] + squares[None] - 2 * X @ X.T, 0.0)


def conditional(distances: Array, precision: Array) -> Array:
    """p(j | i) ∝ exp(−βᵢ |xᵢ − xⱼ|²), with p(i | i) = 0: rows sum to 1. β = 1 / (2σ²), (N,)."""
    shifted = distances + np.diag(np.full(len(distances), np.inf))
    nearest = shifted.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        raised = np.exp(-(shifted - nearest) * precision[:, None])
    np.fill_diagonal(raised, 0.0)
    return raised / raised.sum(axis=1, keepdims=True)


def perplexities(P: Array) -> Array:
    """2 to the entropy of each row in bits: how many neighbours it has, as it were."""
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(P > 0, P * np.log2(np.where(P > 0, P, 1.0)), 0.0)
    return 2.0 ** -bits.sum(axis=1)


def precisions(distances: Array, perplexity: float, steps: int = 64) -> Array:
    """The βᵢ that give every point the same perplexity, by bisection."""
    if not 1 <= perplexity <= len(distances) - 1:
        raise TextbookError(f"perplexity {perplexity:g}: expected 1 to {len(distances) - 1}")
    low, high = np.full(len(distances), 1e-20), np.full(len(distances), 1e20)
    for _ in range(steps * 2):
        middle = np.sqrt(low * high)
        too_many = perplexities(conditional(distances, middle)) > perplexity
        low, high = np.where(too_many, middle, low), np.where(too_many, high, middle)
    return np.sqrt(low * high)


def joint(X: Array, perplexity: float) -> Array:
    """P = (p(j | i) + p(i | j)) / 2N."""
    distances = squared_distances(X)
    each = conditional(distances, precisions(distances, perplexity))
    return (each + each.T) / (2 * len(X))


def gaussian(Y: Array) -> tuple[Array, Array]:
    """(Q, weights) of symmetric SNE: q ∝ exp(−|yᵢ − yⱼ|²); the weights are 1."""
    distances = squared_distances(Y) + np.diag(np.full(len(Y), np.inf))
    raised = np.exp(distances.min() - distances)  # shifted: far points must not all become 0
    return raised / raised.sum(), np.ones_like(raised)


def student(Y: Array) -> tuple[Array, Array]:
    """(Q, weights) of t-SNE: q ∝ 1 / (1 + |yᵢ − yⱼ|²), whose long tails leave room for what is
    moderately far: without them the middle of the map is crowded. The weights are these terms."""
    tails = 1 / (1 + squared_distances(Y))
    np.fill_diagonal(tails, 0.0)
    return tails / tails.sum(), tails


KERNELS = {"gaussian": gaussian, "student": student}


def cost(P: Array, Y: Array, kernel: str = "student") -> float:
    """KL(P ‖ Q) = Σ p log(p / q): dear where neighbours in the data are far on the map."""
    Q, _ = KERNELS[kernel](Y)
    return float((P * np.log(np.maximum(P, _TINY) / np.maximum(Q, _TINY))).sum())


def cost_gradient(P: Array, Y: Array, kernel: str = "student") -> Array:
    """∂C/∂yᵢ = 4 Σⱼ (pᵢⱼ − qᵢⱼ) wᵢⱼ (yᵢ − yⱼ), (N, d): springs that pull and push."""
    Q, weights = KERNELS[kernel](Y)
    springs = 4 * (P - Q) * weights
    return springs.sum(axis=1)[:, None] * Y - springs @ Y


def descend(
    X: Array, *, perplexity: float = 20.0, kernel: str = "student", steps: int = 300,
    rate: float | None = None, seed: int = 0,
) -> Iterator[Array]:  # fmt: skip
    """Places (N, 2) after each step of gradient descent with momentum; in the first quarter P is
    exaggerated four times, so that clusters form. rate: N / 3, or N / 30 with Gaussian
    neighbourhoods, whose springs do not weaken with distance and would overshoot."""
    P = joint(X, perplexity)
    step_size = rate or len(X) / (30 if kernel == "gaussian" else 3)
    Y = 1e-2 * np.random.default_rng(seed).normal(size=(len(X), 2))
    move = np.zeros_like(Y)
    for step in range(steps):
        early = step < steps // 4
        slope = cost_gradient(4 * P if early else P, Y, kernel)
        move = (0.5 if early else 0.8) * move - step_size * slope
        Y = Y + move
        yield Y
