"""T5: what loss curves say, and when they say something else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from striate.labs.bench import Images, Size, dense, digits, fit, loss_of
from striate.labs.lab import Figures, Lab, Trial

_STEPS, _RATE, _CUT = 300, 0.1, 1e4


class _Both(NamedTuple):
    """A figure before and after the remedy, where the rule is right and where it misleads. looks:
    in both, what the curve shows before it, where that is another figure."""

    right: tuple[float, ...]
    misleading: tuple[float, ...]
    looks: tuple[float, ...] = ()


def _loss(net: nn.Module, x: Tensor, y: Tensor, *, lr: float = _RATE, steps: int = _STEPS) -> float:
    """The training loss at the end, at most _CUT."""
    losses = fit(net, x, y, steps=steps, lr=lr, batch=min(64, len(y)))
    return min(losses[-1], _CUT) if math.isinf(losses[-1]) else min(loss_of(net, x, y), _CUT)


def _wide() -> nn.Module:
    return dense([64, 64, 10], nn.ReLU)


def _stays_high(data: Images) -> _Both:
    black = torch.zeros_like(data.x)
    narrow = dense([64, 1, 10], nn.ReLU)
    return _Both(
        (_loss(narrow, data.x, data.y), _loss(_wide(), data.x, data.y)),
        (_loss(_wide(), black, data.y), _loss(dense([64, 512, 10], nn.ReLU), black, data.y)),
    )


def _explodes(data: Images) -> _Both:
    broken = data.x.clone()
    broken[::50] = 1e6  # images of another scale

    def lost(x: Tensor, rate: float) -> tuple[float, float]:
        """The share of steps that are no better than guessing, and how high the loss jumps."""
        losses, guess = fit(_wide(), x, data.y, steps=_STEPS, lr=rate, batch=64), math.log(10)
        better = sum(loss < 0.9 * guess for loss in losses)
        # a training that ended early learned nothing more
        return 1 - better / _STEPS, min(max(losses) / guess, _CUT)

    (right, jump), (wrong, other) = lost(data.x, 300.0), lost(broken, _RATE)
    return _Both(
        (right, lost(data.x, _RATE)[0]), (wrong, lost(broken, _RATE / 10)[0]), (jump, other)
    )


def _crawls(data: Images) -> _Both:
    def deep() -> nn.Module:
        return dense([64] * 12 + [10], nn.Sigmoid, std=1 / 8)

    return _Both(
        (_loss(_wide(), data.x, data.y, lr=1e-3), _loss(_wide(), data.x, data.y)),
        (_loss(deep(), data.x, data.y), _loss(deep(), data.x, data.y, lr=10 * _RATE)),
    )


def _test_above(data: Images) -> _Both:
    def losses(count: int, test: Tensor) -> tuple[float, float]:
        """Of the test images, and of those that it learned."""
        net, x, y = _wide(), data.x[:count], data.y[:count]
        fit(net, x, y, steps=2 * _STEPS, lr=_RATE, batch=64)
        return loss_of(net, test, data.test_y), loss_of(net, x, y)

    few, many, negatives = 60, len(data.y), 1 - data.test_x
    (right, own), (wrong, other) = losses(few, data.test_x), losses(few, negatives)
    return _Both(
        (right, losses(many, data.test_x)[0]),
        (wrong, losses(many, negatives)[0]),
        (right / own, wrong / other),
    )


def _train_above(data: Images) -> _Both:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    fit(net, data.x, data.y, steps=50, lr=_RATE, batch=64, momentum=0.9)
    own, easy = loss_of(net, data.x, data.y), (data.test_y == 0) | (data.test_y == 6)
    parts = ((data.test_x[easy], data.test_y[easy]), (data.test_x, data.test_y))
    splits = [_under_dropout(_split(data, number)) for number in range(8)]
    return _Both(
        tuple(own / loss_of(net, *part) for part in parts),
        (sum(splits[:4]) / 4, sum(splits[4:]) / 4),
    )


def _split(data: Images, number: int) -> Images:
    """The same images divided in another way."""
    x, y = torch.cat([data.x, data.test_x]), torch.cat([data.y, data.test_y])
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(number))
    test, rest = order[: len(data.test_y)], order[len(data.test_y) :]
    return Images(x[rest], y[rest], x[test], y[test])


def _under_dropout(data: Images) -> float:
    """The training loss as it is printed over the test loss."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.7),
                        nn.Linear(128, 10))  # fmt: skip
    printed = fit(net, data.x, data.y, steps=_STEPS, lr=_RATE, batch=64, momentum=0.9)[-50:]
    return sum(printed) / len(printed) / loss_of(net, data.test_x, data.test_y)


