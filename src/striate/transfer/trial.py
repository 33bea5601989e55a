"""Short trainings, and what they say of long ones."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from striate.metrics.intervals import Interval, wilson
from striate.plan.job import schedule_of
from striate.plan.prepare import Prepared
from striate.plan.timing import seconds_per_epoch
from striate.tasks.evaluation import Evaluation
from striate.training.job import Job
from striate.training.loop import briefly
from striate.transfer.holdout import held_out

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """What short trainings of one kind found.

    score: of the main score on held-out images after a share `done` of the whole training's
    epochs; predicted: after all of them, with a 95 % interval. each: what each held-out image
    contributes to the score (N,), in the order of the folds; None where a score is no mean.
    """

    score: float
    done: float
    images: int
    predicted: float
    interval: Interval
    each: Floats | None
    seconds: float


def try_training(prepared: Prepared, seconds: float) -> Trial:
    """Train in about `seconds` of time and say what the whole training would reach: on one part of
    the images after the other as long as whole trainings fit, or once for a share of the epochs."""
    began = time.perf_counter()
    found: list[Evaluation] = []
    done, half = 1.0, None
    for fold in held_out(prepared):
        took = time.perf_counter() - began
        if found and took * (1 + 1 / len(found)) > seconds:
            break
        done, half, whole = _try_fold(fold, seconds - took, earlier=bool(found))
        if whole is None:
            break
        found.append(whole)
        if done < 1:
            break
    return _trial(found, done, half, time.perf_counter() - began)


def _try_fold(
    fold: Prepared, seconds: float, *, earlier: bool
) -> tuple[float, float | None, Evaluation | None]:
    """(share of the epochs that was trained, the score at half of that, the evaluation)."""
    began = time.perf_counter()
    job = fold.job()
    epoch, _ = seconds_per_epoch(job, fold.fresh())
    setup = time.perf_counter() - began
    views = job.features.views if job.features else 0
    fresh_views = setup if views else 0.0  # about what an epoch's new views take
    epochs = fold.settled.epochs
    left = seconds - setup
    if earlier or left >= epochs * (epoch + fresh_views):
        return 1.0, None, _trained(fold, job, epochs * job.steps_per_epoch)
    share = max(left / 1.5 / (epoch + fresh_views) / epochs, 1 / epochs / job.steps_per_epoch)
    steps = max(2, round(min(share, 1.0) * epochs * job.steps_per_epoch))
    first = _trained(fold, job, steps // 2)
    second = _trained(fold, job, steps)
    main = job.task.main_score
    half = None if first is None else first.scores[main]
    return min(1.0, steps / (epochs * job.steps_per_epoch)), half, second


def _trained(fold: Prepared, job: Job, steps: int) -> Evaluation | None:
    """The evaluation on held-out images after a training of this number of steps, whose schedule is
    as short; None if its loss was not finite."""
    schedule = schedule_of(fold.settled, steps, max(1.0, steps / job.epochs))
    return briefly(job, fold.fresh(), steps, lambda step: job.lr * schedule(step))


def _trial(found: list[Evaluation], done: float, half: float | None, seconds: float) -> Trial:
    if not found:
        return Trial(0.0, done, 0, 0.0, (0.0, 1.0), None, seconds)
    main = found[0].task.main_score
    each = [evaluation.contributions() for evaluation in found]
    images = sum(map(len, found))
    joined = np.concatenate([e for e in each if e is not None]) if each[0] is not None else None
    score = (
        float(joined.mean())
        if joined is not None
        else float(np.mean([evaluation.scores[main] for evaluation in found]))
    )
    predicted = extrapolated(score, half, done)
    if joined is not None:
        low, high = wilson(predicted * images, images)
    else:
        low, high = found[0].figures.intervals.get(main, (0.0, 1.0))
    slack = abs(predicted - score) / 2
    return Trial(
        score, done, images, predicted, (max(0.0, low - slack), min(1.0, high + slack)), joined,
        seconds,
    )  # fmt: skip


def extrapolated(score: float, half: float | None, done: float) -> float:
    """The score after the whole training, if the errors fall with a power of its length as they did
    from half the length to this. half: the score at half the length; done: share of the whole."""
    if half is None or done >= 1 or not 0 < score < 1 or half >= 1:
        return score
    power = min(1.0, max(0.0, math.log2((1 - half) / (1 - score))))
    return 1 - (1 - score) * done**power
