"""From a recipe to everything that a training needs: images, network, rules, job."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from striate.core.errors import RecipeError, counted, listing
from striate.core.findings import Finding
from striate.core.randomness import permutation
from striate.core.recipe import Recipe
from striate.core.records import Note
from striate.core.runtime import Runtime, choose_device, choose_precision, usable_cores
from striate.data.augment import About, Pipeline, centre
from striate.data.cache import open_cache
from striate.data.check.copies import (
    accepted,
    copies_across,
    copy_findings,
    disputed,
    labels_differ,
    line_of,
    split_by_origin,
)
from striate.data.check.exclude import read_excluded
from striate.data.check.survey import Survey, fingerprint, sample_headers
from striate.data.dataset import Dataset, open_dataset
from striate.data.decode import Pixels, Unified
from striate.data.loader import (
    BY_LOSS,
    UNIFORM_EPOCHS,
    Ids,
    Store,
    balanced_weights,
    epoch_plan,
    loaded,
    sampled_plan,
    spread,
    steps_per_epoch,
)
from striate.data.prepare import Statistics, measure, patch_covariance, shift_and_scale
from striate.data.read import (
    Reader,
    positions_without,
    refuse_emptied,
    refuse_or_drop,
)
from striate.data.sources.options import SourceOptions
from striate.data.splits import Splitting
from striate.models.fit import bytes_per_image, check_fits, has_norm, weight_layers
from striate.models.initialise import initialise, whiten_first
from striate.models.network import Network
from striate.optim.regularise import MovingAverage, add_l1_gradient, limit_norms
from striate.optim.rules import find_rule, make_optimiser
from striate.optim.schedules import Schedule, make_schedule
from striate.tasks.classify import make_task
from striate.tasks.task import Task
from striate.training.evaluate import Logits, outputs
from striate.training.loop import Job
from striate.training.measure import Probe, sample
from striate.training.probe import flip_probe
from striate.training.resolve import (
    Decisions,
    build_network,
    settle_augmentation,
    settle_memory,
    settle_micro_batch,
    settle_shape,
    settle_training,
    store_size,
)
from striate.training.state import Position, State

_STATISTICS_IMAGES = 10_000
_LINES = 4
UNKNOWN = ""
"""The fingerprint of a split of which not all images were read (--data.check off or sample)."""
_LIKELIEST = 500
"""Pairs that are looked at for altered copies before a training; `striate data check` looks at more
and within splits too."""
_MUCH = 0.15
"""Share of the median image that the central crop may leave out without a word."""
HEADERS = 10_000
"""Images whose headers settle the input size and the number of channels."""


@dataclass(frozen=True)
class Materials:
    """The checked data set, ready to be read, and how it is read."""

    dataset: Dataset
    surveys: dict[str, Survey]
    stores: dict[str, Store]
    fingerprints: dict[str, str]
    statistics: Statistics
    findings: tuple[Finding, ...]
    whole: str = ""
    """Hash of all images of the source, those that are left out too; "" if not all were read."""

    @property
    def weights(self) -> Any:
        """Of the training images, for sampler=weighted."""
        return self.dataset.splits["train"].weights


def gather(at: Decisions, source: Any) -> Generator[Note, None, Materials]:
    """Open, survey, decode and measure the data, settling its knobs on the way.

    Raises DataError with all unusable images, and all images that are in two splits, before
    anything is trained.
    """
    dataset = open_as(at.recipe, source)
    counts = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    yield Note("info", f"{dataset.source}: {counts} images of {len(dataset.classes)} classes")
    reader, sides = _settle_reading(at, dataset)
    if lost := _cut_away(at.recipe, sides):
        yield Note("info", lost)
    read = {name: reader.read(split.images) for name, split in dataset.splits.items()}
    whole = whole_fingerprint(dataset, {n: found for n, (found, _) in read.items()})
    kept, surveys, findings = _checked(
        at.recipe, dataset, {n: found for n, (found, _) in read.items()}
    )
    stores = {
        name: reader.store(dataset.splits[name].images, pixels, kept[name], again=name != "test")
        for name, (_, pixels) in read.items()
    }
    dataset = keep(dataset, kept)
    statistics = _measure(at, stores["train"])
    prints = {
        name: fingerprint(surveys[name].contents, split.targets, name)
        if surveys[name].seen.all()
        else UNKNOWN
        for name, split in dataset.splits.items()
    }
    for finding in findings:
        level = "warning" if finding.verdict == "warn" else "info"
        yield Note(level, _brief(finding.text))
    return Materials(dataset, surveys, stores, prints, statistics, tuple(findings), whole)


def whole_fingerprint(dataset: Dataset, surveys: dict[str, Survey]) -> str:
    """Hash of every image's place in the source and content, however they are divided."""
    if not all(found.seen.all() for found in surveys.values()):
        return UNKNOWN
    rows = sorted(
        f"{dataset.own_names[name]}\0{split.images.key(i)}".encode("utf-8", "surrogatepass")
        + surveys[name].contents[i].tobytes()
        for name, split in dataset.splits.items()
        for i in range(len(split))
    )
    digest = hashlib.sha256()
    for row in rows:
        digest.update(row)
    return digest.hexdigest()


