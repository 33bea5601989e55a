"""A new training and a resumed one, as one stream of records."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from striate.api.keeping import EXCLUDED, write_scores, write_setup
from striate.core import recipe_io
from striate.core.errors import DataError, RecipeError, RunError
from striate.core.files import write_json
from striate.core.group import Group, join
from striate.core.recipe import Recipe
from striate.core.records import Finished, Note, Planned, Record, Started
from striate.core.run import RunDirectory, begin_run, locked, release_run, reserve_run
from striate.core.runtime import Runtime, describe, keep_pages
from striate.data.loader import SubStore
from striate.data.sources import lasting
from striate.models.fit import parameter_count
from striate.training import checkpoints
from striate.training.evaluate import Evaluation, evaluate
from striate.training.log import Log, drained, seen_by
from striate.training.loop import Job
from striate.training.loop import train as training_loop
from striate.training.materials import (
    UNKNOWN,
    Materials,
    fresh_state,
    gather,
    make_job,
    settle_device,
    settle_rest,
    task_of,
    threads_of,
)
from striate.training.resolve import (
    Decisions,
    check_used,
    settle_augmentation,
    settle_schedule,
)
from striate.training.state import State, load_weights, manifest_of
from striate.training.timing import affordable_epochs, enough_threads, seconds_per_epoch, views_in

Stop = Callable[[], bool]
_TRAIN_SAMPLE = 5_000
MEASURED = ("device.precision", "device.micro_batch")
"""Knobs whose "auto" is settled by a measurement, which may come out otherwise next time."""
IN_MEMORY = "arrays in memory"
"""The source that a recipe names where the data were Python objects."""


@dataclass(frozen=True)
class _Ready:
    """A settled recipe with its data and device."""

    recipe: Recipe
    found: Materials
    runtime: Runtime
    strengths: dict[str, float]


def stream(
    data: Any = None,
    *,
    recipe: Recipe | str | Path | None = None,
    run: str | Path | None = None,
    stop: Stop = lambda: False,
    **knobs: Any,
) -> Iterator[Record]:
    """Train, yielding records; the first names the run. `break` leaves a complete run behind.

    data: anything that `open_source` opens (a path, arrays, a torch Dataset); None uses the
    recipe's source, the built-in digits by default. recipe: a Recipe or a YAML file. run: the
    run directory.
    stop: asked after each step; true saves and ends. knobs: `epochs=5`, `model="resnet18"`, or
    dotted names through `**{"optim.lr": 0.1}`.
    """
    began = time.perf_counter()
    wanted = settings(data, recipe, knobs)
    check_used(wanted)
    if wanted.data.folds and not wanted.data.fold:
        raise RecipeError(
            f"data.folds: {wanted.data.folds} folds are several trainings",
            "Name one (data.fold), or use striate.cross_validate or `striate train --folds`.",
        )
    source = wanted.data.source if data is None or isinstance(data, str | Path) else data
    if data is None and wanted.data.source == IN_MEMORY:
        raise DataError("this recipe was used on Python objects", "Give the data to train on.")
    group = join()
    name = short_name(wanted.data.source)
    folder = Path(group.decided(lambda: str(reserve_run(run, name))))
    early: list[Record] = [Started(str(folder), wanted.data.source)]
    try:
        yield early[0]
        preparing = _prepare_together(group, wanted, source, began)
        ready, at = yield from seen_by(early.append, preparing)
    except BaseException:
        if group.first:
            release_run(folder)
        raise
    with locked(folder) if group.first else nullcontext():
        group.decided(lambda: _begin(folder, ready, wanted, at))
        directory = RunDirectory(folder)
        with _log(directory, group, 0) as log:
            for record in early:
                log.write(record)
            state = _fresh(ready)
            story = _train_and_score(directory, ready, state, log, began, stop)
            yield from seen_by(log.write, story)


def resume(
    run: str | Path,
    *,
    data: Any = None,
    epochs: int | None = None,
    stop: Stop = lambda: False,
) -> Iterator[Record]:
    """Continue a run from its last good checkpoint, as one stream of records.

    This finishes what was planned; a finished run yields its Finished record again. `epochs` above
    the planned ones extends the run: the schedule then is that of the longer plan from here on.
    `data` is needed only where the run was trained on Python objects. Raises RunError if the data
    is not what it was.
    """
    began = time.perf_counter()
    directory = RunDirectory(run)
    finished = [r for r in directory.records() if isinstance(r, Finished)]
    recipe = settled_recipe(directory)
    if epochs is not None:
        recipe, finished = _extended(recipe, epochs), []
    if data is None and recipe.data.source == IN_MEMORY and not finished:
        raise RunError(
            f"{directory.path} was trained on Python objects, which a run cannot keep",
            "Continue it in Python: striate.resume(run, data=...).",
        )
    yield Started(str(directory.path), recipe.data.source)
    if finished:
        yield Note("info", f"{directory.path} is finished: nothing to resume")
        yield finished[-1]
        return
    group = join()
    with locked(directory.path) if group.first else nullcontext():
        checkpoint, faults = checkpoints.latest(directory.checkpoints)
        for fault in faults:
            using = f"using step {checkpoint.step}" if checkpoint else "starting again"
            yield Note("warning", f"{fault}; {using}")
        given = recipe.data.source if data is None else data
        ready, _ = yield from _prepare_together(group, recipe, given, began)
        _refuse_other_data(directory, ready.found)
        if epochs is not None and group.first:
            _write_extension(directory, epochs)
        state, offset = _fresh(ready), 0
        if checkpoint:
            state.restore(checkpoint.model(), checkpoint.state(), checkpoint.manifest)
            offset = checkpoint.manifest["records_bytes"]
        began -= state.position.total_seconds
        with _log(directory, group, offset) as log:
            if not checkpoint:
                log.write(Started(str(directory.path), recipe.data.source))
            yield Note("info", f"continuing after step {state.position.step}")
            story = _train_and_score(directory, ready, state, log, began, stop)
            yield from seen_by(log.write, story)


def continued(run: Path, data: Any, stop: Stop) -> Iterator[Record]:
    """`resume` for a caller that always has the data: only Python objects are taken from it."""
    named = data is None or isinstance(data, str | Path)
    return resume(run, data=None if named else data, stop=stop)


def settle(source: Any, recipe: Recipe) -> Generator[Record, None, Recipe]:
    """The recipe as a training on this data would use it, every "auto" decided."""
    check_used(recipe)
    ready, _ = yield from _prepare(recipe, source, time.perf_counter())
    return ready.recipe


def _begin(folder: Path, ready: _Ready, wanted: Recipe, at: Decisions) -> None:
    processes = ready.runtime.group.size
    directory = begin_run(folder, {**describe(), "processes": processes})
    write_setup(directory, ready.found, _repeatable(wanted, at), at.made)


def _extended(recipe: Recipe, epochs: int) -> Recipe:
    planned = recipe.budget.epochs
    if planned == "auto" or epochs <= planned:
        raise RunError(
            f"{planned} epochs are planned: {epochs} would extend nothing",
            f"To finish the plan leave --epochs out; to extend it give more than {planned}.",
        )
    return recipe_io.set_knob(recipe, "budget.epochs", epochs)


def _write_extension(directory: RunDirectory, epochs: int) -> None:
    decided = directory.read_json("resolved.json")
    known = recipe_io.load_recipe(directory.path / "recipe.yaml").budget.epochs
    before = decided.get("budget.epochs", {"value": known})["value"]
    first = decided.get("budget.epochs", {}).get("before", before)
    decided["budget.epochs"] = {
        "value": epochs, "why": f"extended from {before}", "before": first,
    }  # fmt: skip
    write_json(directory.path / "resolved.json", decided)


def settled_recipe(directory: RunDirectory) -> Recipe:
    """The run's recipe with every "auto" as it was decided then."""
    recipe = recipe_io.load_recipe(directory.path / "recipe.yaml")
    if (directory.path / EXCLUDED).is_file():
        recipe = recipe_io.set_knob(recipe, "data.exclude", str(directory.path / EXCLUDED))
    decided = directory.read_json("resolved.json")
    try:
        return recipe_io.with_overrides(recipe, {k: v["value"] for k, v in decided.items()})
    except (KeyError, TypeError, RecipeError) as error:
        raise RunError(f"{directory.path / 'resolved.json'} is damaged: {error}") from None


