"""What a training over many processes will take: compute, input and all-reduce, as formulas.

With R ranks, b images a rank and step, W bytes of gradients, latency α and bandwidth β of one link:

    compute      c₀ + c₁ · b
    input        b / (images a second that one rank's readers deliver)
    all-reduce   2 (R − 1) α + 2 (R − 1)/R · W / β        (ring; Patarasuk and Yuan 2009)
    step         max(compute, input) + max(0, all-reduce − hidden · ⅔ compute)

The gradients of the last layers travel while those of the first are computed; the backward pass is
two thirds of the compute, and `hidden` is the share of it that communication can really use.
benchmarks/scaling.py measures the constants and compares the formula with real trainings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

GRADIENT_BYTES = 4
BACKWARD = 2 / 3


@dataclass(frozen=True)
class Machine:
    """Constants of one rank: seconds a step and an image, images a second that its readers deliver,
    and of its link: seconds of latency, bytes a second."""

    step_seconds: float
    image_seconds: float
    input_rate: float = math.inf
    latency: float = 0.0
    bandwidth: float = math.inf
    hidden: float = 0.0


@dataclass(frozen=True)
class Cost:
    """Seconds of one step's parts, and of all steps of an epoch."""

    compute: float
    input: float
    all_reduce: float
    step: float
    epoch: float

    @property
    def efficiency(self) -> float:
        """The share of the time in which networks are computed; 1 is linear scaling."""
        return self.compute / self.step

    @property
    def bound(self) -> str:
        """What takes the longest."""
        exposed = self.step - max(self.compute, self.input)
        parts = {"compute": self.compute, "input": self.input, "all-reduce": exposed}
        if self.input <= self.compute:
            del parts["input"]
        return max(parts, key=lambda name: parts[name])


def cost(machine: Machine, *, images: int, parameters: int, ranks: int, batch: int) -> Cost:
    """The cost of a data set of `images` images, a network of `parameters` parameters, and `batch`
    images in all ranks together. Raises ValueError where a rank would get no image."""
    if not 1 <= ranks <= batch:
        raise ValueError(f"{batch} images a step cannot be shared by {ranks} ranks")
    share = batch / ranks
    compute = machine.step_seconds + machine.image_seconds * share
    waiting = share / machine.input_rate
    reduce = all_reduce_seconds(machine, GRADIENT_BYTES * parameters, ranks)
    step = max(compute, waiting) + max(0.0, reduce - machine.hidden * BACKWARD * compute)
    return Cost(compute, waiting, reduce, step, math.ceil(images / batch) * step)


def all_reduce_seconds(machine: Machine, size: int, ranks: int) -> float:
    """Of `size` bytes over a ring."""
    if ranks == 1:
        return 0.0
    return 2 * (ranks - 1) * (machine.latency + size / ranks / machine.bandwidth)
