"""The task of finding objects: network, losses and predictions of a one-stage detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.arrays import Floats, Ids, Pixels
from striate.core.geometry import after, hulls
from striate.core.runtime import Runtime
from striate.data.augment import centre, centring
from striate.data.batch import Batch
from striate.data.boxes import Boxes
from striate.data.targets import Targets
from striate.models.detectors.assign import task_aligned
from striate.models.detectors.coding import from_distances, points
from striate.models.detectors.losses import giou_loss, varifocal
from striate.models.detectors.one_stage import SIDES, STRIDES, OneStage, points_in
from striate.models.detectors.suppress import suppress
from striate.tasks.detect.evaluation import BoxEvaluation, Found, answers_of, scores_of
from striate.tasks.scorer import Collector
from striate.tasks.task import Entry, Losses, Pass, Predictions, Scored

MOST, ASKED, LEAST, OVERLAP = 100, 400, 0.01, 0.6
"""Objects that are said of an image; candidates that are compared, the best ones; the least score;
the overlap above which the worse of two boxes of a class goes."""
OF_BOXES = 2.0
"""The weight of the boxes' loss beside that of the classes."""
NONE = -1
"""The class of a row of predictions that holds no object."""


@dataclass(frozen=True)
class DetectTask:
    """A one-stage detector without anchors. Predictions: `boxes` (N, MOST, 4) in pixels of the
    original image, `box_scores` and `box_classes` (N, MOST), best first; NONE: no further one."""

    loss_name: str = "one_stage"
    smoothing: float = 0.0

    name: ClassVar[str] = "detect"
    main_score: ClassVar[str] = "average_precision"
    calibrates: ClassVar[bool] = False
    placed: ClassVar[bool] = True

    def network(self, backbone: Callable[[int], nn.Module], classes: int) -> nn.Module:
        return OneStage(backbone(classes), classes)

    def output_shape(self, images: int, classes: int) -> tuple[int, ...] | None:
        return None

    def losses(self, net: nn.Module, batch: Batch, runtime: Runtime) -> Losses:
        """Σ varifocal + OF_BOXES · Σ q (1 − GIoU) of an image, over its Σ q: q is how good a point
        is for its object (`task_aligned`)."""
        with runtime.autocast():
            outputs = net(runtime.on_device(batch.images))
        outputs = outputs.float()
        assert isinstance(batch.targets, Boxes)
        classes, boxes = [], []
        for i in range(len(batch)):
            own = batch.targets.only(i)
            of_class, of_box = _of_image(outputs[i], own, runtime)
            classes.append(of_class)
            boxes.append(of_box)
        said, placed = torch.stack(classes), OF_BOXES * torch.stack(boxes)
        each = said + placed
        return Losses(each.sum(), each, outputs, {"classes": said.sum(), "boxes": placed.sum()})

    def predictions(
        self, net: nn.Module, images: Pixels, matrices: Floats, how: Pass
    ) -> Predictions:
        with torch.inference_mode(), how.runtime.autocast():
            kept = not isinstance(images, np.ndarray)  # features of a single view
            view = images if kept else np.ascontiguousarray(centre(images, how.size))
            outputs = net(how.runtime.on_device(view))
            moves = matrices if kept else after(matrices, centring(images, how.size))
        found = self.read(outputs)
        corner = np.tile([[[0.0, 0.0, 1.0]]], (len(moves), 1, 1))
        back = np.linalg.inv(np.concatenate([moves, corner], axis=1))[:, :2]
        return {**found, "boxes": hulls(found["boxes"], back)}

    def read(self, outputs: Tensor) -> Predictions:
        """Boxes in pixels of the network's input."""
        outputs = outputs.detach().float().cpu()
        places, strides = _points(points_in(outputs.shape[1]))
        boxes = np.zeros((len(outputs), MOST, 4))
        scores = np.zeros((len(outputs), MOST))
        numbers = np.full((len(outputs), MOST), NONE, dtype=np.int64)
        for i, rows in enumerate(outputs):
            placed = from_distances(places, strides, rows[:, :SIDES])
            own = _best(placed, rows[:, SIDES:].sigmoid())
            count = len(own.scores)
            boxes[i, :count], scores[i, :count], numbers[i, :count] = own
        return {"boxes": boxes, "box_scores": scores, "box_classes": numbers}

    def unsmoothed_losses(self, predictions: Predictions, targets: Targets) -> NDArray[Any] | None:
        return None

    def scores(self, predictions: Predictions, targets: Targets) -> dict[str, float]:
        assert isinstance(targets, Boxes)
        return scores_of(predictions, targets)

    def scorer(self, targets: Targets, scored: Scored) -> Collector:
        def evaluate(ids: Ids, predictions: Predictions) -> BoxEvaluation:
            own, names = targets.take(ids), tuple(scored.names[i] for i in ids)
            return BoxEvaluation(
                scored.split, self.scores(predictions, own), scored.classes, names, own,
                predictions, self,
            )  # fmt: skip

        return Collector(evaluate)

    def answers(
        self, predictions: Predictions, scored: Scored, *, temperature: float = 1.0, top: int = 1
    ) -> Sequence[Any]:
        return answers_of(predictions, scored)

    def probabilities(self, outputs: NDArray[Any]) -> NDArray[Any]:
        raise NotImplementedError

    def linear_truth(self, targets: Targets) -> NDArray[Any] | None:
        return None

    def chance_loss(self, classes: int) -> float | None:
        return None

    def chance_score(self, targets: Targets) -> float | None:
        return None

    def signs(
        self, predictions: Predictions, targets: Targets, class_images: Ids
    ) -> dict[str, Any]:
        return {}


