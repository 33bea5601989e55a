"""Gradients of convolutions by their weights as matrix products, where that is faster.

dL/dw of a convolution is a sum over images and places: the upstream gradient there times the patch
of the input under the kernel. With all places as rows that is one matrix product: patches,
transposed, times gradients ("im2col"). On processors with AVX2 and no wider units oneDNN, which
torch calls, takes 1.1 to 3 times as long in float32 (benchmarks/where.py prints it). Patches are
copied a few megabytes at a time, so that they are still in the cache when they are multiplied.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]
"""Of rows and of columns."""

_PATCHES = 6_000_000
"""Bytes of patches that are copied at a time."""
_LEAST_WORK = 5e8
"""Operations of a gradient from which on the choice is worth making."""


def patched_gradients() -> contextlib.AbstractContextManager[Any]:
    """Within it convolutions have these gradients, on the processors where they are faster. What
    is chosen follows from shapes alone, so a repeated step has the same bits."""
    faster = torch.backends.cpu.get_cpu_capability() == "AVX2"
    return _Patched() if faster else contextlib.nullcontext()


class _Patched(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.conv2d and not kwargs and (given := _taken(*args)):
            return _Convolution.apply(*given)
        return func(*args, **(kwargs or {}))


def _taken(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, Pair, Pair] | None:  # fmt: skip
    """The convolution, if its gradient is faster in patches."""
    stride, padding, dilation = (_pair(value) for value in (stride, padding, dilation))
    plain = groups == 1 and dilation == (1, 1) and stride is not None and padding is not None
    if not plain or not _suits(x) or not weight.requires_grad or weight.dtype != x.dtype:
        return None
    places = math.prod(
        (x.shape[2 + i] + 2 * padding[i] - weight.shape[2 + i]) // stride[i] + 1 for i in (0, 1)
    )
    if 2 * len(x) * places * weight.numel() < _LEAST_WORK:
        return None
    units, size = len(weight), weight.shape[2:]
    faster = False
    if size == (3, 3):  # many units share the cost of a copied patch, or maps too large for oneDNN
        faster = units >= 256 or (units >= 64 and units * places >= 100_000)
    elif size == (1, 1) and padding == (0, 0):  # a patch is the input itself
        faster = places <= 800
    return (x, weight, bias, stride, padding) if faster else None


def _suits(x: Tensor) -> bool:
    return (
        x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.dim() == 4
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def _pair(value: Any) -> Pair | None:
    """(rows, columns); None of a padding in words."""
    if isinstance(value, str):
        return None
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


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
    given = gradient.permute(0, 2, 3, 1)
    seen = x.permute(0, 2, 3, 1)
    if any(padding):
        seen = F.pad(seen, (0, 0, padding[1], padding[1], padding[0], padding[0]))
    image, row, column, _ = seen.stride()
    patches = seen.as_strided(  # the values under a row of the kernel lie side by side
        (images, rows, columns, high, wide * channels),
        (image, row * stride[0], column * stride[1], row, 1),
    )
    found: Tensor | None = None
    for share in _shares(images, rows, patches[0, 0].numel() * x.element_size()):
        left = given[share].reshape(-1, units).t()
        right = patches[share].reshape(-1, high * wide * channels)
        found = left @ right if found is None else found.addmm_(left, right)
    assert found is not None
    return found.view(units, high, wide, channels).permute(0, 3, 1, 2)


def _shares(images: int, rows: int, each: int) -> Iterator[tuple[slice, slice]]:
    """(images, rows) whose patches, `each` bytes a row, are copied and multiplied at a time."""
    at_once = max(1, _PATCHES // (each * rows))
    parts = -(-each * rows // _PATCHES)
    high = -(-rows // parts)
    for first in range(0, images, at_once):
        for top in range(0, rows, high):
            yield slice(first, first + at_once), slice(top, top + high)