class _Rule(NamedTuple):
    """seen, reading: what the curve shows and how the deck reads it; the cases say what is wrong,
    then what the remedy is. look: the figure that the curve shows, at least `least` in both."""

    tried: Callable[[Images], _Both]
    seen: str
    reading: str
    right: str
    misleading: str
    look: str = "before the remedy"
    least: float = 2.0


_RULES = {
    "high": _Rule(
        _stays_high, "the training loss stays high", "underfitting: a larger network",
        "1 unit, then 64", "all images are black: 64 units, then 512",
        least=1.5,
    ),
    "explodes": _Rule(
        _explodes, "the training loss jumps; the share of steps that are no better than guessing",
        "the rate is too high: a tenth or less",
        "rate 300, then 0.1", "one image of 50 has pixels of a million: rate 0.1, then 0.01",
        "highest loss / that of guessing (cut at 10,000)", 100.0,
    ),
    "crawls": _Rule(
        _crawls, "the training loss falls very slowly", "the rate is too low",
        "rate 0.001, then 0.1", "12 layers of sigmoids: rate 0.1, then 1",
    ),
    "test above": _Rule(
        _test_above, "the test loss is far above the training loss", "overfitting: more images",
        "60 images, then 1,397", "test images are negatives: 60 images, then 1,397",
        "test loss / training loss", 3.0,
    ),
    "train above": _Rule(
        _train_above, "training loss / test loss is above 1", "a bad split: another one",
        "only digits 0 and 6 are tested, then all", "dropout: four splits, then four others",
        least=1.3,
    ),
}  # fmt: skip


def measure(seed: int, _: bool) -> Trial:
    data, figures = digits(seed), {}
    rows = [["what is seen", "reading and remedy", "where it is right", "where it misleads"]]
    for name, rule in _RULES.items():
        torch.manual_seed(seed)
        both = rule.tried(data)
        figures[f"{name}, right: the remedy divides it by"] = Size(both.right[0] / both.right[1])
        figures[f"{name}, misleading: it divides it by"] = Size(
            both.misleading[0] / both.misleading[1]
        )
        looks = both.looks or (both.right[0], both.misleading[0])
        for when, look in zip(("right", "misleading"), looks, strict=True):
            figures[f"{name}, {when}: {rule.look}"] = Size(look)
        said = [f"{case}: {pair[0]:.3g} → {pair[1]:.3g}" for case, pair in
                ((rule.right, both.right), (rule.misleading, both.misleading))]  # fmt: skip
        rows.append([rule.seen, rule.reading, *said])
    return Trial(figures, rows=rows)


def _each_has_a_twin(figures: Figures) -> bool:
    return all(
        figures[f"{name}, right: the remedy divides it by"] > 1.4
        and figures[f"{name}, misleading: it divides it by"] < 1.4
        for name in _RULES
    ) and all(
        figures[f"{name}, {when}: {rule.look}"] >= rule.least
        for name, rule in _RULES.items()
        for when in ("right", "misleading")
    )


LAB = Lab(
    "T5", "reading-rules",
    "Loss curves show what is wrong: high, underfitting; exploding, rate too high; slow, rate too "
    "low; test far above training, overfitting; training above test, a bad split.",
    "Each rule is tried twice on digits: with the fault that it names, and with another fault that "
    "looks the same. Each time the rule's remedy is applied.",
    measure,
    {"conditional": _each_has_a_twin},
    "crawls, misleading: it divides it by",
    "Each rule is a good first guess, and each has a twin: images without content, wild images, "
    "gradients that vanish, test images from elsewhere, dropout. If the remedy changes nothing, "
    "look at the data and the gradients: `striate data check` and the doctor do both.",
    "conditional",
)  # fmt: skip
