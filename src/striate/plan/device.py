"""Where a training runs: device, precision and compute threads."""

from __future__ import annotations

import os

import torch

from striate.core.errors import RecipeError
from striate.core.runtime import Runtime, choose_device, choose_precision, usable_cores
from striate.plan.decisions import Decisions


def settle_device(decisions: Decisions) -> Runtime:
    """Device, precision and compute threads."""
    wanted = decisions.recipe.device
    device = choose_device(wanted.device)
    if wanted.device == "auto":
        decisions.decide("device.device", device.type, "the first accelerator, else the CPU")
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    which = "cores of this process" if beside == 1 else f"cores, shared by {beside} processes"
    threads = decisions.default("device.threads", max(1, usable_cores() // beside), which)
    if threads:
        torch.set_num_threads(threads)
    if wanted.sync_norm and device.type != "cuda":
        raise RecipeError(
            f"device.sync_norm: torch synchronises batch norm on GPUs only, not on {device.type}",
            "Leave it out; each process then normalises its own images.",
        )
    precision = decisions.settle("device.precision", lambda: choose_precision(device))
    return Runtime(device, precision)
