"""The task of finding objects: networks, losses and predictions, whichever detector it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from striate.core.arrays import Floats, Ids, Pixels
from striate.core.geometry import after, hulls
from striate.core.runtime import Runtime
from striate.data.augment import centre, centring
from striate.data.batch import Batch
from striate.data.boxes import Boxes
from striate.data.targets import Targets
from striate.models.detectors import USUAL
from striate.models.detectors.detector import Objects, detector_in, make_detector
from striate.tasks.detect.answer import answers_of, as_arrays
from striate.tasks.detect.evaluation import (
    BoxEvaluation,
    classes_in,
    evaluation_of,
    rows_of,
    scores_of,
)
from striate.tasks.detect.signs import signs_of
from striate.tasks.scorer import Collector
from striate.tasks.task import Entry, Losses, Pass, Predictions, Scored


@dataclass(frozen=True)
class DetectTask:
    """Boxes around objects. Predictions: `boxes` (N, MOST, 4) in pixels of the original image,
    `box_scores` and `box_classes` (N, MOST), best first; NONE: no further one."""

    detector: str = USUAL

    name: ClassVar[str] = "detect"
    loss_name: ClassVar[str] = "detection"
    main_score: ClassVar[str] = "average_precision"
    calibrates: ClassVar[bool] = False
    placed: ClassVar[bool] = True

    def network(self, backbone: Callable[[int], nn.Module], classes: int) -> nn.Module:
        return make_detector(self.detector, backbone(classes), classes)

    def output_shape(self, images: int, classes: int) -> tuple[int, ...] | None:
        return None

    def losses(self, net: nn.Module, batch: Batch, runtime: Runtime) -> Losses:
        """The detector's own, image by image."""
        assert isinstance(batch.targets, Boxes)
        own = [objects_of(batch.targets.only(i), runtime) for i in range(len(batch))]
        with runtime.autocast():
            outputs = net(runtime.on_device(batch.images))
            terms = detector_in(net).losses(outputs, own)
        each = torch.stack([*terms.values()]).sum(dim=0)
        return Losses(each.sum(), each, outputs, {name: x.sum() for name, x in terms.items()})

    def predictions(
        self, net: nn.Module, images: Pixels, matrices: Floats, how: Pass
    ) -> Predictions:
        with torch.inference_mode(), how.runtime.autocast():
            kept = not isinstance(images, np.ndarray)  # features of a single view
            view = images if kept else np.ascontiguousarray(centre(images, how.size))
            outputs = net(how.runtime.on_device(view))
            found = as_arrays(detector_in(net).read(outputs))
        moves = matrices if kept else after(matrices, centring(images, how.size))
        corner = np.tile([[[0.0, 0.0, 1.0]]], (len(moves), 1, 1))
        back = np.linalg.inv(np.concatenate([moves, corner], axis=1))[:, :2]
        return {**found, "boxes": hulls(found["boxes"], back)}

    def read(self, outputs: Any) -> Predictions:
        raise NotImplementedError("a detector's outputs are read by the detector")

    def unsmoothed_losses(self, predictions: Predictions, targets: Targets) -> NDArray[Any] | None:
        return None

    def scores(self, predictions: Predictions, targets: Targets) -> dict[str, float]:
        assert isinstance(targets, Boxes)
        rows = rows_of(predictions, targets)
        return scores_of(rows, len(targets), classes_in(predictions, targets))

    def scorer(self, targets: Targets, scored: Scored) -> Collector:
        def evaluate(ids: Ids, predictions: Predictions) -> BoxEvaluation:
            names = tuple(scored.names[i] for i in ids)
            whole = Scored(scored.split, scored.classes, names)
            own = targets.take(ids)
            assert isinstance(own, Boxes)
            return evaluation_of(self, predictions, own, whole)

        return Collector(evaluate)

    def answers(
        self, predictions: Predictions, scored: Scored, *, temperature: float = 1.0, top: int = 1
    ) -> Sequence[Any]:
        return answers_of(predictions, scored)

    def probabilities(self, outputs: NDArray[Any]) -> NDArray[Any]:
        raise NotImplementedError("a detector says boxes, no probabilities of an image's classes")

    def linear_truth(self, targets: Targets) -> NDArray[Any] | None:
        return None

    def chance_loss(self, classes: int) -> float | None:
        return None

    def chance_score(self, targets: Targets) -> float | None:
        return None

    def signs(
        self, predictions: Predictions, targets: Targets, class_images: Ids
    ) -> dict[str, Any]:
        assert isinstance(targets, Boxes)
        return {"boxes": signs_of(predictions, targets)}


def objects_of(own: Boxes, runtime: Runtime) -> Objects:
    """The objects of one image as tensors on the runtime's device."""
    sure = own.where(own.sure)
    aside = own.places[~own.sure].astype(np.float32)
    places = runtime.on_device(sure.places.astype(np.float32))
    return Objects(places, runtime.on_device(sure.numbers), runtime.on_device(aside))


def _make(_kind: str, _loss: str, _smoothing: float, detector: str = USUAL) -> DetectTask:
    return DetectTask(detector)


_LOSSES: Mapping[str, Sequence[str]] = {Boxes.kind: (DetectTask.loss_name,)}
ENTRY = Entry(_LOSSES, _make, knows_loss=False)
