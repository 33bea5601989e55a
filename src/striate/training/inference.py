"""Evaluation passes: outputs of a network for all images of a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from striate.core.runtime import Runtime
from striate.data.augment import views_of
from striate.data.dataset import Split
from striate.data.decode import Pixels
from striate.data.loader import Store, even, loaded
from striate.metrics.calibration import temperature
from striate.metrics.classification import per_class, worst_confusions
from striate.metrics.summary import Figures, summarise
from striate.tasks.task import Task

Logits = NDArray[np.float32]


def outputs(
    net: nn.Module,
    store: Store,
    *,
    size: int,
    runtime: Runtime,
    views: str = "single",
    batch_size: int = 500,
    threads: int = 1,
) -> tuple[Logits, Logits]:
    """(averaged over the test views, of the single view): float32 (N, classes) each.

    `views` is a kind of `views_of`, of size×size; `threads` read ahead. Processes that work
    together divide the images, and all get all rows.
    """
    was_training, group = net.training, runtime.group
    mine = group.mine(np.arange(len(store), dtype=np.int64))
    net.eval()
    averaged, plain = [], []
    try:
        with torch.inference_mode():
            for images in loaded(store, even(mine, batch_size), threads):
                each = [forward(net, view, runtime) for view in views_of(images, views, size)]
                plain.append(each[0])
                averaged.append(np.mean(each, axis=0))
    finally:
        net.train(was_training)
    both = (torch.from_numpy(np.concatenate(parts)) for parts in (averaged, plain))
    whole, single = (group.gathered(rows, len(store)).numpy() for rows in both)
    return whole, single


@dataclass(frozen=True)
class Evaluation:
    """Scores of one split and what they rest on: logits float (N, classes), losses (N,), targets.

    `temperature`: what the logits are divided by before they become probabilities; the loss is that
    of these probabilities too (see `calibrated`).
    """

    split: str
    scores: dict[str, float]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    targets: NDArray[Any]
    logits: Logits
    losses: Logits
    task: Task
    temperature: float = 1.0
    notes: tuple[str, ...] = ()
    traits: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What else is known of the images, by name (N,): their size, brightness …"""

    def calibrated(self, by: float) -> Evaluation:
        """The same with logits divided by a temperature: probabilities, losses and all that follows
        from them; no answer changes."""
        losses = self.task.plain_losses(self.logits / np.float32(by), self.targets)
        mean = float(losses.mean()) if len(losses) else float("nan")
        return replace(self, temperature=by, losses=losses, scores={**self.scores, "loss": mean})

    def __getitem__(self, score: str) -> float:
        return self.figures.scores[score]

    @cached_property
    def probabilities(self) -> Logits:
        """(N, classes), as `predict` gives them."""
        return self.task.probabilities(self.logits / np.float32(self.temperature))

    @cached_property
    def figures(self) -> Figures:
        """All scores, and their 95 % intervals; of outputs that are not finite NaN."""
        with np.errstate(all="ignore"):
            return self._summarised()

    def _summarised(self) -> Figures:
        return summarise(self.targets, self.probabilities, self.losses, self.scores)

    def per_class(self) -> list[dict[str, float | str]]:
        """Count, precision, recall and F1 of each class; with several labels average precision."""
        return per_class(self.targets, self.probabilities, self.classes)

    def worst_confusions(self) -> list[dict[str, str | int]]:
        """The commonest mistakes: true class, predicted class, count."""
        return worst_confusions(self.targets, self.probabilities, self.classes)

    def right(self) -> NDArray[np.float64]:
        """What each image contributes to accuracy (N,)."""
        return right_answers(self.logits, self.targets)


def evaluate(
    net: nn.Module,
    store: Store,
    split: Split,
    task: Task,
    *,
    size: int,
    runtime: Runtime,
    views: str,
    threads: int = 1,
) -> tuple[dict[str, float], Logits, Logits]:
    """(scores, logits, losses). The main score is what `predict` delivers, `plain_…` one view's."""
    averaged, plain = outputs(net, store, size=size, runtime=runtime, views=views, threads=threads)
    scores, main = task.scores(averaged, split.targets), task.main_score
    single = task.scores(plain, split.targets)[main]
    ordered = {main: scores.pop(main), f"plain_{main}": single, **scores}
    return ordered, averaged, task.plain_losses(averaged, split.targets)


def traits_of(store: Store, sides: NDArray[Any], threads: int = 1) -> dict[str, NDArray[Any]]:
    """Of each image: the longer side in pixels, width by height, and of its grey levels (0 to 255)
    mean and deviation. sides: (N, 2) as (height, width)."""
    means, deviations = [], []
    for images in loaded(store, even(np.arange(len(store), dtype=np.int64), 500), threads):
        grey = images.mean(axis=3, dtype=np.float32)
        means.append(grey.mean(axis=(1, 2)))
        deviations.append(grey.std(axis=(1, 2)))
    return {
        "longer side": sides.max(axis=1),
        "width by height": sides[:, 1] / np.maximum(sides[:, 0], 1),
        "brightness": np.concatenate(means),
        "contrast": np.concatenate(deviations),
    }


def right_answers(logits: Logits, targets: NDArray[Any]) -> NDArray[np.float64]:
    """What each image contributes to accuracy (N,): 1 or 0; with several labels the share of them
    that is right."""
    if targets.ndim == 2:
        found: NDArray[np.float64] = ((logits > 0) == (targets > 0)).mean(axis=1)
        return found
    return (logits.argmax(axis=1) == targets).astype(np.float64)


def fitted_temperature(found: Evaluation) -> float:
    """What calibrates the probabilities of these (validation) images; 1 for losses whose outputs
    are no log probabilities."""
    return temperature(found.logits, found.targets) if found.task.calibrates else 1.0


def forward(net: nn.Module, images: Pixels, runtime: Runtime) -> Logits:
    """uint8 (N, H, W, C) → float32 (N, classes), in the runtime's precision."""
    x = torch.from_numpy(np.ascontiguousarray(images)).to(runtime.device)
    with runtime.autocast():
        logits: Logits = net(x).cpu().numpy()
    return logits