def _brief(text: str) -> str:
    """The first lines of a long list; the whole is in dataset.json."""
    lines = text.splitlines()
    if len(lines) <= _LINES:
        return text
    return "\n".join([*lines[:_LINES], "  … (`striate data check` shows more)"])


def open_as(recipe: Recipe, source: Any, *, strict: bool = True) -> Dataset:
    """The data set as the recipe divides it, without the images that it excludes; where not
    `strict`, faults of classes and groups are findings."""
    data = recipe.data
    return open_dataset(
        source,
        Splitting(
            recipe.seed, None if data.val_fraction == "auto" else data.val_fraction,
            data.test_fraction, data.group_by, data.time_by,
            data.folds, data.fold,
        ),
        options=options_of(recipe),
        weight_by=data.weight_by,
        exclude=read_excluded(data.exclude),
        allow=data.allow,
        strict=strict,
    )  # fmt: skip


def options_of(recipe: Recipe) -> SourceOptions:
    """How the recipe reads its source."""
    data = recipe.data
    return SourceOptions(
        levels=data.label_levels,
        columns=tuple(c for c in (data.group_by, data.time_by, data.weight_by) if c),
        class_level=None if data.class_level == "auto" else data.class_level,
        label_column=data.label_column,
        label_pattern=data.label_pattern,
        skip_bad=data.skip_bad,
    )


def _settle_reading(at: Decisions, dataset: Dataset) -> tuple[Reader, Any]:
    """Size, channels and place of the decoded images, from the headers of (a sample of) them."""
    data = at.recipe.data
    samples = {
        name: sample_headers(split.images, data.max_megapixels, HEADERS)
        for name, split in dataset.splits.items()
    }
    settle_shape(at, samples)
    readable = "auto" not in (at.recipe.data.image_size, at.recipe.data.channels)
    how = how_to_read(at.recipe) if readable else Unified(8, 3, "crop", data.max_megapixels)
    count = sum(len(split) for split in dataset.splits.values())
    total = count * how.size**2 * how.channels
    in_memory = settle_memory(at, total)
    cache = open_cache(None if data.cache_mb == "auto" else data.cache_mb)
    reader = Reader(how, cache, in_memory, data.check, data.allow, total)
    return reader, samples["train"][0]


def _cut_away(recipe: Recipe, sides: Any) -> str:
    """What the central crop leaves out of most images, if that is much. sides: (K, 2)."""
    if recipe.data.resize != "crop" or not len(sides):
        return ""
    share = float(np.median(1 - sides.min(axis=1) / sides.max(axis=1)))
    if share < _MUCH:
        return ""
    return (
        f"the central crop leaves out {share:.0%} of the median image; --data.resize pad keeps all "
        "of it (with black borders), --data.resize squash stretches it"
    )


