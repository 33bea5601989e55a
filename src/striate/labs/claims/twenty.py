"""T3: twenty examples."""

from __future__ import annotations

import math

import torch
from torch import nn

from striate.labs.bench import accuracy_of, dense, digits, fit, loss_of
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_EPOCHS = 200


def _blind(net: nn.Module) -> nn.Module:
    """The same network with a fault: its images are all replaced by their mean."""

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.net(x.mean(dim=0, keepdim=True).expand_as(x))
            return found

    return Blind()


def measure(seed: int, _: bool) -> Trial:
    data, figures, lines = digits(seed), {}, []
    x, y = data.x[:20] - 0.3, data.y[:20]
    for name in ("sound", "blind"):
        torch.manual_seed(seed)
        net = dense([64, 100, 10], nn.ReLU)
        last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
        nn.init.zeros_(last.weight)  # ten equal scores
        net = net if name == "sound" else _blind(net)
        figures[f"{name}: cost at the start"] = loss_of(net, x, y)
        losses = fit(net, x, y, steps=_EPOCHS, lr=0.5)
        figures[f"{name}: cost after 200 epochs"] = loss_of(net, x, y)
        figures[f"{name}: accuracy"] = accuracy_of(net, x, y)
        lines.append(Line(name, range(len(losses)), losses))
    return Trial(figures, [Chart("cost of 20 examples", "epoch", "cost", lines)])


LAB = Lab(
    "T3", "twenty-examples",
    "Sanity check: 20 examples, no regularisation, plain SGD, full batch, 200 epochs must reach "
    "100 % on themselves (cost 2.3026 → 0.0026).",
    "A network learns 20 digits; another one with a planted fault sees their mean in place of "
    "each.",
    measure,
    {
        "confirmed": lambda f: abs(f["sound: cost at the start"] - math.log(10)) < 1e-4
        and f["sound: cost after 200 epochs"] < 0.01
        and f["sound: accuracy"] == 1
        and f["blind: cost after 200 epochs"] > 1
    },
    "sound: cost after 200 epochs",
    "A network that cannot learn 20 examples by heart is broken, and an hour of training will not "
    "say so more clearly. `striate preflight` does this check.",
    "confirmed",
)  # fmt: skip
