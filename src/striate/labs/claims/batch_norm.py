"""L12: batch normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from statistics import fmean

import torch
from torch import Tensor, nn

from striate.labs.bench import (
    Images,
    Size,
    accuracy_of,
    dense,
    digits,
    fit,
    fit_each,
    loss_of,
    partly_random,
)
from striate.labs.lab import Chart, Figures, Lab, Trial
from striate.report.charts import Line

_RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_BATCH, _NOISY, _SIZES = 64, 16, (4, 16, 64)
_FEW, _WRONG, _OFTEN = 300, 0.3, 2
_TRUE, _RANDOM = "true labels", "30 % random labels"


class _Apart(nn.BatchNorm1d):
    """Batch norm whose averages are those of so many images: the same step, more noise. What it
    keeps for evaluation is the mean of these averages, and forgets as fast as that of one norm."""

    def __init__(self, features: int, of: int) -> None:
        super().__init__(features)
        self.of = of

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        parts = x.view(-1, self.of, x.shape[1])
        mean, var = parts.mean(dim=1, keepdim=True), parts.var(dim=1, keepdim=True, unbiased=False)
        with torch.no_grad():
            self.get_buffer("running_mean").mul_(0.9).add_(0.1 * mean.mean(dim=(0, 1)))
            self.get_buffer("running_var").mul_(0.9).add_(0.1 * var.mean(dim=(0, 1)))
        return ((parts - mean) / (var + self.eps).sqrt()).view_as(x) * self.weight + self.bias


def _net(seed: int, depth: int, wide: int, norm: Callable[[int], nn.Module] | None) -> nn.Module:
    torch.manual_seed(seed)
    normed = nn.ReLU if norm is None else lambda: nn.Sequential(norm(wide), nn.ReLU())
    return dense([64, *[wide] * depth, 10], normed)


def _rates(data: Images, seed: int, full: bool) -> tuple[dict[str, float], Chart]:
    figures: dict[str, float] = {}
    lines = []
    for name, norm in (("with batch norm", nn.BatchNorm1d), ("without", None)):
        nets = [_net(seed, 6, 64, norm) for _ in _RATES]
        fit_each(nets, data.x, data.y, steps=1000 if full else 150, lrs=torch.tensor(_RATES),
                 batch=_BATCH, seed=seed)  # fmt: skip
        losses = [loss_of(net, data.test_x, data.test_y) for net in nets]
        learn = [rate for rate, loss in zip(_RATES, losses, strict=True) if loss < 1]
        figures[f"{name}: highest rate that learns"] = Size(max(learn, default=0.0))
        shown = [min(loss, 3.0) if math.isfinite(loss) else 3.0 for loss in losses]
        lines.append(Line(name, [math.log10(r) for r in _RATES], shown, dots=True))
    return figures, Chart("test loss by rate", "log10 of the rate", "loss (cut at 3)", lines)


def _noise(data: Images, seed: int, full: bool) -> dict[str, float]:
    """What averages of fewer images do to test loss and accuracy, all steps being of 64 images: of
    _OFTEN networks each."""
    figures = {}
    x, y = data.x[:_FEW], data.y[:_FEW]
    torch.manual_seed(seed)
    for labels, said in ((y, _TRUE), (partly_random(y, _WRONG, 10), _RANDOM)):
        found = []
        for of in (_BATCH, _NOISY):
            nets = [_net(_OFTEN * seed + k, 3, 128, partial(_Apart, of=of)) for k in range(_OFTEN)]
            for net in nets:
                steps = 2000 if full else 500
                fit(net, x, labels, steps=steps, lr=0.05, batch=_BATCH, seed=seed)
            found.append([fmean(m(net, data.test_x, data.test_y) for net in nets)
                          for m in (loss_of, accuracy_of)])  # fmt: skip
        (loss, accuracy), (noisy_loss, noisy_accuracy) = found
        figures[f"{said}: test loss gained by noise"] = loss - noisy_loss
        figures[f"{said}: accuracy gained by noise"] = noisy_accuracy - accuracy
    return figures


def measure(seed: int, full: bool) -> Trial:
    data = digits(seed)
    figures, chart = _rates(data, seed, full)
    for size in _SIZES:
        net = _net(seed, 2, 64, nn.BatchNorm1d)
        losses = fit(net, data.x, data.y, steps=300, lr=0.05, batch=size, seed=seed)
        gap = fmean(losses[-100:]) - loss_of(net, data.x, data.y)
        figures[f"batches of {size}: training loss − that in evaluation mode"] = gap
    return Trial(figures | _noise(data, seed, full), [chart])


def _faster(f: Figures) -> bool:
    highest = [f[f"{name}: highest rate that learns"] for name in ("with batch norm", "without")]
    gaps = [f[f"batches of {n}: training loss − that in evaluation mode"] for n in _SIZES]
    return highest[0] >= 8 * highest[1] and gaps[0] > 2 * gaps[1] > 2 * abs(gaps[2])


LAB = Lab(
    "L12", "batch-norm",
    "Batch normalisation allows higher learning rates; the noise of the batch regularises.",
    "Networks of six layers with He's weights learn digits with rates from 0.01 to 10, with batch "
    "norm and without. The gap between training and evaluation mode is measured for batches of 4, "
    "16 and 64. Then wide networks learn 300 digits in steps of 64 images, with averages over all "
    "64 and, which is noisier, over 16 each, two of them each; once with true labels and once "
    "with 30 % random ones.",
    measure,
    {
        "conditional": lambda f: _faster(f)
        and f[f"{_TRUE}: test loss gained by noise"]
        > 2 * max(0, f[f"{_RANDOM}: test loss gained by noise"])
    },
    "with batch norm: highest rate that learns",
    "Batch norm bears ten times the rate, though the others began with good weights too. Its "
    "noise is that of the batch. It lowers the test loss a little where the labels are right, and "
    "hardly or not where 30 % are random and the training is as long as here. The smaller the "
    "batches, the more noise; with 4 images it is so strong that the training loss says little: "
    "take more, or use another norm.",
    "conditional", seeds=3,
)  # fmt: skip
