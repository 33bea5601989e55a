"""How much may trained weights change? Two short trainings tell (M3).

No probe of the features foresees it. Photographs like ImageNet's want to be treated gently: a tenth
of the rate, and batch norm that keeps the averages it came with, since small batches would blur
them. Hand signs want features that change at the whole rate, with averages of their own. So the
network is trained for some steps in either way, and the loss on validation images decides; where
it is not clearly lower, gently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from striate.tasks.evaluation import Evaluation
from striate.training.job import Job
from striate.training.loop import briefly
from striate.training.state import State

GENTLY = "gently"
REGIMES: dict[str, dict[str, Any]] = {
    GENTLY: {"optim.backbone_rate": 0.1, "model.freeze_norm": True},
    "thoroughly": {"optim.backbone_rate": 1.0, "model.freeze_norm": False},
}
"""Ways to change weights, as knobs."""
CLEARLY = 1.5
"""By this share over the root of the number of validation images, and by half its standard error, a
loss must be lower to be preferred to gently: 31 % of 24 images, 9 % of 300."""
IMAGES, FEWEST, MOST = 1_000, 8, 24
"""Images that a short training sees, and the bounds of its steps."""


def regime(
    job: Job,
    fresh: Callable[[Mapping[str, Any]], State],
    shorter: Callable[[int], Callable[[int], float]],
) -> tuple[str, str]:
    """(a name of REGIMES, why). fresh(knobs) makes a network; shorter(n) is the recipe's schedule
    over n steps. What the frozen part gives is kept by the job."""
    batch = -(-len(job.targets) // job.steps_per_epoch)
    steps = min(job.epochs * job.steps_per_epoch, max(FEWEST, min(MOST, IMAGES // batch)))
    tried = {
        name: _tried(job, fresh(knobs), steps, shorter(steps)) for name, knobs in REGIMES.items()
    }
    return chosen({name: found for name, found in tried.items() if found is not None}, steps)


def chosen(tried: Mapping[str, Evaluation], steps: int) -> tuple[str, str]:
    """(a name of REGIMES, why), by evaluations of validation images."""
    if len(tried) < len(REGIMES):
        return next(iter(tried), GENTLY), "the other short training's loss was not finite"
    said = ", ".join(f"{found.scores['loss']:.3f} {name}" for name, found in tried.items())
    why = f"validation loss after {steps} steps: {said}"
    best = min(tried, key=lambda name: tried[name].scores["loss"])
    ours, theirs = tried[GENTLY].losses, tried[best].losses
    if best == GENTLY or ours is None or theirs is None:
        return best, why
    apart = ours - theirs
    error = float(apart.std(ddof=1)) / math.sqrt(len(apart)) if len(apart) > 1 else math.inf
    least = max(CLEARLY / math.sqrt(len(apart)) * float(ours.mean()), error / 2)
    if float(apart.mean()) <= least:
        return GENTLY, f"{why}, too close to call"
    return best, why


def _tried(
    job: Job, state: State, steps: int, schedule: Callable[[int], float]
) -> Evaluation | None:
    """The validation images after a short training; None if a loss was not finite."""
    found = briefly(job, state, steps, lambda step: job.lr * schedule(step))
    return found if found is not None and math.isfinite(found.scores["loss"]) else None
