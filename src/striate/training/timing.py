"""How long will it take? Measured on a few real steps, so that `--minutes` can plan the epochs."""

from __future__ import annotations

import statistics
import time
from itertools import islice

import numpy as np

from striate.data.augment import views_of
from striate.training.loop import Job, update
from striate.training.state import State

_STEPS = 8


def seconds_per_epoch(job: Job, scratch: State) -> tuple[float, float]:
    """(an epoch with its validation, the validation alone), in seconds.

    `scratch` is trained for a few steps and must be thrown away.
    """
    times = []
    started = time.perf_counter()
    losses = None if scratch.losses is None else scratch.losses[0].numpy()
    for batch in islice(job.batches(0, 0, losses), _STEPS):
        update(job, scratch, batch, 0.0)
        times.append(time.perf_counter() - started)
        started = time.perf_counter()
    job.validate(scratch.net)
    validation = time.perf_counter() - started
    step = statistics.median(times[1:] or times)  # the first step also sets up its kernels
    return step * job.steps_per_epoch + validation, validation


def views_in(kind: str) -> int:
    """Forward passes an image that a kind of test views costs."""
    return len(views_of(np.zeros((1, 32, 32, 1), dtype=np.uint8), kind, 28))


def affordable_epochs(
    minutes: float, spent: float, epoch_seconds: float, closing_seconds: float
) -> int:
    """Whole epochs that fit, at least one; 5 % are kept back for the unforeseen."""
    left = 0.95 * 60 * minutes - spent - closing_seconds
    return max(1, int(left / epoch_seconds))
