"""L14: gradients of early layers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from striate.labs.bench import Size, digits
from striate.labs.lab import Chart, Figures, Lab, Trial
from striate.report.charts import Line

_DEPTH, _WIDTH = 20, 64


class _Kind(NamedTuple):
    """gain: of the weights' deviation gain/√fan-in; centred: whether biases bring a sigmoid's input
    to 0, where it is steepest; residual: by what a layer is multiplied and then added to its input,
    0 where it takes its place."""

    activation: type[nn.Module]
    gain: float
    centred: bool = False
    residual: float = 0.0


_KINDS = {
    "sigmoid": _Kind(nn.Sigmoid, 1.0),
    "sigmoid, gain 4, centred": _Kind(nn.Sigmoid, 4.0, centred=True),
    "sigmoid, residual": _Kind(nn.Sigmoid, 1.0, residual=1.0),
    "ReLU, gain 1": _Kind(nn.ReLU, 1.0),
    "ReLU, gain √2": _Kind(nn.ReLU, 2**0.5),
    "ReLU, gain 2": _Kind(nn.ReLU, 2.0),
    "ReLU, gain √2, residual": _Kind(nn.ReLU, 2**0.5, residual=1.0),
    "ReLU, gain √2, residual, scaled down": _Kind(nn.ReLU, 2**0.5, residual=_DEPTH**-0.5),
}


def _layer(inputs: int, kind: _Kind) -> nn.Module:
    layer = nn.Linear(inputs, _WIDTH)
    nn.init.normal_(layer.weight, std=kind.gain / inputs**0.5)
    nn.init.zeros_(layer.bias)
    if kind.centred:
        with torch.no_grad():
            layer.bias.copy_(-layer.weight.sum(dim=1) / 2)  # a sigmoid's outputs lie around 1/2
    return nn.Sequential(layer, kind.activation())


def _slopes(kind: _Kind, x: Tensor, y: Tensor) -> list[float]:
    """The norm of the loss's gradient with respect to the output of each layer."""
    outputs = [_layer(x.shape[1], kind)(x)]
    for _ in range(_DEPTH - 1):
        added = _layer(_WIDTH, kind)(outputs[-1])
        outputs.append(outputs[-1] + kind.residual * added if kind.residual else added)
    loss = cross_entropy(nn.Linear(_WIDTH, 10)(outputs[-1]), y)
    return [float(slope.norm()) for slope in torch.autograd.grad(loss, outputs)]


def measure(seed: int, _: bool) -> Trial:
    data, figures, lines = digits(seed), {}, []
    for name, kind in _KINDS.items():
        torch.manual_seed(seed)
        norms = _slopes(kind, data.x.flatten(1), data.y)
        figures[_figure(name)] = Size(norms[0] / norms[-1])
        lines.append(Line(name, range(1, _DEPTH + 1), norms))
    charts = [
        Chart(f"{name}: gradient of each layer's output, before training", "layer", "norm",
              [line for line in lines if line.label.startswith(name)], logarithmic=True)
        for name in ("sigmoid", "ReLU")
    ]  # fmt: skip
    return Trial(figures, charts)


def _figure(name: str) -> str:
    return f"{name}: first layer's gradient / last's"


def _by_the_weights(figures: Figures) -> bool:
    ratio = {name: figures[_figure(name)] for name in _KINDS}
    kept = ("ReLU, gain √2", "ReLU, gain √2, residual, scaled down", "sigmoid, residual",
            "sigmoid, gain 4, centred")  # fmt: skip
    return (
        ratio["sigmoid"] < 1e-6
        and all(0.05 < ratio[name] < 20 for name in kept)
        and ratio["ReLU, gain 1"] < 0.01
        and ratio["ReLU, gain 2"] > 100
        and ratio["ReLU, gain √2, residual"] > 100
    )


LAB = Lab(
    "L14", "vanishing",
    "Gradients of early layers are products over the later ones. Sigmoids shrink them; ReLU and "
    "residual paths do not.",
    "Networks of 20 layers of 64 units look at digits once, with weights of several widths (gain "
    "over the square root of the inputs), some with residual paths; the gradient of each layer's "
    "output is measured.",
    measure,
    {"conditional": _by_the_weights},
    "sigmoid: first layer's gradient / last's",
    "Both depend on the weights. Sigmoids with a gain of 1 lose three quarters of the gradient "
    "and more in each layer; with a gain of 4, and biases that bring every sum to where the "
    "sigmoid is steepest, they keep it at the start. ReLU keeps it with a gain of about √2 (He's "
    "rule) only: with 1 it vanishes, with 2 it explodes. Residual paths end the vanishing; but "
    "where each layer of ReLU adds to its input with weights by He's rule the gradient explodes, "
    "unless what is added is scaled down (here by √20) or begins at 0.",
    "conditional",
)  # fmt: skip
