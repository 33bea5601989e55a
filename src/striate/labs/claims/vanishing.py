"""L14: gradients of early layers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from striate.labs.bench import digits
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_DEPTH, _WIDTH = 20, 64


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x) / _DEPTH**0.5


def _layer(inputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, _WIDTH)
    nn.init.normal_(layer.weight, std=gain / inputs**0.5)
    nn.init.zeros_(layer.bias)
    return layer


def _net(kind: str) -> nn.Module:
    activation: type[nn.Module] = nn.Sigmoid if kind == "sigmoid" else nn.ReLU
    gain = 1.0 if kind == "sigmoid" else 2**0.5
    layers: list[nn.Module] = [nn.Flatten(), _layer(64, gain), activation()]
    for _ in range(_DEPTH - 1):
        part = nn.Sequential(_layer(_WIDTH, gain), activation())
        layers.append(_Residual(part) if kind == "residual" else part)
    return nn.Sequential(*layers, nn.Linear(_WIDTH, 10))


def measure(seed: int, _: bool) -> Trial:
    data, figures, lines = digits(seed), {}, []
    for kind in ("sigmoid", "ReLU", "residual"):
        torch.manual_seed(seed)
        net = _net(kind.lower() if kind != "ReLU" else "relu")
        cross_entropy(net(data.x), data.y).backward()  # type: ignore[no-untyped-call]
        norms = [float(m.weight.grad.norm()) for m in net.modules()  # type: ignore[union-attr]
                 if isinstance(m, nn.Linear)][:_DEPTH]  # fmt: skip
        figures[f"{kind}: first layer's gradient / last's"] = norms[0] / norms[-1]
        lines.append(Line(kind, range(1, _DEPTH + 1), norms))
    chart = Chart("norm of each layer's gradient, before training", "layer", "norm", lines,
                  logarithmic=True)  # fmt: skip
    return Trial(figures, [chart])


LAB = Lab(
    "L14", "vanishing",
    "Gradients of early layers are products over the later ones. Sigmoids shrink them; ReLU and "
    "residual paths do not.",
    "Networks of 20 layers of 64 units look at digits once; the norm of each layer's gradient.",
    measure,
    {
        "confirmed": lambda f: f["sigmoid: first layer's gradient / last's"] < 1e-6
        and 0.05 < f["ReLU: first layer's gradient / last's"] < 20
        and 0.05 < f["residual: first layer's gradient / last's"] < 20
    },
    "sigmoid: first layer's gradient / last's",
    "Sigmoids lose three quarters of the gradient and more in each layer; after 20 nothing is "
    "left to learn from. ReLU keeps it when the weights are as wide as He's rule asks.",
    "confirmed",
)  # fmt: skip
