"""What is known of a detector on one set of images (E1): average precision with intervals, curves,
errors by kind."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.boxes import Found
from striate.data.boxes import CROWD, Boxes
from striate.data.loader import spread
from striate.metrics.curves import Curve
from striate.metrics.detection import (
    MOST,
    Rows,
    Truth,
    area_under,
    coco_scores,
    coco_table,
    curve_of,
    eleven_points,
    matched,
)
from striate.metrics.detection_errors import HIT, KINDS, costs, judged
from striate.metrics.detection_intervals import intervals_of, resampled
from striate.metrics.intervals import Interval
from striate.metrics.summary import Figures
from striate.tasks.detect.answer import found_in
from striate.tasks.evaluation import Evaluation, Gallery, Marked, Shown
from striate.tasks.task import Predictions, Scored, Task

_POINTS, _SHOWN, _SIDE = 60, 4, 190
_IN_WORDS = {
    "class": "The place is right, the class is not.",
    "place": "The class is right, the box is off.",
    "both": "Class and box are off.",
    "duplicate": "One object is named twice.",
    "background": "Nothing is there, or the object is not labelled.",
    "missed": "Objects that no box came near.",
}


def truth_of(boxes: Boxes, index: int) -> Truth:
    """The objects of one image, as they are matched."""
    own = boxes.only(index)
    return Truth(own.places, own.numbers, ~own.sure, own.flags & CROWD > 0)


def pairs_of(predictions: Predictions, boxes: Boxes) -> Iterator[tuple[Found, Truth]]:
    """(what was found, what is there) of each image."""
    for i in range(len(boxes)):
        yield found_in(predictions, i), truth_of(boxes, i)


def rows_of(predictions: Predictions, boxes: Boxes) -> Rows:
    """The matched rows of all images (`striate.metrics.detection`)."""
    pairs = enumerate(pairs_of(predictions, boxes))
    return Rows.joined([matched(i, found, truth) for i, (found, truth) in pairs])


def scores_of(rows: Rows, images: int, classes: int) -> dict[str, float]:
    """COCO's figures, and VOC's average precision at an overlap of a half by both of its rules."""
    curves = [curve_of(rows, number) for number in range(classes)]
    return {
        **coco_scores(coco_table(rows, classes)),
        "voc_average_precision": _mean([area_under(curve) for curve in curves]),
        "voc07_average_precision": _mean([eleven_points(curve) for curve in curves]),
        "loss": float("nan"),
        "n": images,
    }


def classes_in(predictions: Predictions, boxes: Boxes) -> int:
    """How many classes there are, as far as objects and predictions tell."""
    return 1 + int(max(boxes.numbers.max(initial=-1), predictions["box_classes"].max(initial=-1)))


def evaluation_of(
    task: Task, predictions: Predictions, boxes: Boxes, scored: Scored
) -> BoxEvaluation:
    """The evaluation of images that have these objects."""
    rows = rows_of(predictions, boxes)
    scores = scores_of(rows, len(boxes), len(scored.classes))
    found = BoxEvaluation(
        scored.split, scores, scored.classes, scored.names, boxes, predictions, task
    )
    vars(found)["matched"] = rows  # they are not matched again
    return found


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

    @cached_property
    def precisions(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Of each class average precision, that at an overlap of a half, and recall: (C,)."""
        table = coco_table(self.matched, len(self.classes))
        recall = table.recall[MOST][:, 0].mean(axis=1)
        return table.precision[:, 0].mean(axis=1), table.precision[:, 0, 0], recall

    def _summarised(self) -> Figures:
        values = {k: v for k, v in self.scores.items() if k != "loss"}
        found, each = intervals_of(self.matched, len(self), values, self.precisions[0].tolist())
        by = dict.fromkeys(found, "bootstrap")
        classes: list[dict[str, Interval]] = [{"average_precision": pair} for pair in each]
        return Figures(values, found, by, classes)

    def resampled(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return resampled(self.matched, len(self.classes), weights).scores["average_precision"]

    def curve_of_class(self, number: int) -> Curve:
        """At an overlap of a half: hits and false alarms among the boxes of a class."""
        found = curve_of(self.matched, number)
        hits = found.recall * found.positives
        called = np.arange(1, len(hits) + 1)
        last = np.append(np.flatnonzero(np.diff(found.score)), len(hits) - 1)
        last = last[last >= 0].astype(np.int64)
        return Curve(found.score[last], hits[last], (called - hits)[last], found.positives, 0)

    def threshold(self) -> float:
        """The score from which on boxes count as named: where hits are most often right and objects
        most often found, over all classes (the highest F1); 1 where nothing is hit."""
        rows = self.matched
        use = ~rows.ignored[:, 0]
        order = np.argsort(-rows.score[use], kind="stable")
        scores, hits = rows.score[use][order], np.cumsum(rows.hit[use, 0][order])
        positives = int((~rows.object_ignored[:, 0]).sum())
        if not len(hits) or not hits[-1]:
            return 1.0
        agreement = 2 * hits / (np.arange(1, len(hits) + 1) + positives)
        return float(scores[int(agreement.argmax())])

    def per_class(self) -> list[dict[str, float | str]]:
        """Images, objects, average precision and recall of each class."""
        average, half, recall = self.precisions
        totals = np.bincount(self.boxes.numbers[self.boxes.sure], minlength=len(self.classes))
        return [
            {
                "class": name, "n": int(self.boxes.having(i).sum()), "objects": int(totals[i]),
                "average_precision": float(average[i]), "average_precision_50": float(half[i]),
                "recall": float(recall[i]),
            }
            for i, name in enumerate(self.classes)
        ]  # fmt: skip

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """A row an object that was found, and one with empty cells for an image without any."""
        made = []
        for i, image in enumerate(self.names):
            found = found_in(self.predictions, i)
            for place, number, score in zip(*found, strict=True):
                sides = [f"{side:.2f}" for side in place]
                made.append([image, *sides, self.classes[number], f"{score:.4f}"])
            if not len(found.scores):
                made.append([image, *[""] * 6])
        return ["image", "left", "top", "right", "bottom", "class", "score"], made

    def sections(self) -> dict[str, Any]:
        least = self.threshold()
        found = costs(list(pairs_of(self.predictions, self.boxes)), len(self.classes), least)
        return {
            "class_curves": self._class_curves(),
            "errors": {
                "threshold": least,
                "kinds": [{"kind": c.kind, "count": c.count, "cost": c.cost} for c in found],
            },
        }

    def _class_curves(self) -> list[dict[str, Any]]:
        half, rows = self.precisions[1], []
        for number, name in enumerate(self.classes):
            whole = self.curve_of_class(number)
            if whole.positives and len(whole.thresholds):
                few = whole.thinned(_POINTS)
                rows.append({
                    "class": name, "average_precision": float(half[number]),
                    "recall": _short(few.recall), "precision": _short(few.precision),
                })  # fmt: skip
        return rows

    def galleries(self) -> list[Gallery]:
        """Images with their surest errors, by kind; then some with their objects and boxes."""
        least = self.threshold()
        rows = []
        for kind, ids in self._worst(least).items():
            shown = [Shown(i, (), self.names[i], self.marked(i, least, kind)) for i in ids]
            if shown:
                rows.append((f"{kind}: {_IN_WORDS[kind]}", shown))
        made = []
        if rows:
            made.append(Gallery(
                "worst", "images with the surest errors by kind",
                "Errors by kind: wrong boxes in red, right ones in blue, objects in green. The "
                "surest first.", rows, _SIDE,
            ))  # fmt: skip
        ids = spread(len(self), 2 * _SHOWN).tolist() if len(self) else []
        plain = [Shown(i, (), self.names[i], self.marked(i, least)) for i in ids]
        if plain:
            cut = [("", plain[i : i + _SHOWN]) for i in range(0, len(plain), _SHOWN)]
            said = "Images from all over the split: objects in green, right boxes in blue, wrong "
            made.append(Gallery("best", "images with boxes", said + "ones in red.", cut, _SIDE))
        return made

    def _worst(self, least: float) -> dict[str, list[int]]:
        """Kind of error → images with the surest ones."""
        by: dict[str, dict[int, float]] = {kind: {} for kind in KINDS}
        for i, (found, truth) in enumerate(pairs_of(self.predictions, self.boxes)):
            one = judged(found, truth)
            for kind, score in zip(one.kinds, found.scores.tolist(), strict=True):
                if kind in by and score >= least:
                    by[kind][i] = max(score, by[kind].get(i, 0.0))
            if not one.met.all():
                by["missed"][i] = float((~one.met).sum())
        return {
            kind: sorted(images, key=lambda i: -images[i])[:_SHOWN] for kind, images in by.items()
        }

    def marked(self, index: int, least: float, only: str = "") -> tuple[Marked, ...]:
        """The objects of an image, and the boxes that are named; of errors one kind only."""
        found, truth = found_in(self.predictions, index), truth_of(self.boxes, index)
        kinds = judged(found, truth).kinds
        made = [Marked(_place(place), "", "truth") for place in truth.places]
        for place, number, score, kind in zip(*found, kinds, strict=True):
            if score < least or kind == "ignored" or (kind not in (HIT, only) and only):
                continue
            what = "hit" if kind == HIT else "error"
            made.append(Marked(_place(place), f"{self.classes[number]} {score:.2f}", what))
        return tuple(made)


def _place(box: NDArray[Any]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box.tolist()
    return left, top, right, bottom


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _short(values: NDArray[Any]) -> list[float]:
    return [float(f"{v:.4g}") for v in values]
