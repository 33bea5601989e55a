"""O2: all images for one step, or many steps with a few."""

from __future__ import annotations

import torch

from striate.labs.bench import dense, digits, fit, loss_of
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_BATCHES = (32, 64, 128, 512, 0)
_RATES = (0.03, 0.1, 0.3, 1.0, 3.0)


def measure(seed: int, full: bool) -> Trial:
    data, epochs = digits(seed), 20 if full else 5
    figures, lines = {}, []
    for batch in _BATCHES:
        each, found = batch or len(data.y), []
        for rate in _RATES:  # every batch size has the rate that suits it
            torch.manual_seed(seed)
            net = dense([64, 64, 10], torch.nn.ReLU)
            steps = epochs * len(data.y) // each
            losses = fit(net, data.x, data.y, steps=steps, lr=rate, batch=batch, seed=seed)
            found.append((loss_of(net, data.x, data.y), losses))
        loss, losses = min(found, key=lambda pair: pair[0])
        name = f"{batch} images a step" if batch else "all images"
        figures[f"{name}: loss"] = loss
        lines.append(Line(name, [i * each / len(data.y) for i in range(len(losses))], losses))
    chart = Chart(f"loss over {epochs} passes", "passes over the images", "loss of a step", lines)
    return Trial(figures, [chart])


LAB = Lab(
    "O2", "batches",
    "Gradient descent reads all data for one good step; mini-batches of 32, 64, 128 take many "
    "cheap, noisy ones, and are further after the same work.",
    "A small network learns digits for the same number of passes with batches of 32 to all images, "
    "each with the best of five rates.",
    measure,
    {
        "confirmed": lambda f: max(f[f"{b} images a step: loss"] for b in (32, 64, 128))
        < 0.7 * f["all images: loss"]
    },
    "32 images a step: loss",
    "Reading an image costs the same in a large batch as in a small one, and a step with few "
    "images is nearly as good as one with all. Above some size a larger batch only saves "
    "overhead.",
    "confirmed", seeds=3,
)  # fmt: skip
