"""`striate doctor RUN --try`: which remedy really helps, by short trainings side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core import recipe_io
from striate.core.errors import RunError, StriateError, TrainingError
from striate.core.findings import Finding
from striate.core.recipe import Recipe
from striate.core.records import Note, Record
from striate.core.run import RunDirectory
from striate.doctor.diagnose import diagnose
from striate.doctor.saying import knobs_of
from striate.metrics.intervals import difference
from striate.plan.prepare import IN_MEMORY, prepare
from striate.plan.recall import settled_recipe
from striate.plan.settled import known
from striate.tasks import chance_score_of
from striate.training import checkpoints
from striate.training.log import drained
from striate.training.loop import train
from striate.training.state import load_weights

TOP, _SHARE = 3, 0.25
_MUST_START_ANEW = ("model.", "loss.", "data.")


@dataclass(frozen=True)
class Attempt:
    """A remedy after a short training, compared with one without it on the same validation images:
    difference of the score with its 95 % interval. `anew`: from the first step, else from the last
    checkpoint. `fault`: why it could not be trained. `floor`: the score that guessing reaches by
    luck: what does not rise above it does not help."""

    remedy: str
    rule: str
    anew: bool
    score: float
    without: float
    difference: float
    low: float
    high: float
    fault: str = ""
    floor: float = 0.0

    @property
    def verdict(self) -> str:
        if self.fault:
            return "failed"
        if self.score <= self.floor:
            return "undetermined" if self.low > 0 or self.high >= 0 else "harms"
        return "helps" if self.low > 0 else "harms" if self.high < 0 else "undetermined"


def try_remedies(
    run: str | RunDirectory, *, data: Any = None, top: int = TOP, epochs: int | None = None
) -> Iterator[Record | Attempt]:
    """Train briefly with each of the first `top` remedies, and without, and compare.

    epochs: of each short training, a quarter of the run's by default. Nothing is written. Raises
    RunError where there is no remedy to try or no checkpoint to branch from.
    """
    directory = run if isinstance(run, RunDirectory) else RunDirectory(run)
    recipe = settled_recipe(directory)
    source = recipe.data.source if data is None else data
    if data is None and recipe.data.source == IN_MEMORY:
        raise RunError(
            f"{directory.path} was trained on Python objects, which a run cannot keep",
            "In Python: striate.doctor.remedies.try_remedies(run, data=...).",
        )
    wanted = remedies_of(diagnose(directory).findings, top)
    if not wanted:
        raise RunError(f"{directory.path}: the doctor knows no recipe change to try")
    planned = known(recipe.budget.epochs, "budget.epochs")
    count = epochs or max(1, round(_SHARE * planned))
    base = _shortened(recipe, count)
    controls: dict[bool, NDArray[Any]] = {}
    floor = _luck(directory)
    for remedy, finding in wanted:
        anew = finding.anew or any(k.startswith(_MUST_START_ANEW) for k in knobs_of(remedy))
        start = None if anew else directory
        if anew not in controls:
            yield Note("info", f"without: {count} epochs {_from(anew)}")
            controls[anew] = _trained(base, source, start)
        yield Note("info", f"with {remedy}: {count} epochs {_from(anew)}")
        try:
            changed = recipe_io.with_overrides(base, knobs_of(remedy))
            if "budget.epochs" in knobs_of(remedy):  # more epochs: as many times more here
                longer = knobs_of(remedy)["budget.epochs"] / planned
                changed = _shortened(changed, max(1, round(count * longer)))
            right = _trained(changed, source, start)
        except StriateError as error:
            yield Attempt(remedy, finding.rule, anew, 0.0, float(controls[anew].mean()),
                         0.0, 0.0, 0.0, error.message)  # fmt: skip
            continue
        tried = compared(remedy, finding.rule, anew, right, controls[anew])
        yield replace(tried, floor=floor)


def remedies_of(findings: Sequence[Finding], top: int) -> list[tuple[str, Finding]]:
    """The first remedies that are recipe changes: the first of each finding, then the second …"""
    ranked = [
        (place, number, remedy, finding)
        for number, finding in enumerate(findings)
        for place, remedy in enumerate(r for r in finding.remedies if r.startswith("--"))
    ]
    ranked.sort(key=lambda row: row[:2])
    chosen: dict[str, Finding] = {}
    for _, _, remedy, finding in ranked:
        chosen.setdefault(remedy, finding)
    return list(chosen.items())[:top]


def _luck(directory: RunDirectory) -> float:
    """The score that the best constant answer reaches on validation, with two standard errors; 0
    where that is not known."""
    data = directory.read_json("dataset.json")
    images = data["splits"]["val"]["per_class"]
    chance = chance_score_of(data, images)
    if chance is None:
        return 0.0
    return float(chance + 2 * np.sqrt(chance * (1 - chance) / sum(images)))


def compared(
    remedy: str, rule: str, anew: bool, ours: NDArray[Any], theirs: NDArray[Any]
) -> Attempt:
    """The paired difference of the images' scores, with a bootstrap interval."""
    apart, (low, high) = difference(ours, theirs)
    return Attempt(remedy, rule, anew, float(ours.mean()), float(theirs.mean()),
                  apart, low, high)  # fmt: skip


def _shortened(recipe: Recipe, epochs: int) -> Recipe:
    changed = recipe_io.set_knob(recipe, "budget.epochs", epochs)
    return recipe_io.set_knob(changed, "doctor.measure", False)


def _trained(recipe: Recipe, source: Any, start: RunDirectory | None) -> NDArray[Any]:
    """What each validation image contributes to the score after a short training (N,)."""
    prepared, _ = drained(prepare(recipe, source, time.perf_counter()))
    state = prepared.fresh()
    if start is not None:
        found, _ = checkpoints.latest(start.checkpoints)
        if found is None:
            raise RunError(f"{start.path} has no sound checkpoint to branch from")
        load_weights(state.net, found.model())
        load_weights(state.deployed, found.model())
    job = replace(prepared.job(), monitor=None)
    try:
        for _ in train(job, state):
            pass
    except TrainingError:
        return np.zeros(len(prepared.data.dataset.splits["val"]))
    each = job.validate(state.deployed).contributions()
    if each is None:
        raise RunError(f"{job.task.main_score} is not a mean over images: nothing can be compared")
    return each


def _from(anew: bool) -> str:
    return "from the first step" if anew else "from the last checkpoint"
