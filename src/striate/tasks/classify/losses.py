"""Losses of classification (L11): functions (logits (N, C), targets, smoothing) → losses (N,).

targets: class numbers int64 (N,), for sigmoid 0/1 float (N, C).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor, float], Tensor]


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """−Σ q log softmax(s), q = (1 − ε) one-hot + ε/C (Szegedy et al. 2016)."""
    return F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")


def hinge(logits: Tensor, targets: Tensor, _: float) -> Tensor:
    """Multiclass SVM hinge Σ_{j≠y} max(0, s_j − s_y + 1). torch divides by C; the lecture does not.

    Deck B's expansion writes + W_y·x where it must be − W_y·x (L11).
    """
    return F.multi_margin_loss(logits, targets, reduction="none") * logits.shape[1]


def mse(logits: Tensor, targets: Tensor, _: float) -> Tensor:
    """Mean squared error against one-hot targets."""
    return (logits - F.one_hot(targets, logits.shape[1]).to(logits.dtype)).square().mean(dim=1)


def sigmoid(logits: Tensor, targets: Tensor, _: float) -> Tensor:
    """Binary cross-entropy of each class's sigmoid, mean over classes."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "hinge": hinge,
    "mse": mse,
    "sigmoid": sigmoid,
}


CHANCE: dict[str, Callable[[int], float]] = {
    "cross_entropy": math.log,
    "hinge": lambda classes: classes - 1.0,
    "mse": lambda classes: (classes - 1) / classes**2,
    "sigmoid": lambda _: math.log(2),
}
"""Loss of a network that knows nothing but the number of classes, equally often: equal outputs; for
the squared error 1/C each."""
