"""The job: what a training consists of, for its loop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from striate.core.arrays import Ids
from striate.core.runtime import Runtime
from striate.data.augment import Pipeline
from striate.data.batch import Batch
from striate.data.loader import Store, batches
from striate.data.targets import Targets
from striate.optim.schedules import Schedule
from striate.tasks.evaluation import Evaluation
from striate.tasks.task import Task
from striate.training.features import Features
from striate.training.monitor import Monitor
from striate.training.state import Position, State


@dataclass(frozen=True)
class Job:
    """What a training consists of, as plain functions and values; nothing in it changes.

    store, targets: the training images and what is known of them. plan(epoch, losses) → batches of
    image numbers, where `losses` are those that a sampler asked for, else None; `threads` load and
    augment ahead. validate(net) → the evaluation of the validation images. save(state) → path, at
    the end of each epoch and every `save_steps` and `save_seconds` (0: not). after_backward(net)
    clips or adds penalties; after_step(net) limits weights. features: what keeps the outputs of a
    frozen part, where there is one; the batches then hold these in place of images. A batch goes
    through the network in parts of `micro_batch` images (0: at once), whose gradients add up.
    `monitor` measures what the doctor needs; it changes nothing. late: a step is finished after the
    next one was begun, so that nothing waits for the device (see `update`).
    """

    epochs: int
    store: Store
    targets: Targets
    name: Callable[[int], str]
    plan: Callable[[int, Any], Sequence[Ids]]
    augment: Pipeline
    task: Task
    rate: Schedule
    lr: float
    seed: int
    runtime: Runtime
    validate: Callable[[nn.Module], Evaluation]
    save: Callable[[State], str]
    after_backward: Sequence[Callable[[nn.Module], None]] = ()
    after_step: Sequence[Callable[[nn.Module], None]] = ()
    patience: int = 0
    save_steps: int = 0
    save_seconds: float = 0.0
    stop: Callable[[], bool] = field(default=lambda: False)
    threads: int = 1
    steps_per_epoch: int = 1
    micro_batch: int = 0
    monitor: Monitor | None = None
    features: Features | None = None
    late: bool = False

    def batches(
        self, state: State, epoch: int, start: int, losses: Any = None
    ) -> Generator[Batch, None, None]:
        """The augmented batches of an epoch, from number `start` on."""
        plan = self.plan(epoch, losses)
        if self.features is not None:
            return self.features.batches(state.net, self.targets, plan, epoch, start)
        return batches(
            self.store, self.targets, plan, self.augment, epoch, start=start, threads=self.threads,
            runtime=self.runtime,
        )  # fmt: skip

    def watches(self, position: Position) -> bool:
        """Whether the next update is looked at: the last of an epoch that is measured."""
        due = self.monitor is not None and self.monitor.due(position.epoch, self.epochs)
        return due and position.batch == self.steps_per_epoch - 1
