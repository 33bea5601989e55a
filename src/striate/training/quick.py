"""Short trainings of small networks, for the flip test, the audit and preflight's trials."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from striate.core.runtime import Runtime
from striate.data.batch import Batch
from striate.tasks.task import Losses, Task
from striate.training.update import seeded


def learn(
    task: Task,
    net: nn.Module,
    batches: Iterable[Batch],
    rule: torch.optim.Optimizer,
    runtime: Runtime,
    *,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    seed: int | None = None,
) -> Iterator[Losses]:
    """Train on these batches, a step each, at the mean of the losses of their images.

    Yields a batch's losses before the step is made, so that a caller can end it there. seed: what
    dropout and the like follow from in each step; None: from torch's generator as it goes on.
    """
    for step, batch in enumerate(batches):
        fixed = contextlib.nullcontext() if seed is None else seeded(seed, step, runtime.device)
        with fixed:
            losses = task.losses(net, batch, runtime)
        yield losses
        rule.zero_grad()
        (losses.total / len(batch.ids)).backward()  # type: ignore[no-untyped-call]
        rule.step()
        if schedule is not None:
            schedule.step()
