"""Muon: momentum whose directions are made equally strong (Jordan 2024, kellerjordan.github.io)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_STEPS = 3


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for weights that are matrices, Nesterov's momentum for the others.

    In groups with `orthogonalise` each weight (outputs, …) is read as a matrix M with a row for
    each output:

        v ← μ v + g,   w ← ‖w‖ (w − η ‖w‖ Q / √r) / ‖…‖,   Q ≈ U Vᵀ of g + μ v = U S Vᵀ

    with r the smaller side of M, so a step turns a weight by the share η of its length and leaves
    the length as it was. That suits layers that are followed by a normalisation, where the length
    means nothing, and keeps others from growing. Groups without `orthogonalise` are torch's SGD.

    Args:
        params: groups of parameters
        lr: η of both kinds
        momentum: μ, of a group or all
        dtype: in which directions are made equal; bfloat16 suffices where products in it are fast
    """

    def __init__(
        self, params: Any, lr: float, momentum: float = 0.6, dtype: torch.dtype = torch.float32
    ) -> None:
        self.dtype = dtype
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "orthogonalise": False}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change every parameter that has a gradient."""
        assert closure is None, "no closure: a gradient is taken once a step"
        for group in self.param_groups:
            with_gradient = [p for p in group["params"] if p.grad is not None]
            for p in with_gradient:
                momentum = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                g = p.grad.add(p, alpha=group["weight_decay"])
                momentum.mul_(group["momentum"]).add_(g)
                g = g.add_(momentum, alpha=group["momentum"])
                if group["orthogonalise"]:
                    _rotate(p, g, group["lr"], self.dtype)
                else:
                    p.add_(g, alpha=-group["lr"])


def _rotate(weight: Tensor, direction: Tensor, share: float, dtype: torch.dtype) -> None:
    length = weight.norm()
    rows = direction.flatten(1)
    step = orthogonalised(rows.to(dtype)).to(weight.dtype).reshape(direction.shape)
    weight.sub_(step * length, alpha=share / min(rows.shape) ** 0.5)
    weight.mul_(length / weight.norm().clamp_min(1e-12))


def orthogonalised(matrix: Tensor, steps: int = _STEPS) -> Tensor:
    """(R, C) → nearly U Vᵀ of its singular value decomposition U S Vᵀ.

    Newton and Schulz's iteration with Jordan's quintic, whose steep slope at 0 brings singular
    values from a twentieth of the norm up to about 1 (0.7 to 1.2) in three steps.
    """
    x = matrix / matrix.norm().clamp_min(1e-12)
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return x.T if turned else x
