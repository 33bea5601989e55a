"""May images be mirrored? A small network, trained without flips, is asked (D2).

Its skill above chance on mirrored held-out images must stay near that on upright ones: a digit or a
traffic sign changes its meaning, a frog does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from striate.core.arrays import Ids, Pixels
from striate.core.geometry import identity
from striate.core.randomness import permutation
from striate.core.runtime import Runtime, one_thread
from striate.core.uncompiled import uncompiled
from striate.data.targets import Targets, concatenated
from striate.tasks.scorer import joined
from striate.tasks.task import Predictions, Task
from striate.training.inference import Pass, batch_of
from striate.training.quick import learn

KEPT_SKILL = 0.85
_LEAST = 40
_TINY = 16
"""Side up to which a second thread only waits for the first."""
_CLEAR = 4.0
"""Standard deviations from the limit at which the answer is clear."""
_BLIND = 0.4
"""Share of the skill that is left at most, for the answer to be given early."""
_RUNTIME = Runtime(torch.device("cpu"), "float32")
_IMAGES, _VAL, _FEW, _STEPS, _BATCH, _SIDE = 3000, 1000, 1500, 240, 64, 32
_FIRST_LOOK = 60
"""Steps after which the network is asked for the first time."""


@dataclass(frozen=True)
class FlipVerdict:
    """Whether to flip, and the sentence that says why."""

    flip: bool
    why: str


def flip_test(
    train: tuple[Pixels, Targets],
    val: tuple[Pixels, Targets],
    task: Task,
    classes: int,
    seed: int,
    turn: Callable[[Pixels], Pixels] = lambda images: images[:, :, ::-1],
    *,
    early: bool = True,
) -> FlipVerdict:
    """Train a tiny network on upright images, compare its scores on upright and mirrored ones.

    train, val: (uint8 (N, H, W, C), targets). A third of the training sample joins validation; with
    few images each third has its turn until the answer is clear. early: a network that after some
    steps reads upright images and makes next to nothing of mirrored ones learns no more, though it
    might have come to read them. Undecided (no skill beyond chance) means no flips. `turn` may be
    another change than mirroring.
    """
    count = len(train[0]) + len(val[0])
    if task.chance_score(train[1]) is None:
        return FlipVerdict(False, "undecided, so no: there is no flip test for this task")
    if count < _LEAST:
        return FlipVerdict(False, f"undecided, so no: {count} images are too few to tell")
    images, targets = _sample(*train, seed)
    more, more_targets = _small(val[0][:_VAL]), val[1].take(np.arange(len(val[1]))[:_VAL])
    found: list[_Answers] = []
    thirds = np.array_split(np.arange(len(images)), 3)
    for held in thirds if len(images) < _FEW else thirds[:1]:
        rest = np.setdiff1d(np.arange(len(images)), held)
        unseen = np.concatenate([images[held], more])
        truth = concatenated([targets.take(held), more_targets])
        with one_thread() if images.shape[1] <= _TINY else contextlib.nullcontext():
            for net in _trained(images[rest], targets.take(rest), task, classes, seed):
                upright, turned = (_ask(task, net, x) for x in (unseen, turn(unseen)))
                answers = _Answers(upright, turned, truth)
                verdict, clear = _verdict([*found, answers], task)
                if early and clear and not verdict.flip and _blind(answers, task):
                    return verdict
        if clear:
            break
        found.append(answers)
    return verdict


@dataclass(frozen=True)
class _Answers:
    """What a network says of images as they are and changed."""

    upright: Predictions
    turned: Predictions
    truth: Targets


def _verdict(found: list[_Answers], task: Task) -> tuple[FlipVerdict, bool]:
    """What the answers say, and whether more of them could hardly say something else."""
    truth = concatenated([part.truth for part in found])
    score, turned = (
        task.scores(joined(parts), truth)[task.main_score]
        for parts in ([f.upright for f in found], [f.turned for f in found])
    )
    chance = task.chance_score(truth)
    assert chance is not None
    skill, noise = score - chance, 2 * (score * (1 - score) / len(truth)) ** 0.5
    measured = f"a probe scores {score:.0%} upright, {turned:.0%} mirrored, chance {chance:.0%}"
    if skill <= max(noise, 0.05):
        return FlipVerdict(False, f"undecided, so no: {measured}"), False
    margin = turned - chance - KEPT_SKILL * skill
    spread = (turned * (1 - turned) + KEPT_SKILL**2 * score * (1 - score)) / len(truth)
    return FlipVerdict(margin >= 0, measured), abs(margin) > _CLEAR * spread**0.5


def _blind(answers: _Answers, task: Task) -> bool:
    """Whether upright images are read, and little of that is left on mirrored ones."""
    chance = task.chance_score(answers.truth)
    assert chance is not None
    skill, left = (
        task.scores(said, answers.truth)[task.main_score] - chance
        for said in (answers.upright, answers.turned)
    )
    return skill >= (1 - chance) / 2 and left <= _BLIND * skill


def _sample(images: Pixels, targets: Targets, seed: int) -> tuple[Pixels, Targets]:
    chosen = permutation(seed, 0, "flip probe", len(images))[:_IMAGES]
    return _small(images[chosen]), targets.take(chosen)


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
    images: Pixels, targets: Targets, task: Task, classes: int, seed: int
) -> Iterator[nn.Module]:
    """The network after some steps, and when it is trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = task.network(lambda outputs: _Small(images.shape[3], outputs), classes)
        rule = uncompiled(torch.optim.AdamW)(net.parameters(), lr=4e-3, foreach=True)
        steps = min(_STEPS, max(80, len(images)))
        schedule = torch.optim.lr_scheduler.OneCycleLR(rule, 8e-3, total_steps=steps)
        chosen = (_batch_ids(len(images), step, seed) for step in range(steps))
        batches = (batch_of(images[ids], targets.take(ids)) for ids in chosen)
        for step, _ in enumerate(learn(task, net, batches, rule, _RUNTIME, schedule=schedule)):
            if step == _FIRST_LOOK:
                yield net.eval()
                net.train()
        yield net.eval()


def _batch_ids(count: int, step: int, seed: int) -> Ids:
    batch = min(_BATCH, count)
    per_epoch = max(1, count // batch)
    order = permutation(seed, step // per_epoch, "flip probe order", count)
    start = (step % per_epoch) * batch
    return order[start : start + batch]


class _Small(nn.Module):
    """uint8 (N, H, W, C) → outputs. Position matters to it (a flattened map before the head), so
    mirroring is not invisible."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = channels
        for width in (16, 32, 64):
            conv = nn.Conv2d(previous, width, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
            previous = width
        head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, outputs)]
        whole = nn.Sequential(*layers, *head)
        self.layers = whole.to(memory_format=torch.channels_last)  # twice as fast on a CPU

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.layers(images.permute(0, 3, 1, 2).float() / 127.5 - 1)
        return x


def _ask(task: Task, net: nn.Module, images: Pixels) -> Predictions:
    how = Pass(images.shape[1], _RUNTIME)
    parts = [images[i : i + 500] for i in range(0, len(images), 500)]
    return joined([task.predictions(net, part, identity(len(part)), how) for part in parts])
