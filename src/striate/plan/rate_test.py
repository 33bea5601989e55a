"""Which learning rate? A range test says where it is worth looking, short trainings decide (O6).

Range test: the rate rises by a constant factor from step to step until the loss explodes (Smith
2017, arXiv:1506.01186). Its curve depends on the order of batches, augmentation and batch norm's
young averages, so it is repeated with other seeds, smoothed, and only used to bound the search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import TrainingError
from striate.training.job import Job
from striate.training.loop import briefly, endless
from striate.training.state import State
from striate.training.update import update

SPAN = 1e-4, 1e2
"""The range test runs from a ten-thousandth of the usual rate to a hundred times the usual rate."""
STEPS, REPEATS = 100, 3
EXPLODED = 2.0
"""Times the first loss at which a range test stops."""
GRID = math.sqrt(10)
LEAST_STEPS, MOST_STEPS = 120, 400
_BEYOND = 4
"""At most four trials beyond the grid."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """One range test: rates, and losses before the update with each; it may end early."""

    rates: Floats
    losses: Floats


@dataclass(frozen=True)
class Tried:
    """A short training at a peak rate: validation score and its standard error, validation loss."""

    lr: float
    score: float
    error: float
    loss: float


@dataclass(frozen=True)
class RateTest:
    """`lr` is the choice, `usual` what suits the rule and batch size; `low` and `high` bound the
    rates that did as well within their errors; `steepest` and `explodes` are what the range tests
    say, one each."""

    lr: float
    usual: float
    low: float
    high: float
    steepest: tuple[float, ...]
    explodes: tuple[float, ...]
    sweeps: tuple[Sweep, ...]
    tried: tuple[Tried, ...]
    why: str


def sweep(job: Job, state: State, usual: float, epoch: int, steps: int = STEPS) -> Sweep:
    """A range test on a network that is thrown away afterwards. `epoch` chooses the batches."""
    rates = usual * np.geomspace(*SPAN, steps)
    losses: list[float] = []
    for lr, batch in zip(rates, endless(job, state, epoch), strict=False):
        try:
            loss = update(job, state, batch, float(lr)).loss
        except TrainingError:
            break
        state.position.step += 1
        losses.append(loss)
        if loss > EXPLODED * max(losses[0], 1e-6) and len(losses) > steps // 10:
            break
    return Sweep(rates[: len(losses)], np.array(losses))


def smoothed(losses: Floats, width: float) -> Floats:
    """A Gaussian mean over neighbours, `width` steps wide, with whole weights at the ends."""
    places = np.arange(len(losses))
    weights = np.exp(-0.5 * ((places[:, None] - places) / width) ** 2)
    found: Floats = (weights @ losses) / weights.sum(axis=1)
    return found


def read_sweep(found: Sweep) -> tuple[float, float]:
    """(rate at which the loss falls fastest, rate from which it rises for good)."""
    if len(found.rates) < 5:
        return float(found.rates[0]), float(found.rates[-1])
    loss = smoothed(found.losses, width=max(1.5, len(found.losses) / 25))
    lowest = int(loss.argmin())
    slope = np.gradient(loss)
    steepest = int(slope[: max(2, lowest + 1)].argmin())
    depth = loss[0] - loss[lowest]
    above = np.flatnonzero(loss[lowest:] > loss[lowest] + 0.1 * max(depth, 1e-9))
    last = lowest + int(above[0]) if len(above) else len(loss) - 1
    return float(found.rates[steepest]), float(found.rates[last])


def candidates(steepest: Sequence[float], explodes: Sequence[float]) -> list[float]:
    """Rates to try: half decades from below the least steepest to the largest that survives."""
    low, high = min(steepest) / 5, max(explodes)
    count = max(3, round(math.log(max(high / low, 1.0)) / math.log(GRID)) + 1)
    return [float(f"{lr:.2g}") for lr in np.geomspace(low, max(high, low * GRID), min(count, 9))]


def choose(tried: Sequence[Tried]) -> tuple[float, float, float]:
    """(choice, lowest, highest): the middle, in the logarithm, of the rates whose score is within
    one standard error of the best. Raises TrainingError if every trial exploded."""
    alive = [t for t in tried if math.isfinite(t.loss)]
    if not alive:
        raise TrainingError(
            "no learning rate trained without a loss that is not finite",
            "`striate preflight` looks at the network and its start.",
        )
    best = max(alive, key=lambda t: (t.score, -t.loss))
    around = _connected(sorted(t.lr for t in alive), {t.lr for t in as_good(alive)}, best.lr)
    low, high = around[0], around[-1]
    return float(f"{math.sqrt(low * high):.2g}"), low, high


def as_good(tried: Sequence[Tried]) -> list[Tried]:
    """Those whose score is within a standard error of the best, and whose loss is not much above
    its."""
    alive = [t for t in tried if math.isfinite(t.loss)]
    best = max(alive, key=lambda t: (t.score, -t.loss), default=None)
    if best is None:
        return []
    return [t for t in alive if t.score >= best.score - best.error and t.loss < 1.25 * best.loss]


def _connected(rates: list[float], good: set[float], best: float) -> list[float]:
    """The good rates around the best one, without a gap."""
    at = rates.index(best)
    first = at
    while first > 0 and rates[first - 1] in good:
        first -= 1
    last = at
    while last + 1 < len(rates) and rates[last + 1] in good:
        last += 1
    return rates[first : last + 1]


def trial(job: Job, state: State, lr: float, steps: int, schedule: Callable[[int], float]) -> Tried:
    """Train a fresh network for `steps` steps with a shortened schedule, and validate it."""
    found = briefly(job, state, steps, lambda step: lr * schedule(step))
    if found is None:
        return Tried(lr, 0.0, 0.0, math.inf)
    score, loss = found.scores[job.task.main_score], found.scores["loss"]
    error = math.sqrt(max(score * (1 - score), 1e-4) / len(found))
    loss = loss if math.isfinite(loss) else math.inf
    return Tried(lr, score, error, loss)


def trial_steps(planned: int) -> int:
    """Updates of a short training: a quarter of the planned ones, within bounds."""
    return min(planned, max(LEAST_STEPS, min(MOST_STEPS, planned // 4)))


def search(
    job: Job,
    fresh: Callable[[int], State],
    usual: float,
    shorter: Callable[[int], Callable[[int], float]],
    steps: int,
) -> Iterator[Sweep | Tried | RateTest]:
    """Range tests, trials, and last the result.

    fresh(seed) makes a network; shorter(n) is the recipe's schedule over n steps.
    """
    sweeps = []
    for repeat in range(REPEATS):
        sweeps.append(sweep(job, fresh(repeat), usual, epoch=repeat))
        yield sweeps[-1]
    steepest, explodes = zip(*map(read_sweep, sweeps), strict=True)
    tried: dict[float, Tried] = {}
    for lr in candidates(steepest, explodes):
        tried[lr] = trial(job, fresh(0), lr, steps, shorter(steps))
        yield tried[lr]
    yield from _refined(tried, lambda lr: trial(job, fresh(0), lr, steps, shorter(steps)))
    lr, low, high = choose(list(tried.values()))
    best = max(tried.values(), key=lambda t: (t.score, -t.loss))
    why = (
        f"{len(tried)} trainings of {steps} steps: {low:.2g} to {high:.2g} did best "
        f"({best.score:.1%} ± {best.error:.1%} at {best.lr:.2g})"
    )
    ordered = tuple(tried[key] for key in sorted(tried))
    yield RateTest(lr, usual, low, high, steepest, explodes, tuple(sweeps), ordered, why)


def _refined(tried: dict[float, Tried], attempt: Callable[[float], Tried]) -> Iterator[Tried]:
    """While a rate at an end of the grid is as good as the best, go on beyond it."""
    for _ in range(_BEYOND):
        rates = sorted(tried)
        good = {t.lr for t in as_good(list(tried.values()))}
        ends = ((rates[-1], GRID), (rates[0], 1 / GRID))
        further = next((end * step for end, step in ends if end in good), None)
        if further is None:
            return
        lr = float(f"{further:.2g}")
        tried[lr] = attempt(lr)
        yield tried[lr]
