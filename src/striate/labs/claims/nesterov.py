"""O4: where Nesterov's momentum takes its gradient."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch

from striate.labs.bench import Size
from striate.labs.lab import Lab, Trial
from striate.textbook.updates import descend, nesterov

_CURVES = (1.0, 20.0)
_RATE, _BETA, _STEPS = 0.02, 0.9, 50


def measure(seed: int, full: bool) -> Trial:
    curves, steps = np.array(_CURVES), 10 * _STEPS if full else _STEPS
    start = np.random.default_rng(seed).normal(size=2)
    lecture = [start, *islice(descend(nesterov, lambda w: curves * w, start, _RATE), steps)]
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    rule = torch.optim.SGD([theirs], lr=_RATE, momentum=_BETA, nesterov=True)
    kept = [theirs.detach().numpy().copy()]
    for _ in range(steps):
        rule.zero_grad()
        (torch.from_numpy(curves) * theirs**2 / 2).sum().backward()  # type: ignore[no-untyped-call]
        rule.step()
        kept.append(theirs.detach().numpy().copy())
    path = np.array(lecture)
    ahead = path[1:] + _BETA * np.diff(path, axis=0)
    return Trial(
        {
            "torch's parameter − (w + βv), at most": Size(np.abs(np.array(kept[1:]) - ahead).max()),
            "torch's parameter − w, at most": Size(np.abs(np.array(kept[1:]) - path[1:]).max()),
        }
    )


LAB = Lab(
    "O4", "nesterov",
    "Nesterov's momentum takes the gradient at the look-ahead point w + βv.",
    "The lecture's rule and torch's walk down a ravine side by side.",
    measure,
    {
        "confirmed": lambda f: f["torch's parameter − (w + βv), at most"] < 1e-10
        and f["torch's parameter − w, at most"] > 1e-3
    },
    "torch's parameter − (w + βv), at most",
    "torch's parameter is the look-ahead point itself, not w: compare w + βv, and expect the "
    "weights that you save to be a step of momentum ahead of the lecture's.",
    "confirmed",
)  # fmt: skip
