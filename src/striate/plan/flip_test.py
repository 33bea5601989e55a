"""May images be mirrored? A short probe, trained without flips, is asked (D2).

Its skill above chance on mirrored held-out images must stay near that on upright ones: a digit or a
traffic sign changes its meaning, a frog does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from striate.core.randomness import permutation
from striate.data.decode import Pixels
from striate.tasks.task import Task

KEPT_SKILL = 0.85
_LEAST = 40
_IMAGES, _VAL, _FEW, _STEPS, _BATCH, _SIDE = 3000, 1000, 1500, 240, 64, 32


@dataclass(frozen=True)
class FlipVerdict:
    """Whether to flip, and the sentence that says why."""

    flip: bool
    why: str


def flip_probe(
    train: tuple[Pixels, NDArray[Any]],
    val: tuple[Pixels, NDArray[Any]],
    task: Task,
    classes: int,
    seed: int,
    turn: Callable[[Pixels], Pixels] = lambda images: images[:, :, ::-1],
) -> FlipVerdict:
    """Train a tiny network on upright images, compare its scores on upright and mirrored ones.

    train, val: (uint8 (N, H, W, C), targets). A third of the training sample joins validation; with
    few images each third has its turn, so that every image says something. Undecided (no skill
    beyond chance) means no flips. `turn` may be another change than mirroring.
    """
    count = len(train[0]) + len(val[0])
    if count < _LEAST:
        return FlipVerdict(False, f"undecided, so no: {count} images are too few to tell")
    images, targets = _sample(*train, seed)
    more = _small(val[0][:_VAL]), val[1][:_VAL]
    upright, mirrored, truth = [], [], []
    thirds = np.array_split(np.arange(len(images)), 3)
    for held in thirds if len(images) < _FEW else thirds[:1]:
        rest = np.setdiff1d(np.arange(len(images)), held)
        net = _trained(images[rest], targets[rest], task, classes, seed)
        unseen = np.concatenate([images[held], more[0]])
        upright.append(_outputs(net, unseen))
        mirrored.append(_outputs(net, turn(unseen)))
        truth.append(np.concatenate([targets[held], more[1]]))
    return _verdict(np.concatenate(upright), np.concatenate(mirrored), np.concatenate(truth), task)


def _verdict(
    upright: NDArray[np.float32], mirrored: NDArray[np.float32], truth: NDArray[Any], task: Task
) -> FlipVerdict:
    score, turned = (task.scores(x, truth)[task.main_score] for x in (upright, mirrored))
    chance = chance_of(truth)
    skill, noise = score - chance, 2 * (score * (1 - score) / len(truth)) ** 0.5
    measured = f"a probe scores {score:.0%} upright, {turned:.0%} mirrored, chance {chance:.0%}"
    if skill <= max(noise, 0.05):
        return FlipVerdict(False, f"undecided, so no: {measured}")
    return FlipVerdict((turned - chance) / skill >= KEPT_SKILL, measured)


def _sample(images: Pixels, targets: NDArray[Any], seed: int) -> tuple[Pixels, NDArray[Any]]:
    chosen = permutation(seed, 0, "flip probe", len(images))[:_IMAGES]
    return _small(images[chosen]), targets[chosen]


def _small(images: Pixels) -> Pixels:
    """Large images as means of whole blocks of pixels, at least 32 a side."""
    step = max(1, images.shape[1] // _SIDE)
    if step == 1:
        return images
    side = images.shape[1] // step
    cut = images[:, : side * step, : side * step]
    blocks = cut.reshape(len(cut), side, step, side, step, cut.shape[3])
    return blocks.mean(axis=(2, 4), dtype=np.float32).astype(np.uint8)


def _trained(
    images: Pixels, targets: NDArray[Any], task: Task, classes: int, seed: int
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _network(images.shape[3], classes)
        rule = torch.optim.AdamW(net.parameters(), lr=4e-3)
        steps = min(_STEPS, max(80, len(images)))
        schedule = torch.optim.lr_scheduler.OneCycleLR(rule, 8e-3, total_steps=steps)
        for step in range(steps):
            ids = _batch_ids(len(images), step, seed)
            loss = task.losses(net(_tensor(images[ids])), torch.from_numpy(targets[ids])).mean()
            rule.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            rule.step()
            schedule.step()
    return net.eval()


def _batch_ids(count: int, step: int, seed: int) -> NDArray[np.int64]:
    batch = min(_BATCH, count)
    per_epoch = max(1, count // batch)
    order = permutation(seed, step // per_epoch, "flip probe order", count)
    start = (step % per_epoch) * batch
    return order[start : start + batch]


def _network(channels: int, classes: int) -> nn.Module:
    """Position matters to it (a flattened map before the head), so mirroring is not invisible."""
    layers: list[nn.Module] = []
    previous = channels
    for outputs in (16, 32, 64):
        conv = nn.Conv2d(previous, outputs, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        previous = outputs
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, classes))
    return net.to(memory_format=torch.channels_last)  # twice as fast on a CPU


def _tensor(images: Pixels) -> torch.Tensor:
    """float32 (N, C, H, W) in [−1, 1], channels last in memory as in the images."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _outputs(net: nn.Module, images: Pixels) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = [net(_tensor(images[i : i + 500])).numpy() for i in range(0, len(images), 500)]
    return np.concatenate(parts)


def chance_of(targets: NDArray[Any]) -> float:
    """Accuracy of always naming the commonest class; mean prevalence for several labels."""
    if targets.ndim == 2:
        return float(targets.mean(axis=0).mean())
    return float(np.bincount(targets).max() / len(targets))
