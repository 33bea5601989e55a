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

from striate.core.arrays import Floats, Ids, Pixels
from striate.core.geometry import after, identity
from striate.core.randomness import permutation
from striate.core.records import Measured
from striate.core.runtime import Runtime
from striate.core.uncompiled import uncompiled
from striate.data.augment import Pipeline, centre, centring
from striate.data.dataset import Split
from striate.data.loader import Store, SubStore
from striate.data.targets import Targets, class_numbers
from striate.tasks.evaluation import Evaluation
from striate.tasks.scorer import joined
from striate.tasks.task import Predictions, Task
from striate.training.activity import (
    NORM,
    Moved,
    batch_statistics,
    frozen_layers,
    received,
    watched,
)
from striate.training.inference import Pass, batch_of, in_float32, predictions
from striate.training.state import State

COST = 0.025
"""Share of a training's time that measuring may take."""
_SAMPLE, _LEAST, _SHARE, _LAST = 500, 128, 8, 4
"""An eighth of the training images is measured, at least 128 and at most 500; four times as many
after the last epoch."""
_WATCHED, _BATCHES = 128, 16
"""Images on which activations and batch statistics are looked at, in at most 16 batches."""
_FEW, _HEART_STEPS, _HEART_SHARE = 20, (20, 150), 0.25
"""Images that a network which has learnt nothing tries to learn by heart, in how many steps (at
least, at most), and what part of the training's images these steps may see."""
_AT_CHANCE = 0.85
"""Share of the loss of guessing above which nothing has been learnt."""
_COMPARED = 30
"""With fewer images on a side nobody tells splits apart."""


