"""Evaluation passes: outputs of a network for all images of a store."""

from __future__ import annotations

from dataclasses import dataclass
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
from striate.metrics.classification import per_class, worst_confusions
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
    """Scores of one split and what they rest on: probabilities float (N, classes) and targets."""

    split: str
    scores: dict[str, float]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    targets: NDArray[Any]
    probabilities: Logits
    notes: tuple[str, ...] = ()

    def __getitem__(self, score: str) -> float:
        return self.scores[score]

    def per_class(self) -> list[dict[str, float | str]]:
        """Count, precision, recall and F1 of each class; with several labels average precision."""
        return per_class(self.targets, self.probabilities, self.classes)

    def worst_confusions(self) -> list[dict[str, str | int]]:
        """The commonest mistakes: true class, predicted class, count."""
        return worst_confusions(self.targets, self.probabilities, self.classes)


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
) -> tuple[dict[str, float], Logits]:
    """(scores, probabilities). The main score is what `predict` delivers, `plain_…` one view's."""
    averaged, plain = outputs(net, store, size=size, runtime=runtime, views=views, threads=threads)
    scores, main = task.scores(averaged, split.targets), task.main_score
    single = task.scores(plain, split.targets)[main]
    ordered = {main: scores.pop(main), f"plain_{main}": single, **scores}
    return ordered, task.probabilities(averaged)


def forward(net: nn.Module, images: Pixels, runtime: Runtime) -> Logits:
    """uint8 (N, H, W, C) → float32 (N, classes), in the runtime's precision."""
    x = torch.from_numpy(np.ascontiguousarray(images)).to(runtime.device)
    with runtime.autocast():
        logits: Logits = net(x).cpu().numpy()
    return logits
