"""A new training and a resumed one, as one stream of records."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from striate.api.finish import best_step, estimated_anew, evaluated, judged, reported
from striate.core import recipe_io
from striate.core.energy import Meter
from striate.core.errors import RecipeError, RunError
from striate.core.files import write_json
from striate.core.group import Group, join
from striate.core.recipe import Recipe
from striate.core.records import Finished, Note, Planned, Record, Started
from striate.core.run import RunDirectory, begin_run, locked, release_run, reserve_run
from striate.core.runtime import describe
from striate.core.sharing import giving_way
from striate.data.sources import lasting
from striate.doctor.live import Watch
from striate.models.fit import parameter_count
from striate.plan.decisions import Decisions
from striate.plan.keep import COST, WEIGHTS, refuse_other_images, write_scores, write_setup
from striate.plan.prepare import (
    IN_MEMORY,
    Prepared,
    Stop,
    prepare_together,
    requested,
    short_name,
    source_of,
)
from striate.plan.recall import (
    keep_place,
    refuse_lost_data,
    refuse_other_data,
    settled_recipe,
)
from striate.plan.refuse import check_used
from striate.training import checkpoints
from striate.training.glance import Glance
from striate.training.job import Job
from striate.training.log import Log, seen_by
from striate.training.loop import train as training_loop
from striate.training.state import State, load_weights, manifest_of

MEASURED = ("device.precision", "device.micro_batch", "model.weights")
"""Knobs whose "auto" is settled by a measurement, or by what is on this machine: next time it may
come out otherwise."""


def stream(
    data: Any = None,
    *,
    recipe: Recipe | str | Path | None = None,
    run: str | Path | None = None,
    stop: Stop = lambda: False,
    like: Path | None = None,
    **knobs: Any,
) -> Iterator[Record]:
    """Train, yielding records; the first names the run. `break` leaves a complete run behind.

    data: anything that `open_source` opens (a path, arrays, a torch Dataset); None uses the
    recipe's source, the built-in digits by default. recipe: a Recipe or a YAML file. run: the
    run directory.
    stop: asked after each step; true saves and ends. like: a run whose images these must be, as
    trainings that are compared need. knobs: `epochs=5`, `model="resnet18"`, or
    dotted names through `**{"optim.lr": 0.1}`.
    """
    began = time.perf_counter()
    wanted = requested(data, recipe, knobs)
    check_used(wanted)
    if wanted.data.folds and not wanted.data.fold:
        raise RecipeError(
            f"data.folds: {wanted.data.folds} folds are several trainings",
            "Name one (data.fold), or use striate.cross_validate or `striate train --folds`.",
        )
    source = source_of(data, wanted)
    group = join()
    name = short_name(wanted.data.source)
    folder = Path(group.decide_on_main(lambda: str(reserve_run(run, name))))
    early: list[Record] = [Started(str(folder), wanted.data.source)]
    try:
        yield early[0]
        preparing = prepare_together(group, wanted, source, began)
        prepared, decisions = yield from seen_by(early.append, preparing)
        if like:
            refuse_other_images(prepared.data.whole, like, str(folder))
    except BaseException:
        if group.is_main:
            release_run(folder)
        raise
    with locked(folder) if group.is_main else nullcontext():
        group.decide_on_main(lambda: _begin(folder, prepared, wanted, decisions))
        directory = RunDirectory(folder)
        with _log(directory, group, 0) as log:
            for record in early:
                log.write(record)
            state = prepared.fresh()
            story = _train_and_score(directory, prepared, state, log, began, stop)
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
    `data` is needed where the run was trained on Python objects, or its data were moved: then where
    they are now, which the run remembers. Raises RunError if the data
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
    with locked(directory.path) if group.is_main else nullcontext():
        checkpoint, faults = checkpoints.latest(directory.checkpoints)
        for fault in faults:
            using = f"using step {checkpoint.step}" if checkpoint else "starting again"
            yield Note("warning", f"{fault}; {using}")
        given = recipe.data.source if data is None else data
        refuse_lost_data(directory, given, f"striate resume {directory.path} DATA")
        begun = checkpoint is not None
        prepared, _ = yield from prepare_together(group, recipe, given, began, begun=begun)
        refuse_other_data(directory, prepared.data)
        if isinstance(data, str | Path) and group.is_main:
            keep_place(directory, data)
        if epochs is not None and group.is_main:
            _write_extension(directory, epochs)
        state, offset = prepared.fresh(), 0
        if checkpoint:
            state.restore(checkpoint.model(), checkpoint.state(), checkpoint.manifest)
            offset = checkpoint.manifest["records_bytes"]
        began -= state.position.total_seconds
        with _log(directory, group, offset) as log:
            if not checkpoint:
                log.write(Started(str(directory.path), recipe.data.source))
            yield Note("info", f"continuing after step {state.position.step}")
            story = _train_and_score(directory, prepared, state, log, began, stop)
            yield from seen_by(log.write, story)


def continued(run: Path, data: Any, stop: Stop) -> Iterator[Record]:
    """`resume` for a caller that always has the data: only Python objects are taken from it."""
    named = data is None or isinstance(data, str | Path)
    return resume(run, data=None if named else data, stop=stop)


def _begin(folder: Path, prepared: Prepared, wanted: Recipe, decisions: Decisions) -> None:
    processes = prepared.runtime.group.size
    directory = begin_run(folder, {**describe(), "processes": processes})
    repeatable = _repeatable(wanted, decisions)
    write_setup(directory, prepared.data, repeatable, decisions.made)
    if prepared.start is not None:
        write_json(directory.path / WEIGHTS, prepared.start.to_json())


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


def _repeatable(wanted: Recipe, decisions: Decisions) -> Recipe:
    """What was asked, with the measured choices fixed: given again, it repeats the run exactly.

    Other "auto" knobs follow from the data, so they stay open for other data and models.
    """
    recipe = wanted
    by_time = {"budget.epochs": wanted.budget.minutes, "optim.lr": wanted.optim.lr == "find"}
    for knob in (*MEASURED, *(name for name, measured in by_time.items() if measured)):
        if knob in decisions.made:
            recipe = recipe_io.set_knob(recipe, knob, decisions.made[knob]["value"])
    recipe = recipe_io.set_knob(recipe, "data.source", lasting(wanted.data.source))
    weights = Path(recipe.model.weights).expanduser()
    if weights.exists():  # a run or a file, which may be named from where the command was given
        recipe = recipe_io.set_knob(recipe, "model.weights", str(weights.absolute()))
    if wanted.data.exclude:
        absolute = str(Path(wanted.data.exclude).expanduser().absolute())
        recipe = recipe_io.set_knob(recipe, "data.exclude", absolute)
    return recipe_io.set_knob(recipe, "budget.minutes", None)


def _log(directory: RunDirectory, group: Group, offset: int) -> Log:
    """The run's log; what processes other than the first write goes nowhere."""
    if group.is_main:
        return Log(directory.path / "records.jsonl", offset)
    return Log(Path(os.devnull))