def _checked(
    recipe: Recipe, dataset: Dataset, surveys: dict[str, Survey]
) -> tuple[dict[str, Ids], dict[str, Survey], list[Finding]]:
    """Positions and surveys of the images to use; refuses bad images and leakage (F7, F13)."""
    data = recipe.data
    faults = {name: found.faults for name, found in surveys.items()}
    sound, bad = refuse_or_drop(dataset, faults, skip_bad=data.skip_bad)
    drop = {name: set(found.faults) for name, found in surveys.items()}
    findings = [*dataset.findings, *([bad] if bad else [])]
    copies = []
    if data.check != "off":
        copies = copies_across(dataset, surveys, data.max_megapixels, most=_LIKELIEST)
        copies += disputed(dataset, surveys, data.max_megapixels)
    ours, copies = split_by_origin(copies, dataset.splits_from)
    findings += accepted(copy_findings(dataset, copies), "leakage" in data.allow)
    for copy in ours:
        drop[copy.second[0]].add(copy.second[1])
    torn = [copy for copy in ours if labels_differ(dataset, copy)]
    if torn:
        lines = listing([line_of(dataset, copy) for copy in torn], 5)
        text = f"{counted(len(torn), 'pair')} of equal images with different labels:\n{lines}"
        findings.append(Finding("disputed copies", "warn", text))
    kept = {n: positions_without(len(s), drop[n]) for n, s in dataset.splits.items()}
    if ours:
        refuse_emptied(sound, keep(dataset, kept), "copies")
        text = f"{len(ours):,} held-out images are pixel-identical to others and were left out"
        findings.append(Finding("copies", "note", text))
    return kept, {name: found.take(kept[name]) for name, found in surveys.items()}, findings


def keep(dataset: Dataset, kept: dict[str, Ids]) -> Dataset:
    """The data set of the images at these positions only."""
    splits = {name: split.take(kept[name]) for name, split in dataset.splits.items()}
    return replace(dataset, splits=splits)