@dataclass(frozen=True)
class Monitor:
    """Fixed samples of images, and what is measured on them.

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

    def measure(self, state: State, val: Evaluation, *, last: bool = False) -> Measured:
        """Look at the network that would be deployed, after an epoch, or after the last one. Of
        outputs that are not finite figures are not finite either."""
        with np.errstate(all="ignore"):
            return self._measure(state, val, last=last)

    def _measure(self, state: State, val: Evaluation, *, last: bool) -> Measured:
        began, net, task, position = time.perf_counter(), state.deployed, self.task, state.position
        ids = self.last_ids if last else self.ids
        store, targets = SubStore(self.store, ids), self.train.targets.take(ids)
        said = predictions(task, net, store, Pass(self.size, self.runtime, threads=self.threads))
        ours, theirs = self._per_image(said, targets), val.losses
        scores = task.scores(said, targets)
        train_signs = task.signs(said, targets, self.class_images)
        val_signs = task.signs(val.predictions, val.truth, self.class_images)
        seen = self._watch(net, position.epoch)
        return Measured(
            step=position.step,
            epoch=position.epoch,
            train_loss=scores["loss"] if ours is None else float(ours.mean()),
            train_loss_error=_error(ours),
            train_score=scores[task.main_score],
            val_loss=val.scores["loss"] if theirs is None else float(theirs.mean()),
            val_loss_error=_error(theirs),
            val_score=val.scores[task.main_score],
            train_images=len(targets),
            val_images=len(val),
            contradicted=train_signs.get("contradicted"),
            norm_gap=seen.norm_gap,
            recall=val_signs.get("recall", ()),
            layers={**state.moved, **seen.layers},
            seconds=round(time.perf_counter() - began, 3),
            norm_stale=seen.norm_stale,
            augmented_gap=seen.augmented_gap,
            input_deviation=seen.input_deviation,
            output_range=train_signs.get("output_range"),
            frozen=frozen_layers(net),
            never_found=val_signs.get("never_found", ()) if last else (),
            splits_area=self._splits_area() if position.epoch == 1 or last else None,
            by_heart=self._by_heart(net, position.step)
            if last and self._knows_nothing(ours)
            else None,
            boxes={
                name: signs["boxes"]
                for name, signs in (("train", train_signs), ("val", val_signs))
                if "boxes" in signs
            },
        )

    def _watch(self, net: nn.Module, epoch: int) -> Seen:
        """What the sample's first images tell of the inside. Activations are looked at as training
        sees them: behind batch norm with the statistics of a batch."""
        ids = self.ids[:_WATCHED]
        stored, targets = self.store.load(ids), self.train.targets.take(ids)
        images, was = centre(stored, self.size), net.training
        placed = self.store.matrices(ids) if self.task.placed else identity(len(ids))
        here = after(placed, centring(stored, self.size))
        norms = any(isinstance(m, NORM) for m in net.modules()) and len(ids) > 1
        apart: tuple[float, float] | None = None
        gap: float | None = None
        stale: float | None = None
        net.eval()
        try:
            with torch.inference_mode():
                with watched(net) as seen, received(net) as arrived:
                    if norms:
                        with batch_statistics(net):
                            whole = self._ask(net, images, here)
                    else:
                        whole = self._ask(net, images, here)
                layers, deviation = seen(), arrived()
                running = self._per_image(self._ask(net, images, here), targets)
                if running is not None:
                    varied = self.augment.moved(stored, ids, epoch)
                    there = after(placed, varied.matrices)
                    said = self._ask(net, varied.images, there)
                    differences = self._per_image(said, targets) - running
                    apart = float(differences.mean()), _error(differences)
                    if norms:
                        gap, stale = self._norm_gaps(net, (images, here), targets, running, whole)
        finally:
            net.train(was)
        return Seen(layers, gap, stale, apart, deviation)

    def _norm_gaps(
        self,
        net: nn.Module,
        sample: tuple[Pixels, Floats],
        targets: Targets,
        running: NDArray[Any],
        whole: Predictions,
    ) -> tuple[float, float]:
        """By how much the loss is lower with batches' own statistics, and with averages that fit:
        those of all images at once."""
        images, here = sample
        size = max(2, min(self.batch, len(images)))
        starts = range(0, len(images) - size + 1, size)[:_BATCHES]
        with batch_statistics(net):
            own = joined([self._ask(net, images[i : i + size], here[i : i + size]) for i in starts])
        used = len(starts) * size
        batch = self._per_image(own, targets.take(np.arange(used)))
        fitting = self._per_image(whole, targets)
        assert batch is not None
        assert fitting is not None
        return float(running[:used].mean() - batch.mean()), float(running.mean() - fitting.mean())

    def _ask(self, net: nn.Module, images: Pixels, matrices: Floats) -> Predictions:
        return self.task.predictions(net, images, matrices, Pass(self.size, self.runtime))

    def _per_image(self, said: Predictions, targets: Targets) -> Any:
        return self.task.unsmoothed_losses(said, targets)

    def _splits_area(self) -> tuple[float, float] | None:
        """Can training and validation images be told apart by their looks?"""
        from striate.metrics.difference import area_between, looks

        val = permutation(0, 0, "splits compared", len(self.val))[:_SAMPLE]
        sides = [(self.store, self.ids), (self.val_store, val)]
        if min(len(ids) for _, ids in sides) < _COMPARED:
            return None
        ours, theirs = (looks(centre(s.load(ids), self.size)) for s, ids in sides)
        return area_between(ours, theirs)

    def _knows_nothing(self, losses: NDArray[Any] | None) -> bool:
        chance = self.task.chance_loss(len(self.class_images))
        if losses is None or chance is None or class_numbers(self.train.targets) is None:
            return False
        return float(losses.mean()) > _AT_CHANCE * chance

    def _by_heart(self, net: nn.Module, steps: int) -> float | None:
        """Share of 20 images of all classes that a copy of the network learns by heart."""
        ids = self._few()
        targets = self.train.targets.take(ids)
        if len(np.unique(targets.strata())) < 2:
            return None
        batch = batch_of(centre(self.store.load(ids), self.size), targets)
        low, high = _HEART_STEPS
        count = int(np.clip(_HEART_SHARE * steps * self.batch / len(ids), low, high))
        best, plain = 0.0, in_float32(self.runtime)
        devices = [self.runtime.device] if self.runtime.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(0)
            pupil = copy.deepcopy(net).train()
            for m in pupil.modules():
                if isinstance(m, nn.modules.dropout._DropoutNd):
                    m.p = 0.0
            learning = [p for p in pupil.parameters() if p.requires_grad]
            rule = uncompiled(torch.optim.Adam)(learning, lr=1e-3)
            for _ in range(count):
                losses = self.task.losses(pupil, batch, plain)
                scores = self.task.scores(self.task.read(losses.outputs), targets)
                best = max(best, scores[self.task.main_score])
                loss = losses.total / len(ids)
                if best == 1.0 or not torch.isfinite(loss):
                    break
                rule.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                rule.step()
        return best

    def _few(self) -> Ids:
        """Training images of as many classes as there are, in turn."""
        classes = self.train.targets.take(self.last_ids).strata()
        order = np.argsort(classes, kind="stable")
        turn = np.arange(len(order)) - np.searchsorted(classes[order], classes[order])
        return self.last_ids[order[np.argsort(turn, kind="stable")]][:_FEW]


class Seen(NamedTuple):
    """What one look inside tells; see `Measured`."""

    layers: Moved
    norm_gap: float | None
    norm_stale: float | None
    augmented_gap: tuple[float, float] | None
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


def _error(losses: NDArray[Any] | None) -> float:
    """The standard error of the mean; 0 where there are no losses of single images."""
    if losses is None:
        return 0.0
    wide = losses.astype(np.float64)  # the squares of losses that explode do not fit otherwise
    return float(wide.std() / math.sqrt(max(1, len(wide))))