def _train_and_score(
    directory: RunDirectory,
    prepared: Prepared,
    state: State,
    log: Log,
    began: float,
    stop: Stop,
) -> Generator[Record, None, None]:
    """The loop, then the scores of the best checkpoint; test is read here, once (D3)."""
    recipe, group, meter = prepared.recipe, prepared.runtime.group, Meter()
    save = partial(_save, directory, log, recipe.checkpoints.keep)
    job = prepared.job(save if group.is_main else lambda _: "", stop)
    state.parallel = group.parallel(
        state.trained, prepared.runtime.device, sync_norm=prepared.settled.sync_norm
    )
    yield _planned(directory, prepared, job, state)
    watch = Watch(recipe_io.flat(recipe), directory.records())
    begun_at = state.position.step
    glance = Glance(directory.path, state) if group.is_main else None

    def see(record: Record) -> Any:
        meter.read()
        if glance is not None:
            glance.see(record)
        return watch.see(record)

    with giving_way():
        reason = yield from seen_by(see, training_loop(job, state))
    if glance is not None:
        glance.end()
    if reason == "interrupted":
        return
    best = group.decide_on_main(lambda: best_step(directory))
    chosen = checkpoints.verified(directory.checkpoints / f"step-{best:08d}")
    load_weights(state.net, chosen.model())
    for record in estimated_anew(directory, prepared, state, watch.measured):
        watch.see(record)
        yield record
    yield from judged(directory, group, watch)
    read = [n for n in prepared.data.stores if n != "test" or recipe.data.score_test]
    evaluations = {name: evaluated(state, prepared, name) for name in read}
    fitted = evaluations["val"].fitted_temperature()
    evaluations = {k: found.calibrated(fitted) for k, found in evaluations.items()}
    done = Finished(
        run=str(directory.path),
        epochs=state.position.epoch,
        seconds=round(time.perf_counter() - began, 1),
        reason=reason,
        train=evaluations["train"].scores,
        val=evaluations["val"].scores,
        test=evaluations["test"].scores if "test" in evaluations else {},
    )
    if group.is_main:
        write_scores(directory, evaluations, chosen.step)
        whole = begun_at == 0  # of a resumed training only the last part was counted
        joules = meter.read(now=True) if whole else None
        write_json(directory.path / COST, {"seconds": done.seconds, "joules": joules})
        if recipe.report.write:
            log.flush()
            yield from reported(directory, prepared, state, evaluations, done)
    yield done


def _planned(directory: RunDirectory, prepared: Prepared, job: Job, state: State) -> Planned:
    """The record that says what will be done."""
    kept = (directory.path / WEIGHTS).is_file()
    dataset, position = prepared.data.dataset, state.position
    images = len(dataset.splits["train"])
    return Planned(
        epochs=job.epochs,
        steps=job.epochs * job.steps_per_epoch,
        images=images,
        model=prepared.recipe.model.name,
        parameters=parameter_count(state.net),
        score=job.task.main_score,
        epoch=position.epoch,
        step=position.step,
        batch_size=-(-images // job.steps_per_epoch),
        loss=job.task.loss_name,
        class_images=tuple(dataset.counts("train")),
        classes=dataset.classes[:1000],
        probe=directory.read_json(WEIGHTS).get("probe") if kept else None,
    )


def _save(directory: RunDirectory, log: Log, keep: int, state: State) -> str:
    """Write a checkpoint; keep only the best and the last ones."""
    log.flush()
    model, rest = state.tensors()
    manifest = {"format": 1, **manifest_of(state.position), "records_bytes": log.offset}
    path = checkpoints.save(directory.checkpoints, manifest, model, rest)
    checkpoints.prune(directory.checkpoints, keep)
    return path.relative_to(directory.path).as_posix()
