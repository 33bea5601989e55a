"""What checks work on: a settled recipe, its data, and fresh networks."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import nn

from striate.core.arrays import Ids, Pixels
from striate.core.recipe import Recipe
from striate.core.runtime import Runtime
from striate.data.loader import spread, to_centre
from striate.data.targets import Targets, class_numbers
from striate.plan.data import PreparedData, pictures
from striate.plan.prepare import Prepared
from striate.plan.settled import Settled
from striate.plan.timing import only
from striate.tasks.task import Losses, Predictions, Task
from striate.training.inference import batch_of
from striate.training.job import Job
from striate.training.loop import endless
from striate.training.quick import learn as learn_quickly
from striate.training.state import State
from striate.training.update import update

SPARE_SECONDS = 60.0
"""How long one trial may train: large networks on a slow machine are then left undetermined."""


Sample = tuple[Pixels, Targets]
"""Images uint8 (N, H, W, C) and their targets."""


@dataclass(frozen=True)
class Bench:
    """`decided`: knob → what "auto" became, and why. `seconds`: that preparing the data took."""

    prepared: Prepared
    decided: dict[str, dict[str, Any]]
    seconds: float

    @property
    def recipe(self) -> Recipe:
        return self.prepared.recipe

    @property
    def settled(self) -> Settled:
        return self.prepared.settled

    @property
    def data(self) -> PreparedData:
        return self.prepared.data

    @cached_property
    def job(self) -> Job:
        return self.prepared.job()

    @property
    def task(self) -> Task:
        return self.prepared.task

    @property
    def runtime(self) -> Runtime:
        return self.prepared.runtime

    @property
    def classes(self) -> int:
        return len(self.data.dataset.classes)

    def fresh(self) -> State:
        """The network, optimiser and all, at step 0, the same each time."""
        return self.prepared.fresh()

    def images(self, split: str, count: int, *, balanced: bool = False) -> Sample:
        """`count` images from all over a split, without augmentation, and their targets."""
        targets = self.data.dataset.splits[split].targets
        numbers = class_numbers(targets) if balanced else None
        ids = spread(len(targets), count) if numbers is None else one_of_each(numbers, count)
        return self.sample(split, ids)

    def sample(self, split: str, ids: Ids) -> Sample:
        """These images without augmentation, and their targets where they are on these pixels."""
        store, size = self.data.stores[split], self.settled.image_size
        targets = self.data.dataset.splits[split].targets.take(ids)
        if targets.placed:
            targets = targets.moved(to_centre(store, ids, size), size)
        return pictures(store, ids, size), targets

    def forward(self, net: nn.Module, images: Pixels) -> Any:
        """What the network gives for images, with gradients."""
        with self.runtime.autocast():
            return net(self.runtime.on_device(images))

    def losses(self, net: nn.Module, sample: Sample) -> Losses:
        """The losses of a sample, with gradients."""
        return self.task.losses(net, batch_of(*sample), self.runtime)

    def predictions(self, net: nn.Module, images: Pixels) -> Predictions:
        """What the network says of images, in the mode that it is in."""
        with torch.no_grad():
            return self.task.read(self.forward(net, images))


def one_of_each(numbers: Ids, count: int) -> Ids:
    """Positions of `count` images, classes in turn. numbers: the class of each (N,)."""
    queues = [np.flatnonzero(numbers == c) for c in np.unique(numbers)]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*queues))
    chosen = [int(i) for i in itertools.islice((t for t in turns if t is not None), count)]
    return np.array(chosen, dtype=np.int64)


def without_regularisation(net: nn.Module) -> nn.Module:
    """The network with its dropout off."""
    for module in net.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return net


@dataclass(frozen=True)
class Trial:
    """A short training on few images: losses of its steps, and whether its time ran out."""

    losses: list[float]
    score: float
    steps: int
    out_of_time: bool


def learn(
    bench: Bench,
    state: State,
    sample: Sample,
    *,
    lr: float,
    steps: int,
    batch: int,
    until: float | None = None,
    seconds: float = SPARE_SECONDS,
) -> Trial:
    """Train a state on these images alone, at a constant rate, until its training score in training
    mode reaches `until`. A loss that is not finite ends it with score 0."""
    (images, targets), net, began = sample, state.net.train(), time.perf_counter()
    losses: list[float] = []
    score, rng = 0.0, np.random.default_rng(bench.settled.seed)
    for parameters in state.optimiser.param_groups:
        parameters["lr"] = lr * parameters["lr_scale"]
    whole = np.arange(len(images))
    chosen = [
        whole if batch >= len(images) else rng.permutation(len(images))[:batch]
        for _ in range(steps)
    ]
    parts = (batch_of(images[ids], targets.take(ids)) for ids in chosen)
    training = learn_quickly(
        bench.task, net, parts, state.optimiser, bench.runtime, seed=bench.settled.seed
    )
    for step, found in enumerate(training):
        if step and time.perf_counter() - began > seconds:
            return Trial(losses, score, step, True)
        ids = chosen[step]
        loss = found.total / len(ids)
        if not torch.isfinite(loss):
            return Trial(losses, 0.0, step, False)
        losses.append(loss.item())
        scores = bench.task.scores(bench.task.read(found.outputs), targets.take(ids))
        score = scores[bench.task.main_score]
        if until is not None and score >= until:
            return Trial(losses, score, step, False)
    return Trial(losses, score, steps, False)


def recipe_steps(bench: Bench, state: State, count: int) -> Iterator[tuple[float, float, float]]:
    """(loss, gradient norm, seconds) of the first steps of the recipe, unchanged."""
    for step, batch in enumerate(itertools.islice(endless(bench.job, state), count)):
        began = time.perf_counter()
        found = update(bench.job, state, batch, bench.job.lr * bench.job.rate(step))
        state.position.step += 1
        yield found.loss, found.norm, time.perf_counter() - began


def rehearsal(job: Job) -> Job:
    """A job whose batches all have the ids of its first one; for trying loaders."""
    first = job.plan(0, None)[0]
    return replace(job, plan=partial(only, first))
