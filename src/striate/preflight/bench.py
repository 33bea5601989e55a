"""What checks work on: a settled recipe, its data, and fresh networks."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.recipe import Recipe
from striate.core.runtime import Runtime
from striate.data.decode import Pixels
from striate.data.loader import spread
from striate.tasks.task import Task
from striate.training.loop import Job, endless, seeded, update
from striate.training.materials import Materials, pictures
from striate.training.state import State
from striate.training.timing import only

SPARE_SECONDS = 60.0
"""How long one trial may train: large networks on a slow machine are then left undetermined."""


Sample = tuple[Pixels, NDArray[Any]]
"""Images uint8 (N, H, W, C) and their targets."""


@dataclass(frozen=True)
class Bench:
    """`fresh()` makes the network, optimiser and all, at step 0, the same each time.

    `decided`: knob → what "auto" became, and why. `prepared`: seconds that preparing the data took.
    """

    recipe: Recipe
    found: Materials
    job: Job
    fresh: Callable[[], State]
    decided: dict[str, dict[str, Any]]
    prepared: float

    @property
    def task(self) -> Task:
        return self.job.task

    @property
    def runtime(self) -> Runtime:
        return self.job.runtime

    @property
    def classes(self) -> int:
        return len(self.found.dataset.classes)

    def images(self, split: str, count: int, *, balanced: bool = False) -> Sample:
        """(images without augmentation, targets) of so many from all over a split."""
        targets = self.found.dataset.splits[split].targets
        several = balanced and targets.ndim == 1
        ids = one_of_each(targets, count) if several else spread(len(targets), count)
        size = self.recipe.data.image_size
        assert size != "auto"
        return pictures(self.found.stores[split], ids, size), targets[ids]

    def forward(self, net: nn.Module, images: Pixels) -> Tensor:
        """Logits, with gradients."""
        with self.runtime.autocast():
            logits: Tensor = net(self.runtime.on_device(images))
        return logits.float()

    def losses(self, logits: Tensor, targets: NDArray[Any]) -> Tensor:
        return self.task.losses(logits, self.runtime.on_device(targets))


def one_of_each(targets: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Places of so many images, classes in turn."""
    queues = [np.flatnonzero(targets == c) for c in np.unique(targets)]
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
    score, rng = 0.0, np.random.default_rng(bench.recipe.seed)
    for parameters in state.optimiser.param_groups:
        parameters["lr"] = lr * parameters["share"]
    for step in range(steps):
        ids = (
            np.arange(len(images)) if batch >= len(images) else rng.permutation(len(images))[:batch]
        )
        with seeded(bench.recipe.seed, step, bench.runtime.device):
            logits = bench.forward(net, images[ids])
        loss = bench.losses(logits, targets[ids]).mean()
        if not torch.isfinite(loss):
            return Trial(losses, 0.0, step, False)
        losses.append(loss.item())
        score = bench.task.scores(logits.detach().cpu().numpy(), targets[ids])[
            bench.task.main_score
        ]
        if until is not None and score >= until:
            return Trial(losses, score, step, False)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimiser.step()
        state.optimiser.zero_grad(set_to_none=True)
        if time.perf_counter() - began > seconds:
            return Trial(losses, score, step + 1, True)
    return Trial(losses, score, steps, False)


def recipe_steps(bench: Bench, state: State, count: int) -> Iterator[tuple[float, float, float]]:
    """(loss, gradient norm, seconds) of the first steps of the recipe, unchanged."""
    for step, batch in enumerate(itertools.islice(endless(bench.job, state), count)):
        began = time.perf_counter()
        loss, norm = update(bench.job, state, batch, bench.job.lr * bench.job.rate(step))
        state.position.step += 1
        yield loss, norm, time.perf_counter() - began


def rehearsal(job: Job) -> Job:
    """A job whose batches all have the ids of its first one; for trying loaders."""
    first = job.plan(0, None)[0]
    return replace(job, plan=partial(only, first))
