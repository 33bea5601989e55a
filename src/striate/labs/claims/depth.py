"""M1: more than a hundred layers, with and without identity paths."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from striate.labs.bench import accuracy_of, alike, digits, fit_each
from striate.labs.lab import Chart, Figures, Lab, Trial
from striate.report.charts import Line

_WIDTH, _BLOCKS = 32, (2, 50)
_RATES = (0.003, 0.01, 0.03)


class _Block(nn.Module):
    """Two layers with batch norm, and the identity beside them or not (He et al. 2016). gamma: the
    last norm's factor at the start; with 0 the block begins with nothing to add."""

    def __init__(self, *, identity: bool, gamma: float) -> None:
        super().__init__()
        self.identity, last = identity, nn.BatchNorm1d(_WIDTH)
        self.inner = nn.Sequential(
            nn.Linear(_WIDTH, _WIDTH, bias=False), nn.BatchNorm1d(_WIDTH), nn.ReLU(),
            nn.Linear(_WIDTH, _WIDTH, bias=False), last,
        )  # fmt: skip
        nn.init.constant_(last.weight, gamma)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x)
        return torch.relu(x + found if self.identity else found)


def _net(blocks: int, *, identity: bool, gamma: float) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, _WIDTH), nn.BatchNorm1d(_WIDTH), nn.ReLU(),
        *(_Block(identity=identity, gamma=gamma) for _ in range(blocks)),
        nn.Linear(_WIDTH, 10),
    )  # fmt: skip


_KINDS = {"plain": (False, 1.0), "residual": (True, 0.0), "residual, γ = 1": (True, 1.0)}
"""Name → identity, gamma."""


def measure(seed: int, full: bool) -> Trial:
    data, figures, lines = digits(seed), {}, []
    rows = [["network", *(f"rate {rate:g}" for rate in _RATES)]]
    for kind, (identity, gamma) in _KINDS.items():
        for blocks in _BLOCKS:
            name = f"{kind}, {2 * blocks + 2} layers"
            make = partial(_net, blocks, identity=identity, gamma=gamma)
            nets = alike(make, len(_RATES), seed)
            steps, lrs = 300 if full else 100, torch.tensor(_RATES)
            losses = fit_each(nets, data.x, data.y, steps=steps, lrs=lrs, batch=64, momentum=0.9,
                              seed=seed)  # fmt: skip
            found = [accuracy_of(net, data.x, data.y) for net in nets]
            best = int(np.argmax(found))
            figures[f"{name}: accuracy on its training images"] = found[best]
            figures[f"{name}: accuracy"] = accuracy_of(nets[best], data.test_x, data.test_y)
            rows.append([name, *(f"{accuracy:.3f}" for accuracy in found)])
            lines.append(Line(name, range(losses.shape[1]), losses[best].tolist()))
    return Trial(figures, [Chart("loss of a step", "step", "loss", lines)], rows)


def _depth_does_no_harm(figures: Figures) -> bool:
    def learned(kind: str, layers: int) -> float:
        return figures[f"{kind}, {layers} layers: accuracy on its training images"]

    return (
        learned("residual", 102) > learned("residual", 6) - 0.03
        and learned("residual, γ = 1", 102) > 0.8
        and learned("plain", 6) > 0.9
        and learned("plain", 102) < 0.5
    )


LAB = Lab(
    "M1", "depth",
    "Networks of more than a hundred layers can be trained if each block adds to its input, since "
    "a block that has nothing to add passes it through.",
    "Networks of 6 and of 102 layers, plain and with identity paths around each two, learn digits "
    "for 100 steps, each with its best of three rates. All have batch norm. Residual blocks begin "
    "with nothing to add (γ = 0 in their last norm), and once as they come (γ = 1).",
    measure,
    {"confirmed": _depth_does_no_harm},
    "residual, 102 layers: accuracy",
    "The plain network of 102 layers does not even learn its own training images, at none of the "
    "rates, so this is no overfitting: it is hard to optimise, and batch norm alone does not "
    "rescue it. With identity paths depth does no harm where each block begins with nothing to "
    "add; where it does not, the deep network learns too, but more slowly.",
    "confirmed", seeds=1, full_seeds=5,
)  # fmt: skip