def _repeatable(wanted: Recipe, at: Decisions) -> Recipe:
    """What was asked, with the measured choices fixed: given again, it repeats the run exactly.

    Other "auto" knobs follow from the data, so they stay open for other data and models.
    """
    recipe = wanted
    for knob in (*MEASURED, "budget.epochs" if wanted.budget.minutes else ""):
        if knob in at.made:
            recipe = recipe_io.set_knob(recipe, knob, at.made[knob]["value"])
    recipe = recipe_io.set_knob(recipe, "data.source", lasting(wanted.data.source))
    if wanted.data.exclude:
        absolute = str(Path(wanted.data.exclude).expanduser().absolute())
        recipe = recipe_io.set_knob(recipe, "data.exclude", absolute)
    return recipe_io.set_knob(recipe, "budget.minutes", None)


def settings(data: Any, recipe: Recipe | str | Path | None, knobs: dict[str, Any]) -> Recipe:
    """The recipe that data, a recipe or its file, and single knobs amount to."""
    base = recipe_io.load_recipe(recipe) if isinstance(recipe, str | Path) else recipe or Recipe()
    if data is not None:
        named = isinstance(data, str | Path)
        knobs = {"data.source": str(data) if named else IN_MEMORY, **knobs}
    return recipe_io.with_overrides(base, knobs)