def _measure(at: Decisions, store: Store) -> Statistics:
    """Statistics of the training images, streaming, from a sample of at most 10,000 (D1)."""
    sample = spread(len(store), _STATISTICS_IMAGES)
    plan = np.array_split(sample, max(1, len(sample) // 500))
    size = at.recipe.data.image_size
    assert size != "auto"
    return measure(centre(batch, size) for batch in loaded(store, plan, 2))


def settle_device(at: Decisions) -> Runtime:
    """Device, precision and compute threads."""
    wanted = at.recipe.device
    device = choose_device(wanted.device)
    if wanted.device == "auto":
        at.decide("device.device", device.type, "the first accelerator, else the CPU")
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    share = "cores of this process" if beside == 1 else f"cores, shared by {beside} processes"
    threads = at.default("device.threads", max(1, usable_cores() // beside), share)
    if threads:
        torch.set_num_threads(threads)
    if wanted.sync_norm and device.type != "cuda":
        raise RecipeError(
            f"device.sync_norm: torch synchronises batch norm on GPUs only, not on {device.type}",
            "Leave it out; each process then normalises its own share.",
        )
    precision = at.settle("device.precision", lambda: choose_precision(device))
    return Runtime(device, precision)


def settle_rest(at: Decisions, found: Materials, processes: int = 1) -> dict[str, float]:
    """Augmentation and training knobs; the network is tried on shapes first (refused early), those
    of the smallest share of a batch that one of the processes gets."""
    recipe, dataset = at.recipe, found.dataset
    classes, images = len(dataset.classes), len(dataset.splits["train"])
    with torch.random.fork_rng(devices=[]):
        backbone = build_network(recipe, classes)
    settle_training(
        at,
        images,
        multi_label=dataset.multi_label,
        normalised=has_norm(backbone),
        layers=weight_layers(backbone),
    )
    size, channels, batch = recipe.data.image_size, recipe.data.channels, at.recipe.optim.batch_size
    assert size != "auto" and channels != "auto" and batch != "auto"  # noqa: PT018
    present = min(batch, images)
    smallest = images // steps_per_epoch(images, present) // processes
    if not smallest:
        raise RecipeError(
            f"optim.batch_size: {batch} images a step are too few for {processes} processes",
            "The batch size is that of all processes together: give at least two each.",
        )
    check_fits(backbone, recipe.model.name, size, channels, smallest, classes)
    settle_micro_batch(at, -(-present // processes), bytes_per_image(backbone, channels, size))
    return settle_augmentation(at, lambda: _ask_probe(at, found))


def _ask_probe(at: Decisions, found: Materials) -> tuple[bool, str]:
    dataset = found.dataset
    task = task_of(at.recipe, multi_label=dataset.multi_label)
    size = at.recipe.data.image_size
    assert size != "auto"

    def some(name: str, count: int) -> tuple[Any, Any]:
        store, split = found.stores[name], dataset.splits[name]
        ids = permutation(at.recipe.seed, 0, "flip test", len(store))[:count]
        return pictures(store, ids, size), split.targets[ids]

    verdict = flip_probe(
        some("train", 3000), some("val", 1000), task, len(dataset.classes), at.recipe.seed
    )
    return verdict.flip, verdict.why


def pictures(store: Store, ids: Ids, size: int) -> Pixels:
    """These images without augmentation, cut to the input size."""
    plan = np.array_split(ids, -(-len(ids) // 500))
    return centre(np.concatenate(list(loaded(store, plan, 2))), size)


def task_of(recipe: Recipe, *, multi_label: bool) -> Task:
    """The task of a recipe whose loss is settled."""
    smoothing = recipe.loss.label_smoothing
    return make_task(
        recipe.loss.name,
        smoothing=0.0 if smoothing == "auto" else smoothing,
        multi_label=multi_label,
    )


def fresh_state(
    recipe: Recipe, classes: int, statistics: Statistics | None, runtime: Runtime, images: int = 0
) -> State:
    """Network, optimiser and average at step 0; all randomness follows from the seed.

    Without statistics the input stage is blank, to be filled from a checkpoint. `images`: how many
    there are to train on.
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
        if statistics is not None and recipe.model.whiten is True:
            whiten_first(net.backbone, patch_covariance(recipe.data.prepare, statistics))
    placed = _laid_out(net, recipe).to(runtime.device)
    knobs = {k: getattr(recipe.optim, k) for k in find_rule(recipe.optim.rule).knobs}
    assert isinstance(recipe.optim.lr, float)
    assert recipe.regularise.l2 != "auto"
    optimiser = make_optimiser(
        placed,
        recipe.optim.rule,
        lr=recipe.optim.lr,
        l2=recipe.regularise.l2,
        knobs=knobs,
        bfloat16=runtime.precision == "bfloat16",
    )
    decay = recipe.regularise.average_decay
    average = None if decay == "auto" else MovingAverage(placed, decay)
    losses = torch.ones(2, images) if recipe.data.sampler in BY_LOSS else None
    return State(placed, optimiser, average, Position(), losses)


def network_of(recipe: Recipe, classes: int, statistics: Statistics | None) -> Network:
    """Backbone behind its input stage, in float32 on the CPU."""
    size, channels = recipe.data.image_size, recipe.data.channels
    assert size != "auto" and channels != "auto"  # noqa: PT018
    if statistics is None:
        blank = np.ones(channels)
        image, pairs = np.ones((size, size, channels)), np.eye(channels)
        statistics = Statistics(blank, blank, image, pairs, np.eye(9 * channels))
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
    size = recipe.data.image_size
    micro = recipe.device.micro_batch
    assert epochs != "auto" and batch != "auto" and isinstance(lr, float)  # noqa: PT018
    assert size != "auto"
    task = task_of(recipe, multi_label=found.dataset.multi_label)
    per_epoch = steps_per_epoch(len(train), batch)
    threads = threads_of(recipe)
    augment = Pipeline(recipe.seed, strengths, about_of(size, found.statistics))

    def validate(net: nn.Module) -> tuple[dict[str, float], Logits]:
        logits, _ = outputs(net, found.stores["val"], size=size, runtime=runtime, threads=threads)
        return task.scores(logits, val.targets), logits

    return Job(
        epochs=epochs,
        store=found.stores["train"],
        targets=train.targets,
        name=train.images.name,
        plan=_planner(recipe, train.targets, found.weights, batch),
        threads=threads,
        steps_per_epoch=per_epoch,
        augment=augment,
        task=task,
        rate=schedule_of(recipe, epochs * per_epoch, per_epoch),
        lr=lr,
        seed=recipe.seed,
        runtime=runtime,
        validate=validate,
        save=save,
        after_backward=_after_backward(recipe),
        after_step=_after_step(recipe),
        patience=recipe.regularise.patience,
        micro_batch=0 if micro == "auto" else micro,
        save_steps=recipe.checkpoints.every_steps,
        save_seconds=60 * recipe.checkpoints.every_minutes,
        stop=stop,
        probe=_probe(recipe, found, task, runtime, augment) if recipe.doctor.measure else None,
    )


def _probe(
    recipe: Recipe, found: Materials, task: Task, runtime: Runtime, augment: Pipeline
) -> Probe:
    """What is measured for the doctor, on which images."""
    train, size = found.dataset.splits["train"], recipe.data.image_size
    assert size != "auto"
    assert recipe.optim.batch_size != "auto"
    ids, last_ids, every = sample(len(train), recipe.seed)
    return Probe(
        store=found.stores["train"],
        train=train,
        val_store=found.stores["val"],
        val=found.dataset.splits["val"],
        task=task,
        loss=recipe.loss.name,
        size=size,
        runtime=runtime,
        batch=min(recipe.optim.batch_size, len(train)) // runtime.group.size,
        threads=threads_of(recipe),
        ids=ids,
        last_ids=last_ids,
        every=every,
        class_images=np.array(found.dataset.counts("train"), dtype=np.int64),
        augment=augment,
    )


def schedule_of(recipe: Recipe, total: int, per_epoch: float) -> Schedule:
    """The recipe's schedule over so many steps."""
    schedule = recipe.schedule
    assert schedule.warmup != "auto"
    return make_schedule(
        schedule.name,
        total=total,
        per_epoch=per_epoch,
        warmup=schedule.warmup,
        gamma=schedule.gamma,
        step_epochs=schedule.step_epochs,
    )


def threads_of(recipe: Recipe) -> int:
    """Threads that load and augment ahead."""
    return 1 if recipe.data.workers == "auto" else recipe.data.workers


def about_of(size: int, found: Statistics) -> About:
    """What augmentations know of the training images."""
    return About(size, found.mean, found.colour_basis)


def _planner(recipe: Recipe, targets: Any, weights: Any, batch: int) -> Callable[[int, Any], Any]:
    """(epoch, losses) → the batches of the chosen sampler."""
    kind, seed = recipe.data.sampler, recipe.seed
    count = len(targets)
    if kind == "uniform":
        return lambda epoch, _: epoch_plan(count, batch, seed, epoch)
    if kind in BY_LOSS:
        return lambda epoch, losses: (
            epoch_plan(count, batch, seed, epoch)
            if epoch < UNIFORM_EPOCHS
            else sampled_plan(BY_LOSS[kind](losses), batch, seed, epoch)
        )
    fixed = balanced_weights(targets) if kind == "balanced" else weights
    return lambda epoch, _: sampled_plan(fixed, batch, seed, epoch)


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
