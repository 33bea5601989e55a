"""D1: preparing pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.labs.bench import Images, dense, digits, fit, loss_of
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_RATES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.3, 1.0)


def _prepared(x: Tensor) -> dict[str, Tensor]:
    flat = 255 * x.flatten(1)
    mean, std = flat.mean(dim=0), flat.std()
    centred = flat - mean
    values, vectors = np.linalg.eigh(np.cov(centred.numpy().T))
    keep = values > 1e-3 * values.max()
    basis: Any = vectors[:, keep] / np.sqrt(values[keep])
    return {
        "as they are": flat, "mean taken off": centred, "standardised": centred / std,
        "whitened": centred @ torch.from_numpy(basis).float(),
    }  # fmt: skip


def measure(seed: int, full: bool) -> Trial:
    return on_images(digits(seed), seed, full)


def on_images(data: Images, seed: int, full: bool) -> Trial:
    figures: dict[str, float] = {}
    lines = []
    for name, x in _prepared(data.x).items():
        found = []
        for rate in _RATES:
            torch.manual_seed(seed)
            net = dense([x.shape[1], 64, data.classes], nn.ReLU)
            fit(net, x, data.y, steps=600 if full else 150, lr=rate, batch=64, seed=seed)
            loss = loss_of(net, x, data.y)
            found.append(loss if math.isfinite(loss) else math.inf)
        figures[f"{name}: best loss"] = min(found)
        figures[f"{name}: loss at the rate 0.1"] = min(found[_RATES.index(0.1)], 1e6)
        lines.append(Line(name, [math.log10(r) for r in _RATES], [min(v, 3.0) for v in found]))
    return Trial(figures, [Chart("loss by rate", "log10 of the rate", "loss (cut at 3)", lines)])


LAB = Lab(
    "D1", "preparation",
    "Subtract the mean of the training images and divide by their deviation.",
    "A network of one hidden layer learns digits (pixels 0 to 255) with eight rates, from pixels "
    "as they are and in three preparations.",
    measure,
    {
        "confirmed": lambda f: f["standardised: best loss"] < 0.1 * f["as they are: best loss"]
        and f["standardised: loss at the rate 0.1"] < 0.5
        and f["mean taken off: loss at the rate 0.1"] > 2
    },
    "standardised: best loss",
    "Taking off the mean lets the network learn at all; dividing by the deviation makes the usual "
    "rates fit. Whitening, which costs far more, gains little beyond that.",
    "confirmed", on=on_images,
)  # fmt: skip
