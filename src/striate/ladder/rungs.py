"""The rungs, from a classifier on every window to one stage, and what the lecture says of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from striate.core.arrays import Pixels
from striate.data.boxes import Boxes
from striate.models.detectors.detector import detector_in
from striate.models.detectors.fast_rcnn import FastRCNN
from striate.models.detectors.faster_rcnn import FasterRCNN
from striate.models.detectors.grid import crowded
from striate.models.network import Network
from striate.plan.predictor import Predictor
from striate.tasks.evaluation import Evaluation

RUNGS: dict[str, str] = {
    "window": "months for a data set (a window takes 1 ms)",
    "rcnn": "49 s an image (47 s of them the network, 2 s selective search)",
    "fast_rcnn": "a fraction of a second beyond selective search",
    "faster_rcnn": "0.1 to 0.2 s an image",
    "grid": "one look, at 3×3 cells that say an object each",
    "anchors": "one stage",
    "one_stage": "one stage, without anchors",
}
"""Name → what deck E says of its time (E2)."""
TRAINED = ("fast_rcnn", "faster_rcnn", "grid", "anchors", "one_stage")
"""Rungs that are networks of their own; the others are a classifier on a network's features."""
SEARCHED = ("rcnn", "fast_rcnn")
"""Rungs whose regions come from selective search."""
STAGES = ("regions", "features", "heads", "boxes")
"""What an image's time goes to, in this order."""
TIMED = 16
"""Images on which a rung is timed."""


@dataclass(frozen=True)
class Rung:
    """One rung: how well it finds the test images' objects, seconds an image by stage, how long it
    took to train, and what else is to be said."""

    name: str
    lecture: str
    evaluation: Evaluation
    seconds: Mapping[str, float]
    training: float
    notes: tuple[str, ...] = field(default=())

    @property
    def stages(self) -> list[tuple[str, float]]:
        """(stage, seconds an image) in the order of STAGES, those that it has."""
        return [(name, self.seconds[name]) for name in STAGES if name in self.seconds]

    @property
    def total(self) -> float:
        """Seconds an image, all stages together."""
        return sum(self.seconds.values())

    def to_json(self) -> dict[str, Any]:
        scores, intervals = self.evaluation.figures.scores, self.evaluation.figures.intervals
        names = ("average_precision_50", "average_precision")
        return {
            "rung": self.name, "lecture": self.lecture, "training_seconds": self.training,
            "seconds_an_image": {**self.seconds, "total": self.total},
            **{name: scores[name] for name in names},
            "intervals": {name: list(intervals[name]) for name in names if name in intervals},
            "notes": list(self.notes),
        }  # fmt: skip


def lost_in_cells(boxes: Boxes, size: int) -> str:
    """How many of these images' objects, on `size`×`size` pixels, the grid cannot say, in words."""
    sure = boxes.where(boxes.sure)
    places = [torch.from_numpy(sure.only(i).places) for i in range(len(sure))]
    lost = sum(crowded(own, float(size)) for own in places)
    count = len(sure.numbers)
    return f"{lost} of {count} objects share a cell with a larger one: the grid cannot say them"


def stage_times(predictor: Predictor, images: Pixels) -> dict[str, float]:
    """Seconds an image of a trained detector's stages, from pixels (N, S, S, C) to boxes, the best
    of three: regions (where they are searched for), features, heads, boxes."""
    net, runtime = predictor.net, predictor.runtime
    assert isinstance(net, Network)
    detector = detector_in(net)
    few = np.ascontiguousarray(images[:TIMED])
    with torch.inference_mode(), runtime.autocast():
        prepared = net.prepared(runtime.on_device(few))
        times = {"features": _best(lambda: detector.maps(prepared))}
        whole = _best(lambda: detector(prepared))
        outputs = detector(prepared)
        reading = _best(lambda: detector.read(outputs))
        times |= {"heads": max(0.0, whole - times["features"]), "boxes": reading}
        if isinstance(detector, FastRCNN):
            times = {"regions": _searching(detector, outputs), **times}
        elif isinstance(detector, FasterRCNN):
            proposing = _best(lambda: detector.proposals(outputs))
            times |= {"regions": proposing, "boxes": max(0.0, reading - proposing)}
    return {name: took / len(few) for name, took in times.items()}


def _searching(detector: FastRCNN, outputs: Any) -> float:
    """Seconds of selective search, of images that it has not seen."""
    detector.remembered.clear()
    began = time.perf_counter()
    detector.proposals(outputs)
    return time.perf_counter() - began


def _best(work: Callable[[], object]) -> float:
    found = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)
