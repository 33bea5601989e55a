"""What a detector says of images, as arrays and as answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from striate.metrics.detection import Found
from striate.tasks.task import Predictions, Scored

SURE = 0.3
"""The score from which on an object is named, where nobody says otherwise."""


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


def answers_of(
    predictions: Predictions, scored: Scored, least: float = SURE
) -> Sequence[BoxAnswer]:
    """The objects of each image with a score of at least `least`."""
    made = []
    for i, name in enumerate(scored.names):
        objects = [
            {"class": scored.classes[number], "score": float(score), "box": place.tolist()}
            for place, number, score in zip(*found_in(predictions, i), strict=True)
            if score >= least
        ]
        made.append(BoxAnswer(name, tuple(objects)))
    return made
