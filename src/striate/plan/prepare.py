"""From what is wanted to everything that a training needs: data checked, every "auto" decided."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from striate.core import recipe_io
from striate.core.errors import DataError
from striate.core.group import Group
from striate.core.recipe import Recipe
from striate.core.records import Note, Record
from striate.core.runtime import Runtime, keep_pages
from striate.core.words import clock
from striate.optim.schedules import Schedule
from striate.training.log import drained
from striate.training.loop import Job
from striate.training.materials import (
    Materials,
    fresh_state,
    gather,
    make_job,
    schedule_of,
    settle_device,
    settle_rest,
)
from striate.training.rate_test import RateTest, Tried, trial_steps
from striate.training.rate_test import search as search_rate
from striate.training.resolve import (
    Decisions,
    check_used,
    settle_augmentation,
    settle_schedule,
)
from striate.training.state import State
from striate.training.timing import (
    affordable_epochs,
    closing_seconds,
    enough_threads,
    seconds_per_epoch,
)

Stop = Callable[[], bool]
IN_MEMORY = "arrays in memory"
"""The source that a recipe names where the data were Python objects."""


@dataclass(frozen=True)
class Ready:
    """A settled recipe with its data and device."""

    recipe: Recipe
    found: Materials
    runtime: Runtime
    strengths: dict[str, float]


def settings(data: Any, recipe: Recipe | str | Path | None, knobs: dict[str, Any]) -> Recipe:
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
    ready, _ = yield from prepare(recipe, source, time.perf_counter())
    return ready.recipe


def prepare(
    wanted: Recipe, source: Any, began: float, processes: int = 1
) -> Generator[Record, None, tuple[Ready, Decisions]]:
    """Check the data, settle every "auto", try the network on shapes. Writes nothing."""
    keep_pages()
    finding = wanted.optim.lr == "find"
    at = Decisions(recipe_io.set_knob(wanted, "optim.lr", "auto") if finding else wanted)
    found = yield from gather(at, source)
    runtime = settle_device(at)
    strengths = settle_rest(at, found, processes)
    if at.recipe.budget.minutes is not None:
        yield from _fit_time(at, Ready(at.recipe, found, runtime, strengths), began)
        strengths = settle_augmentation(at, lambda: (False, "settled before"))
    ready = Ready(at.recipe, found, runtime, strengths)
    if at.recipe.data.workers == "auto":
        job = job_of(ready, lambda _: "", lambda: False)
        at.decide("data.workers", *enough_threads(job, fresh(ready)))
        yield Note("info", at.made["data.workers"]["why"])
        ready = replace(ready, recipe=at.recipe)
    if finding:
        rate = yield from rate_for(ready)
        at.decide("optim.lr", rate.lr, rate.why)
        ready = replace(ready, recipe=at.recipe)
    if at.made:
        yield Note("info", _decided(at))
    return ready, at


def prepare_together(
    group: Group, wanted: Recipe, source: Any, began: float
) -> Generator[Record, None, tuple[Ready, Decisions]]:
    """Rank 0 prepares and decides; the others then do the same with everything settled, and find
    decoded images in the cache."""
    if group.size == 1:
        return (yield from prepare(wanted, source, began))
    if group.first:
        try:
            ready, at = yield from prepare(wanted, source, began, group.size)
        except BaseException:
            group.tell_failure()
            raise
        group.decided(lambda: at.made)
    else:
        made: dict[str, Any] = group.decided(dict)
        settled = recipe_io.with_overrides(
            recipe_io.set_knob(wanted, "budget.minutes", None),
            {k: v["value"] for k, v in made.items() if k != "device.device"},
        )
        ready, at = drained(prepare(settled, source, began, group.size))
    return replace(ready, runtime=replace(ready.runtime, group=group)), at


def _fit_time(at: Decisions, ready: Ready, began: float) -> Generator[Record, None, None]:
    """Choose the epochs that fit `budget.minutes`, by a few real steps on a throwaway network."""
    minutes = at.recipe.budget.minutes
    assert minutes is not None
    trial = Decisions(at.recipe)
    trial.decide("budget.epochs", 1, "")
    settle_schedule(trial)
    rehearsal = replace(ready, recipe=trial.recipe)
    job = job_of(rehearsal, lambda _: "", lambda: False)
    epoch, validation = seconds_per_epoch(job, fresh(rehearsal))
    views = at.recipe.augment.test_views
    closing = closing_seconds(validation, ready.found.dataset.splits, views)
    epochs = affordable_epochs(minutes, time.perf_counter() - began, epoch, closing)
    why = f"{minutes:g} minutes at {epoch:.1f} s an epoch and {closing:.0f} s to score"
    at.decide("budget.epochs", epochs, why)
    at.recipe = replace(at.recipe, budget=replace(at.recipe.budget, minutes=None))
    settle_schedule(at)
    total = epochs * epoch + closing + time.perf_counter() - began
    if total > 60 * minutes:
        text = f"{epochs} epoch{'s' * (epochs > 1)} and the scores take about {clock(total)}"
        yield Note("warning", f"{text}, more than the {minutes:g} minutes that were asked for")


def rate_for(ready: Ready) -> Generator[Record, None, RateTest]:
    """Measure which learning rate suits; `ready` has the usual one."""
    recipe, job = ready.recipe, job_of(ready, lambda _: "", lambda: False)
    usual = recipe.optim.lr
    assert isinstance(usual, float)

    def shorter(steps: int) -> Schedule:
        return schedule_of(recipe, steps, steps / job.epochs)

    def seeded(repeat: int) -> State:
        return fresh(replace(ready, recipe=replace(recipe, seed=recipe.seed + repeat)))

    steps = trial_steps(job.epochs * job.steps_per_epoch)
    for found in search_rate(job, seeded, usual, shorter, steps):
        if isinstance(found, RateTest):
            return found
        if isinstance(found, Tried):
            yield Note("info", f"rate {found.lr:<8.2g} {job.task.main_score} {found.score:.4f}")
    raise AssertionError("unreachable")


def _decided(at: Decisions) -> str:
    shown = ("data.image_size", "augment.flip", "optim.lr", "optim.batch_size", "device.precision")
    names = {"data.image_size": "image size", "augment.flip": "flips"}
    parts = []
    for knob in shown:
        if knob in at.made:
            value = at.made[knob]["value"]
            value = (
                {True: "yes", False: "no"}.get(value, value) if knob == "augment.flip" else value
            )
            why = f" ({at.made[knob]['why']})" if knob in names else ""
            parts.append(
                f"{names.get(knob, knob.rpartition('.')[2].replace('_', ' '))} {value}{why}"
            )
    return "decided: " + "; ".join(parts)


def fresh(ready: Ready) -> State:
    classes = len(ready.found.dataset.classes)
    images = len(ready.found.dataset.splits["train"])
    return fresh_state(ready.recipe, classes, ready.found.statistics, ready.runtime, images)


def job_of(ready: Ready, save: Callable[[State], str], stop: Stop) -> Job:
    return make_job(ready.recipe, ready.found, ready.strengths, ready.runtime, save, stop)


def short_name(source: str) -> str:
    """A folder-safe name: `../data/cats.zip#photo` → cats-photo."""
    outer, _, inside = source.partition("#")
    stem = Path(outer.removeprefix("torchvision:")).name.partition(".")[0]
    text = "-".join(part for part in (stem, inside.strip("/").replace("/", "-")) if part)
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in text)
    return safe[:40].strip("-") or "run"
