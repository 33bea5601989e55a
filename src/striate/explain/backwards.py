"""From a unit back to pixels: activations that let back other signals than their gradient (M5)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

RECTIFIERS = frozenset({
    F.relu, F.relu_, F.relu6, F.leaky_relu, F.leaky_relu_, F.silu, F.gelu, F.elu, F.elu_, F.selu,
    F.celu, F.mish, F.hardswish, F.hardtanh, F.rrelu, F.prelu, F.threshold, torch.relu, torch.relu_,
    Tensor.relu, Tensor.relu_, torch.prelu, torch.selu, torch.celu, torch.rrelu, torch.threshold,
})  # fmt: skip
"""Activations that are treated as a rectifier, as modules and inside `forward`."""
_CLAMPS = frozenset({torch.clamp, torch.clamp_min, torch.clip, Tensor.clamp, Tensor.clamp_,
                     Tensor.clamp_min, Tensor.clip})  # fmt: skip
"""Rectifiers too, where they cut off what is below 0."""


class Deconvolution(TorchFunctionMode):
    """Within it, what goes back through an activation is rectified itself, wherever the activation
    was positive or not: the deconvolution network of Zeiler and Fergus (2014, arXiv:1311.2901).

    The rest is what gradients do anyway: filters transposed, pooled values put back where they came
    from (switches), norms as the scales they are in evaluation. At a branch or a sum the signal
    follows every path.
    """

    gate = False

    def __init__(self) -> None:
        super().__init__()
        self.met = 0
        """How many activations were treated so: of none, what goes back is the plain gradient."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func not in RECTIFIERS and not _cuts_at_zero(func, args, kwargs):
            return func(*args, **kwargs)
        self.met += 1
        x = args[0] if args else kwargs.pop("input")
        kwargs.pop("inplace", None)
        return _Rectified.apply(x, partial(_copied, func, args[1:], kwargs), self.gate)


class Guided(Deconvolution):
    """As `Deconvolution`, and only where the activation's output is positive: guided
    backpropagation (Springenberg et al. 2015, arXiv:1412.6806)."""

    gate = True


def _cuts_at_zero(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """x.clamp(min=0) and its likes are rectifiers."""
    if func not in _CLAMPS:
        return False
    least = args[1] if len(args) > 1 else kwargs.get("min")
    return isinstance(least, int | float) and least == 0


def rectifiers_met(net: nn.Module, images: Tensor) -> int:
    """How many activations of a forward pass the ways back recognise."""
    with Deconvolution() as way, torch.enable_grad():
        net(images.detach().float())
    return way.met


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
