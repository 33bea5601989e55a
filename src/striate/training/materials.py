"""From a recipe to everything that a training needs: images, network, rules, job."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from striate.core.findings import Finding
from striate.core.recipe import Recipe
from striate.core.records import Note
from striate.core.runtime import Runtime, choose_device, choose_precision, usable_cores
from striate.data.augment import centre, pipeline
from striate.data.check import (
    Survey,
    Unified,
    decode_all,
    fingerprint,
    refuse_or_drop,
    survey,
    survey_without,
)
from striate.data.dataset import Dataset, open_dataset
from striate.data.loader import (
    Store,
    epoch_plan,
    steps_per_epoch,
    store_of,
)
from striate.data.prepare import Statistics, measure, shift_and_scale
from striate.models.fit import check_fits, has_norm
from striate.models.initialise import initialise
from striate.models.network import Network
from striate.optim.regularise import MovingAverage, add_l1_gradient, limit_norms
from striate.optim.rules import find_rule, make_optimiser
from striate.optim.schedules import make_schedule
from striate.tasks.classify import make_task
from striate.tasks.task import Task
from striate.training.evaluate import outputs
from striate.training.loop import Job
from striate.training.probe import flip_probe
from striate.training.resolve import (
    Decisions,
    build_network,
    settle_augmentation,
    settle_memory,
    settle_shape,
    settle_training,
    store_size,
)
from striate.training.state import Position, State

_STATISTICS_IMAGES = 10_000


@dataclass(frozen=True)
class Materials:
    """The checked data set, ready to be read, and how it is read."""

    dataset: Dataset
    surveys: dict[str, Survey]
    stores: dict[str, Store]
    fingerprints: dict[str, str]
    statistics: Statistics
    findings: tuple[Finding, ...]


def gather(at: Decisions, source: Any) -> Generator[Note, None, Materials]:
    """Open, survey, decode and measure the data, settling its knobs on the way.

    Raises DataError with all unusable images before anything is trained.
    """
    data = at.recipe.data
    dataset = open_dataset(
        source,
        seed=at.recipe.seed,
        val_fraction=data.val_fraction,
        test_fraction=data.test_fraction,
        label_levels=data.label_levels,
    )
    counts = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    yield Note("info", f"{dataset.source}: {counts} images of {len(dataset.classes)} classes")
    surveys = {
        n: survey(s.images, data.max_megapixels, data.allow) for n, s in dataset.splits.items()
    }
    settle_shape(at, surveys)
    dataset, surveys, stores, bad = _read(at, dataset, surveys)
    sample = np.unique(
        np.linspace(0, len(stores["train"]) - 1, _STATISTICS_IMAGES).astype(np.int64)
    )
    plan = np.array_split(sample, max(1, len(sample) // 500))
    size = at.recipe.data.image_size
    assert size != "auto"
    statistics = measure(centre(batch, size) for batch in stores["train"].batches(plan))
    prints = {
        n: fingerprint(replace(dataset, splits={n: dataset.splits[n]}), surveys) for n in surveys
    }
    findings = (*dataset.findings, *([bad] if bad else []))
    for finding in findings:
        level = "warning" if finding.verdict == "warn" else "info"
        yield Note(level, finding.text)
    return Materials(dataset, surveys, stores, prints, statistics, findings)


def _read(
    at: Decisions, dataset: Dataset, surveys: dict[str, Survey]
) -> tuple[Dataset, dict[str, Survey], dict[str, Store], Finding | None]:
    """Decode every image once, into memory if all fit; drop or refuse the bad ones."""
    data = at.recipe.data
    if "auto" in (data.image_size, data.channels):  # no header could be read
        refuse_or_drop(dataset, {n: s.faults for n, s in surveys.items()}, skip_bad=False)
    how = how_to_read(at.recipe)
    count = sum(len(split) for split in dataset.splits.values())
    keep = settle_memory(at, count * how.size**2 * how.channels)
    pixels, faults = {}, {}
    for name, split in dataset.splits.items():
        pixels[name], faults[name] = decode_all(split.images, how, surveys[name].faults, keep=keep)
    kept, finding = refuse_or_drop(dataset, faults, skip_bad=data.skip_bad)
    surveys = {n: survey_without(s, faults[n]) for n, s in surveys.items()}
    workers = at.recipe.data.workers
    assert workers != "auto"
    stores = {
        name: store_of(split.images, how, pixels[name], faults[name], workers)
        for name, split in kept.splits.items()
    }
    return kept, surveys, stores, finding


def settle_device(at: Decisions) -> Runtime:
    """Device, precision and compute threads."""
    wanted = at.recipe.device
    device = choose_device(wanted.device)
    if wanted.device == "auto":
        at.decide("device.device", str(device), "the first accelerator, else the CPU")
    threads = at.settle("device.threads", lambda: (usable_cores(), "cores of this process"))
    if threads:
        torch.set_num_threads(threads)
    precision = at.settle("device.precision", lambda: choose_precision(device))
    return Runtime(device, precision)


def settle_rest(at: Decisions, found: Materials) -> dict[str, float]:
    """Augmentation and training knobs; the network is tried on shapes first (refused early)."""
    recipe, dataset = at.recipe, found.dataset
    classes, images = len(dataset.classes), len(dataset.splits["train"])
    with torch.random.fork_rng(devices=[]):
        backbone = build_network(recipe, classes)
    settle_training(at, images, multi_label=dataset.multi_label, normalised=has_norm(backbone))
    size, channels, batch = recipe.data.image_size, recipe.data.channels, at.recipe.optim.batch_size
    assert size != "auto" and channels != "auto" and batch != "auto"  # noqa: PT018
    smallest = images // steps_per_epoch(images, batch)
    check_fits(backbone, recipe.model.name, size, channels, smallest, classes)
    return settle_augmentation(at, lambda: _ask_probe(at, found))


def _ask_probe(at: Decisions, found: Materials) -> tuple[bool, str]:
    dataset = found.dataset
    task = task_of(at.recipe, multi_label=dataset.multi_label)
    size = at.recipe.data.image_size
    assert size != "auto"

    def some(name: str, count: int) -> tuple[Any, Any]:
        store, split = found.stores[name], dataset.splits[name]
        ids = np.unique(np.linspace(0, len(store) - 1, count).astype(np.int64))
        images = np.concatenate(list(store.batches(np.array_split(ids, -(-len(ids) // 500)))))
        return centre(images, size), split.targets[ids]

    verdict = flip_probe(
        some("train", 3000), some("val", 1000), task, len(dataset.classes), at.recipe.seed
    )
    return verdict.flip, verdict.why


def task_of(recipe: Recipe, *, multi_label: bool) -> Task:
    """The task of a recipe whose loss is settled."""
    smoothing = recipe.loss.label_smoothing
    return make_task(
        recipe.loss.name,
        smoothing=0.0 if smoothing == "auto" else smoothing,
        multi_label=multi_label,
    )


def fresh_state(
    recipe: Recipe, classes: int, statistics: Statistics | None, runtime: Runtime
) -> State:
    """Network, optimiser and average at step 0; all randomness follows from the seed.

    Without statistics the input stage is blank, to be filled from a checkpoint.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = network_of(recipe, classes, statistics)
        bias = recipe.model.bias
        std = recipe.model.init_std
        initialise(
            net,
            recipe.model.initialiser,
            0.001 if std == "auto" else std,
            None if bias == "auto" else bias,
        )
    placed = _laid_out(net, recipe).to(runtime.device)
    knobs = {k: getattr(recipe.optim, k) for k in find_rule(recipe.optim.rule).knobs}
    assert recipe.optim.lr != "auto"
    assert recipe.regularise.l2 != "auto"
    optimiser = make_optimiser(
        placed, recipe.optim.rule, lr=recipe.optim.lr, l2=recipe.regularise.l2, knobs=knobs
    )
    decay = recipe.regularise.average_decay
    average = None if decay == "auto" else MovingAverage(placed, decay)
    return State(placed, optimiser, average, Position())


