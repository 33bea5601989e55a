"""D2: augmentations one by one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from striate.core.arrays import Pixels
from striate.data.augment.common import About
from striate.data.augment.family import Pipeline
from striate.labs.bench import accuracy_of, digits, small_convolutional
from striate.labs.lab import Figures, Lab, Picture, Trial
from striate.report.pictures import Cell, sheet, tile

_COUNT, _BATCH = 200, 50
_ONE_BY_ONE: dict[str, dict[str, float]] = {
    "none": {}, "pad": {"pad": 1}, "rotate": {"rotate": 15}, "zoom": {"zoom": 0.4},
    "affine": {"affine": 0.1}, "flip": {"flip": 0.5}, "vertical flip": {"vertical_flip": 0.5},
    "brightness": {"brightness": 0.8}, "contrast": {"contrast": 0.5}, "blur": {"blur": 0.7},
    "cutout": {"cutout": 3},
}  # fmt: skip
"""name → strengths, as the recipe's augment knobs give them to the pipeline."""


def _as_pixels(x: Tensor) -> Pixels:
    return np.ascontiguousarray((255 * x).round().byte().permute(0, 2, 3, 1).numpy())


def _as_inputs(images: Pixels) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def _learned(x: Tensor, y: Tensor, pipeline: Pipeline, steps: int) -> nn.Module:
    net = small_convolutional(10)
    pixels, rng = _as_pixels(x), np.random.default_rng(pipeline.seed)
    rule = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        epoch, part = divmod(step, len(y) // _BATCH)
        if part == 0:
            order = rng.permutation(len(y))
        chosen = order[part * _BATCH : (part + 1) * _BATCH]
        seen = _as_inputs(pipeline(pixels[chosen], chosen, epoch))
        rule.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
        loss = cross_entropy(net(seen), y[chosen])
        rule.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        rule.step()
    return net


def measure(seed: int, full: bool) -> Trial:
    data, figures, strips = digits(seed), {}, []
    x, y = data.x[:_COUNT], data.y[:_COUNT]
    about = About(8, np.array([255 * float(x.mean())]))
    rest, labels = (
        torch.cat([data.x[_COUNT:], data.test_x]),
        torch.cat([data.y[_COUNT:], data.test_y]),
    )
    for name, strengths in _ONE_BY_ONE.items():
        torch.manual_seed(seed)
        pipeline = Pipeline(seed, strengths, about)
        net = _learned(x, y, pipeline, 2000 if full else 160)
        figures[f"{name}: accuracy"] = accuracy_of(net, rest, labels)
        figures[f"{name}: accuracy on darker images"] = accuracy_of(net, 0.3 * rest, labels)
        seen = pipeline(_as_pixels(x[:8]), np.arange(8), 1)
        strips.append((name, [Cell(tile(image, 40)) for image in seen]))
    rows = [["augmentation", "accuracy", "on darker images"]]
    for name in _ONE_BY_ONE:
        found = (figures[f"{name}: accuracy"], figures[f"{name}: accuracy on darker images"])
        rows.append([name, *(f"{share:.3f}" for share in found)])
    shown = Picture("Eight digits under each augmentation.", np.asarray(sheet(strips)))
    return Trial(figures, rows=rows, pictures=[shown])


def _those_that_stay_true(figures: Figures) -> bool:
    def right(name: str, where: str = "accuracy") -> float:
        return figures[f"{name}: {where}"]

    dark = "accuracy on darker images"
    return (
        min(right("affine"), right("zoom")) > right("none")
        and max(right("flip"), right("vertical flip")) < right("none")
        and right("brightness", dark) > right("none", dark)
    )


LAB = Lab(
    "D2", "augmentations",
    "Augment while training: flips, crops, rotation, changes of colour.",
    "A small convolutional network learns 200 digits, each time with one augmentation; tested on "
    "digits as they are, and at three tenths of their brightness.",
    measure,
    {"conditional": _those_that_stay_true},
    "affine: accuracy",
    "What helps is what can happen to such images and leaves them what they are: digits slant and "
    "differ in size. A mirrored digit is none, so flips cost accuracy here. (Cutout "
    "imitates nothing that happens to digits and helps as much.) Brightness saves the accuracy on "
    "darker images, and changes little on the others.",
    "conditional", seeds=3,
)  # fmt: skip
