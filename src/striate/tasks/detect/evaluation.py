"""What is known of a detector on one set of images: average precision, and its interval (E1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats, Ids
from striate.data.boxes import CROWD, Boxes
from striate.metrics import detection
from striate.metrics.detection import Rows, Truth, area_under, coco_scores, coco_table, curve_of
from striate.metrics.summary import Figures
from striate.tasks.evaluation import Evaluation
from striate.tasks.task import Predictions, Scored


class Found(NamedTuple):
    """Objects that were found in one image, best first: (K, 4), (K,), (K,)."""

    places: Floats
    scores: Floats
    numbers: Ids


def found_in(predictions: Predictions, index: int) -> Found:
    """Those of one image."""
    numbers = predictions["box_classes"][index]
    count = int((numbers >= 0).sum())
    return Found(predictions["boxes"][index, :count], predictions["box_scores"][index, :count],
                 numbers[:count])  # fmt: skip


def rows_of(predictions: Predictions, truth: Boxes) -> Rows:
    """The matched rows of all images (`striate.metrics.detection`)."""
    parts = []
    for i in range(len(truth)):
        own, found = truth.only(i), found_in(predictions, i)
        objects = Truth(own.places, own.numbers, ~own.sure, own.flags & CROWD > 0)
        parts.append(
            detection.matched(
                i, detection.Found(found.places, found.numbers, found.scores), objects
            )
        )
    return Rows.joined(parts)


def scores_of(predictions: Predictions, truth: Boxes) -> dict[str, float]:
    """COCO's figures, and VOC's average precision at an overlap of a half."""
    rows = rows_of(predictions, truth)
    classes = int(max(truth.numbers.max(initial=-1), rows.number.max(initial=-1))) + 1
    found = coco_scores(coco_table(rows, classes))
    each = [area_under(curve_of(rows, number)) for number in range(classes)]
    found["voc_average_precision"] = _mean(np.array(each))
    return {**found, "loss": float("nan"), "n": len(truth)}


class BoxEvaluation(Evaluation):
    """Scores of boxes; the main one is COCO's average precision."""

    compared_by = "average precision"

    @property
    def boxes(self) -> Boxes:
        assert isinstance(self.truth, Boxes)
        return self.truth

    @cached_property
    def matched(self) -> Rows:
        """The matched rows of all images."""
        return rows_of(self.predictions, self.boxes)

    def _summarised(self) -> Figures:
        return Figures(dict(self.scores), {}, {}, [])

    def per_class(self) -> list[dict[str, float | str]]:
        table = coco_table(self.matched, len(self.classes))
        totals = np.bincount(self.boxes.numbers, minlength=len(self.classes))
        return [
            {
                "class": name, "average_precision": _mean(table.precision[i, 0]),
                "average_precision_50": float(table.precision[i, 0, 0]),
                "recall": _mean(table.recall[detection.MOST][i, 0]), "objects": float(totals[i]),
            }
            for i, name in enumerate(self.classes)
        ]  # fmt: skip

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """A row an object that was found."""
        made = []
        for i, image in enumerate(self.names):
            for place, score, number in zip(*found_in(self.predictions, i), strict=True):
                cells = [f"{side:.2f}" for side in place]
                made.append([image, *cells, self.classes[number], f"{score:.4f}"])
        return ["image", "left", "top", "right", "bottom", "class", "score"], made


def _mean(values: NDArray[Any]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


@dataclass(frozen=True)
class BoxAnswer:
    """What `predict` says of one image."""

    image: str
    objects: tuple[Mapping[str, Any], ...]

    def line(self) -> str:
        if not self.objects:
            return "nothing found"
        return "; ".join(
            f"{o['class']} {o['score']:.2f} at ({', '.join(f'{v:.0f}' for v in o['box'])})"
            for o in self.objects
        )

    def to_json(self) -> dict[str, Any]:
        return {"image": self.image, "objects": [dict(o) for o in self.objects]}

    def cells(self) -> dict[str, str]:
        return {"objects": str(len(self.objects))}


def answers_of(predictions: Predictions, scored: Scored, least: float = 0.3) -> Sequence[BoxAnswer]:
    """The objects of each image with a score of at least `least`."""
    made = []
    for i, name in enumerate(scored.names):
        objects = [
            {"class": scored.classes[number], "score": float(score), "box": place.tolist()}
            for place, score, number in zip(*found_in(predictions, i), strict=True)
            if score >= least
        ]
        made.append(BoxAnswer(name, tuple(objects)))
    return made
