"""M3: what a network that knows letters needs for digits."""

from __future__ import annotations

import string
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from striate.labs.bench import accuracy_of, digits, few_of_each, fit, small_convolutional
from striate.labs.lab import Chart, Figures, Lab, Trial
from striate.labs.letters import rendered
from striate.report.charts import Line

_EACH = (1, 2, 5, 20, 80)
_RATE = 0.05
_WAYS = {"from scratch": _RATE, "a new last layer": 0.0, "all layers": _RATE / 10}
"""Way → the rate of all layers but the last."""


def measure(seed: int, full: bool) -> Trial:
    data, figures = digits(seed), {}
    torch.manual_seed(seed)
    known = small_convolutional(len(string.ascii_letters))
    x, y = rendered(string.ascii_letters, 12_000 if full else 3000, seed)
    fit(known, x, y, steps=3000 if full else 400, lr=_RATE, batch=64, momentum=0.9, seed=seed)
    reached: dict[str, list[float]] = {way: [] for way in _WAYS}
    for each in _EACH:
        few = few_of_each(data.y, each)
        for way, rate in _WAYS.items():
            torch.manual_seed(seed)
            net = small_convolutional(10)
            if way != "from scratch":
                net[:-1].load_state_dict(known[:-1].state_dict())
            _learn(net, data.x[few], data.y[few], rate, 800 if full else 150)
            reached[way].append(accuracy_of(net, data.test_x, data.test_y))
            figures[_name(each, way)] = reached[way][-1]
    lines = [Line(way, _EACH, reached[way], dots=True) for way in _WAYS]
    return Trial(figures, [Chart("accuracy on test images", "images of each class", "accuracy",
                                 lines)])  # fmt: skip


def _name(each: int, way: str) -> str:
    return f"{each} {'image' if each == 1 else 'images'} a class, {way}: accuracy"


def _learn(net: nn.Sequential, x: Tensor, y: Tensor, rate: float, steps: int) -> None:
    groups: list[dict[str, Any]] = [
        {"params": net[:-1].parameters(), "lr": rate}, {"params": net[-1].parameters()}
    ]  # fmt: skip
    rule = torch.optim.SGD(groups, lr=_RATE, momentum=0.9)
    for _ in range(steps):
        chosen = torch.randperm(len(y))[:50]
        loss = cross_entropy(net(x[chosen]), y[chosen])
        rule.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        rule.step()


def _helps_where_few(figures: Figures) -> bool:
    def gain(each: int, way: str) -> float:
        return figures[_name(each, way)] - figures[_name(each, "from scratch")]

    return min(gain(5, way) for way in ("a new last layer", "all layers")) > 0.02 and all(
        gain(5, way) > gain(80, way) for way in ("a new last layer", "all layers")
    )


LAB = Lab(
    "M3", "pretrained",
    "Transfer: with few images train only a new last layer; with more, also the other layers at "
    "about a tenth of the rate.",
    "A network learns 3,000 rendered letters. Then it learns real digits from 1 to 80 images of "
    "each: from scratch, with a new last layer only, or with all layers.",
    measure,
    {"confirmed": _helps_where_few},
    "5 images a class, a new last layer: accuracy",
    "What was learned from letters helps most where digits are few, although no digit was among "
    "them. `striate transfer` measures on your images which layers to take and to train.",
    "confirmed", seeds=3, full_seeds=5,
)  # fmt: skip
