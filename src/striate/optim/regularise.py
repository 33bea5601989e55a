"""Regularisers that act on gradients and weights (T4), and the moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def add_l1_gradient(net: nn.Module, strength: float) -> None:
    """d(λ Σ|w|)/dw = λ sign(w), added to the gradients of weights (not biases or norms)."""
    for p in net.parameters():
        if p.grad is not None and p.dim() > 1:
            p.grad.add_(p.detach().sign(), alpha=strength)


@torch.no_grad()
def limit_norms(net: nn.Module, longest: float) -> None:
    """Max-norm: each unit's incoming weights are scaled back to at most this length."""
    for p in net.parameters():
        if p.dim() > 1:
            lengths = torch.linalg.vector_norm(p.flatten(1), dim=1)
            factor = (longest / lengths.clamp_min(1e-12)).clamp_max(1.0)
            p.mul_(factor.reshape(-1, *[1] * (p.dim() - 1)))


class MovingAverage:
    """average ← d·average + (1 − d)·weights after each step.

    The decay warms up as min(d, (1+t)/(10+t)), so the first weights are forgotten quickly. Buffers
    that are not floats (counters) are copied.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net = copy.deepcopy(net)
        self.decay = decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = list(zip(_tensors(self.net), _tensors(net), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([own for own, _ in floats], [new for _, new in floats], 1 - decay)
        for own, new in pairs:
            if not own.is_floating_point():
                own.copy_(new)


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]
