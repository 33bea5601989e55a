"""What a detector says of images, as arrays and as answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.boxes import Found
from striate.metrics.detection import MOST
from striate.tasks.task import Predictions, Scored

SURE = 0.3
"""The score from which on an object is named, where nobody says otherwise."""


NONE = -1
"""The class of a row of predictions that holds no object."""


def as_arrays(each: Sequence[Found]) -> dict[str, NDArray[Any]]:
    """What was found in each image as predictions: `boxes` (N, MOST, 4), `box_scores` and
    `box_classes` (N, MOST); NONE: no further one."""
    boxes, scores = np.zeros((len(each), MOST, 4)), np.zeros((len(each), MOST))
    numbers = np.full((len(each), MOST), NONE, dtype=np.int64)
    for i, found in enumerate(each):
        count = len(found.scores)
        boxes[i, :count], numbers[i, :count], scores[i, :count] = found
    return {"boxes": boxes, "box_scores": scores, "box_classes": numbers}


def found_in(predictions: Predictions, index: int) -> Found:
    """The objects that were found in one image, best first."""
    numbers = predictions["box_classes"][index]
    count = int((numbers >= 0).sum())
    return Found(
        predictions["boxes"][index, :count], numbers[:count],
        predictions["box_scores"][index, :count],
    )  # fmt: skip


@dataclass(frozen=True)
class BoxAnswer:
    """The objects of one image, best first: `class`, `score`, and `box` (left, top, right, bottom)
    in pixels of the image."""

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
        return {"objects": str(len(self.objects)), "found": self.line()}


def answer_of(name: str, found: Found, classes: Sequence[str], least: float) -> BoxAnswer:
    """The objects of an image with a score of at least `least`."""
    objects = [
        {"class": classes[number], "score": float(score), "box": place.tolist()}
        for place, number, score in zip(*found, strict=True)
        if score >= least
    ]
    return BoxAnswer(name, tuple(objects))


def answers_of(
    predictions: Predictions, scored: Scored, least: float = SURE
) -> Sequence[BoxAnswer]:
    """The objects of each image with a score of at least `least`."""
    return [
        answer_of(name, found_in(predictions, i), scored.classes, least)
        for i, name in enumerate(scored.names)
    ]


def in_coco(answers: Sequence[BoxAnswer], classes: Sequence[str]) -> dict[str, Any]:
    """Answers as COCO's annotation file has them: images and categories with numbers from 1 on,
    boxes as left, top, width, height, with a `score` each."""
    annotations: list[dict[str, Any]] = []
    for number, answer in enumerate(answers, 1):
        for one in answer.objects:
            left, top, right, bottom = one["box"]
            annotations.append({
                "id": len(annotations) + 1, "image_id": number,
                "category_id": classes.index(one["class"]) + 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top), "iscrowd": 0, "score": one["score"],
            })  # fmt: skip
    return {
        "images": [{"id": n, "file_name": a.image} for n, a in enumerate(answers, 1)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(classes, 1)],
        "annotations": annotations,
    }
