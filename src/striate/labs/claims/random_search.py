"""O1: random search against following the gradient."""

from __future__ import annotations

import torch
from torch import nn

from striate.labs.bench import accuracy_of, digits, fit
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line


def measure(seed: int, full: bool) -> Trial:
    data, tries = digits(seed), 10_000 if full else 1000
    torch.manual_seed(seed)
    x, best, curve = data.x.flatten(1), 0.0, []
    for _ in range(tries):
        right = ((x @ torch.randn(64, 10) * 1e-4).argmax(dim=1) == data.y).float().mean()
        best = max(best, float(right))
        curve.append(best)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    accuracies = []
    for _ in range(20):
        fit(net, data.x, data.y, steps=tries // 20, lr=0.5, batch=64, momentum=0.9, seed=seed)
        accuracies.append(accuracy_of(net, data.x, data.y))
    chart = Chart("accuracy on training images", "classifiers tried, or steps", "accuracy", [
        Line("best of the random ones", range(1, tries + 1, 10), curve[::10]),
        Line("gradient", range(tries // 20, tries + 1, tries // 20), accuracies)])  # fmt: skip
    return Trial(
        {"best random accuracy": best, "accuracy by the gradient": accuracies[-1]}, [chart]
    )


LAB = Lab(
    "O1", "random-search",
    "The best of many random linear classifiers is only a little better than chance (15.5 % on "
    "CIFAR-10, where chance is 10 %).",
    "1,000 random linear classifiers of digits, and as many steps along the gradient.",
    measure,
    {
        "confirmed": lambda f: 0.1 < f["best random accuracy"] < 0.5
        and f["accuracy by the gradient"] > 0.95
    },
    "best random accuracy",
    "Random search finds a direction that helps, and is lost: there are 640 numbers to choose. The "
    "gradient says how to change all of them at once.",
    "confirmed",
)  # fmt: skip
