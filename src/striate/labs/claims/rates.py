"""O6: what the loss curve says of the learning rate."""

from __future__ import annotations

import math

import torch

from striate.labs.bench import dense, digits, fit
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_RATES = {"too low": 0.001, "right": 0.3, "too high": 30.0}


def measure(seed: int, full: bool) -> Trial:
    data, figures, lines = digits(seed), {}, []
    for name, rate in _RATES.items():
        torch.manual_seed(seed)
        net = dense([64, 32, 10], torch.nn.ReLU)
        losses = fit(net, data.x, data.y, steps=1000 if full else 200, lr=rate, batch=64, seed=seed)
        last = losses[-20:]
        figures[f"{name}: loss at the end"] = sum(last) / len(last)
        figures[f"{name}: loss at its highest"] = max(losses)
        shown = [min(loss, 10.0) if math.isfinite(loss) else None for loss in losses]
        lines.append(Line(f"{name}, {rate:g}", range(len(shown)), shown))
    return Trial(figures, [Chart("loss of each step (cut at 10)", "step", "loss", lines)])


LAB = Lab(
    "O6", "rates",
    "A learning rate that is too high explodes or bounces, one that is too low crawls; the loss "
    "curve shows which.",
    "A small network learns digits with the rates 0.001, 0.3 and 30.",
    measure,
    {
        "confirmed": lambda f: f["right: loss at the end"] < 0.3
        and f["too low: loss at the end"] > 1.5
        and f["too low: loss at its highest"] < 4
        and f["too high: loss at its highest"] > 10
    },
    "right: loss at the end",
    "Start where the loss falls fastest without jumping; `striate lr` finds it by measurement.",
    "confirmed",
)  # fmt: skip
