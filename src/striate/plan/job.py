"""The job: the plain functions and values that the training loop works with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from striate.core.runtime import Runtime
from striate.data.augment import About, Pipeline
from striate.data.loader import (
    BY_LOSS,
    UNIFORM_EPOCHS,
    epoch_plan,
    sampled_plan,
    steps_per_epoch,
)
from striate.data.prepare import Statistics
from striate.data.targets import Targets
from striate.models.frozen import Tail, frozen_modules
from striate.models.stages import stages_of
from striate.optim.regularise import add_l1_gradient, limit_norms
from striate.optim.schedules import Schedule, make_schedule
from striate.plan.data import PreparedData
from striate.plan.network import bare_network
from striate.plan.settled import Settled
from striate.tasks.evaluation import Evaluation
from striate.tasks.task import Task
from striate.training.features import Features, Kept
from striate.training.inference import Pass, evaluate
from striate.training.job import Job
from striate.training.monitor import Monitor, sample
from striate.training.state import State


def make_job(
    settled: Settled,
    task: Task,
    data: PreparedData,
    runtime: Runtime,
    save: Callable[[State], str],
    stop: Callable[[], bool],
    kept: dict[str, Kept] | None = None,
) -> Job:
    """The job of a training on prepared data. kept: what frozen parts gave before."""
    train, val = data.dataset.splits["train"], data.dataset.splits["val"]
    per_epoch = steps_per_epoch(len(train), settled.batch_size)
    augment = Pipeline(
        settled.seed, settled.strengths, about_of(settled.image_size, data.statistics)
    )
    scored = data.scored("val")
    single_view = Pass(settled.image_size, runtime, threads=settled.threads)

    features = _features(settled, task, data, runtime, augment, {} if kept is None else kept)

    def validate(net: nn.Module) -> Evaluation:
        if features is None:
            return evaluate(task, net, data.stores["val"], val.targets, scored, single_view)
        rest, kept = Tail(net, features.frozen), features.validation(net)  # type: ignore[arg-type]
        return evaluate(task, rest, kept, val.targets, scored, single_view)  # type: ignore[arg-type]

    return Job(
        epochs=settled.epochs,
        store=data.stores["train"],
        targets=train.targets,
        name=train.images.name,
        plan=_planner(settled, train.targets, train.weights),
        threads=settled.threads,
        steps_per_epoch=per_epoch,
        augment=augment,
        task=task,
        rate=schedule_of(settled, settled.epochs * per_epoch, per_epoch),
        lr=settled.lr,
        seed=settled.seed,
        runtime=runtime,
        validate=validate,
        save=save,
        after_backward=_after_backward(settled),
        after_step=_after_step(settled),
        patience=settled.patience,
        micro_batch=settled.micro_batch,
        save_steps=settled.save_steps,
        save_seconds=60 * settled.save_minutes,
        features=features,
        late=runtime.device.type == "cuda",
        stop=stop,
        monitor=_monitor(settled, task, data, runtime, augment) if settled.measure else None,
    )


def _features(
    settled: Settled,
    task: Task,
    data: PreparedData,
    runtime: Runtime,
    augment: Pipeline,
    kept: dict[str, Kept],
) -> Features | None:
    """What keeps the outputs of the frozen part, where there is one and they are kept."""
    if not settled.kept_views:
        return None
    shape = settled.architecture
    with torch.random.fork_rng(devices=[]):
        backbone = bare_network(shape, task, len(data.dataset.classes))
    stages = stages_of(backbone, shape.channels, shape.image_size)
    return Features(
        frozen=frozen_modules(backbone, stages, settled.stages_frozen(len(stages) - 1)),
        views=settled.kept_views,
        train=data.stores["train"],
        val=data.stores["val"],
        augment=augment,
        size=settled.image_size,
        runtime=runtime,
        threads=settled.threads,
        kept=kept,
    )


def schedule_of(settled: Settled, total: int, per_epoch: float) -> Schedule:
    """The schedule over `total` steps."""
    return make_schedule(
        settled.schedule,
        total=total,
        per_epoch=per_epoch,
        warmup=settled.warmup,
        gamma=settled.gamma,
        step_epochs=settled.step_epochs,
    )


def about_of(size: int, statistics: Statistics) -> About:
    """What augmentations know of the training images; size: of the network's input in pixels."""
    return About(size, statistics.mean, statistics.colour_basis)


def _monitor(
    settled: Settled, task: Task, data: PreparedData, runtime: Runtime, augment: Pipeline
) -> Monitor:
    """What is measured for the doctor, on which images."""
    train = data.dataset.splits["train"]
    ids, last_ids, every = sample(len(train), settled.seed)
    return Monitor(
        store=data.stores["train"],
        train=train,
        val_store=data.stores["val"],
        val=data.dataset.splits["val"],
        task=task,
        size=settled.image_size,
        runtime=runtime,
        batch=min(settled.batch_size, len(train)) // runtime.group.size,
        threads=settled.threads,
        ids=ids,
        last_ids=last_ids,
        every=every,
        class_images=np.array(data.dataset.counts("train"), dtype=np.int64),
        augment=augment,
    )


def _planner(settled: Settled, targets: Targets, weights: Any) -> Callable[[int, Any], Any]:
    """(epoch, losses) → the batches of the chosen sampler."""
    kind, seed, batch, count = settled.sampler, settled.seed, settled.batch_size, len(targets)
    if kind == "uniform":
        return lambda epoch, _: epoch_plan(count, batch, seed, epoch)
    if kind in BY_LOSS:
        return lambda epoch, losses: (
            epoch_plan(count, batch, seed, epoch)
            if epoch < UNIFORM_EPOCHS
            else sampled_plan(BY_LOSS[kind](losses), batch, seed, epoch)
        )
    fixed = targets.balanced() if kind == "balanced" else weights
    return lambda epoch, _: sampled_plan(fixed, batch, seed, epoch)


def _after_backward(settled: Settled) -> list[Callable[[nn.Module], None]]:
    acts: list[Callable[[nn.Module], None]] = []
    if settled.l1:
        acts.append(partial(add_l1_gradient, strength=settled.l1))
    if settled.clip_norm:
        acts.append(partial(_clip, limit=settled.clip_norm))
    return acts


def _clip(net: nn.Module, limit: float) -> None:
    torch.nn.utils.clip_grad_norm_(net.parameters(), limit)


def _after_step(settled: Settled) -> list[Callable[[nn.Module], None]]:
    longest = settled.max_norm
    return [partial(limit_norms, longest=longest)] if longest else []
