"""Passes over images without learning: predictions of a network for all images of a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from striate.core.arrays import Ids, Pixels
from striate.core.geometry import identity
from striate.core.group import Group
from striate.core.runtime import Runtime
from striate.data.batch import Batch
from striate.data.loader import Store, even, loaded
from striate.data.targets import Targets
from striate.tasks.evaluation import Evaluation
from striate.tasks.scorer import joined
from striate.tasks.task import Pass, Predictions, Scored, Scorer, Task

_AT_ONCE, _SIDE = 500, 64
"""Images that go through a network together, of up to this side in pixels; fewer of larger ones, so
that their maps take about as much memory."""


def predictions(task: Task, net: nn.Module, store: Store, how: Pass) -> Predictions:
    """What a network says of all images of a store, a row an image."""
    group = how.runtime.group
    ids = group.shard(np.arange(len(store), dtype=np.int64))
    whole = joined([rows for _, rows in _parts(task, net, store, ids, how)])
    return {
        name: group.all_gather(torch.from_numpy(rows), len(store)).numpy()
        for name, rows in whole.items()
    }


def evaluate(
    task: Task, net: nn.Module, store: Store, targets: Targets, scored: Scored, how: Pass
) -> Evaluation:
    """The predictions of all images of a store, scored against their targets."""
    scorer = task.scorer(targets, scored)
    ids = how.runtime.group.shard(np.arange(len(store), dtype=np.int64))
    for positions, rows in _parts(task, net, store, ids, how):
        scorer.add(positions, rows)
    return merged(scorer, how.runtime.group).result()


def merged(scorer: Scorer, group: Group) -> Scorer:
    """The scorer with what those of all processes hold."""
    if group.size == 1:
        return scorer
    own = scorer.arrays()
    theirs = {name: group.all_ranks(torch.from_numpy(rows)) for name, rows in own.items()}
    for rank in range(group.size):
        if rank != group.rank:
            scorer.merge({name: rows[rank].numpy() for name, rows in theirs.items()})
    return scorer


def _parts(
    task: Task, net: nn.Module, store: Store, ids: Ids, how: Pass
) -> Iterator[tuple[Ids, Predictions]]:
    """(positions, predictions) of the images at these positions, some hundred at a time."""
    was_training = net.training
    net.eval()
    try:
        with torch.inference_mode():
            plan = even(ids, at_once(how.size))
            for positions, images in zip(plan, loaded(store, plan, how.threads), strict=True):
                placed = store.matrices(positions) if task.placed else identity(len(positions))
                yield positions, task.predictions(net, images, placed, how)
    finally:
        net.train(was_training)


def at_once(size: int) -> int:
    """How many images of this side go through a network together."""
    return max(16, int(_AT_ONCE * min(1.0, (_SIDE / size) ** 2)))


def batch_of(images: Pixels, targets: Targets) -> Batch:
    """Images as they are, with their targets, as one batch."""
    ids = np.arange(len(images), dtype=np.int64)
    return Batch(images, ids, targets, identity(len(images)))


def traits_of(store: Store, sides: NDArray[Any], threads: int = 1) -> dict[str, NDArray[Any]]:
    """Of each image: the longer side in pixels, width by height, and of its grey levels (0 to 255)
    mean and deviation. sides: (N, 2) as (height, width)."""
    means, deviations = [], []
    for images in loaded(store, even(np.arange(len(store), dtype=np.int64), _AT_ONCE), threads):
        grey = images.mean(axis=3, dtype=np.float32)
        means.append(grey.mean(axis=(1, 2)))
        deviations.append(grey.std(axis=(1, 2)))
    return {
        "longer side": sides.max(axis=1),
        "width by height": sides[:, 1] / np.maximum(sides[:, 0], 1),
        "brightness": np.concatenate(means),
        "contrast": np.concatenate(deviations),
    }


def in_float32(runtime: Runtime) -> Runtime:
    """The same device, products in float32, alone."""
    return replace(runtime, precision="float32", group=Group())


__all__ = ["Pass", "batch_of", "evaluate", "in_float32", "merged", "predictions", "traits_of"]
