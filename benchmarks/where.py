"""Where the time of a training step goes: by kind of operation, and how fast the convolutions are.

    python benchmarks/where.py                     fastnet at 32 px, ResNet-18 and -50 at 224 px
    python benchmarks/where.py fastnet float32     one of them, in this precision

Shares are of the step's wall time, as torch's profiler tells them. The second table takes each kind
of convolution of the network by itself: its rate forward, for the gradient of its input and for
that of its weights, as torch computes it and by striate.models.patches (bold where a training takes
that), in multiples of the rate of a 2048×2048 matrix product in the same format.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import throughput
import torch
from common import machine
from torch import nn
from torch.profiler import ProfilerActivity, profile

from striate.core.runtime import choose_precision, keep_pages, product_gflops
from striate.models import patches
from striate.models.zoo import build

KINDS = {
    "convolutions, forward": ("convolution",),
    "convolutions, gradients": ("convolution_backward",),
    "norms": ("batch_norm",),
    "activations": ("silu", "threshold", "relu", "clamp", "gelu", "sigmoid"),
    "pooling": ("pool",),
    "copies, fills, conversions": ("copy", "fill", "zero", "contiguous", "_to", "cat"),
}
_STEPS, _REPEATS, _TURNS = 3, 3, 10


def main(arguments: list[str]) -> int:
    keep_pages()
    print(machine())
    precision = next((a for a in arguments if a in ("float32", "bfloat16")), "")
    precision = precision or choose_precision(torch.device("cpu"))[0]
    for name in [a for a in arguments if a in throughput.ROWS] or throughput.ROWS:
        of_step(name, precision)
        of_patches(name, precision)
        of_convolutions(name, precision)
    return 0


def of_step(name: str, precision: str) -> None:
    found: Counter[str] = Counter()
    side, batch = throughput.ROWS[name]
    step = throughput.ours(name, precision)
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as steps:
        began = time.perf_counter()  # the profiler's own start takes a second or more
        for _ in range(_STEPS):
            step()
        wall = time.perf_counter() - began
    for event in steps.events():
        found[_kind(event)] += event.self_cpu_time_total / 1e6 / wall
    found["Python, waiting for images"] = 1 - found.total()
    each = 1000 * wall / _STEPS
    print(f"\n{name}, {batch} images of {side} px, {precision}: {each:.0f} ms a step\n")
    print("| kind | share |\n|---|---|")
    for kind, share in found.most_common():
        print(f"| {kind} | {share:.1%} |")


def of_patches(name: str, precision: str) -> None:
    """A step with torch's gradients and with those of striate.models.patches, in turn."""
    step, usual = throughput.ours(name, precision), patches._LEAST_WORK
    times: dict[float, list[float]] = {usual: [], float("inf"): []}
    for _ in range(_TURNS + 1):
        for least, seconds in times.items():
            patches._LEAST_WORK = least
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
    patches._LEAST_WORK = usual
    ours, of_torch = (np.array(t[1:]) for t in times.values())
    best, middle = of_torch.min() / ours.min(), np.median(of_torch) / np.median(ours)
    print(f"\nwith gradients by patches where they are taken a step is {best:.2f}× as fast by the "
          f"best of {_TURNS}, {middle:.2f}× by the median")  # fmt: skip


def _kind(event: Any) -> str:
    above = event
    while above is not None:
        if above.name.startswith("Optimizer.step"):
            return "update rule"
        if "_ConvolutionBackward" in above.name:  # striate.models.patches
            return "convolutions, gradients"
        above = above.cpu_parent
    plain = event.name.removeprefix("aten::")
    if plain.endswith("convolution_backward"):
        return "convolutions, gradients"
    return next((kind for kind, words in KINDS.items() if any(w in plain for w in words)), "rest")


def of_convolutions(name: str, precision: str) -> None:
    """Each different convolution of a network, in the layout and precision of a training."""
    side, batch = throughput.ROWS[name]
    dtype = getattr(torch, precision)
    peak = product_gflops(dtype, 2048)
    net = build(name, num_classes=10, channels=3, image_size=side)
    shapes: Counter[tuple[Any, ...]] = Counter()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(
                lambda m, inputs: shapes.update([(inputs[0].shape[1:], _key(m))])
            )
    with torch.no_grad():
        net(torch.zeros(2, 3, side, side))
    print(f"\na matrix product: {peak:.0f} · 10⁹ operations a second\n")
    print("| convolution | how many | ms | forward | of the input | of the weights | by patches |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for (shape, (outputs, kernel, stride, padding)), count in shapes.items():
        x = torch.randn(batch, *shape, dtype=dtype).to(memory_format=torch.channels_last)
        w = torch.randn(outputs, shape[0], *kernel, dtype=dtype)
        w = w.to(memory_format=torch.channels_last)
        y = torch.nn.functional.conv2d(x, w, None, stride, padding)
        work = 2e-9 * y.numel() * shape[0] * kernel[0] * kernel[1]
        rest = (None, stride, padding, (1, 1), False, (0, 0), 1)
        backward = torch.ops.aten.convolution_backward
        times = [
            _best(lambda: torch.nn.functional.conv2d(x, w, None, stride, padding)),  # noqa: B023
            _best(lambda: backward(y, x, w, *rest, [True, False, False])),  # noqa: B023
            _best(lambda: backward(y, x, w, *rest, [False, True, False])),  # noqa: B023
            _best(lambda: patches.weight_gradient(y, x, kernel, stride, padding)),  # noqa: B023
        ]
        rates = [f"{work / seconds / peak:.2f}" for seconds in times]
        if patches._taken(x, w.requires_grad_(), None, stride, padding):
            rates[3] = f"**{rates[3]}**"
        what = f"{shape[0]} → {outputs}, {kernel[0]}×{kernel[1]}, {shape[1]} px, step {stride[0]}"
        cells = [what, str(count), f"{1000 * sum(times[:3]):.0f}", *rates]
        print(f"| {' | '.join(cells)} |", flush=True)


def _key(conv: nn.Conv2d) -> tuple[Any, ...]:
    return conv.out_channels, conv.kernel_size, conv.stride, conv.padding


def _best(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(_REPEATS + 1):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
