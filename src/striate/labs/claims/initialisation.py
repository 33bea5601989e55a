"""T2: how wide the first weights are."""

from __future__ import annotations

import torch
from torch import nn

from striate.labs.bench import accuracy_of, dense, digits, fit
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_DEPTHS = (1, 2, 4, 8)
_STDS = {"deviation 0.001": 0.001, "He": 0.0}


def measure(seed: int, full: bool) -> Trial:
    data, figures, lines = digits(seed), {}, []
    for name, std in _STDS.items():
        reached = []
        for depth in _DEPTHS:
            torch.manual_seed(seed)
            net = dense([64, *[64] * depth, 10], nn.ReLU, std)
            fit(net, data.x, data.y, steps=2000 if full else 300, lr=0.02, batch=64, momentum=0.9,
                seed=seed)  # fmt: skip
            reached.append(accuracy_of(net, data.test_x, data.test_y))
            figures[f"{name}, depth {depth}: accuracy"] = reached[-1]
        lines.append(Line(name, _DEPTHS, reached, dots=True))
    return Trial(figures, [Chart("accuracy on test images", "hidden layers", "accuracy", lines)])


LAB = Lab(
    "T2", "initialisation",
    "Initialise weights with small Gaussian numbers of deviation 0.001.",
    "Networks of 1 to 8 hidden layers with ReLU learn digits for 300 steps, from weights of "
    "deviation 0.001 and from weights as wide as He's rule asks.",
    measure,
    {
        "conditional": lambda f: f["deviation 0.001, depth 1: accuracy"] > 0.75
        and f["deviation 0.001, depth 8: accuracy"] < 0.3
        and f["He, depth 8: accuracy"] > 0.85
    },
    "deviation 0.001, depth 8: accuracy",
    "Small numbers do for one hidden layer. Each further layer shrinks what passes through, until "
    "nothing is left to learn from; weights as wide as the layer's fan asks keep it, at any depth.",
    "conditional",
)  # fmt: skip