def _prepare(
    wanted: Recipe, source: Any, began: float, processes: int = 1
) -> Generator[Record, None, tuple[_Ready, Decisions]]:
    """Check the data, settle every "auto", try the network on shapes. Writes nothing."""
    keep_pages()
    at = Decisions(wanted)
    found = yield from gather(at, source)
    runtime = settle_device(at)
    strengths = settle_rest(at, found, processes)
    if at.recipe.budget.minutes is not None:
        yield from _fit_time(at, _Ready(at.recipe, found, runtime, strengths), began)
        strengths = settle_augmentation(at, lambda: (False, "settled before"))
    ready = _Ready(at.recipe, found, runtime, strengths)
    if at.recipe.data.workers == "auto":
        job = _job(ready, lambda _: "", lambda: False)
        at.decide("data.workers", *enough_threads(job, _fresh(ready)))
        yield Note("info", at.made["data.workers"]["why"])
        ready = replace(ready, recipe=at.recipe)
    if at.made:
        yield Note("info", _decided(at))
    return ready, at


def _prepare_together(
    group: Group, wanted: Recipe, source: Any, began: float
) -> Generator[Record, None, tuple[_Ready, Decisions]]:
    """Rank 0 prepares and decides; the others then do the same with everything settled, and find
    decoded images in the cache."""
    if group.size == 1:
        return (yield from _prepare(wanted, source, began))
    if group.first:
        try:
            ready, at = yield from _prepare(wanted, source, began, group.size)
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
        ready, at = drained(_prepare(settled, source, began, group.size))
    return replace(ready, runtime=replace(ready.runtime, group=group)), at


def _log(directory: RunDirectory, group: Group, offset: int) -> Log:
    """The run's log; what processes other than the first write goes nowhere."""
    if group.first:
        return Log(directory.path / "records.jsonl", offset)
    return Log(Path(os.devnull))


def _fit_time(at: Decisions, ready: _Ready, began: float) -> Generator[Record, None, None]:
    """Choose the epochs that fit `budget.minutes`, by a few real steps on a throwaway network."""
    minutes = at.recipe.budget.minutes
    assert minutes is not None
    trial = Decisions(at.recipe)
    trial.decide("budget.epochs", 1, "")
    settle_schedule(trial)
    rehearsal = replace(ready, recipe=trial.recipe)
    job = _job(rehearsal, lambda _: "", lambda: False)
    epoch, validation = seconds_per_epoch(job, _fresh(rehearsal))
    splits, views = ready.found.dataset.splits, at.recipe.augment.test_views
    scored = (len(splits["val"]) + len(splits.get("test", ()))) / len(splits["val"])
    closing = validation * (scored * views_in(views) + 1)
    epochs = affordable_epochs(minutes, time.perf_counter() - began, epoch, closing)
    why = f"{minutes:g} minutes at {epoch:.1f} s an epoch and {closing:.0f} s to score"
    at.decide("budget.epochs", epochs, why)
    at.recipe = replace(at.recipe, budget=replace(at.recipe.budget, minutes=None))
    settle_schedule(at)
    total = epochs * epoch + closing + time.perf_counter() - began
    if total > 60 * minutes:
        yield Note("warning", f"one epoch takes {epoch:.0f} s: more than {minutes:g} minutes allow")


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


def _fresh(ready: _Ready) -> State:
    classes = len(ready.found.dataset.classes)
    images = len(ready.found.dataset.splits["train"])
    return fresh_state(ready.recipe, classes, ready.found.statistics, ready.runtime, images)


