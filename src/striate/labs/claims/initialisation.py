"""T2: how wide the first weights are."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from striate.labs.bench import accuracy_of, alike, dense, digits, fit_each
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_DEPTHS = (1, 2, 4, 8)
_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_STDS = {"deviation 0.001": 0.001, "He": 0.0}


def measure(seed: int, full: bool) -> Trial:
    data, figures, lines = digits(seed), {}, []
    rows = [
        ["accuracy on images that choose", "hidden layers", *(f"rate {rate:g}" for rate in _RATES)]
    ]
    for name, std in _STDS.items():
        reached: list[float] = []
        for depth in _DEPTHS:
            make = partial(dense, [64, *[64] * depth, 10], nn.ReLU, std)
            nets = alike(make, len(_RATES), seed)
            fit_each(nets, data.x, data.y, steps=2000 if full else 300, lrs=torch.tensor(_RATES),
                     batch=64, momentum=0.9, seed=seed)  # fmt: skip
            half = len(data.test_y) // 2  # chooses the rate, the other half tells what it reaches
            found = [accuracy_of(net, data.test_x[:half], data.test_y[:half]) for net in nets]
            best = nets[found.index(max(found))]
            reached.append(accuracy_of(best, data.test_x[half:], data.test_y[half:]))
            figures[f"{name}, depth {depth}: accuracy"] = reached[-1]
            rows.append([name, str(depth), *(f"{accuracy:.3f}" for accuracy in found)])
        lines.append(Line(name, _DEPTHS, reached, dots=True))
    return Trial(figures, [Chart("accuracy on test images", "hidden layers", "accuracy", lines)],
                 rows)  # fmt: skip


LAB = Lab(
    "T2", "initialisation",
    "Initialise weights with small Gaussian numbers of deviation 0.001.",
    "Networks of 1 to 8 hidden layers with ReLU learn digits for 300 steps, from weights of "
    "deviation 0.001 and from weights as wide as He's rule asks, each with its best of six rates.",
    measure,
    {
        "conditional": lambda f: f["deviation 0.001, depth 1: accuracy"] > 0.9
        and f["deviation 0.001, depth 2: accuracy"] < 0.3
        and f["deviation 0.001, depth 8: accuracy"] < 0.3
        and f["He, depth 8: accuracy"] > 0.9
    },
    "deviation 0.001, depth 8: accuracy",
    "Small numbers do for one hidden layer. From two on nothing is left of what passes through, "
    "and no rate helps; weights as wide as the layer's fan asks keep it, at any depth.",
    "conditional", seeds=3,
)  # fmt: skip