@lru_cache(maxsize=8)
def _points(size: int) -> tuple[Tensor, Tensor]:
    return points(size, STRIDES)


def _of_image(rows: Tensor, own: Boxes, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """(loss of the classes, loss of the boxes) of one image. Points inside an object that is to be
    ignored are background for nobody."""
    places, strides = (t.to(rows.device) for t in _points(points_in(len(rows))))
    boxes, logits = from_distances(places, strides, rows[:, :SIDES]), rows[:, SIDES:]
    sure = own.where(own.sure)
    truth = runtime.on_device(sure.places.astype(np.float32))
    numbers = runtime.on_device(sure.numbers)
    with torch.no_grad():
        found, quality = task_aligned(places, logits.sigmoid(), boxes, truth, numbers)
    taken = found >= 0
    wanted = torch.zeros_like(logits)
    wanted[taken, numbers[found[taken]]] = quality[taken]
    weight = torch.ones_like(logits[:, :1])
    aside = own.where(~own.sure)
    if len(aside.numbers):
        regions = runtime.on_device(aside.places.astype(np.float32))
        inside = (
            (places[None] > regions[:, None, :2]) & (places[None] < regions[:, None, 2:])
        ).all(dim=2).any(dim=0)  # fmt: skip
        weight[inside & ~taken] = 0.0
    total = quality.sum().clamp(min=1.0)
    of_class = (weight * varifocal(logits, wanted)).sum() / total
    if not len(truth):
        return of_class, rows.sum() * 0
    apart = giou_loss(boxes[taken], truth[found[taken]])
    return of_class, (quality[taken] * apart).sum() / total


def _best(boxes: Tensor, scores: Tensor) -> Found:
    """The best boxes of an image, those of a class without others around the same object."""
    flat = scores.flatten()
    order = torch.nonzero(flat > LEAST)[:, 0]
    if len(order) > ASKED:
        order = order[flat[order].topk(ASKED).indices]
    point, number = order // scores.shape[1], order % scores.shape[1]
    kept = suppress(boxes[point], flat[order], number, OVERLAP)[:MOST]
    return Found(
        boxes[point[kept]].double().numpy(), flat[order[kept]].double().numpy(),
        number[kept].numpy(),
    )  # fmt: skip


_LOSSES: Mapping[str, Sequence[str]] = {Boxes.kind: ("one_stage",)}
ENTRY = Entry(_LOSSES, lambda _, loss, smoothing: DetectTask(loss, smoothing))
