"""How long will it take? Measured on a few real steps, so that `--minutes` can plan the epochs."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sized
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np

from striate.core.arrays import Ids
from striate.core.errors import counted
from striate.core.runtime import usable_cores
from striate.data.augment import views_of
from striate.training.job import Job
from striate.training.state import State
from striate.training.update import update

_STEPS = 8
_PROBE_SECONDS = 0.2


def seconds_per_epoch(job: Job, scratch: State) -> tuple[float, float]:
    """(an epoch with its validation, the validation alone), in seconds.

    `scratch` is trained for a few steps and must be thrown away.
    """
    times = []
    started = time.perf_counter()
    losses = None if scratch.losses is None else scratch.losses[0].numpy()
    for batch in islice(job.batches(scratch, 0, 0, losses), _STEPS):
        update(job, scratch, batch, 0.0)
        times.append(time.perf_counter() - started)
        started = time.perf_counter()
    if job.features:
        job.validate(scratch.net)  # what is kept of the validation images is computed once
        started = time.perf_counter()
    job.validate(scratch.net)
    validation = time.perf_counter() - started
    step = statistics.median(times[1:] or times)  # the first step also sets up its kernels
    views = max(0.0, times[0] - step) if job.features else 0.0  # a view is computed in each epoch
    return step * job.steps_per_epoch + views + validation, validation


def enough_threads(job: Job, scratch: State) -> tuple[int, str]:
    """(threads, why): enough for loading and augmenting to keep ahead of the network, at most one a
    core. Measured on one batch, or as much of it as takes a fifth of a second to learn from.
    `scratch` is trained for a few steps and must be thrown away. A GPU gets all cores: its first
    steps, in which it looks for its fastest kernels, say little of the later ones.
    """
    if job.runtime.device.type == "cuda":
        return usable_cores(), f"a GPU: {counted(usable_cores(), 'thread')} read ahead"
    losses = None if scratch.losses is None else scratch.losses[0].numpy()
    whole, count = job.plan(0, losses)[0], 8
    while True:
        short = replace(job, plan=partial(only, whole[:count]))
        started = time.perf_counter()
        batch = next(short.batches(scratch, 0, 0))
        loading = (time.perf_counter() - started) / len(batch.ids)
        started = time.perf_counter()
        update(job, scratch, batch, 0.0)
        learning = (time.perf_counter() - started) / len(batch.ids)
        if count >= len(whole) or learning * count > _PROBE_SECONDS:
            break
        count *= 4
    threads = max(1, min(usable_cores(), math.ceil(loading / learning)))
    ratio = learning / loading
    if ratio >= 1:
        speed = f"one thread reads images {ratio:.3g} times as fast as the network learns from them"
        return threads, f"{speed}: 1 thread is used"
    speed = f"the network learns {1 / ratio:.3g} times as fast as one thread reads images"
    return threads, f"{speed}: {counted(threads, 'thread')} read ahead"


def only(ids: Ids, *_: object) -> list[Ids]:
    return [ids]


def closing_seconds(validation: float, splits: Mapping[str, Sized], views: str) -> float:
    """Scoring at the end: validation and test in all their test views, and a training sample."""
    scored = (len(splits["val"]) + len(splits.get("test", ()))) / len(splits["val"])
    return validation * (scored * views_in(views) + 1)


def views_in(kind: str) -> int:
    """Forward passes an image that a kind of test views costs."""
    return len(views_of(np.zeros((1, 32, 32, 1), dtype=np.uint8), kind, 28))


def affordable_epochs(
    minutes: float, spent: float, epoch_seconds: float, closing_seconds: float
) -> int:
    """Whole epochs that fit, at least one; 5 % are kept back for the unforeseen."""
    left = 0.95 * 60 * minutes - spent - closing_seconds
    return max(1, int(left / epoch_seconds))
