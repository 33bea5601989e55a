"""What the doctor's rules need beside losses: measured on fixed images, now and then.

Nothing here changes a training: the network's mode, its running averages and every random state are
as before.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from striate.core.randomness import permutation
from striate.core.records import Measured
from striate.core.runtime import Runtime
from striate.data.augment import Pipeline, centre
from striate.data.dataset import Split
from striate.data.decode import Pixels
from striate.data.loader import Ids, Store, SubStore
from striate.tasks.losses import chance_loss
from striate.tasks.task import Outputs, Task
from striate.training.activity import (
    NORM,
    Moved,
    batch_statistics,
    frozen_layers,
    received,
    watched,
)
from striate.training.evaluate import forward, outputs
from striate.training.state import State

COST = 0.025
"""Share of a training's time that measuring may take."""
_SAMPLE, _LEAST, _SHARE, _LAST = 500, 128, 8, 4
"""An eighth of the training images is measured, at least 128 and at most 500; four times as many
after the last epoch."""
_WATCHED, _BATCHES = 128, 16
"""Images on which activations and batch statistics are looked at, in at most 16 batches."""
_GROUPS = 10
_FEW, _HEART_STEPS, _HEART_SHARE = 20, (20, 150), 0.25
"""Images that a network which has learnt nothing tries to learn by heart, in how many steps (at
least, at most), and what part of the training's images these steps may see."""
_AT_CHANCE = 0.85
"""Share of the loss of guessing above which nothing has been learnt."""
_COMPARED = 30
"""With fewer images on a side nobody tells splits apart."""


