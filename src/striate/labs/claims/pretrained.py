"""M3: what a network that knows letters needs for digits."""

from __future__ import annotations

import string
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from striate.labs.bench import (
    Images,
    Share,
    accuracy_of,
    digits,
    few_of_each,
    fit,
    small_convolutional,
)
from striate.labs.lab import Chart, Figures, Lab, Trial
from striate.labs.letters import rendered
from striate.report.charts import Line

_DRAWS = {1: 3, 5: 3, 20: 2, 80: 2}
"""Images of each class → how often they are drawn: once says little."""
_RATE = 0.05
_WAYS = {
    "from scratch": _RATE, "a new last layer": 0.0, "all layers, a tenth": _RATE / 10,
    "all layers, full rate": _RATE,
}  # fmt: skip
"""Way → the rate of all layers but the last."""


def measure(seed: int, full: bool) -> Trial:
    data = digits(seed)
    figures: dict[str, float] = {}
    torch.manual_seed(seed)
    known = small_convolutional(len(string.ascii_letters))
    x, y = rendered(string.ascii_letters, 12_000 if full else 3000, seed)
    fit(known, x, y, steps=3000 if full else 400, lr=_RATE, batch=64, momentum=0.9, seed=seed)
    for each, draws in _DRAWS.items():
        reached: dict[str, list[float]] = {way: [] for way in _WAYS}
        for draw in range(draws):
            few = _few(data, each, draw)
            for way, rate in _WAYS.items():
                torch.manual_seed(seed)
                net = small_convolutional(10)
                if way != "from scratch":
                    net[:-1].load_state_dict(known[:-1].state_dict())
                _learn(net, data.x[few], data.y[few], rate, 800 if full else 150)
                reached[way].append(accuracy_of(net, *_others(data, few)))
        figures |= {_name(each, way): Share(fmean(found)) for way, found in reached.items()}
    lines = [Line(way, [*_DRAWS], [figures[_name(each, way)] for each in _DRAWS], dots=True)
             for way in _WAYS]  # fmt: skip
    return Trial(figures, [Chart("accuracy on test images", "images of each class", "accuracy",
                                 lines)])  # fmt: skip


def _others(data: Images, few: Tensor) -> tuple[Tensor, Tensor]:
    """The test images, and those for training that were not drawn."""
    kept = torch.ones(len(data.y), dtype=torch.bool)
    kept[few] = False
    return torch.cat([data.test_x, data.x[kept]]), torch.cat([data.test_y, data.y[kept]])


def _few(data: Images, each: int, draw: int) -> Tensor:
    order = torch.randperm(len(data.y), generator=torch.Generator().manual_seed(draw))
    return order[few_of_each(data.y[order], each)]


def _name(each: int, way: str) -> str:
    return f"{each} {'image' if each == 1 else 'images'} a class, {way}: accuracy"


def _learn(net: nn.Sequential, x: Tensor, y: Tensor, rate: float, steps: int) -> None:
    if rate == 0:  # the layers below stay as they are, and so does what they make of an image
        with torch.no_grad():
            x, net = net[:-1](x), net[-1:]
    groups: list[dict[str, Any]] = [
        {"params": [*net[:-1].parameters()], "lr": rate}, {"params": net[-1].parameters()}
    ]  # fmt: skip
    rule = torch.optim.SGD(groups, lr=_RATE, momentum=0.9)
    for _ in range(steps):
        chosen = torch.randperm(len(y))[:50]
        loss = cross_entropy(net(x[chosen]), y[chosen])
        rule.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        rule.step()


def _the_rate_counts_more_than_the_layers(figures: Figures) -> bool:
    def lead(each: int, way: str) -> float:
        return figures[_name(each, "a new last layer")] - figures[_name(each, way)]

    tenth, full = "all layers, a tenth", "all layers, full rate"
    return (
        lead(5, "from scratch") > 0.02
        and lead(1, full) + lead(5, full) > 0.005
        and max(abs(lead(each, tenth)) for each in _DRAWS) < 0.02
        and abs(lead(80, full)) < 0.02
    )


LAB = Lab(
    "M3", "pretrained",
    "Transfer: with few images train only a new last layer; with more, also the other layers at "
    "about a tenth of the rate.",
    "A network learns 3,000 rendered letters. Then it learns real digits from 1 to 80 images of "
    "each: from scratch, with a new last layer only, or with all layers, at a tenth of the rate "
    "and at the full one. The digits to learn are drawn two or three times, and all others are "
    "tested.",
    measure,
    {"conditional": _the_rate_counts_more_than_the_layers},
    "5 images a class, a new last layer: accuracy",
    "What was learned from letters helps where digits are few, although no digit was among them. "
    "With few images all layers at the full rate forget some of it; a tenth of the rate does not, "
    "and is as good as a new last layer alone. With 20 and 80 of each it makes hardly a difference "
    "which are trained: letters are so like digits that the other layers suit as they are. "
    "`striate transfer` measures on your images which layers to take and to train.",
    "conditional", seeds=3, full_seeds=5,
)  # fmt: skip