def _job(ready: _Ready, save: Callable[[State], str], stop: Stop) -> Job:
    return make_job(ready.recipe, ready.found, ready.strengths, ready.runtime, save, stop)


def _train_and_score(
    directory: RunDirectory, ready: _Ready, state: State, log: Log, began: float, stop: Stop
) -> Generator[Record, None, None]:
    """The loop, then the scores of the best checkpoint; test is read here, once (D3)."""
    group, keep = ready.runtime.group, ready.recipe.checkpoints.keep
    save = partial(_save, directory, log, keep) if group.first else lambda _: ""
    job = _job(ready, save, stop)
    state.parallel = group.parallel(
        state.net, ready.runtime.device, sync_norm=ready.recipe.device.sync_norm
    )
    at, train_images = state.position, len(ready.found.dataset.splits["train"])
    yield Planned(
        epochs=job.epochs,
        steps=job.epochs * job.steps_per_epoch,
        images=train_images,
        model=ready.recipe.model.name,
        parameters=parameter_count(state.net),
        score=job.task.main_score,
        epoch=at.epoch,
        step=at.step,
    )
    reason = yield from training_loop(job, state)
    if reason == "interrupted":
        return
    best = group.decided(lambda: _best_step(directory))
    chosen = checkpoints.verified(directory.checkpoints / f"step-{best:08d}")
    load_weights(state.net, chosen.model())
    read = [n for n in ready.found.stores if n != "test" or ready.recipe.data.score_test]
    evaluations = {name: _evaluate(state, ready, name) for name in read}
    if group.first:
        write_scores(directory, evaluations, chosen.step)
    yield Finished(
        run=str(directory.path),
        epochs=at.epoch,
        seconds=round(time.perf_counter() - began, 1),
        reason=reason,
        train=evaluations["train"].scores,
        val=evaluations["val"].scores,
        test=evaluations["test"].scores if "test" in evaluations else {},
    )


def _best_step(directory: RunDirectory) -> int:
    chosen, _ = checkpoints.best(directory.checkpoints)
    if chosen is None:
        raise RunError(f"{directory.path} has no sound checkpoint to score")
    return chosen.step


def _evaluate(state: State, ready: _Ready, name: str) -> Evaluation:
    """Scores of a split; of training a sample in the single view, to compare with validation."""
    recipe, dataset, store = ready.recipe, ready.found.dataset, ready.found.stores[name]
    split, views = dataset.splits[name], recipe.augment.test_views
    if name == "train":
        ids = np.unique(np.linspace(0, len(split) - 1, _TRAIN_SAMPLE).astype(np.int64))
        split, store, views = split.take(ids), SubStore(store, ids), "single"
    size = recipe.data.image_size
    assert size != "auto"
    task = task_of(recipe, multi_label=dataset.multi_label)
    scores, probabilities = evaluate(
        state.net, store, split, task, size=size, runtime=ready.runtime, views=views,
        threads=threads_of(recipe),
    )  # fmt: skip
    names = tuple(split.images.name(i) for i in range(len(split)))
    return Evaluation(name, scores, dataset.classes, names, split.targets, probabilities)


def _save(directory: RunDirectory, log: Log, keep: int, state: State) -> str:
    """Write a checkpoint; keep only the best and the last ones."""
    log.flush()
    model, rest = state.tensors()
    manifest = {"format": 1, **manifest_of(state.position), "records_bytes": log.offset}
    path = checkpoints.save(directory.checkpoints, manifest, model, rest)
    checkpoints.prune(directory.checkpoints, keep)
    return path.relative_to(directory.path).as_posix()


def _refuse_other_data(directory: RunDirectory, found: Materials) -> None:
    known = directory.read_json("dataset.json")["splits"]
    for name, value in found.fingerprints.items():
        if UNKNOWN in (value, known.get(name, {}).get("fingerprint")):
            continue  # not all images were read, so nothing can be compared
        if known.get(name, {}).get("fingerprint") != value:
            raise RunError(
                f"the {name} images of {found.dataset.source} changed since {directory.path} began",
                "Restore them, or train anew.",
            )


def short_name(source: str) -> str:
    """A folder-safe name: `../data/cats.zip#photo` → cats-photo."""
    outer, _, inside = source.partition("#")
    stem = Path(outer.removeprefix("torchvision:")).name.partition(".")[0]
    text = "-".join(part for part in (stem, inside.strip("/").replace("/", "-")) if part)
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in text)
    return safe[:40].strip("-") or "run"
