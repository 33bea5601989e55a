"""T5: a training loss far above the test loss."""

from __future__ import annotations

import torch
from torch import nn

from striate.labs.bench import Images, dense, digits, fit, loss_of
from striate.labs.lab import Lab, Trial


def _net(dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(128, 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, 10),
    )  # fmt: skip


def measure(seed: int, full: bool) -> Trial:
    figures: dict[str, float] = {}
    data = digits(seed)
    for name, dropout in (("dropout 0.7", 0.7), ("no dropout", 0.0)):
        torch.manual_seed(seed)
        net = _net(dropout)
        losses = fit(net, data.x, data.y, steps=2000 if full else 500, lr=0.1, batch=64,
                     momentum=0.9, seed=seed)  # fmt: skip
        last = losses[-50:]
        figures |= {
            f"{name}: training loss as printed": sum(last) / len(last),
            f"{name}: training loss in evaluation mode": loss_of(net, data.x, data.y),
            f"{name}: test loss": loss_of(net, data.test_x, data.test_y),
        }
    return Trial(figures | _bad_split(data, seed))


def _bad_split(data: Images, seed: int) -> dict[str, float]:
    """A classifier without dropout whose test images are the easy classes only."""
    torch.manual_seed(seed)
    net, easy = dense([64, 10], nn.ReLU), (data.test_y == 0) | (data.test_y == 6)
    fit(net, data.x, data.y, steps=50, lr=0.1, batch=64, momentum=0.9, seed=seed)
    return {
        "bad split: training loss in evaluation mode": loss_of(net, data.x, data.y),
        "bad split: test loss": loss_of(net, data.test_x[easy], data.test_y[easy]),
    }


LAB = Lab(
    "T5", "train-above-test",
    "A training loss far above the test loss means a bad split.",
    "A network with dropout learns digits that are split at random, which is a sound split; its "
    "training loss is measured as it is printed, and in evaluation mode. Then a split is bad "
    "indeed: a classifier without dropout is tested on the digits 0 and 6 only.",
    measure,
    {
        "conditional": lambda f: f["dropout 0.7: training loss as printed"]
        > 1.5 * f["dropout 0.7: test loss"]
        and f["dropout 0.7: training loss in evaluation mode"]
        < 1.3 * f["dropout 0.7: test loss"]
        and f["no dropout: training loss as printed"] < f["no dropout: test loss"]
        and f["bad split: training loss in evaluation mode"] > 1.3 * f["bad split: test loss"]
    },
    "dropout 0.7: training loss as printed",
    "Under dropout (or strong augmentation) the printed loss is that of a handicapped network. "
    "Measure it again in evaluation mode before you doubt the split; Striate's doctor does. If it "
    "is still above the test loss, the test images are easier than the others.",
    "conditional",
    deck="train ≫ test → a bad split",
    truth="train ≫ test → first measure train in evaluation mode",
)  # fmt: skip