def network_of(recipe: Recipe, classes: int, statistics: Statistics | None) -> Network:
    """Backbone behind its input stage, in float32 on the CPU."""
    size, channels = recipe.data.image_size, recipe.data.channels
    assert size != "auto" and channels != "auto"  # noqa: PT018
    if statistics is None:
        blank = np.ones(channels)
        statistics = Statistics(blank, blank, np.ones((size, size, channels)))
    shift, scale = shift_and_scale(recipe.data.prepare, statistics)
    backbone = build_network(recipe, classes)
    return Network(
        backbone,
        torch.from_numpy(shift),
        torch.from_numpy(scale),
        channels_last=recipe.device.channels_last,
    )


def _laid_out(net: nn.Module, recipe: Recipe) -> nn.Module:
    if recipe.device.channels_last:
        return net.to(memory_format=torch.channels_last)
    return net


def make_job(
    recipe: Recipe,
    found: Materials,
    strengths: dict[str, float],
    runtime: Runtime,
    save: Callable[[State], str],
    stop: Callable[[], bool],
) -> Job:
    """The plain functions and values that the loop works with."""
    train, val = found.dataset.splits["train"], found.dataset.splits["val"]
    epochs, batch, lr = recipe.budget.epochs, recipe.optim.batch_size, recipe.optim.lr
    size, warmup = recipe.data.image_size, recipe.schedule.warmup
    assert epochs != "auto" and batch != "auto" and lr != "auto"  # noqa: PT018
    assert size != "auto" and warmup != "auto"  # noqa: PT018
    task = task_of(recipe, multi_label=found.dataset.multi_label)
    per_epoch = steps_per_epoch(len(train), batch)

    def validate(net: nn.Module) -> dict[str, float]:
        logits, _ = outputs(net, found.stores["val"], size=size, runtime=runtime)
        return task.scores(logits, val.targets)

    return Job(
        epochs=epochs,
        store=found.stores["train"],
        targets=train.targets,
        name=train.images.name,
        plan=partial(_plan, len(train), batch, recipe.seed),
        augment=pipeline(recipe.seed, strengths, found.statistics.mean, size),
        task=task,
        rate=make_schedule(
            recipe.schedule.name,
            total=epochs * per_epoch,
            per_epoch=per_epoch,
            warmup=warmup,
            gamma=recipe.schedule.gamma,
            step_epochs=recipe.schedule.step_epochs,
        ),
        lr=lr,
        seed=recipe.seed,
        runtime=runtime,
        validate=validate,
        save=save,
        after_backward=_after_backward(recipe),
        after_step=_after_step(recipe),
        patience=recipe.regularise.patience,
        stop=stop,
    )


def _plan(count: int, batch: int, seed: int, epoch: int) -> Any:
    return epoch_plan(count, batch, seed, epoch)


def _after_backward(recipe: Recipe) -> list[Callable[[nn.Module], None]]:
    acts: list[Callable[[nn.Module], None]] = []
    if recipe.regularise.l1:
        acts.append(partial(add_l1_gradient, strength=recipe.regularise.l1))
    if recipe.optim.clip_norm:
        limit = recipe.optim.clip_norm
        acts.append(lambda net: _clip(net, limit))
    return acts


def _clip(net: nn.Module, limit: float) -> None:
    torch.nn.utils.clip_grad_norm_(net.parameters(), limit)


def _after_step(recipe: Recipe) -> list[Callable[[nn.Module], None]]:
    longest = recipe.regularise.max_norm
    return [partial(limit_norms, longest=longest)] if longest else []


def how_to_read(recipe: Recipe) -> Unified:
    """How a settled recipe makes all images the same shape."""
    data = recipe.data
    assert data.channels != "auto"
    return Unified(store_size(recipe), data.channels, data.resize, data.max_megapixels)
