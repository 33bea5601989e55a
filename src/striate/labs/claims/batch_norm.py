"""L12: batch normalisation."""

from __future__ import annotations

import math

import torch
from torch import nn

from striate.labs.bench import digits, fit, loss_of
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_RATES = (0.01, 0.1, 1.0, 3.0, 10.0)


def _net(norm: bool, depth: int = 6) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth):
        layers.append(nn.Linear(64, 64))
        layers += [nn.BatchNorm1d(64)] if norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(64, 10))


def measure(seed: int, full: bool) -> Trial:
    figures: dict[str, float] = {}
    data, lines = digits(seed), []
    for name, norm in (("with batch norm", True), ("without", False)):
        reached = []
        for rate in _RATES:
            torch.manual_seed(seed)
            net = _net(norm)
            fit(net, data.x, data.y, steps=1000 if full else 150, lr=rate, batch=64, seed=seed)
            loss = loss_of(net, data.test_x, data.test_y)
            reached.append(min(loss, 3.0) if math.isfinite(loss) else 3.0)
        figures[f"{name}: rates that learn (of 5)"] = sum(loss < 1 for loss in reached)
        lines.append(Line(name, [math.log10(r) for r in _RATES], reached, dots=True))
    gaps = {}
    for size in (4, 64):
        torch.manual_seed(seed)
        net = _net(norm=True, depth=2)
        losses = fit(net, data.x, data.y, steps=300, lr=0.05, batch=size, seed=seed)
        tail = losses[-100:]
        gaps[size] = sum(tail) / len(tail) - loss_of(net, data.x, data.y)
    figures["batches of 4: training loss − that in evaluation mode"] = gaps[4]
    figures["batches of 64: training loss − that in evaluation mode"] = gaps[64]
    chart = Chart("test loss after 150 steps", "log10 of the rate", "loss (cut at 3)", lines)
    return Trial(figures, [chart])


LAB = Lab(
    "L12", "batch-norm",
    "Batch normalisation allows higher learning rates; the noise of the batch regularises.",
    "Networks of six layers learn digits with rates from 0.01 to 10, with batch norm and without; "
    "and the gap between training and evaluation mode for batches of 4 and 64.",
    measure,
    {
        "confirmed": lambda f: f["with batch norm: rates that learn (of 5)"]
        > f["without: rates that learn (of 5)"]
        and f["batches of 4: training loss − that in evaluation mode"]
        > 2 * abs(f["batches of 64: training loss − that in evaluation mode"])
    },
    "with batch norm: rates that learn (of 5)",
    "The range of rates that learn is much wider. The noise is that of the batch: with batches of "
    "4 it is so strong that the training loss says little; keep batches of 16 and more, or use "
    "another norm.",
    "confirmed", seeds=3,
)  # fmt: skip
