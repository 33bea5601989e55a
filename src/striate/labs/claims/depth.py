"""M1: more than a hundred layers, with and without identity paths."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from striate.labs.bench import accuracy_of, digits, fit
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_WIDTH, _BLOCKS = 32, (2, 50)


class _Block(nn.Module):
    """Two layers with batch norm, and the identity beside them or not (He et al. 2016)."""

    def __init__(self, *, identity: bool) -> None:
        super().__init__()
        self.identity = identity
        self.inner = nn.Sequential(
            nn.Linear(_WIDTH, _WIDTH, bias=False), nn.BatchNorm1d(_WIDTH), nn.ReLU(),
            nn.Linear(_WIDTH, _WIDTH, bias=False), nn.BatchNorm1d(_WIDTH),
        )  # fmt: skip
        if identity:
            last: nn.Module = self.inner[-1]
            nn.init.zeros_(last.get_parameter("weight"))  # it begins with nothing to add

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x)
        return torch.relu(x + found if self.identity else found)


def _net(blocks: int, *, identity: bool) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, _WIDTH), nn.BatchNorm1d(_WIDTH), nn.ReLU(),
        *(_Block(identity=identity) for _ in range(blocks)),
        nn.Linear(_WIDTH, 10),
    )  # fmt: skip


def measure(seed: int, full: bool) -> Trial:
    data, figures, lines = digits(seed), {}, []
    for kind, identity in (("plain", False), ("residual", True)):
        for blocks in _BLOCKS:
            torch.manual_seed(seed)
            net, name = _net(blocks, identity=identity), f"{kind}, {2 * blocks + 2} layers"
            losses = fit(net, data.x, data.y, steps=1000 if full else 80, lr=0.05, batch=64,
                         momentum=0.9, seed=seed)  # fmt: skip
            figures[f"{name}: accuracy on its training images"] = accuracy_of(net, data.x, data.y)
            figures[f"{name}: accuracy"] = accuracy_of(net, data.test_x, data.test_y)
            lines.append(Line(name, range(len(losses)), losses))
    return Trial(figures, [Chart("loss of a step", "step", "loss", lines)])


LAB = Lab(
    "M1", "depth",
    "Networks of more than a hundred layers can be trained if each block adds to its input, since "
    "a block that has nothing to add passes it through.",
    "Networks of 6 and of 102 layers, with and without identity paths around each "
    "two, learn digits for the same number of steps. All have batch norm.",
    measure,
    {
        "confirmed": lambda f: f["residual, 102 layers: accuracy"] > 0.8
        and f["plain, 102 layers: accuracy"] < 0.5
        and f["plain, 6 layers: accuracy"] > 0.8
        and f["plain, 102 layers: accuracy on its training images"] < 0.5
    },
    "residual, 102 layers: accuracy",
    "The plain network of 102 layers does worse on its own training images than that of 6, so this "
    "is no overfitting: it cannot be optimised. With identity paths depth does no harm. (Batch "
    "norm alone does not rescue it.)",
    "confirmed", seeds=3,
)  # fmt: skip
