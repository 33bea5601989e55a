"""Schedules (O7): pure functions of the step that give the factor of the peak rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from striate.core.errors import RecipeError, perhaps

Schedule = Callable[[int], float]
"""step (0 for the first update) → factor in [0, 1]."""


def constant(_: int) -> float:
    """1."""
    return 1.0


def step_decay(step: int, *, every: int, gamma: float) -> float:
    """γ^⌊step/every⌋. Deck A's printout of torch's StepLR (0.01, γ 0.99, every 3) shows an artefact
    of the old get_lr(): the true rates are .01 ×3, .0099 ×3, .009801 ×3, .00970299 (O7)."""
    return gamma ** (step // every)


def exponential(step: int, *, steps_per_epoch: float, gamma: float) -> float:
    """γ^epochs, continuously; α₀e^(−kt) is γ = e^(−k)."""
    return float(gamma ** (step / steps_per_epoch))


def square_root(step: int, *, total: int) -> float:
    """√(1 − t/T)."""
    return math.sqrt(max(0.0, 1 - step / total))


def inverse(step: int, *, steps_per_epoch: float) -> float:
    """1/t with t counted in epochs from 1."""
    return 1 / (1 + step / steps_per_epoch)


def cosine(step: int, *, total: int) -> float:
    """½(1 + cos(π t/T)) (Loshchilov and Hutter 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))


def one_cycle(step: int, *, total: int, warmup: float) -> float:
    """Linear up to 1 over the first `warmup` share, linear down to 0 at the end (after Smith 2018).

    Both ends are never quite reached, so no update is wasted at rate 0.
    """
    position = min((step + 0.5) / total, 1.0)
    return position / warmup if position < warmup else (1 - position) / (1 - warmup)


def warmed_up(schedule: Schedule, steps: int) -> Schedule:
    """`schedule` multiplied by a linear rise over its first `steps`."""
    return lambda step: schedule(step) * min(1.0, (step + 1) / max(1, steps))


@dataclass(frozen=True)
class Knobs:
    """What a named schedule uses beyond the step, and its defaults."""

    make: Callable[..., Schedule]
    defaults: dict[str, float]


SCHEDULES: dict[str, Knobs] = {
    "constant": Knobs(lambda **_: constant, {"warmup": 0.0}),
    "step": Knobs(
        lambda *, per_epoch, step_epochs, gamma, **_: (
            lambda s: step_decay(s, every=max(1, round(step_epochs * per_epoch)), gamma=gamma)
        ),
        {"warmup": 0.0, "gamma": 0.1, "step_epochs": math.nan},
    ),
    "exponential": Knobs(
        lambda *, per_epoch, gamma, **_: (
            lambda s: exponential(s, steps_per_epoch=per_epoch, gamma=gamma)
        ),
        {"warmup": 0.0, "gamma": 0.97},
    ),
    "sqrt": Knobs(lambda *, total, **_: lambda s: square_root(s, total=total), {"warmup": 0.0}),
    "inverse": Knobs(
        lambda *, per_epoch, **_: lambda s: inverse(s, steps_per_epoch=per_epoch), {"warmup": 0.0}
    ),
    "cosine": Knobs(lambda *, total, **_: lambda s: cosine(s, total=total), {"warmup": 0.0}),
    "one_cycle": Knobs(
        lambda *, total, warmup, **_: lambda s: one_cycle(s, total=total, warmup=warmup),
        {"warmup": 0.25},
    ),
}
"""name → how to make it. step_epochs defaults to a third of the training (NaN here)."""


def find_schedule(name: str) -> Knobs:
    """The map's entry. Raises RecipeError for an unknown name."""
    if name not in SCHEDULES:
        raise RecipeError(f"schedule.name: unknown '{name}'", perhaps(name, SCHEDULES))
    return SCHEDULES[name]


def make_schedule(
    name: str, *, total: int, per_epoch: float, warmup: float, **knobs: Any
) -> Schedule:
    """The factor as a function of the step. `warmup` is a share of `total` steps."""
    if name == "one_cycle":  # has its own rise
        warmup = min(max(warmup, 1e-9), 1 - 1e-9)
        return find_schedule(name).make(total=total, warmup=warmup)
    base = find_schedule(name).make(total=total, per_epoch=per_epoch, **knobs)
    return warmed_up(base, round(warmup * total)) if warmup else base
