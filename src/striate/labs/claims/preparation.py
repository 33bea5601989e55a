"""D1: preparing pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.labs.bench import Images, accuracy_of, alike, dense, digits, fit_each, loss_of
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_RATES = [10 ** (half / 2) for half in range(-13, 3)]
"""From 3e-7 to 10, two to each power of ten."""


def _prepared(data: Images) -> dict[str, tuple[Tensor, Tensor]]:
    """Training and test pixels (N, D), prepared by what the training pixels show."""
    flat = 255 * data.x.flatten(1)
    mean = flat.mean(dim=0)
    values, vectors = np.linalg.eigh(np.cov(flat.numpy().T))
    keep = values > 1e-3 * values.max()
    basis: Any = vectors[:, keep] / np.sqrt(values[keep])
    whiten, std = torch.from_numpy(basis).float(), (flat - mean).std()
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "as they are": lambda x: x, "divided by 255": lambda x: x / 255,
        "mean taken off": lambda x: x - mean, "standardised": lambda x: (x - mean) / std,
        "whitened": lambda x: (x - mean) @ whiten,
    }  # fmt: skip
    return {name: (way(flat), way(255 * data.test_x.flatten(1))) for name, way in ways.items()}


def measure(seed: int, full: bool) -> Trial:
    return on_images(digits(seed), seed, full)


def on_images(data: Images, seed: int, full: bool) -> Trial:
    figures: dict[str, float] = {}
    lines = []
    for name, (x, test) in _prepared(data).items():
        nets = alike(partial(_net, x, data.classes), len(_RATES), seed)
        fit_each(nets, x, data.y, steps=600 if full else 150, lrs=torch.tensor(_RATES), batch=64,
                 seed=seed)  # fmt: skip
        half = len(test) // 2  # chooses the rate, the other half tells what it reaches
        found = [loss if math.isfinite(loss := loss_of(net, test[:half], data.test_y[:half]))
                 else math.inf for net in nets]  # fmt: skip
        best = int(np.argmin(found))
        rest = (nets[best], test[half:], data.test_y[half:])
        figures[f"{name}: best loss"] = loss_of(*rest)
        figures[f"{name}: accuracy"] = accuracy_of(*rest)
        figures[f"{name}: its rate"] = _RATES[best]
        lines.append(Line(name, [math.log10(r) for r in _RATES], [min(v, 3.0) for v in found]))
    return Trial(
        figures,
        [
            Chart(
                "loss by rate, on images that choose it",
                "log10 of the rate",
                "loss (cut at 3)",
                lines,
            )
        ],
    )


def _net(x: Tensor, classes: int) -> nn.Module:
    """One hidden layer, whose first weights suit the size of these inputs as He's suit 1."""
    net = dense([x.shape[1], 64, classes], nn.ReLU)
    with torch.no_grad():
        next(net.parameters()).div_(x.square().mean().sqrt())
    return net


LAB = Lab(
    "D1", "preparation",
    "Subtract the mean of the training images and divide by their deviation.",
    "A network of one hidden layer learns digits (pixels 0 to 255) as they are and in four "
    "preparations. Each has first weights that suit the size of its numbers, and its best of 16 "
    "rates from 3e-7 to 10.",
    measure,
    {
        "confirmed": lambda f: f["standardised: best loss"]
        < 0.9 * min(f["as they are: best loss"], f["divided by 255: best loss"])
        and f["mean taken off: best loss"] < 0.75 * f["as they are: best loss"]
        and f["standardised: its rate"] >= 100 * f["mean taken off: its rate"]
    },
    "standardised: best loss",
    "The mean is what hinders: without it the loss on new images is about half of that of pixels "
    "as they are, and lower than that of pixels divided by 255. Dividing by the deviation then "
    "changes little but the rate that suits, from some 0.0003 to the usual ones. Whitening costs "
    "far more and is no better on average.",
    "confirmed", on=on_images,
)  # fmt: skip
