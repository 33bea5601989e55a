"""A quick network that judges only images that it was not trained on.

Two halves of the training images, two networks: each is trained on one half and asked about the
other, and about the validation and test images. What it says of an image it cannot have learned by
heart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.arrays import Pixels
from striate.core.randomness import permutation
from striate.core.runtime import Runtime, choose_precision, keep_pages
from striate.core.uncompiled import uncompiled
from striate.data.splits import stratified_folds
from striate.data.targets import Labels
from striate.models.linear import cross_validated, fitted
from striate.tasks import make_task
from striate.training.inference import batch_of
from striate.training.quick import learn

SIDE, FEATURES = 32, 128
_IMAGES, _EPOCHS, _BATCH = 15_000, 5, 128
_MOST_EPOCHS, _LEAST_STEPS = 30, 300


@dataclass(frozen=True)
class Judged:
    """Of N images: probabilities (N, classes) and features (N, D) by a network that never saw
    them. `by` says which of the two networks it was, for features of one network only may be
    compared."""

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
    by: NDArray[np.int64]


def crossfit(
    splits: dict[str, tuple[Pixels, NDArray[Any]]], classes: int, seed: int = 0
) -> dict[str, Judged]:
    """Judge all images (uint8 (N, 32, 32, C)) of all splits; targets are class numbers."""
    images, targets = splits["train"]
    halves = stratified_folds(targets, 2, seed)
    keep_pages()
    runtime = Runtime(torch.device("cpu"), choose_precision(torch.device("cpu"))[0])
    nets = [
        _trained(images[halves == k], targets[halves == k], classes, seed + k, runtime)
        for k in (0, 1)
    ]
    judged = {}
    for name, (pixels, _) in splits.items():
        by = 1 - halves if name == "train" else np.zeros(len(pixels), dtype=np.int64)
        judged[name] = _judge(nets, pixels, by, classes, runtime)
    return judged


def crossfit_features(
    splits: dict[str, tuple[NDArray[np.float32], NDArray[Any]]], classes: int, seed: int = 0
) -> dict[str, Judged]:
    """The same by linear classifiers on features (N, D) that no image of these has shaped: each
    training image is judged by one that was fitted without it."""
    features, targets = splits["train"]
    strength, held_out = cross_validated(features, targets, classes, seed)
    whole = fitted(features, targets, classes, strength=strength)
    judged = {}
    for name, (rows, _) in splits.items():
        scores = held_out if name == "train" else whole.scores(rows)
        said = torch.from_numpy(scores).softmax(dim=1).float().numpy()
        judged[name] = Judged(said, rows, np.zeros(len(rows), dtype=np.int64))
    return judged


class _Quick(nn.Module):
    """Halves the resolution first: what it loses in sharpness it gains in images seen."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = _block(channels, 32, 4, stride=2)
        layers += [*_block(32, 64, 3), nn.MaxPool2d(2), *_block(64, FEATURES, 3)]
        layers += [*_block(FEATURES, FEATURES, 3), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (N, H, W, C) → logits float32 (N, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits.float()

    def features(self, images: Tensor) -> Tensor:
        """uint8 (N, H, W, C) → (N, 128)."""
        x = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        maps = self.body(x.contiguous(memory_format=torch.channels_last))
        features: Tensor = maps.mean(dim=(2, 3)) + maps.amax(dim=(2, 3))
        return features


def _block(before: int, after: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, kernel, stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(after), nn.ReLU()]


def _trained(
    images: Pixels, targets: NDArray[Any], classes: int, seed: int, runtime: Runtime
) -> _Quick:
    """One-cycle AdamW with flips and shifts of the images, or fewer of a large set."""
    chosen = permutation(seed, 0, "audit", len(images))[:_IMAGES]
    x, labels = images[chosen], targets[chosen].astype(np.int64)
    batch = max(8, min(_BATCH, len(x) // 8))
    epochs = max(_EPOCHS, min(_MOST_EPOCHS, _LEAST_STEPS * batch // len(x)))
    steps = epochs * (len(x) // batch)
    task = make_task("labels", "cross_entropy", 0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _Quick(images.shape[3], classes).to(memory_format=torch.channels_last)
        rule = uncompiled(torch.optim.AdamW)(net.parameters(), lr=1e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(rule, 1e-2, total_steps=steps)
        batches = (
            batch_of(_shifted(x[ids], ids, seed), Labels(labels[ids]))
            for ids in _order(len(x), batch, epochs, seed)
        )
        for _ in learn(task, net, batches, rule, runtime, schedule=schedule):
            pass
    return net.eval()


def _order(count: int, batch: int, epochs: int, seed: int) -> Iterator[NDArray[np.int64]]:
    for epoch in range(epochs):
        order = permutation(seed, epoch, "audit order", count)
        for start in range(0, count - batch + 1, batch):
            yield order[start : start + batch]


def _shifted(images: Pixels, ids: NDArray[np.int64], seed: int) -> Pixels:
    """One shift for the whole batch: what matters here is that places vary."""
    down, right = (int(v) for v in permutation(seed, int(ids[0]), "audit shift", 25)[:2] % 5 - 2)
    return np.roll(images, (down, right), axis=(1, 2))


def _judge(
    nets: list[_Quick],
    images: Pixels,
    by: NDArray[np.int64],
    classes: int,
    runtime: Runtime,
) -> Judged:
    probabilities = np.zeros((len(images), classes), dtype=np.float32)
    features = np.zeros((len(images), FEATURES), dtype=np.float32)
    with torch.inference_mode(), runtime.autocast():
        for number, net in enumerate(nets):
            places = np.flatnonzero(by == number)
            for ids in np.array_split(places, max(1, len(places) // 1000)):
                found = net.features(torch.from_numpy(images[ids]))
                probabilities[ids] = net.head(found).float().softmax(dim=1).numpy()
                features[ids] = found.float().numpy()
    return Judged(probabilities, features, by)
