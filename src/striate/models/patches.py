"""Gradients of convolutions by their weights as matrix products, where that is faster.

dL/dw of a convolution is a sum over images and places: the upstream gradient there times the patch
of the input under the kernel. With all places as rows that is one matrix product: patches,
transposed, times gradients ("im2col"). On processors with AVX2 and no wider units oneDNN, which
torch calls, takes up to twice as long in float32 (benchmarks/where.py prints it). Patches are
copied a few megabytes at a time, so that they are still in the cache when they are multiplied.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from striate.core.runtime import Runtime
from striate.models.depthwise import Pair

_PATCHES = 6_000_000
"""Bytes of patches that are copied at a time."""
_LEAST_WORK = 5e8
"""Operations of a gradient from which on the choice is worth making."""


def patched_gradients(runtime: Runtime) -> contextlib.AbstractContextManager[Any]:
    """Within it convolutions have these gradients where they are faster. What is chosen follows
    from shapes and strides alone, so a repeated step has the same bits."""
    plain = runtime.device.type == "cpu" and runtime.precision == "float32"
    faster = plain and torch.backends.cpu.get_cpu_capability() == "AVX2"
    return _Patched() if faster else contextlib.nullcontext()


class _Patched(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.conv2d and not kwargs and (given := _taken(*args)):
            return _Convolution.apply(*given)
        return func(*args, **(kwargs or {}))


def _taken(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: Any = 1,
) -> tuple[Tensor, Tensor, Tensor | None, Pair, Pair] | None:  # fmt: skip
    """The convolution, if its gradient is faster in patches."""
    step, zeros = _pair(stride), _pair(padding)
    plain = _is_plain(x, weight, bias) and groups == 1 and _pair(dilation) == (1, 1)
    if not plain or step is None or zeros is None or min(step) < 1 or min(zeros) < 0:
        return None
    places = math.prod(
        (x.shape[2 + i] + 2 * zeros[i] - weight.shape[2 + i]) // step[i] + 1 for i in (0, 1)
    )
    if 2 * len(x) * places * weight.numel() < _LEAST_WORK:
        return None
    units, size = len(weight), weight.shape[2:]
    faster = False
    if size == (3, 3):  # many units share the cost of a copied patch, or maps too large for oneDNN
        faster = units >= 256 or (units >= 64 and units * places >= 100_000)
    elif size == (1, 1) and zeros == (0, 0):  # a patch is the input itself
        faster = places <= 800
    return (x, weight, bias, step, zeros) if faster else None


def _is_plain(x: Any, weight: Any, bias: Any) -> bool:
    """Whether these are torch's own tensors, in the layout and format that were measured, with a
    gradient to be computed backwards and nothing else."""
    kinds = (Tensor, nn.Parameter)
    return (
        type(x) in kinds
        and type(weight) in kinds
        and (bias is None or type(bias) in kinds)
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
        and x.dim() == weight.dim() == 4
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and weight.requires_grad
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def _pair(value: Any) -> Pair | None:
    """(rows, columns); None of what is not one or two whole numbers."""
    values = (value,) if isinstance(value, int) else value
    if not isinstance(values, tuple | list) or len(values) not in (1, 2):
        return None
    return (values[0], values[-1]) if all(type(v) is int for v in values) else None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
    ) -> Tensor:
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ARG004
        x, weight, bias, ctx.stride, ctx.padding = inputs
        ctx.save_for_backward(x, weight)
        ctx.biases = None if bias is None else list(bias.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        to_x, _, to_bias = torch.ops.aten.convolution_backward(
            gradient, x, weight, ctx.biases, ctx.stride, ctx.padding, [1, 1], False, [0, 0], 1,
            [ctx.needs_input_grad[0], False, ctx.needs_input_grad[2]],
        )  # fmt: skip
        to_weight = None
        if ctx.needs_input_grad[1]:
            size = (weight.shape[2], weight.shape[3])
            to_weight = weight_gradient(gradient, x, size, ctx.stride, ctx.padding)
        return to_x, to_weight, to_bias, None, None


def weight_gradient(gradient: Tensor, x: Tensor, size: Pair, stride: Pair, padding: Pair) -> Tensor:
    """dL/dw (K, C, *size) from dL/dy (N, K, H', W') and x (N, C, H, W), both channels last."""
    images, units, rows, columns = gradient.shape
    channels, (high, wide) = x.shape[1], size
    given, seen = gradient.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)
    each = columns * high * wide * channels * x.element_size()  # bytes of a row's patches
    parts = -(-each * rows // _PATCHES)  # of an image whose patches are too many
    at_once, tall = max(1, _PATCHES // (each * rows)), -(-rows // parts)
    if size == (1, 1):
        at_once, tall = images, rows
    found: Tensor | None = None
    for first in range(0, images, at_once):
        part = seen[first : first + at_once]
        if any(padding):
            part = F.pad(part, (0, 0, padding[1], padding[1], padding[0], padding[0]))
        part = part.contiguous()  # F.pad may take a map of one row for channels first
        image, row, column, _ = part.stride()
        patches = part.as_strided(  # the values under a row of the kernel lie side by side
            (len(part), rows, columns, high, wide * channels),
            (image, row * stride[0], column * stride[1], row, 1),
            part.storage_offset(),
        )
        for top in range(0, rows, tall):
            left = given[first : first + at_once, top : top + tall].reshape(-1, units).t()
            right = patches[:, top : top + tall].reshape(-1, high * wide * channels)
            found = left @ right if found is None else found.addmm_(left, right)
    assert found is not None
    return found.view(units, high, wide, channels).permute(0, 3, 1, 2)
