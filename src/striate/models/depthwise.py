"""Convolutions with TensorFlow's padding, and depthwise ones whose backward pass is fast on a CPU.

In bfloat16 a CPU library took 85 % of a training step for two gradients of depthwise convolutions
(benchmarks/transfer.py prints it):

- with respect to the input, for a stride above 1. By L6 it is a convolution of the upstream
  gradient, with stride − 1 zeros between its values, with the mirrored kernel. Each phase of the
  stride meets only every stride-th value of the kernel: stride² small convolutions, no zeros.
- with respect to a kernel larger than 3×3. It is put together from parts of 3×3.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pair = tuple[int, int]
"""Of rows and of columns."""


class SamePadded(nn.Conv2d):
    """A convolution whose output has ⌈H / stride⌉ × ⌈W / stride⌉ places: where the zeros at the
    border are odd in number, one more stands below and at the right (TensorFlow's "SAME")."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (
            _same(x.shape[2 + axis], self.kernel_size[axis], self.stride[axis]) for axis in (0, 1)
        )
        before, outputs = (rows[0], columns[0]), (rows[1], columns[1])
        if self.groups == self.in_channels == self.out_channels and self.bias is None:
            return depthwise(x, self.weight, self.stride[0], before, outputs)
        return convolve(
            x, self.weight, self.stride[0], before, outputs, groups=self.groups, bias=self.bias
        )


def _same(size: int, kernel: int, stride: int) -> Pair:
    """(zeros before the first value, number of outputs)."""
    outputs = -(-size // stride)
    return max((outputs - 1) * stride + kernel - size, 0) // 2, outputs


def depthwise(x: Tensor, weight: Tensor, stride: int, before: Pair, outputs: Pair) -> Tensor:
    """x (N, C, H, W), weight (C, 1, K, K) → (N, C, *outputs): each channel with its own kernel."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, weight = x.to(dtype), weight.to(dtype)
    slow = device == "cpu" and x.dtype == torch.bfloat16
    if slow and torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        found: Tensor = _Depthwise.apply(x, weight, stride, before, outputs)
        return found
    return convolve(x, weight, stride, before, outputs, groups=len(weight))


def convolve(
    x: Tensor,
    weight: Tensor,
    stride: int,
    before: Pair,
    outputs: Pair,
    *,
    groups: int,
    bias: Tensor | None = None,
) -> Tensor:
    """The outputs that begin `before` zeros above and left of x (negative: inside of it).

    x is never copied into a larger one: zeros stand on all sides alike, a multiple of the stride
    more than were asked for, and the first outputs are left out.
    """
    rows, columns = (
        _alike(x.shape[2 + axis], weight.shape[2 + axis], stride, before[axis], outputs[axis])
        for axis in (0, 1)
    )
    found = F.conv2d(x, weight, bias, stride, (rows[0], columns[0]), 1, groups)
    if found.shape[2:] == outputs:
        return found
    wanted = found[:, :, rows[1] : rows[1] + outputs[0], columns[1] : columns[1] + outputs[1]]
    return wanted.contiguous(memory_format=torch.channels_last)


def _alike(size: int, kernel: int, stride: int, before: int, outputs: int) -> Pair:
    """(zeros on each side, first outputs to leave out)."""
    skip = max(0, -(before // stride)) if before < 0 else 0
    while (size + 2 * (before + stride * skip) - kernel) // stride + 1 < skip + outputs:
        skip += 1
    return before + stride * skip, skip


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: int, before: Pair, outputs: Pair
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.before = stride, before
        return convolve(x, weight, stride, before, outputs, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        to_input = to_weight = None
        if ctx.needs_input_grad[0]:
            to_input = input_gradient(gradient, weight, x.shape, ctx.stride, ctx.before)
        if ctx.needs_input_grad[1]:
            to_weight = weight_gradient(gradient, x, weight, ctx.stride, ctx.before)
        return to_input, to_weight, None, None, None


def input_gradient(
    gradient: Tensor, weight: Tensor, shape: torch.Size, stride: int, before: Pair
) -> Tensor:
    """dL/dx of `shape` from dL/dy: row s·m + phase − before of it is the sum over t of
    w[phase + s·t] · dL/dy[m − t], and columns alike."""
    found = torch.empty(
        shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last
    )
    for phases in product(range(stride), repeat=2):
        part = weight[:, :, phases[0] :: stride, phases[1] :: stride].flip(2, 3)
        first = [-((phase - b) // stride) for phase, b in zip(phases, before, strict=True)]
        rows, columns = (stride * first[axis] + phases[axis] - before[axis] for axis in (0, 1))
        place = found[:, :, rows::stride, columns::stride]
        if not place.numel():
            continue
        if not part.numel():
            place.zero_()
            continue
        ahead = (part.shape[2] - 1 - first[0], part.shape[3] - 1 - first[1])
        place.copy_(
            convolve(gradient, part, 1, ahead, (place.shape[2], place.shape[3]), groups=len(weight))
        )
    return found


def weight_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, before: Pair
) -> Tensor:
    """dL/dw (C, 1, K, K) from dL/dy, in parts of at most 3×3."""
    kernel, found = weight.shape[2], torch.empty_like(weight)
    if kernel <= 3 and all(_symmetric(gradient, x, kernel, stride, before)):
        return _weights_of_part(gradient, x, weight, stride, before)
    spans = [(n - 1) * stride + kernel for n in gradient.shape[2:]]
    after = [spans[axis] - before[axis] - x.shape[2 + axis] for axis in (0, 1)]
    x = F.pad(x, (before[1], after[1], before[0], after[0]))
    starts = sorted({*range(0, kernel - 3, 3), max(kernel - 3, 0)})
    for i, j in product(starts, repeat=2):
        place = (..., slice(i, i + 3), slice(j, j + 3))
        part, (high, wide) = weight[place], (span - kernel for span in spans)
        seen = x[:, :, i : i + high + part.shape[2], j : j + wide + part.shape[3]]
        found[place] = _weights_of_part(gradient, seen, part, stride, (0, 0))
    return found


def _symmetric(gradient: Tensor, x: Tensor, kernel: int, stride: int, before: Pair) -> list[bool]:
    """Whether equal zeros on both sides give these outputs, of rows and of columns."""
    sides = zip(x.shape[2:], gradient.shape[2:], before, strict=True)
    return [(size + 2 * zeros - kernel) // stride + 1 == n for size, n, zeros in sides]


def _weights_of_part(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: Pair
) -> Tensor:
    found: Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride, stride], padding, [1, 1], False, [0, 0], len(weight),
        [False, True, False],
    )[1]  # fmt: skip
    return found
