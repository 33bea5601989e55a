"""What labs learn with: the built-in digits, or images of one's own, as tensors; and a plain
training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import cache, lru_cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from striate.core.errors import DataError
from striate.core.uncompiled import uncompiled
from striate.data.dataset import Split, open_dataset
from striate.data.decode import UndecodableError, Unified
from striate.data.sources import open_source
from striate.data.splits import Splitting
from striate.data.targets import class_numbers

OWN_SIDE, OWN_LEAST, OWN_MOST = 32, 30, 10_000
"""Pixels of a side of one's own images, how many a lab needs for training and takes at most."""
_MEGAPIXELS = 64


class Size(float):
    """A number that cannot be below 0, such as a loss: the interval of its mean ends there."""


class Share(Size):
    """A number from 0 to 1, such as an accuracy."""


class Images(NamedTuple):
    """Pixels in [0, 1]: x (N, C, H, W); labels y (N,), for training and for testing."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(max(self.y.max(), self.test_y.max())) + 1

    @property
    def inputs(self) -> int:
        """Numbers of an image."""
        return self.x[0].numel()

    def standardised(self) -> Images:
        """With the mean and deviation of the training pixels taken out of both parts."""
        mean, std = self.x.mean(), self.x.std()
        return self._replace(x=(self.x - mean) / std, test_x=(self.test_x - mean) / std)


@cache
def _all_digits() -> tuple[Tensor, Tensor]:
    part = open_source("digits").parts["all"]
    pixels = np.stack([part.images.pixels(i, 1) for i in range(len(part.images))])
    x = torch.from_numpy(pixels).float().permute(0, 3, 1, 2).contiguous() / 255
    labels: Any = part.targets
    return x, torch.from_numpy(np.asarray(labels.array)).long()


def digits(seed: int, test: int = 400) -> Images:
    """The 1,797 digits of 8×8 pixels, split anew for each seed."""
    x, y = _all_digits()
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(y)))
    first, rest = order[:test], order[test:]
    return Images(x[rest], y[rest], x[first], y[first])


@lru_cache(maxsize=1)  # a seed's images may be a hundred megabytes
def own_images(source: str, seed: int) -> Images:
    """Images of one's own in squares of OWN_SIDE pixels: at most OWN_MOST for training, drawn anew
    for each seed, and a quarter as many for testing. Raises DataError."""
    found = open_dataset(source, Splitting(seed=seed))
    if class_numbers(found.splits["train"].targets) is None:
        raise DataError(
            f"{found.source}: its images have other targets than one class each",
            "Labs take images with one class each.",
        )
    # a test part without labels tells nothing
    tested = "test" if "test" in found.splits and found.splits["test"].targets.labelled() else "val"
    kept = {"train": OWN_MOST, tested: OWN_MOST // 4}
    parts = [_tensors(found.splits[name], most, seed) for name, most in kept.items()]
    if len(parts[0][1]) < OWN_LEAST:
        raise DataError(
            f"{found.source}: {len(parts[0][1])} training images with a class",
            f"A lab needs at least {OWN_LEAST} of them; fewer would tell nothing.",
        )
    return Images(*parts[0], *parts[1])


def _tensors(split: Split, most: int, seed: int) -> tuple[Tensor, Tensor]:
    numbers: Any = class_numbers(split.targets)
    known = np.flatnonzero(numbers >= 0)
    chosen = known[np.random.default_rng(seed).permutation(len(known))[:most]]
    alike = Unified(OWN_SIDE, 3, "crop", _MEGAPIXELS)
    pixels = []
    for i in chosen.tolist():
        try:
            pixels.append(alike.load(split.images, i))
        except UndecodableError as error:
            raise DataError(
                f"{split.images.name(i)} cannot be read: {error}",
                "`striate data check` lists all such images.",
            ) from None
    x = torch.from_numpy(np.stack(pixels)).float().permute(0, 3, 1, 2).contiguous() / 255
    return x, torch.from_numpy(numbers[chosen]).long()


def fit(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    lr: float | Callable[[int], float],
    batch: int = 0,
    momentum: float = 0.0,
    seed: int = 0,
) -> list[float]:
    """Train by SGD with softmax cross-entropy: the loss of each step. lr: the rate, or that of
    each step; batch: 0 is all images. Ends early, with infinity, where the loss is not finite."""
    losses: list[float] = []
    rate = lr if callable(lr) else lambda _: lr
    rule = uncompiled(torch.optim.SGD)(net.parameters(), lr=0.0, momentum=momentum)
    net.train()
    for step, chosen in enumerate(islice(_batches(len(y), batch, seed), steps)):
        loss = cross_entropy(net(x[chosen]), y[chosen])
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            losses[-1] = math.inf
            break
        rule.param_groups[0]["lr"] = rate(step)
        rule.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        rule.step()
    return losses


def _batches(count: int, size: int, seed: int) -> Iterator[Any]:
    """The places of the images of each step, without end, epoch by epoch; size 0: all."""
    rng = np.random.default_rng(seed)
    while True:
        if not size:
            yield slice(None)
            continue
        order = torch.from_numpy(rng.permutation(count))
        for at in range(0, max(count - size, 0) + 1, size):
            yield order[at : at + size]


def alike(make: Callable[[], nn.Module], count: int, seed: int) -> list[nn.Module]:
    """So many networks with the same first weights."""
    torch.manual_seed(seed)
    net = make()
    return [deepcopy(net) for _ in range(count)]


def fit_each(
    nets: Sequence[nn.Module], x: Tensor, y: Tensor, *, steps: int, lrs: Tensor, batch: int = 0,
    momentum: float = 0.0, seed: int = 0,
) -> Tensor:  # fmt: skip
    """Train K networks of one form at once, each as `fit` would alone: the losses (K, steps). lrs:
    rates (K,), or (steps, K). A network that diverges is left with numbers that are not finite."""
    form = deepcopy(nets[0]).train()
    weights, buffers = torch.func.stack_module_state(list(nets))

    def loss(weights: Any, buffers: Any, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(torch.func.functional_call(form, (weights, buffers), (x,)), y)

    each = torch.func.vmap(loss, (0, 0, None, None), randomness="different")
    rates = lrs.expand(steps, len(nets))
    moves, losses = dict.fromkeys(weights, torch.zeros(())), []
    for rate, chosen in zip(rates, _batches(len(y), batch, seed), strict=False):
        found = each(weights, buffers, x[chosen], y[chosen])
        losses.append(found.detach())
        slopes = torch.autograd.grad(found.sum(), [*weights.values()])
        with torch.no_grad():
            for name, slope in zip(weights, slopes, strict=True):
                moves[name] = momentum * moves[name] + slope
                weights[name].sub_(rate.view(-1, *[1] * (slope.ndim - 1)) * moves[name])
    for k, net in enumerate(nets):
        net.load_state_dict({name: a[k] for name, a in (weights | buffers).items()})
    return torch.stack(losses, dim=1)


@torch.no_grad()
def loss_of(net: nn.Module, x: Tensor, y: Tensor) -> Size:
    """Mean cross-entropy in evaluation mode."""
    net.eval()
    return Size(cross_entropy(net(x), y))


@torch.no_grad()
def accuracy_of(net: nn.Module, x: Tensor, y: Tensor) -> Share:
    """The share of right answers, in evaluation mode."""
    net.eval()
    return share_of(net(x).argmax(dim=1) == y)


def share_of(flags: Tensor | NDArray[np.bool_] | np.bool_) -> Share:
    """The share of those that are true."""
    return Share(np.mean(np.asarray(flags)))


def dense(widths: list[int], activation: Callable[[], nn.Module], std: float = 0.0) -> nn.Module:
    """Fully connected layers with an activation between; std: of Gaussian weights (0: He's, with
    biases zero)."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i in range(len(widths) - 1):
        layer = nn.Linear(widths[i], widths[i + 1])
        nn.init.normal_(layer.weight, std=std or math.sqrt(2 / widths[i]))
        nn.init.zeros_(layer.bias)
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


def small_convolutional(classes: int) -> nn.Sequential:
    """For 8×8 grey images: two convolutions and a last layer."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(512, classes),
    )  # fmt: skip


def partly_random(y: Tensor, share: float, classes: int) -> Tensor:
    """Labels of which a share is drawn by chance from all classes, the true one among them."""
    y, chosen = y.clone(), torch.rand(len(y)) < share
    y[chosen] = torch.randint(classes, (int(chosen.sum()),))
    return y


def few_of_each(y: Tensor, each: int) -> Tensor:
    """The places of the first `each` images of every class."""
    return torch.cat([torch.nonzero(y == c).flatten()[:each] for c in range(int(y.max()) + 1)])
