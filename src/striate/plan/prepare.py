"""Preparing a training: the data checked, every "auto" decided, the network tried out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from striate.core import recipe_io
from striate.core.boxes import sides_of
from striate.core.errors import DataError, RecipeError
from striate.core.group import Group
from striate.core.randomness import permutation
from striate.core.recipe import Recipe
from striate.core.records import Note, Record
from striate.core.runtime import Runtime, keep_pages, usable_cores
from striate.core.words import clock
from striate.data.boxes import Boxes
from striate.data.loader import steps_per_epoch
from striate.models.detectors.detector import Detector
from striate.models.fit import bytes_per_image, check_fits, has_norm, weight_layers
from striate.models.network import Network
from striate.optim.schedules import Schedule
from striate.plan import start_test
from striate.plan.auto import (
    KEPT_VIEWS,
    settle_augmentation,
    settle_loss,
    settle_micro_batch,
    settle_network,
    settle_schedule,
    settle_shape,
    settle_training,
    settle_transfer,
    settle_views,
    settle_weights,
)
from striate.plan.data import PreparedData, open_data, pictures, read_data
from striate.plan.decisions import Decisions
from striate.plan.device import settle_device
from striate.plan.flip_test import flip_test
from striate.plan.head import fit_head
from striate.plan.job import make_job, schedule_of
from striate.plan.network import bare_network, check_freeze, fresh_state
from striate.plan.placed import VIEWS, refuse_unplaced, settle_placed
from striate.plan.rate_test import RateTest, Tried, trial_steps
from striate.plan.rate_test import search as search_rate
from striate.plan.refuse import check_used
from striate.plan.settled import Settled, architecture_of, known, settled_of, task_of
from striate.plan.start import first_look, kept_bytes, worth_in_words
from striate.plan.timing import (
    affordable_epochs,
    closing_seconds,
    enough_threads,
    seconds_per_epoch,
)
from striate.plan.weights import Start, Weights, wanted_weights
from striate.tasks import entry_of
from striate.tasks.task import Task
from striate.training.job import Job
from striate.training.log import drained
from striate.training.state import State

Stop = Callable[[], bool]
REGIME_KNOBS = ("optim.backbone_rate", "model.freeze_norm")
IN_MEMORY = "arrays in memory"
"""The source that a recipe names where the data were Python objects."""
_FLIP_IMAGES = {"train": 3000, "val": 1000}


@dataclass(frozen=True)
class Prepared:
    """A settled recipe with its data and device: everything that a training starts from."""

    recipe: Recipe
    data: PreparedData
    runtime: Runtime
    start: Start | None = None
    """The weights that the network starts from; None where it starts anew or goes on."""

    @cached_property
    def settled(self) -> Settled:
        """The recipe as plain values."""
        return settled_of(self.recipe)

    @cached_property
    def task(self) -> Task:
        return task_of(self.recipe, self.data.dataset.kind)

    def fresh(self) -> State:
        """Network and optimiser at step 0, the same each time."""
        dataset = self.data.dataset
        return fresh_state(
            self.settled, self.task, len(dataset.classes), self.data.statistics, self.runtime,
            len(dataset.splits["train"]), begin=self._begin,
        )  # fmt: skip

    def _begin(self, net: Network) -> None:
        """Load the weights that the network starts from, if any, and start its head."""
        start, settled = self.start, self.settled
        if isinstance(net.backbone, Detector):
            net.backbone.fit(self.sides())
        if start is None:
            return
        start.load(net, settled.image_size, settled.channels)
        if not settled.probed_head or not start.matching.new_head:
            return
        shape = settled.architecture
        if not start.load_head((shape, settled.loss, self.runtime.precision), net):
            fit_head(net, self.task, self.data, shape, self.runtime)

    def sides(self) -> NDArray[np.float64]:
        """Widths and heights (M, 2) of the training's objects in pixels of the network's input."""
        train, size = self.data.dataset.splits["train"].targets, self.settled.image_size
        store = self.data.stores["train"]
        placed = store.matrices(np.arange(len(store), dtype=np.int64))
        moved = train.moved(placed, self.settled.stored_size)
        assert isinstance(moved, Boxes)
        return sides_of(moved.places[moved.sure]) * (size / self.settled.stored_size)

    def job(self, save: Callable[[State], str] = lambda _: "", stop: Stop = lambda: False) -> Job:
        """The job of the training; by default one that saves nothing, for trials."""
        kept = None if self.start is None else self.start.kept
        return make_job(self.settled, self.task, self.data, self.runtime, save, stop, kept)

    def with_recipe(self, recipe: Recipe) -> Prepared:
        """The same data and device under another settled recipe."""
        return replace(self, recipe=recipe)


def requested(data: Any, recipe: Recipe | str | Path | None, knobs: dict[str, Any]) -> Recipe:
    """The recipe that data, a recipe or its file, and single knobs amount to."""
    base = recipe_io.load_recipe(recipe) if isinstance(recipe, str | Path) else recipe or Recipe()
    if data is not None:
        named = isinstance(data, str | Path)
        knobs = {"data.source": str(data) if named else IN_MEMORY, **knobs}
    return recipe_io.with_overrides(base, knobs)


def source_of(data: Any, recipe: Recipe) -> Any:
    """What to open: the Python objects that were given, else what the recipe names. Raises
    DataError where it names objects that it was used on once."""
    if data is None and recipe.data.source == IN_MEMORY:
        raise DataError("this recipe was used on Python objects", "Give the data to train on.")
    return recipe.data.source if data is None or isinstance(data, str | Path) else data


def settle(source: Any, recipe: Recipe) -> Generator[Record, None, Recipe]:
    """The recipe as a training on this data would use it, every "auto" decided."""
    check_used(recipe)
    prepared, _ = yield from prepare(recipe, source, time.perf_counter())
    return prepared.recipe


def prepare(
    wanted: Recipe, source: Any, began: float, processes: int = 1, *, begun: bool = False
) -> Generator[Record, None, tuple[Prepared, Decisions]]:
    """Check the data, settle every "auto", try the network out. Writes nothing.

    begun: the training goes on from a checkpoint, so the weights that it started from are not
    needed any more.
    """
    keep_pages()
    finding = wanted.optim.lr == "find"
    decisions = Decisions(recipe_io.set_knob(wanted, "optim.lr", "auto") if finding else wanted)
    weights = None if begun else wanted_weights(wanted)
    dataset, headers = yield from open_data(decisions, source)
    if hint := settle_weights(decisions, headers, len(dataset.splits["train"])):
        yield Note("info", hint)
    check_used(decisions.recipe)
    if not begun and weights is None:
        weights = wanted_weights(decisions.recipe)
    card = None if weights is None else weights.card
    if dataset.splits["train"].targets.placed:
        settle_placed(decisions, headers, card, dataset.splits["train"].targets)
    else:
        refuse_unplaced(decisions.recipe)
    settle_network(decisions, card)
    settle_shape(decisions, headers, card)
    data = yield from read_data(decisions, dataset, headers)
    runtime = settle_device(decisions)
    start = _settle_rest(decisions, data, processes, weights, runtime)
    if start is not None:
        yield Note("info", start.matching.summary(start.weights.card.name))
        if start.score is not None:
            yield Note(
                "info", worth_in_words(start, task_of(decisions.recipe, dataset.kind).main_score)
            )
        if decisions.recipe.model.kept_views:
            why = "the frozen part's images are read ahead"
            decisions.default("data.workers", usable_cores(), why)
        yield from _settle_regime(decisions, Prepared(decisions.recipe, data, runtime, start))
    if decisions.recipe.budget.minutes is not None:
        yield from _fit_time(decisions, Prepared(decisions.recipe, data, runtime, start), began)
        settle_augmentation(decisions, lambda: (False, "settled before"))
    prepared = Prepared(decisions.recipe, data, runtime, start)
    if decisions.recipe.data.workers == "auto":
        decisions.decide("data.workers", *enough_threads(prepared.job(), prepared.fresh()))
        yield Note("info", decisions.made["data.workers"]["why"])
        prepared = prepared.with_recipe(decisions.recipe)
    if finding:
        rate = yield from rate_for(prepared)
        decisions.decide("optim.lr", rate.lr, rate.why)
        prepared = prepared.with_recipe(decisions.recipe)
    if decisions.made:
        yield Note("info", _in_words(decisions))
    return prepared, decisions


def _settle_regime(decisions: Decisions, prepared: Prepared) -> Generator[Record, None, None]:
    """How the weights change, by two short trainings where nothing of it is given."""
    recipe, (rate, norm) = decisions.recipe, REGIME_KNOBS
    given = [knob for knob in REGIME_KNOBS if recipe_io.get_knob(recipe, knob) != "auto"]
    if given or recipe.model.freeze == "backbone":
        decisions.default(norm, True, "small batches would blur the averages")
        decisions.default(rate, 0.1, "about a tenth (M3)")
        return
    prepared = _rehearsal(prepared)
    settled, job = prepared.settled, prepared.job()

    def fresh(knobs: Mapping[str, Any]) -> State:
        return prepared.with_recipe(recipe_io.with_overrides(prepared.recipe, knobs)).fresh()

    def shorter(steps: int) -> Schedule:
        return schedule_of(settled, steps, steps / job.epochs)

    name, why = start_test.regime(job, fresh, shorter)
    for knob, value in start_test.REGIMES[name].items():
        decisions.default(knob, value, f"{name}: {why}")
    yield Note("info", f"the weights change {name}: {why}")


def _rehearsal(prepared: Prepared) -> Prepared:
    """The same with an epoch where their number is not known yet (--minutes)."""
    if prepared.recipe.budget.epochs != "auto":
        return prepared
    trial = Decisions(prepared.recipe)
    trial.decide("budget.epochs", 1, "")
    settle_schedule(trial)
    return prepared.with_recipe(trial.recipe)


def prepare_together(
    group: Group, wanted: Recipe, source: Any, began: float, *, begun: bool = False
) -> Generator[Record, None, tuple[Prepared, Decisions]]:
    """Rank 0 prepares and decides; the others then do the same with everything settled, and find
    decoded images in the cache."""
    if group.size == 1:
        return (yield from prepare(wanted, source, began, begun=begun))
    if group.is_main:
        try:
            prepared, decisions = yield from prepare(wanted, source, began, group.size, begun=begun)
        except BaseException:
            group.tell_failure()
            raise
        group.decide_on_main(lambda: decisions.made)
    else:
        made: dict[str, Any] = group.decide_on_main(dict)
        settled = recipe_io.with_overrides(
            recipe_io.set_knob(wanted, "budget.minutes", None),
            {k: v["value"] for k, v in made.items() if k != "device.device"},
        )
        prepared, decisions = drained(prepare(settled, source, began, group.size, begun=begun))
    start = prepared.start and replace(prepared.start, kept={})  # all processes keep a share
    runtime = replace(prepared.runtime, group=group)
    return replace(prepared, runtime=runtime, start=start), decisions


def rate_for(prepared: Prepared) -> Generator[Record, None, RateTest]:
    """Measure which learning rate suits; `prepared` has the usual one."""
    settled, job = prepared.settled, prepared.job()

    def shorter(steps: int) -> Schedule:
        return schedule_of(settled, steps, steps / job.epochs)

    def seeded(repeat: int) -> State:
        recipe = replace(prepared.recipe, seed=settled.seed + repeat)
        return prepared.with_recipe(recipe).fresh()

    steps = trial_steps(job.epochs * job.steps_per_epoch)
    for found in search_rate(job, seeded, settled.lr, shorter, steps):
        if isinstance(found, RateTest):
            return found
        if isinstance(found, Tried):
            yield Note("info", f"rate {found.lr:<8.2g} {job.task.main_score} {found.score:.4f}")
    raise AssertionError("unreachable")


def _settle_rest(
    decisions: Decisions,
    data: PreparedData,
    processes: int,
    weights: Weights | None,
    runtime: Runtime,
) -> Start | None:
    """Training and augmentation knobs; the network is tried first (refused early), with part or all
    of the smallest share of a batch that one of the processes gets. Returns the weights with their
    mapping onto the network."""
    dataset = data.dataset
    train, classes = dataset.splits["train"], len(dataset.classes)
    settle_loss(decisions, train.targets)
    wanted = architecture_of(decisions.recipe)
    with torch.random.fork_rng(devices=[]):
        backbone = bare_network(wanted, task_of(decisions.recipe, dataset.kind), classes)
    start = None
    if weights is not None:
        allow = decisions.recipe.data.allow
        start = Start(weights, weights.matched(backbone, dataset.classes, allow))
        check_freeze(wanted, backbone, decisions.recipe.model.freeze)
        settle_transfer(decisions, *first_look(decisions, start, backbone, data, runtime))
    settle_training(
        decisions,
        len(train),
        normalised=has_norm(backbone),
        layers=weight_layers(backbone),
        per_image=entry_of(dataset.kind).per_image,
    )
    task = task_of(decisions.recipe, dataset.kind)
    batch = known(decisions.recipe.optim.batch_size, "optim.batch_size")
    present = min(batch, len(train))
    smallest = len(train) // steps_per_epoch(len(train), present) // processes
    if not smallest:
        raise RecipeError(
            f"optim.batch_size: {batch} images a step are too few for {processes} processes",
            "The batch size is that of all processes together: give at least two each.",
        )
    size, channels = wanted.image_size, wanted.channels
    expected = task.output_shape(smallest, classes)
    check_fits(backbone, wanted.name, size, channels, smallest, expected)
    each = bytes_per_image(backbone, channels, size)
    settle_micro_batch(decisions, -(-present // processes), each)
    scored = sum(len(split) for name, split in dataset.splits.items() if name != "train")
    settle_augmentation(decisions, lambda: _may_flip(decisions, data, task), scored)
    if start is not None:
        images = sum(len(dataset.splits[name]) for name in ("train", "val"))
        most = VIEWS if train.targets.placed else KEPT_VIEWS
        settle_views(decisions, images, kept_bytes(decisions, backbone), most)
    return start


def _may_flip(decisions: Decisions, data: PreparedData, task: Task) -> tuple[bool, str]:
    seed = decisions.recipe.seed
    size = known(decisions.recipe.data.image_size, "data.image_size")

    def some(name: str) -> tuple[Any, Any]:
        store, targets = data.stores[name], data.dataset.splits[name].targets
        ids = permutation(seed, 0, "flip test", len(store))[: _FLIP_IMAGES[name]]
        return pictures(store, ids, size), targets.take(np.asarray(ids))

    verdict = flip_test(some("train"), some("val"), task, len(data.dataset.classes), seed)
    return verdict.flip, verdict.why


def _fit_time(
    decisions: Decisions, prepared: Prepared, began: float
) -> Generator[Record, None, None]:
    """Choose the epochs that fit `budget.minutes`, by a few real steps on a throwaway network."""
    minutes = decisions.recipe.budget.minutes
    assert minutes is not None
    rehearsal = _rehearsal(prepared)
    epoch, validation = seconds_per_epoch(rehearsal.job(), rehearsal.fresh())
    splits = prepared.data.dataset.splits
    closing = closing_seconds(validation, splits, rehearsal.settled.test_views)
    epochs = affordable_epochs(minutes, time.perf_counter() - began, epoch, closing)
    why = f"{minutes:g} minutes at {epoch:.1f} s an epoch and {closing:.0f} s to score"
    decisions.decide("budget.epochs", epochs, why)
    recipe = decisions.recipe
    decisions.recipe = replace(recipe, budget=replace(recipe.budget, minutes=None))
    settle_schedule(decisions)
    total = epochs * epoch + closing + time.perf_counter() - began
    if total > 60 * minutes:
        text = f"{epochs} epoch{'s' * (epochs > 1)} and the scores take about {clock(total)}"
        yield Note("warning", f"{text}, more than the {minutes:g} minutes that were asked for")


def _in_words(decisions: Decisions) -> str:
    shown = ("data.image_size", "augment.flip", "optim.lr", "optim.batch_size", "device.precision")
    names = {"data.image_size": "image size", "augment.flip": "flips"}
    parts = []
    for knob in shown:
        if knob in decisions.made:
            value, why = (decisions.made[knob][key] for key in ("value", "why"))
            said = {True: "yes", False: "no"}.get(value, value) if knob == "augment.flip" else value
            reason = f" ({why})" if knob in names else ""
            name = names.get(knob, knob.rpartition(".")[2].replace("_", " "))
            parts.append(f"{name} {said}{reason}")
    return "decided: " + "; ".join(parts)


def short_name(source: str) -> str:
    """A folder-safe name: `../data/cats.zip#photo` → cats-photo."""
    outer, _, inside = source.partition("#")
    stem = Path(outer.removeprefix("torchvision:")).name.partition(".")[0]
    text = "-".join(part for part in (stem, inside.strip("/").replace("/", "-")) if part)
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in text)
    return safe[:40].strip("-") or "run"
