"""From a unit back to pixels: activations that let back other signals than their gradient (M5)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

RECTIFIERS = frozenset({
    F.relu, F.relu6, F.leaky_relu, F.silu, F.gelu, F.elu, F.selu, F.mish, F.hardswish, F.hardtanh,
    torch.relu, torch.relu_, Tensor.relu, Tensor.relu_,
})  # fmt: skip
"""Activations that are treated as a rectifier, as modules and inside `forward`."""


class Deconvolution(TorchFunctionMode):
    """Within it, what goes back through an activation is rectified itself, wherever the activation
    was positive or not: the deconvolution network of Zeiler and Fergus (2014, arXiv:1311.2901).

    The rest is what gradients do anyway: filters transposed, pooled values put back where they came
    from (switches), norms as the scales they are in evaluation. At a branch or a sum the signal
    follows every path.
    """

    gate = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func not in RECTIFIERS:
            return func(*args, **kwargs)
        x = args[0] if args else kwargs.pop("input")
        kwargs.pop("inplace", None)
        return _Rectified.apply(x, partial(_copied, func, args[1:], kwargs), self.gate)


class Guided(Deconvolution):
    """And only where the activation's output is positive: guided backpropagation (Springenberg et
    al. 2015, arXiv:1412.6806)."""

    gate = True


def _copied(func: Callable[..., Any], rest: tuple[Any, ...], kwargs: Any, x: Tensor) -> Any:
    return func(x.clone(), *rest, **kwargs)  # it may work in place


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, x: Tensor, activation: Any, gate: bool
    ) -> Tensor:
        value: Tensor = activation(x)
        ctx.save_for_backward(value > 0 if gate else torch.ones((), dtype=torch.bool))
        return value

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, slope: Tensor
    ) -> tuple[Tensor, None, None]:
        (through,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return slope.clamp(min=0) * through, None, None