@dataclass(frozen=True)
class Probe:
    """Fixed samples and what is asked of them.

    `store` and `train`: all training images; `val` and `val_store`: all validation images. A
    measurement of `ids` each `every` epochs, of `last_ids` at the end; both are in an order of
    their own, since folders come class by class. `batch`: images that batch norm sees at once in
    training; `class_images`: training images of each class; `augment`: what training does to them.
    """

    store: Store
    train: Split
    val_store: Store
    val: Split
    task: Task
    loss: str
    size: int
    runtime: Runtime
    batch: int
    threads: int
    ids: Ids
    last_ids: Ids
    every: int
    class_images: NDArray[np.int64]
    augment: Pipeline

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether the epoch of this number (0 is the first) ends with a measurement."""
        return epoch % self.every == 0 or epoch == epochs - 1

    def measure(self, state: State, val_logits: Outputs, *, last: bool = False) -> Measured:
        """Look at the network that would be deployed, after an epoch, or after the last one. Of
        outputs that are not finite figures are not finite either."""
        with np.errstate(all="ignore"):
            return self._measure(state, val_logits, last=last)

    def _measure(self, state: State, val_logits: Outputs, *, last: bool) -> Measured:
        began, net, task = time.perf_counter(), state.deployed, self.task
        ids = self.last_ids if last else self.ids
        store, targets = SubStore(self.store, ids), self.train.targets[ids]
        logits, _ = outputs(net, store, size=self.size, runtime=self.runtime, threads=self.threads)
        ours = task.plain_losses(logits, targets)
        theirs = task.plain_losses(val_logits, self.val.targets)
        seen = self._watch(net, state.position.epoch)
        single = targets.ndim == 1
        return Measured(
            step=state.position.step,
            epoch=state.position.epoch,
            train_loss=float(ours.mean()),
            train_loss_error=_error(ours),
            train_score=task.scores(logits, targets)[task.main_score],
            val_loss=float(theirs.mean()),
            val_loss_error=_error(theirs),
            val_score=task.scores(val_logits, self.val.targets)[task.main_score],
            train_images=len(ours),
            val_images=len(theirs),
            contradicted=contradicted(logits, targets) if single else None,
            norm_gap=seen.norm_gap,
            recall=recall_by_count(val_logits, self.val.targets, self.class_images)
            if single
            else (),
            layers={**state.moved, **seen.layers},
            seconds=round(time.perf_counter() - began, 3),
            norm_stale=seen.norm_stale,
            augmented_gap=seen.augmented_gap,
            input_deviation=seen.input_deviation,
            output_range=(
                float(logits.min()), float(logits.max()),
                float(np.abs(logits.sum(axis=1) - 1).max()),
            )
            if np.isfinite(logits).all()
            else None,
            frozen=frozen_layers(net),
            never_found=never_found(val_logits, self.val.targets) if single and last else (),
            splits_area=self._splits_area() if state.position.epoch == 1 or last else None,
            by_heart=self._by_heart(net, state.position.step)
            if last and single and self._knows_nothing(ours)
            else None,
        )  # fmt: skip

    def _watch(self, net: nn.Module, epoch: int) -> Seen:
        """What the sample's first images tell of the inside. Activations are looked at as training
        sees them: behind batch norm with the statistics of a batch."""
        ids = self.ids[:_WATCHED]
        stored, targets = self.store.load(ids), self.train.targets[ids]
        images, was = centre(stored, self.size), net.training
        norms = any(isinstance(m, NORM) for m in net.modules())
        net.eval()
        try:
            with torch.inference_mode():
                with watched(net) as seen, received(net) as arrived:
                    if norms and len(ids) > 1:
                        with batch_statistics(net):
                            whole = forward(net, images, self.runtime)
                    else:
                        whole = forward(net, images, self.runtime)
                layers, deviation = seen(), arrived()
                running = self._losses(net, images, targets)
                varied = self.augment(stored, ids, epoch)
                apart = self._losses(net, varied, targets) - running
                gap: float | None = None
                stale: float | None = None
                if norms and len(ids) > 1:
                    gap, stale = self._norm_gaps(net, images, targets, running, whole)
        finally:
            net.train(was)
        return Seen(layers, gap, stale, (float(apart.mean()), _error(apart)), deviation)

    def _norm_gaps(
        self,
        net: nn.Module,
        images: Pixels,
        targets: NDArray[Any],
        running: Outputs,
        whole: Outputs,
    ) -> tuple[float, float]:
        """By how much the loss is lower with batches' own statistics, and with averages that fit:
        those of all images at once."""
        size = max(2, min(self.batch, len(images)))
        starts = range(0, len(images) - size + 1, size)[:_BATCHES]
        with batch_statistics(net):
            own = [forward(net, images[i : i + size], self.runtime) for i in starts]
        used = len(starts) * size
        batch = self.task.plain_losses(np.concatenate(own), targets[:used])
        fitting = self.task.plain_losses(whole, targets)
        return float(running[:used].mean() - batch.mean()), float(running.mean() - fitting.mean())

    def _losses(self, net: nn.Module, images: Pixels, targets: NDArray[Any]) -> Outputs:
        return self.task.plain_losses(forward(net, images, self.runtime), targets)

    def _splits_area(self) -> tuple[float, float] | None:
        """Can training and validation images be told apart by their looks?"""
        from striate.metrics.difference import area_between, looks

        val = permutation(0, 0, "splits compared", len(self.val))[:_SAMPLE]
        sides = [(self.store, self.ids), (self.val_store, val)]
        if min(len(ids) for _, ids in sides) < _COMPARED:
            return None
        ours, theirs = (looks(centre(s.load(ids), self.size)) for s, ids in sides)
        return area_between(ours, theirs)

    def _knows_nothing(self, losses: Outputs) -> bool:
        return float(losses.mean()) > _AT_CHANCE * chance_loss(self.loss, len(self.class_images))

    def _by_heart(self, net: nn.Module, steps: int) -> float | None:
        """Share of 20 images of all classes that a copy of the network learns by heart."""
        ids = self._few()
        if len(np.unique(self.train.targets[ids])) < 2:
            return None
        images, targets = centre(self.store.load(ids), self.size), self.train.targets[ids]
        x, y = self.runtime.on_device(images), self.runtime.on_device(targets)
        low, high = _HEART_STEPS
        count = int(np.clip(_HEART_SHARE * steps * self.batch / len(ids), low, high))
        best = 0.0
        devices = [self.runtime.device] if self.runtime.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(0)
            pupil = copy.deepcopy(net).train()
            for m in pupil.modules():
                if isinstance(m, nn.modules.dropout._DropoutNd):
                    m.p = 0.0
            learning = [p for p in pupil.parameters() if p.requires_grad]
            rule = torch.optim.Adam(learning, lr=1e-3)
            for _ in range(count):
                logits = pupil(x).float()
                best = max(best, float((logits.argmax(dim=1) == y).float().mean()))
                loss = self.task.losses(logits, y).mean()
                if best == 1.0 or not torch.isfinite(loss):
                    break
                rule.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                rule.step()
        return best

    def _few(self) -> Ids:
        """Training images of as many classes as there are, in turn."""
        targets = self.train.targets[self.last_ids]
        order = np.argsort(targets, kind="stable")
        turn = np.arange(len(order)) - np.searchsorted(targets[order], targets[order])
        return self.last_ids[order[np.argsort(turn, kind="stable")]][:_FEW]


class Seen(NamedTuple):
    """What one look inside tells; see `Measured`."""

    layers: Moved
    norm_gap: float | None
    norm_stale: float | None
    augmented_gap: tuple[float, float]
    input_deviation: float | None


def averages_lag(found: Measured, chance: float) -> bool:
    """Whether batch norm's running averages cost so much that estimating them anew is worth it."""
    return found.norm_stale is not None and found.norm_stale > max(
        0.05 * chance, 0.2 * (found.train_loss - found.norm_stale)
    )


