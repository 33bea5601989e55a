"""Linear classifiers from every stage of a trained network, and from pairs of stages (M3).

A probe asks what a stage knows about the classes: a linear classifier is fitted to the stage's
outputs, averaged over all places, and judged by cross-validation on training images. Neither the
validation nor the test images are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from striate.data.loader import spread
from striate.data.targets import Targets
from striate.metrics.intervals import Interval
from striate.models.linear import cross_validated
from striate.models.network import Network
from striate.models.pretrained.match import match
from striate.models.stages import last_layer, last_weights
from striate.plan.head import MOST, judged, pooled, stage_features
from striate.plan.network import bare_network
from striate.plan.prepare import Prepared
from striate.plan.weights import Start
from striate.tasks.task import Task
from striate.transfer.scores import leep, logme, neighbour_scores

Floats = NDArray[np.floating[Any]]
_NEVER = 1e-3
"""The share of neighbours that a class gets which none of them has."""


@dataclass(frozen=True)
class Probe:
    """What one stage's features, or those of two together, are worth.

    score: the task's main score in cross-validation, with its 95 % interval; neighbours: the same
    score of the NEIGHBOURS nearest other images; logme: log evidence in nats an image.
    """

    stages: tuple[str, ...]
    features: int
    score: float
    interval: Interval
    neighbours: float
    logme: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def probe_stages(prepared: Prepared, net: Network, *, pairs: bool = True) -> Iterator[Probe]:
    """A Probe of each stage but the head, from the input on, then of each pair of stages. Nothing
    where the task has no linear classifier."""
    data, settled = prepared.data, prepared.settled
    store, classes = data.stores["train"], data.dataset.classes
    ids = spread(len(store), MOST)
    targets = data.dataset.splits["train"].targets.take(ids)
    by_stage = stage_features(net, store, ids, settled.architecture, prepared.runtime)
    names = list(by_stage)
    sets = [(name,) for name in names] + (list(combinations(names, 2)) if pairs else [])
    for stages in sets:
        found = probed(
            stages, _together([by_stage[s] for s in stages]), targets, prepared.task, classes
        )
        if found is None:
            return
        yield found


def leep_of(prepared: Prepared) -> float | None:
    """LEEP of the weights' own classes for the training images; None where the weights have no
    classes of their own, or their head is no linear layer."""
    start, settled, data = prepared.start, prepared.settled, prepared.data
    assert start is not None
    card, shape = start.weights.card, settled.architecture
    if card.classes < 2:
        return None
    own = bare_network(shape, prepared.task, card.classes)
    matching = match(own, start.weights.tensors, last_weights(own), keep_head=True)
    head = last_layer(own)
    if matching.missing or matching.new_head or not isinstance(head, nn.Linear):
        return None
    whole = Start(start.weights, matching)
    net = whole.network(own, shape.image_size, shape.channels)
    ids = spread(len(data.stores["train"]), MOST)
    targets = data.dataset.splits["train"].targets.take(ids)
    truth = prepared.task.linear_truth(targets)
    features = pooled(net, data.stores["train"], ids, shape, prepared.runtime)
    if truth is None or features.shape[1] != head.in_features:
        return None
    with torch.inference_mode():
        source = head(torch.from_numpy(features)).softmax(dim=1).numpy()
    return leep(source, _table(truth, len(data.dataset.classes)))


def probed(
    stages: tuple[str, ...],
    features: Floats,
    targets: Targets,
    task: Task,
    classes: tuple[str, ...],
) -> Probe | None:
    """The probe of these features (N, D); None where the task has no linear classifier."""
    truth = task.linear_truth(targets)
    if truth is None:
        return None
    _, scores = cross_validated(features, truth, len(classes))
    linear = judged(scores, targets, task, classes)
    table = _table(truth, len(classes))
    near = np.log(neighbour_scores(features, table) + _NEVER)
    main = task.main_score
    return Probe(
        stages=stages,
        features=features.shape[1],
        score=linear.scores[main],
        interval=linear.figures.intervals[main],
        neighbours=judged(near, targets, task, classes).scores[main],
        logme=logme(features, table),
    )


def _together(parts: list[Floats]) -> Floats:
    """Features of several stages side by side, those of each divided by the root of their mean
    variance, so that no stage drowns another."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([x / (np.sqrt(x.var(axis=0).mean()) or 1.0) for x in parts], axis=1)


def _table(truth: NDArray[Any], classes: int) -> Floats:
    """Class numbers (N,) as a table of 0 and 1 (N, classes); a table as it is."""
    return np.eye(classes)[truth] if len(truth.shape) == 1 else truth
