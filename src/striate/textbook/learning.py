"""Learning with the textbook alone: mini-batches, backpropagation and an update rule (O2)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.textbook.arrays import Array
from striate.textbook.layer import Layer
from striate.textbook.losses import softmax_cross_entropy
from striate.textbook.updates import Rule, State

Whole = NDArray[np.integer[Any]]


def learn(
    network: Layer, images: Array, labels: Whole, rule: Rule, *, rate: float, epochs: int,
    batch_size: int = 32, seed: int = 0,
) -> Iterator[tuple[int, float, float]]:  # fmt: skip
    """Train in place; after each update: (epoch, the batch's loss before it, the norm of dL/dθ).

    θ is one vector of all parameters. With batch_size = len(images) this is gradient descent.
    """
    rng, state = np.random.default_rng(seed), State()
    theta = _vector(network.parameters())
    seen: list[tuple[float, float]] = []

    def gradient(at: Array) -> Array:
        """dL/dθ at a point, on the batch."""
        _place(at, network.parameters())
        loss, upstream = softmax_cross_entropy(network(images[batch]), labels[batch])
        network.backward(upstream)
        slope = _vector(network.named("grads"))
        seen.append((loss, float(np.linalg.norm(slope))))
        return slope

    for epoch in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            theta = rule(theta, gradient, state, rate)
            _place(theta, network.parameters())
            yield epoch, *seen.pop()


def _vector(tensors: dict[str, Array]) -> Array:
    return np.concatenate([tensors[name].ravel() for name in sorted(tensors)])


def _place(theta: Array, tensors: dict[str, Array]) -> None:
    """Write θ back into the tensors that it was made of."""
    ends = np.cumsum([tensors[name].size for name in sorted(tensors)])[:-1]
    for name, part in zip(sorted(tensors), np.split(theta, ends), strict=True):
        tensors[name][...] = part.reshape(tensors[name].shape)
