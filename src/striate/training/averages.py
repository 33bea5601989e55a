"""Batch norm's averages, estimated anew: what evaluation needs where the running ones lag behind.

Running averages remember the last few dozen batches of a network that was still changing, or, with
a small momentum, the first ones. Weights that are final have means and variances of their own
(Izmailov et al. 2018 do the same for averaged weights).
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from striate.core.arrays import Ids
from striate.core.runtime import Runtime
from striate.data.augment import centre
from striate.data.loader import Store, loaded
from striate.training.activity import NORM

_LEAST = 64
"""Images whose statistics are taken at once, at least."""


def averages_of(net: nn.Module) -> dict[str, Tensor]:
    """The averages that evaluation uses, by name; empty without batch norm."""
    return {
        name: buffer
        for name, buffer in net.named_buffers()
        if name.rpartition(".")[2] in ("running_mean", "running_var")
    }


def estimated(
    net: nn.Module, store: Store, ids: Ids, *, size: int, runtime: Runtime, batch: int, threads: int
) -> nn.Module:
    """A copy of the network whose averages are the means over these images, unaugmented, taken in
    batches of `batch` or more."""
    fresh = copy.deepcopy(net).eval()
    for module in fresh.modules():
        if isinstance(module, NORM) and module.track_running_stats:
            module.reset_running_stats()
            module.momentum = None  # torch then takes the mean over all batches
            module.train()
    at_once = min(max(_LEAST, batch), len(ids))
    parts = max(1, len(ids) // at_once)
    with torch.inference_mode():
        for images in loaded(store, np.array_split(ids, parts), threads):
            x = runtime.on_device(centre(images, size))
            with runtime.autocast():
                fresh(x)
    return fresh.eval()


def adopt(net: nn.Module, averages: dict[str, Tensor]) -> None:
    """Put averages into a network, in place."""
    own = averages_of(net)
    for name, value in averages.items():
        own[name].copy_(value)
