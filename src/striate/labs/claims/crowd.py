"""D6: eight workers."""

from __future__ import annotations

import numpy as np

from striate.labs.bench import share_of
from striate.labs.lab import Lab, Trial

_WORKERS, _RIGHT, _BETTER = 8, 0.5, 0.55


def measure(seed: int, _: bool) -> Trial:
    rng, objects = np.random.default_rng(seed), 200_000
    alone, better = ((rng.random((objects, _WORKERS)) < right).any(axis=1)
                     for right in (_RIGHT, _BETTER))  # fmt: skip
    hard = rng.random(objects) < 0.2  # objects that each worker sees with probability 0.1 only
    chance = np.where(hard, 0.1, (_RIGHT - 0.2 * 0.1) / 0.8)
    alike = (rng.random((objects, _WORKERS)) < chance[:, None]).any(axis=1)
    return Trial(
        {
            "missed by all, each right with p = 0.5": share_of(~alone),
            "missed by all, each right with p = 0.55": share_of(~better),
            "missed by all, p = 0.5, some objects hard for everybody": share_of(~alike),
            "0.5⁸": _RIGHT**_WORKERS,
        }
    )


LAB = Lab(
    "D6", "crowd",
    "If eight independent workers are each right with p > 0.5, all of them miss with less than "
    "0.5⁸ ≈ 0.004.",
    "200,000 objects and eight workers who find each of them independently with p = 0.5 or 0.55; "
    "and where they find half, but a fifth of the objects is hard for everybody.",
    measure,
    {
        "confirmed": lambda f: abs(f["missed by all, each right with p = 0.5"] - f["0.5⁸"]) < 0.001
        and f["missed by all, each right with p = 0.55"] < f["0.5⁸"]
        and f["missed by all, p = 0.5, some objects hard for everybody"] > 10 * f["0.5⁸"]
    },
    "missed by all, each right with p = 0.55",
    "The sum is right for independent workers, and only for them. If people miss the same objects "
    "– small, hidden, odd – a crowd of the same skill misses many times as many as the product "
    "says: here more than twenty times.",
    "confirmed",
)  # fmt: skip
