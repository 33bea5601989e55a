"""O1: random search against following the gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from striate.labs.bench import Images, accuracy_of, digits, fit
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_AT_ONCE = 50


def measure(seed: int, full: bool) -> Trial:
    return on_images(digits(seed), seed, full)


@torch.no_grad()
def _random(data: Images, tries: int) -> tuple[list[float], float]:
    """The best training accuracy after so many tries, and the test accuracy of the best."""
    best, curve, kept = 0.0, [], 0.0
    for _ in range(tries // _AT_ONCE):
        weights = torch.randn(data.inputs, _AT_ONCE * data.classes)
        found = _right(data.x, data.y, weights)
        if float(found.max()) > best:
            best, which = float(found.max()), int(found.argmax())
            kept = float(_right(data.test_x, data.test_y, weights)[which])
        curve.append(best)
    return curve, kept


def _right(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """The accuracy of each of the linear classifiers, whose columns stand side by side."""
    scores = (x.flatten(1) @ weights).view(len(x), _AT_ONCE, -1)
    return (scores.argmax(dim=2) == y[:, None]).float().mean(dim=0)


def on_images(data: Images, seed: int, full: bool) -> Trial:
    tries = 10_000 if full else 1000
    torch.manual_seed(seed)
    data = data.standardised()
    curve, kept = _random(data, tries)
    net = nn.Sequential(nn.Flatten(), nn.Linear(data.inputs, data.classes))
    rate = 2.0 / data.inputs  # the steepest direction grows with the number of inputs
    accuracies, parts = [], 20
    for _ in range(parts):
        fit(net, data.x, data.y, steps=tries // parts, lr=rate, batch=64, momentum=0.9, seed=seed)
        accuracies.append(accuracy_of(net, data.x, data.y))
    chart = Chart("accuracy on training images", "classifiers tried, or steps", "accuracy", [
        Line("best of the random ones", range(_AT_ONCE, tries + 1, _AT_ONCE), curve),
        Line("gradient", [(i + 1) * tries / parts for i in range(parts)], accuracies)])  # fmt: skip
    return Trial(
        {
            "best random accuracy": curve[-1], "its accuracy on test images": kept,
            "chance": 1 / data.classes,
            "accuracy by the gradient": accuracies[-1],
            "the same on test images": accuracy_of(net, data.test_x, data.test_y),
        },
        [chart],
    )  # fmt: skip


LAB = Lab(
    "O1", "random-search",
    "The best of many random linear classifiers is only a little better than chance (15.5 % on "
    "CIFAR-10, where chance is 10 %).",
    "1,000 random linear classifiers of digits, and as many steps along the gradient.",
    measure,
    {
        "confirmed": lambda f: 0 < f["best random accuracy"] - f["chance"]
        < 0.25 * (f["accuracy by the gradient"] - f["chance"])
    },
    "best random accuracy",
    "Random search goes less than a quarter of the way from chance to what the gradient reaches, "
    "and is lost: there are hundreds or thousands of numbers to choose. The gradient says how to "
    "change all of them at once.",
    "confirmed", on=on_images,
)  # fmt: skip
