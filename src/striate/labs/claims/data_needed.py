"""L8: how many images a fully connected layer needs to learn what a convolution is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, unfold

from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_SIDE = 12
_INPUTS = _SIDE * _SIDE
_IMAGES = (1, 10, 50, 100, 140, 150, 200)


def _off(found: Tensor, wanted: Tensor) -> float:
    """The error, relative."""
    return float((found - wanted).norm() / wanted.norm())


def measure(seed: int, _: bool) -> Trial:
    draw = torch.Generator().manual_seed(seed)

    def images(count: int) -> Tensor:
        return torch.rand(count, 1, _SIDE, _SIDE, generator=draw, dtype=torch.float64) - 0.5

    truth = torch.randn(1, 1, 3, 3, generator=draw, dtype=torch.float64)
    test = images(200)
    wanted = conv2d(test, truth, padding=1)
    shared, single, moved = {}, {}, {}
    for count in _IMAGES:
        x = images(count)
        y = conv2d(x, truth, padding=1)
        patches = unfold(x, 3, padding=1).transpose(1, 2).reshape(-1, 9)
        kernel = torch.linalg.lstsq(patches, y.reshape(-1, 1)).solution.view(1, 1, 3, 3)
        shared[count] = _off(conv2d(test, kernel, padding=1), wanted)
        weights = torch.linalg.pinv(x.flatten(1)) @ y.flatten(1)
        single[count] = _off(test.flatten(1) @ weights, wanted.flatten(1))
        moved[count] = _equivariance(weights, test)
    lines = [Line(name, _IMAGES, [max(found[n], 1e-16) for n in _IMAGES], dots=True)
             for name, found in (("convolution", shared), ("fully connected", single))]  # fmt: skip
    return Trial(
        {
            "convolution: parameters": 9, "fully connected: parameters": _INPUTS**2,
            "convolution, 1 image: error": shared[1],
            "fully connected, 100 images: error": single[100],
            "fully connected, 150 images: error": single[150],
            "fully connected, 100 images: error of equivariance": moved[100],
            "fully connected, 150 images: error of equivariance": moved[150],
        },
        [Chart("error on new images", "images to learn from", "error, relative", lines,
               logarithmic=True)],
    )  # fmt: skip


def _equivariance(weights: Tensor, x: Tensor) -> float:
    """How far the map of a moved image is from the moved map, away from the border."""

    def seen(images: Tensor) -> Tensor:
        return (images.flatten(1) @ weights).view_as(images)

    inner = (..., slice(2, -2), slice(2, -2))
    return _off(seen(x.roll(1, -1))[inner], seen(x).roll(1, -1)[inner])


LAB = Lab(
    "L8", "data-needed",
    "A fully connected layer can represent what a convolution does, with far more parameters.",
    "A 3×3 filter is hidden; a convolution and a fully connected layer learn from 1 to 200 images "
    "of 12×12 what it does, each by least squares, so no training can fail.",
    measure,
    {
        "confirmed": lambda f: f["convolution, 1 image: error"] < 1e-10
        and f["fully connected, 100 images: error"] > 0.3
        and f["fully connected, 150 images: error"] < 1e-8
        and f["fully connected, 100 images: error of equivariance"] > 0.3
        and f["fully connected, 150 images: error of equivariance"] < 1e-8
    },
    "fully connected, 100 images: error",
    "One image tells a convolution everything, since each of its places is an example. The fully "
    "connected layer needs as many images as an image has pixels, and until then a moved image "
    "surprises it.",
    "confirmed",
)  # fmt: skip
