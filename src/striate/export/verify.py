"""Does a file say what the network says? Tried on images before the file gets its name."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from striate.core.arrays import Pixels
from striate.export.forms import Opened, names_of
from striate.models.detectors.detector import best_of

TOLERANCE = {"logits": 1e-3, "boxes": 0.02, "scores": 1e-3, "probabilities": 1e-4}
"""Largest difference of each output that rounding in float32 explains; of boxes in pixels, and as a
share of the largest value where values are larger than 1."""
_ROUNDS, _ROW, _WARM = 4, 4, 2


@dataclass(frozen=True)
class Agreement:
    """How a file's outputs differ from the network's: the largest difference of each output, as
    TOLERANCE counts it, and in how many images the highest class is another one."""

    images: int
    differences: dict[str, float]
    others: int

    @property
    def exact(self) -> bool:
        """Whether they are equal but for rounding."""
        within = all(d <= TOLERANCE[name] for name, d in self.differences.items())
        return within and not self.others


def agreement(net: nn.Module, opened: Opened, batches: Iterable[Pixels]) -> Agreement:
    """Compare a packed network with a file on batches of images (N, S, S, C) uint8."""
    names = names_of(net)
    largest, others, count = dict.fromkeys(names, 0.0), 0, 0
    for images in batches:
        with torch.inference_mode():
            ours = dict(zip(names, (t.numpy() for t in net(torch.from_numpy(images))), strict=True))
        theirs = opened.run(images)
        for name in names:
            scale = max(1.0, float(np.abs(ours[name]).max(initial=0)))
            scale = 1.0 if name == "boxes" else scale
            apart = float(np.abs(ours[name] - theirs[name]).max(initial=0)) / scale
            largest[name] = max(largest[name], apart)
        if "logits" in names:
            others += int(_other(ours["logits"], theirs["logits"]).sum())
        count += len(images)
    return Agreement(count, largest, others)


def _other(ours: Any, theirs: Any) -> Any:
    """Images whose highest class is another one, unless both are equally high but for rounding."""
    top = theirs.argmax(axis=1)
    behind = ours.max(axis=1) - np.take_along_axis(ours, top[:, None], axis=1)[:, 0]
    return behind > TOLERANCE["logits"]


def seconds(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[float, float]:
    """The median time of each, some in a row and in turn, so that other work on the machine meets
    both; the first ones of a row, when the other's threads may still be awake, do not count."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for work, found in zip((first, second), times, strict=True):
            for number in range(_WARM + _ROW):
                began = time.perf_counter()
                work()
                if number >= _WARM:
                    found.append(time.perf_counter() - began)
    one, two = (statistics.median(found) for found in times)
    return one, two


class FileNetwork(nn.Module):
    """An exported file in the place of a network: uint8 images (N, S, S, C) → its outputs, so that
    it is evaluated and asked as a run's own network is."""

    def __init__(self, opened: Opened) -> None:
        super().__init__()
        self._opened = opened
        self.backbone = _Suppressing()

    def forward(self, images: Tensor) -> Any:
        found = self._opened.run(images.numpy())
        if "logits" in found:
            return torch.from_numpy(found["logits"])
        return torch.from_numpy(found["boxes"]), torch.from_numpy(found["scores"])


class _Suppressing(nn.Module):
    """What a detector does after its outputs."""

    def read(self, outputs: tuple[Tensor, Tensor]) -> list[Any]:
        return [cast(Any, best_of(*each)) for each in zip(*outputs, strict=True)]
