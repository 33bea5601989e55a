"""A head that starts as a linear classifier on the weights' features (Kumar and others 2022): one
that begins at random would pull the features that it has not learnt to read out of shape."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.runtime import Runtime
from striate.data.augment import centre
from striate.data.loader import Store, even, loaded, spread
from striate.data.targets import Targets
from striate.models.frozen import Prefix, frozen_modules
from striate.models.linear import cross_validated, fitted
from striate.models.network import Network
from striate.models.stages import last_layer, stages_of
from striate.plan.data import PreparedData
from striate.plan.settled import Architecture
from striate.tasks.evaluation import Evaluation
from striate.tasks.task import Scored, Task

MOST = 2_000
"""Training images, evenly from all over the set, from which linear classifiers are fitted."""
_AT_ONCE = 256


def fit_head(
    net: Network,
    task: Task,
    data: PreparedData,
    shape: Architecture,
    runtime: Runtime,
) -> Evaluation | None:
    """Start the head of a network as a linear classifier on what enters it. Returns how well such a
    classifier does in cross-validation on training images; None, with the head left as it is, where
    the task has no such classifier or the head is no linear layer."""
    head = last_layer(net.backbone)
    if not isinstance(head, nn.Linear) or head.bias is None:
        return None
    store, classes = data.stores["train"], data.dataset.classes
    ids = spread(len(store), MOST)
    targets = data.dataset.splits["train"].targets.take(ids)
    truth = task.linear_truth(targets)
    if truth is None:
        return None
    features = pooled(net, store, ids, shape, runtime)
    if features.shape[1] != head.in_features:
        return None
    strength, scores = cross_validated(features, truth, len(classes))
    found = fitted(features, truth, head.out_features, strength=strength)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(found.weight))
        head.bias.copy_(torch.from_numpy(found.bias))
    return judged(scores, targets, task, classes)


def judged(
    scores: NDArray[np.floating], targets: Targets, task: Task, classes: tuple[str, ...]
) -> Evaluation:
    """The evaluation of linear scores (N, classes) of training images."""
    names = tuple(map(str, range(len(targets))))
    scorer = task.scorer(targets, Scored("train", classes, names))
    scorer.add(np.arange(len(targets)), task.read(torch.from_numpy(scores).float()))
    return scorer.result()


def pooled(
    net: Network, store: Store, ids: NDArray[np.int64], shape: Architecture, runtime: Runtime
) -> NDArray[np.float32]:
    """What enters the head (N, features), for the images as they are."""
    stages = stages_of(net.backbone, shape.channels, shape.image_size)
    modules = frozen_modules(net.backbone, stages, len(stages) - 1)
    prefix = Prefix(net, modules, runtime.product_type)
    found = [prefix(part).float().cpu().flatten(1) for part in _parts(store, ids, shape)]
    return torch.cat(found).numpy()


def stage_features(
    net: Network, store: Store, ids: NDArray[np.int64], shape: Architecture, runtime: Runtime
) -> dict[str, NDArray[np.float32]]:
    """Name of each stage but the head → what leaves it, averaged over all places (N, channels)."""
    stages = stages_of(net.backbone, shape.channels, shape.image_size)[:-1]
    ends = [stage.modules[-1] for stage in stages]
    prefix = Prefix(net, [m for stage in stages for m in stage.modules], runtime.product_type)
    parts = [prefix.means(part, ends) for part in _parts(store, ids, shape)]
    return {
        stage.name: torch.cat(rows).numpy()
        for stage, rows in zip(stages, zip(*parts, strict=True), strict=True)
    }


def _parts(store: Store, ids: NDArray[np.int64], shape: Architecture) -> Iterator[Tensor]:
    """uint8 (≤ _AT_ONCE, H, W, C): these images as they are, cut to the input size."""
    for images in loaded(store, even(ids, _AT_ONCE), 2):
        yield torch.from_numpy(np.ascontiguousarray(centre(images, shape.image_size)))
