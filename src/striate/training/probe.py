"""May images be mirrored? A short probe, trained without flips, is asked (D2).

Its skill above chance on mirrored held-out images must stay near that on upright ones: a digit or a
traffic sign changes its meaning, a frog does not.
"""

from __future__ import annotations

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
_IMAGES, _STEPS, _BATCH, _SIDE = 3000, 240, 64, 32


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
) -> FlipVerdict:
    """Train a tiny network on upright images, compare its scores on upright and mirrored ones.

    train, val: (uint8 (N, H, W, C), targets). A third of the training sample joins validation, so
    that small sets say something too. Undecided (no skill) means no flips.
    """
    images, targets = _sample(*train, seed)
    cut = len(images) * 2 // 3
    held_images = np.concatenate([images[cut:], _small(val[0][:1000])])
    held_targets = np.concatenate([targets[cut:], val[1][:1000]])
    net = _trained(images[:cut], targets[:cut], task, classes, seed)
    upright, mirrored = (
        _score(net, view, held_targets, task) for view in (held_images, held_images[:, :, ::-1])
    )
    chance = _chance(held_targets)
    skill, noise = upright - chance, 2 * (upright * (1 - upright) / len(held_images)) ** 0.5
    measured = f"a probe scores {upright:.0%} upright, {mirrored:.0%} mirrored, chance {chance:.0%}"
    if skill <= max(noise, 0.05):
        return FlipVerdict(False, f"undecided, so no: {measured}")
    kept = (mirrored - chance) / skill
    return FlipVerdict(kept >= KEPT_SKILL, measured)


def _sample(images: Pixels, targets: NDArray[Any], seed: int) -> tuple[Pixels, NDArray[Any]]:
    chosen = permutation(seed, 0, "flip probe", len(images))[:_IMAGES]
    return _small(images[chosen]), targets[chosen]


def _small(images: Pixels) -> Pixels:
    """Thin out large images by whole pixels: coarse, but the same for both views."""
    step = max(1, images.shape[1] // _SIDE)
    return images[:, ::step, ::step]


def _trained(
    images: Pixels, targets: NDArray[Any], task: Task, classes: int, seed: int
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _network(images.shape[3], classes)
        rule = torch.optim.AdamW(net.parameters(), lr=4e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(rule, 8e-3, total_steps=_STEPS)
        for step in range(_STEPS):
            ids = _batch_ids(len(images), step, seed)
            loss = task.loss(net(_tensor(images[ids])), torch.from_numpy(targets[ids]))
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
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, classes))


def _tensor(images: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 127.5 - 1


def _score(net: nn.Module, images: Pixels, targets: NDArray[Any], task: Task) -> float:
    with torch.inference_mode():
        logits = [net(_tensor(images[i : i + 500])).numpy() for i in range(0, len(images), 500)]
    return task.scores(np.concatenate(logits), targets)[task.main_score]


def _chance(targets: NDArray[Any]) -> float:
    """Accuracy of always naming the commonest class; mean prevalence for several labels."""
    if targets.ndim == 2:
        return float(targets.mean(axis=0).mean())
    return float(np.bincount(targets).max() / len(targets))
