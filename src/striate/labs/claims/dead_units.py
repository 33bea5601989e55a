"""L10: units that are never above 0."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from striate.labs.bench import accuracy_of, dense, digits, fit
from striate.labs.lab import Lab, Trial


def measure(seed: int, full: bool) -> Trial:
    data, figures = digits(seed), {}
    for name, activation in (("ReLU", nn.ReLU), ("leaky ReLU", partial(nn.LeakyReLU, 0.1))):
        torch.manual_seed(seed)
        net = dense([64, 64, 64, 10], activation)
        first = next(m for m in net.modules() if isinstance(m, nn.Linear))
        with torch.no_grad():
            first.bias[:56] = -30.0  # as a rate that is too high leaves them
        before = first.weight[:56].detach().clone()
        fit(net, data.x, data.y, steps=1000 if full else 300, lr=0.1, batch=64, seed=seed)
        moved = (first.weight[:56].detach() - before).abs().amax(dim=1) > 0
        figures[f"{name}: units pushed below 0 that still learn"] = float(moved.float().mean())
        figures[f"{name}: accuracy"] = accuracy_of(net, data.test_x, data.test_y)
    return Trial(figures)


LAB = Lab(
    "L10", "dead-units",
    "ReLU has no gradient below 0, so a unit that is never above it stops learning; leaky ReLU "
    "avoids that.",
    "The biases of 56 of 64 units are set to −30; the network learns digits for 300 steps.",
    measure,
    {
        "confirmed": lambda f: f["ReLU: units pushed below 0 that still learn"] == 0
        and f["leaky ReLU: units pushed below 0 that still learn"] == 1
    },
    "ReLU: units pushed below 0 that still learn",
    "A dead unit stays dead. One bad step can make many; Striate's doctor counts them.",
    "confirmed",
)  # fmt: skip