def sample(count: int, seed: int) -> tuple[Ids, Ids, int]:
    """(images to measure on, those of the last measurement, every how many epochs) of `count`
    training images, in random order, so that measuring keeps to `COST`: a forward pass is a third
    of a step."""
    wanted = min(count, _SAMPLE, max(_LEAST, count // _SHARE))
    order = permutation(seed, 0, "measured", count)
    cost = (wanted + 4 * min(_WATCHED, wanted)) / 3
    return order[:wanted], order[: _LAST * wanted], math.ceil(cost / (COST * count))


def contradicted(logits: Outputs, targets: NDArray[Any]) -> float | None:
    """Share of images that are called otherwise and whose label ranks in the lower half of the
    other answers. Wrong labels drawn at random rank anywhere; a hard image's ranks high, so this is
    about half of the share of random labels. None below four classes.
    """
    rows, classes = logits.shape
    if classes < 4 or not rows:
        return None
    own = logits[np.arange(rows), targets][:, None]
    better = (logits > own).sum(axis=1)  # 0: right; 1 … C − 1: rank among the others
    return float((better > classes / 2).mean())


def recall_by_count(
    logits: Outputs, targets: NDArray[Any], class_images: NDArray[np.int64]
) -> tuple[tuple[float, int, float], ...]:
    """Classes from common to rare in training, in at most ten groups: (mean training images of a
    class, validation images, share recognised). Groups without validation images are left out."""
    right = logits.argmax(axis=1) == targets
    groups = np.array_split(
        np.argsort(-class_images, kind="stable"), min(_GROUPS, len(class_images))
    )
    found = []
    for group in groups:
        here = np.isin(targets, group)
        if here.any():
            found.append(
                (float(class_images[group].mean()), int(here.sum()), float(right[here].mean()))
            )
    return tuple(found)


def never_found(logits: Outputs, targets: NDArray[Any]) -> tuple[tuple[int, int], ...]:
    """(class, validation images) of each class that is there and of which no image is right."""
    classes = logits.shape[1]
    there = np.bincount(targets, minlength=classes)
    right = np.bincount(targets[logits.argmax(axis=1) == targets], minlength=classes)
    return tuple((int(c), int(there[c])) for c in np.flatnonzero((there > 0) & (right == 0)))


def _error(losses: Outputs) -> float:
    wide = losses.astype(np.float64)  # the squares of losses that explode do not fit otherwise
    return float(wide.std() / math.sqrt(max(1, len(wide))))
