"""What labs learn with: the built-in digits as tensors, and a plain training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from striate.data.sources import open_source


class Digits(NamedTuple):
    """Pixels in [0, 1]: x (N, 1, 8, 8); labels y (N,), for training and for testing."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


@cache
def _all_digits() -> tuple[Tensor, Tensor]:
    part = open_source("digits").parts["all"]
    pixels = np.stack([part.images.pixels(i, 1) for i in range(len(part.images))])
    x = torch.from_numpy(pixels).float().permute(0, 3, 1, 2).contiguous() / 255
    labels: Any = part.targets
    return x, torch.from_numpy(np.asarray(labels.array)).long()


def digits(seed: int, test: int = 400) -> Digits:
    """The 1,797 digits, split anew for each seed."""
    x, y = _all_digits()
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(y)))
    first, rest = order[:test], order[test:]
    return Digits(x[rest], y[rest], x[first], y[first])


def fit(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    lr: float,
    batch: int = 0,
    momentum: float = 0.0,
    seed: int = 0,
) -> list[float]:
    """Train by SGD with softmax cross-entropy: the loss of each step. batch: 0 is all images; ends
    early, with infinity, where the loss is not finite."""
    rng, losses = np.random.default_rng(seed), []
    rule = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum)
    order, at = np.array([], dtype=np.int64), 0
    net.train()
    for _ in range(steps):
        chosen: Any = slice(None)
        if batch:
            if at + batch > len(order):
                order, at = rng.permutation(len(y)), 0
            chosen, at = torch.from_numpy(order[at : at + batch]), at + batch
        loss = cross_entropy(net(x[chosen]), y[chosen])
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            losses[-1] = math.inf
            break
        rule.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        rule.step()
    return losses


@torch.no_grad()
def loss_of(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Mean cross-entropy in evaluation mode."""
    net.eval()
    return float(cross_entropy(net(x), y))


@torch.no_grad()
def accuracy_of(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of right answers, in evaluation mode."""
    net.eval()
    return float((net(x).argmax(dim=1) == y).float().mean())


def dense(widths: list[int], activation: Callable[[], nn.Module], std: float = 0.0) -> nn.Module:
    """Fully connected layers with an activation between; std: of Gaussian weights (0: He's, with
    biases zero)."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i in range(len(widths) - 1):
        layer = nn.Linear(widths[i], widths[i + 1])
        nn.init.normal_(layer.weight, std=std or math.sqrt(2 / widths[i]))
        nn.init.zeros_(layer.bias)
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])
