"""D6: eight workers."""

from __future__ import annotations

import numpy as np

from striate.labs.lab import Lab, Trial

_WORKERS, _RIGHT = 8, 0.5


def measure(seed: int, _: bool) -> Trial:
    rng, objects = np.random.default_rng(seed), 200_000
    alone = (rng.random((objects, _WORKERS)) < _RIGHT).any(axis=1)
    hard = rng.random(objects) < 0.2  # objects that each worker sees with probability 0.1 only
    chance = np.where(hard, 0.1, (_RIGHT - 0.2 * 0.1) / 0.8)
    alike = (rng.random((objects, _WORKERS)) < chance[:, None]).any(axis=1)
    return Trial(
        {
            "missed by all, independent workers": float(1 - alone.mean()),
            "missed by all, some objects hard for everybody": float(1 - alike.mean()),
            "0.5⁸": _RIGHT**_WORKERS,
        }
    )


LAB = Lab(
    "D6", "crowd",
    "If eight independent workers are each right with p > 0.5, all of them miss with less than "
    "0.5⁸ ≈ 0.004.",
    "200,000 objects and eight workers who find half of them: independently, and where a fifth of "
    "the objects is hard for everybody.",
    measure,
    {
        "conditional": lambda f: abs(f["missed by all, independent workers"] - f["0.5⁸"]) < 0.001
        and f["missed by all, some objects hard for everybody"] > 10 * f["0.5⁸"]
    },
    "missed by all, some objects hard for everybody",
    "The sum is right for independent workers. People miss the same objects – small, hidden, odd – "
    "so a crowd misses far more than the product says.",
    "conditional",
)  # fmt: skip
