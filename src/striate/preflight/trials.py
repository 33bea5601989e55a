"""Short trainings: the recipe's first steps, 20 images by heart, shuffled labels (T3)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from striate.core.errors import TrainingError
from striate.core.findings import Finding
from striate.data.boxes import Boxes
from striate.data.loader import ArrayStore
from striate.optim.rules import UPDATE_RULES, default_rate, make_optimiser
from striate.preflight.bench import (
    SPARE_SECONDS,
    Bench,
    Sample,
    Trial,
    learn,
    recipe_steps,
    without_regularisation,
)
from striate.preflight.boxes import overfit_boxes
from striate.preflight.start import lacking
from striate.training.inference import Pass, predictions
from striate.training.state import State

STEPS, MORE_STEPS, FEW, BY_HEART = 20, 60, 20, 200
_LECTURE_RATE = 1e-3
_JUMP = 4.0
"""Times the first loss that a sound training does not reach."""
_WARM = 0.5
"""Share of the peak rate below which a loss that stands still says little."""


def first_steps(bench: Bench) -> Finding:
    """Twenty steps of the recipe, unchanged: finite, and the loss falls; sixty where twenty do not
    tell. A loss that ends clearly above its start is a failure."""
    losses: list[float] = []
    seen = _Trend(0.0, 0.0, 0.0, 0.0, 0.0)
    for count in (STEPS, MORE_STEPS):
        losses = []
        try:
            for loss, _, _ in recipe_steps(bench, bench.fresh(), count):
                losses.append(loss)
        except TrainingError as error:
            return Finding("first_steps", "fail", error.message, {"losses": losses}, error.hint)
        seen = _trend(losses)
        if seen.fall > max(seen.noise, 0.05 * seen.first):
            break
    evidence = {"losses": losses, "fall": seen.fall, "noise": seen.noise}
    text = f"{len(losses)} steps: loss {seen.first:.3f} → {seen.last:.3f}"
    above = max(losses) > _JUMP * losses[0] and seen.last > 0.5 * losses[0]
    if above or seen.last > 1.1 * losses[0] + 2 * seen.scatter:
        return Finding(
            "first_steps",
            "fail",
            f"{len(losses)} steps: the loss started at {losses[0]:.3f}, rose to {max(losses):.3f} "
            f"and is {seen.last:.3f}: it explodes",
            evidence,
            "A lower learning rate: `striate lr DATA` finds one.",
        )
    if seen.fall > seen.noise:
        return Finding("first_steps", "pass", text, evidence)
    rate = bench.job.rate(len(losses))
    return Finding(
        "first_steps",
        "undetermined" if rate < _WARM else "warn",  # the schedule still warms up
        f"{text}: no clear fall",
        evidence,
        f"The rate is {rate:.0%} of its peak there. `striate lr DATA` tests it.",
    )


class _Trend(NamedTuple):
    """Means of the first and the last quarter of some losses, the fall, its noise, and that of the
    last quarter."""

    first: float
    last: float
    fall: float
    noise: float
    scatter: float


def _trend(losses: list[float]) -> _Trend:
    quarter = max(2, len(losses) // 4)
    first, last = float(np.mean(losses[:quarter])), float(np.mean(losses[-quarter:]))
    noise = float(np.std(np.diff(losses)) / math.sqrt(quarter)) + 1e-9
    scatter = float(np.std(losses[-quarter:]) / math.sqrt(quarter))
    return _Trend(first, last, first - last, noise, scatter)


def overfit_few(bench: Bench) -> Finding:
    """T3: twenty images, no regularisation, full batch: training accuracy must reach 100 %.

    Tried with the lecture's plain SGD at 0.001 for 200 steps, and then with this recipe's own rule
    and others until one learns them by heart: a network that cannot is broken.
    """
    everything = bench.data.dataset.splits["train"].targets
    if isinstance(everything, Boxes):
        return overfit_boxes(bench, everything)
    if bench.task.chance_score(bench.images("train", FEW)[1]) is None:
        return lacking("overfit_few", bench)
    few = bench.images("train", FEW, balanced=True)
    count = len(few[0])
    plain = bench.task.main_score == "accuracy"
    until = 1.0 if plain else 0.999
    lecture = _by_heart(bench, "sgd", _LECTURE_RATE, few, until)
    said = (
        f"the lecture's settings (sgd, rate {_LECTURE_RATE:g}, {BY_HEART} steps) reach "
        f"{lecture.score:.0%}, loss {lecture.losses[0]:.4f} → {lecture.losses[-1]:.4f}"
        if lecture.losses
        else "the lecture's settings give a loss that is not finite"
    )
    tried: dict[str, float] = {}
    spent = False
    for rule, lr in _settings(bench):
        trial = _by_heart(bench, rule, lr, few, until)
        tried[f"{rule} {lr:.2g}"] = trial.score
        if trial.score >= until:
            return Finding(
                "overfit_few",
                "pass",
                f"{count} images are learnt by heart in {trial.steps} steps with {rule}, rate "
                f"{lr:.2g}; {said}",
                {"lecture": lecture.score, "tried": tried, "losses": trial.losses},
            )
        spent |= trial.out_of_time
        if spent:
            break
    evidence = {"lecture": lecture.score, "tried": tried}
    best = max(tried.values(), default=0.0)
    if spent:
        return Finding(
            "overfit_few",
            "undetermined",
            f"no time to learn {count} images by heart: {best:.0%} so far; {said}",
            evidence,
            "Try it on a faster machine or with smaller images.",
        )
    return Finding(
        "overfit_few",
        "fail",
        f"{count} images cannot be learnt by heart: {best:.0%} at best; {said}",
        evidence,
        "Look for a broken path, wrong labels, images that are equal, or too small a network.",
    )


def _by_heart(bench: Bench, rule: str, lr: float, few: Sample, until: float) -> Trial:
    state = with_rule(bench, rule, lr)
    return learn(
        bench,
        state,
        few,
        lr=lr,
        steps=BY_HEART,
        batch=FEW,
        until=until,
        seconds=SPARE_SECONDS / 2,
    )


def _settings(bench: Bench) -> list[tuple[str, float]]:
    """The recipe's own rule first, at rates that suit a batch of 20; then Adam, down to small
    rates, which learns nearly anything."""
    own = bench.settled.rule
    usual = {rule: default_rate(rule, FEW, normalised=True) for rule in UPDATE_RULES}
    rates = [(own, usual[own]), (own, usual[own] / 10), (own, usual[own] * 3)]
    return [*rates, *(("adam", lr) for lr in (1e-3, 3e-3, 3e-4, 1e-2))]


def with_rule(bench: Bench, rule: str, lr: float) -> State:
    """A fresh network without regularisation, with another update rule."""
    state = bench.fresh()
    without_regularisation(state.net)
    knobs = UPDATE_RULES[rule].knobs
    state.optimiser = make_optimiser(state.net, rule, lr=lr, l2=0.0, knobs=knobs)
    return state


def learns_labels(bench: Bench) -> list[Finding]:
    """Controls of a short training: with shuffled labels it must know nothing of new images, with
    true ones something, and more of images than of blank ones (does it look at them at all?)."""
    images, targets = bench.images("train", 512)
    unseen, truths = bench.images("val", 512)
    chance = bench.task.chance_score(truths)
    if chance is None:
        return [lacking(rule, bench) for rule in ("shuffled_labels", "input_independence")]
    order = np.random.default_rng(bench.settled.seed).permutation(len(targets))
    shuffled = targets.take(order)
    steps = min(200, max(40, 4 * len(images) // 32))
    score = bench.task.main_score
    states = []
    found = []
    for labels in (targets, shuffled):
        state = with_rule(bench, "adam", 2e-3)
        learn(bench, state, (images, labels), lr=2e-3, steps=steps, batch=64)
        states.append(state)
        found.append(_score(bench, state, (unseen, truths)))
    blank = np.broadcast_to(
        np.rint(bench.data.statistics.mean).astype(np.uint8), unseen.shape
    ).copy()
    blind = _score(bench, states[0], (blank, truths))
    error = math.sqrt(max(chance * (1 - chance), 0.01) / len(truths))
    true, fake = found
    evidence = {"true": true, "shuffled": fake, "blank": blind, "chance": chance, "error": error}
    return [
        _shuffled(true, fake, chance, error, score, evidence),
        _blank(true, blind, chance, error, score, evidence),
    ]


def _shuffled(
    true: float, fake: float, chance: float, error: float, score: str, evidence: dict[str, float]
) -> Finding:
    text = f"{score} on new images {true:.0%} with true labels, {fake:.0%} with shuffled ones"
    if fake > chance + 5 * error and fake > 0.5 * true:
        return Finding(
            "shuffled_labels",
            "fail",
            f"{text}, chance {chance:.0%}: they were learnt without being there",
            evidence,
            "Do validation images also occur in training? Is a label drawn into them?",
        )
    if true > max(fake, chance) + 3 * error:
        return Finding("shuffled_labels", "pass", text, evidence)
    return Finding(
        "shuffled_labels",
        "undetermined",
        f"{text}: too short a training to tell them apart",
        evidence,
        "More steps may show a difference; look at the labels (`striate data show`).",
    )


def _blank(
    true: float, blind: float, chance: float, error: float, score: str, evidence: dict[str, float]
) -> Finding:
    text = f"{score} {true:.0%} on images, {blind:.0%} on blank ones"
    if true > blind + 3 * error:
        return Finding("input_independence", "pass", text, evidence)
    if true > chance + 3 * error:
        return Finding(
            "input_independence",
            "fail",
            f"{text}: the network does not look at them",
            evidence,
            "Is the input overwritten, or a constant fed?",
        )
    return Finding(
        "input_independence", "undetermined", f"{text}: nothing was learnt yet", evidence
    )


def _score(bench: Bench, state: State, sample: Sample) -> float:
    images, targets = sample
    store, size = ArrayStore(images), images.shape[1]
    said = predictions(bench.task, state.net, store, Pass(size, bench.runtime))
    return bench.task.scores(said, targets)[bench.task.main_score]
