"""T3: twenty examples, and networks that cannot learn them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from striate.labs.bench import Images, accuracy_of, dense, digits, fit, loss_of
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_EPOCHS, _COUNT, _MOST = 200, 20, 1e6


class _Changed(nn.Module):
    """A network that sees its images, or says its scores, in another way."""

    def __init__(
        self, net: nn.Module, before: Callable[[Tensor], Tensor] = lambda x: x,
        after: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> None:  # fmt: skip
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.net(self.before(x)))


def _sound(data: Images) -> nn.Module:
    net = dense([data.inputs, 100, data.classes], nn.ReLU)
    nn.init.zeros_(_layers(net)[-1].weight)  # equal scores at the start
    return net


def _layers(net: nn.Module) -> list[nn.Linear]:
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


def _zero(data: Images) -> nn.Module:
    net = _sound(data)
    for layer in _layers(net):
        nn.init.zeros_(layer.weight)
    return net


def _frozen(data: Images) -> nn.Module:
    return _sound(data).requires_grad_(requires_grad=False)


def _dead(data: Images) -> nn.Module:
    net = _sound(data)
    nn.init.constant_(_layers(net)[0].bias, -100.0)
    return net


def _deep(data: Images) -> nn.Module:
    return dense([data.inputs, *[100] * 10, data.classes], nn.Sigmoid, std=0.1)


class _Fault(NamedTuple):
    """make: the network; uphill: whether its steps go the wrong way; wrong_labels: whether the
    labels are drawn by chance."""

    make: Callable[[Images], nn.Module]
    uphill: bool = False
    wrong_labels: bool = False


FAULTS = {
    "sound": _Fault(_sound),
    "every image replaced by the mean of all": _Fault(
        lambda data: _Changed(_sound(data), before=lambda x: x.mean(0, keepdim=True).expand_as(x))
    ),
    "all weights zero": _Fault(_zero),
    "parameters that the update rule does not know": _Fault(_frozen),
    "first layer dead": _Fault(_dead),
    "softmax twice": _Fault(lambda data: _Changed(_sound(data), after=lambda s: s.softmax(dim=1))),
    "ten layers of sigmoids": _Fault(_deep),
    "steps uphill": _Fault(_sound, uphill=True),
    "wrong labels": _Fault(_sound, wrong_labels=True),
}
"""What is wrong with the network or its training → how to make it."""


def measure(seed: int, full: bool) -> Trial:
    return on_images(digits(seed), seed, full)


def on_images(data: Images, seed: int, _: bool) -> Trial:
    figures = {"logarithm of the classes": math.log(data.classes)}
    lines = []
    x = data.standardised().x[:_COUNT]
    for name, fault in FAULTS.items():
        torch.manual_seed(seed)
        net, y = fault.make(data), data.y[:_COUNT]
        if fault.wrong_labels:
            y = torch.randint(data.classes, y.shape)
        figures[f"{name}: cost at the start"] = loss_of(net, x, y)
        rate = min(0.5, 96 / data.inputs)
        losses = _learned(net, x, y, -rate if fault.uphill else rate)
        end: float = loss_of(net, x, y)
        figures[f"{name}: cost after 200 epochs"] = end if end < _MOST else math.inf
        figures[f"{name}: accuracy"] = accuracy_of(net, x, y)
        lines.append(Line(name, range(len(losses)), [min(loss, 5.0) for loss in losses]))
    rows = [["network", "cost at the start", "after 200 epochs", "accuracy"]]
    for name in FAULTS:
        start = figures[f"{name}: cost at the start"]
        end = figures[f"{name}: cost after 200 epochs"]
        right = figures[f"{name}: accuracy"]
        said = f"{end:.4g}" if math.isfinite(end) else "diverged"
        rows.append([name, f"{start:.4f}", said, f"{right:.0%}"])
    chosen = [line for line in lines if line.label in ("sound", "softmax twice", "wrong labels",
                                                       "all weights zero")]  # fmt: skip
    return Trial(figures, [Chart("cost of 20 examples", "epoch", "cost", chosen)], rows)


def _learned(net: nn.Module, x: Tensor, y: Tensor, rate: float) -> list[float]:
    if not any(p.requires_grad for p in net.parameters()):
        return [loss_of(net, x, y)] * _EPOCHS
    return fit(net, x, y, steps=_EPOCHS, lr=rate)


LAB = Lab(
    "T3", "twenty-examples",
    "Sanity check: 20 examples, no regularisation, plain SGD, full batch, 200 epochs must reach "
    "100 % on themselves (cost 2.3026 → 0.0026).",
    "A sound network learns 20 digits; eight with a planted fault each try the same.",
    measure,
    {
        "confirmed": lambda f: math.isclose(
            f["sound: cost at the start"], f["logarithm of the classes"], abs_tol=1e-4
        )
        and f["sound: cost after 200 epochs"] < 0.01
        and f["sound: accuracy"] == 1
        and f["wrong labels: accuracy"] == 1
        and min(f[f"{name}: cost after 200 epochs"] for name in list(FAULTS)[1:-1])
        > 20 * f["sound: cost after 200 epochs"]
    },
    "sound: cost after 200 epochs",
    "A network that cannot learn 20 examples by heart is broken, and an hour of training will not "
    "say so more clearly. Look at the cost, not at the accuracy alone: with the softmax taken "
    "twice all answers are right while the cost of ten classes stays at 1.46. The check cannot see "
    "everything: wrong labels are learned by heart as well. `striate preflight` does it.",
    "confirmed", on=on_images,
)  # fmt: skip
