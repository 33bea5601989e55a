"""T4: a wide network learns random labels."""

from __future__ import annotations

import torch
from torch import nn

from striate.labs.bench import Images, accuracy_of, dense, digits, fit
from striate.labs.lab import Chart, Lab, Trial
from striate.models.fit import parameter_count
from striate.report.charts import Line

_IMAGES, _WIDTH = 500, 512


def measure(seed: int, full: bool) -> Trial:
    return on_images(digits(seed), seed, full)


def on_images(data: Images, seed: int, full: bool) -> Trial:
    few = data._replace(x=data.x[:_IMAGES], y=data.y[:_IMAGES])
    x, y, test, _ = few.standardised()
    torch.manual_seed(seed)
    figures: dict[str, float] = {}
    lines = []
    for name, labels in (("true", y), ("random", torch.randint(data.classes, y.shape))):
        net = dense([data.inputs, _WIDTH, data.classes], nn.ReLU)
        losses = fit(net, x, labels, steps=3000 if full else 800, lr=0.05, batch=64, momentum=0.9,
                     seed=seed)  # fmt: skip
        figures |= {
            "parameters for each image": parameter_count(net) / len(x),
            f"{name} labels: accuracy on the training images": accuracy_of(net, x, labels),
            f"{name} labels: accuracy on test images": accuracy_of(net, test, data.test_y),
        }
        each = 10
        smooth = [sum(losses[i : i + each]) / each for i in range(0, len(losses) - each, each)]
        lines.append(Line(f"{name} labels", range(0, each * len(smooth), each), smooth))
    return Trial(figures, [Chart("loss", "step", "loss", lines)])


LAB = Lab(
    "T4", "random-labels",
    "A network with too many parameters fits whatever it has seen.",
    "A network of one hidden layer of 512 units learns 500 digits, once with their labels and once "
    "with labels that are drawn by chance.",
    measure,
    {
        "confirmed": lambda f: f["random labels: accuracy on the training images"] > 0.99
        and f["random labels: accuracy on test images"]
        < 0.5 * f["true labels: accuracy on test images"]
        and f["true labels: accuracy on the training images"] > 0.99
    },
    "random labels: accuracy on the training images",
    "The training accuracy is 1 in both cases and says nothing of what was learned; noise only "
    "takes longer. The same network generalises from true labels, so its size alone is not what "
    "makes it overfit (Zhang et al. 2017).",
    "confirmed", on=on_images,
)  # fmt: skip
