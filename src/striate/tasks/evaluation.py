"""Evaluation: what is known of a network on one set of images, and all that follows from it.

compare, slices, thresholds, predictions.csv and the report ask an evaluation and never which task
it is of. This class has answers that any task can give; a task overrides what it knows better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.data.targets import Targets
from striate.metrics.curves import Curve, curve
from striate.metrics.intervals import of_mean
from striate.metrics.summary import Figures
from striate.tasks.task import Predictions, Task


class Marked(NamedTuple):
    """A box on an image that a report shows: left, top, right and bottom in pixels of the original,
    what is written at it, and what it is: "truth", "hit" or "error"."""

    place: tuple[float, float, float, float]
    text: str
    kind: str


class Shown(NamedTuple):
    """An image of the evaluated split that a report shows: its position, lines below it, its name,
    which may be shortened, and boxes that are drawn on it."""

    position: int
    lines: tuple[str, ...]
    name: str = ""
    boxes: tuple[Marked, ...] = ()


class Gallery(NamedTuple):
    """Images that a report shows together: rows with a title each; side: of a picture in pixels."""

    name: str
    alt: str
    text: str
    rows: list[tuple[str, list[Shown]]]
    side: int


@dataclass(frozen=True)
class Evaluation:
    """Scores of one split, and what they rest on: predictions and truths, a row an image.

    `traits`: what else is known of the images, by name (N,): their size, brightness …
    """

    split: str
    scores: dict[str, float]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    truth: Targets
    predictions: Predictions
    task: Task
    notes: tuple[str, ...] = ()
    traits: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    temperature = 1.0
    compared_by = "main score"
    """What the mean of `contributions` is, in words."""
    right_or_wrong = False
    """Whether an image contributes 1 or 0 and nothing between."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, score: str) -> float:
        return self.figures.scores[score]

    @cached_property
    def figures(self) -> Figures:
        """All scores, and their 95 % intervals; of outputs that are not finite NaN."""
        with np.errstate(all="ignore"):
            return self._summarised()

    def _summarised(self) -> Figures:
        found, by, each = {}, {}, self.contributions()
        if each is not None:
            main = self.task.main_score
            found[main], by[main] = of_mean(each), "standard error"
        if self.losses is not None:
            found["loss"], by["loss"] = of_mean(self.losses), "standard error"
        return Figures(dict(self.scores), found, by, [])

    @cached_property
    def losses(self) -> NDArray[Any] | None:
        """Each image's loss (N,); None where a loss does not belong to single images."""
        return self.task.unsmoothed_losses(self.predictions, self.truth)

    def with_notes(self, notes: tuple[str, ...], traits: Mapping[str, NDArray[Any]]) -> Evaluation:
        """The same with what else is known of the images, and of how they were read."""
        return replace(self, notes=notes, traits=traits)

    def contributions(self) -> NDArray[np.float64] | None:
        """What each image contributes to the main score (N,), which is their mean; None where a
        score is not a mean over images. Paired comparisons and slices rest on it."""
        return None

    def fitted_temperature(self) -> float:
        """What calibrates the probabilities of these (validation) images; 1 where outputs are no
        log probabilities."""
        return 1.0

    def calibration_error(self) -> float:
        """By how much probabilities are off what is right, on average; NaN where there are none."""
        return float("nan")

    def calibrated(self, by: float) -> Evaluation:
        """The same with outputs divided by a temperature, where the task calibrates."""
        return self

    def per_class(self) -> list[dict[str, float | str]]:
        """A row of scores for each class; none where the task has no classes."""
        return []

    def worst_confusions(self) -> list[dict[str, str | int]]:
        """The commonest mistakes: true class, predicted class, count; none where there is no such
        thing."""
        return []

    def scores_of_class(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """(whether each image has the class (N,), the probability that was said (N,)). Raises
        NotImplementedError where a task has no such probabilities."""
        raise NotImplementedError(f"{self.task.name} gives no probabilities of classes")

    def curve_of_class(self, number: int) -> Curve:
        """Precision and recall of a class by threshold. Raises as `scores_of_class`."""
        return curve(*self.scores_of_class(number))

    def resampled(self, weights: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The main score where image i counts weights[b, i] times: (B,). Two runs whose score is no
        mean over images are compared by it; None where a task has neither."""
        return None

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """predictions.csv: the names of its columns, and a row for each image."""
        names = sorted(self.predictions)
        rows = [
            [image, *(_flat(self.predictions[name][i]) for name in names)]
            for i, image in enumerate(self.names)
        ]
        return ["image", *names], rows

    def sections(self) -> dict[str, Any]:
        """What a report says beyond scores, as plain values: per_class, class_curves, confusion,
        reliability – those that the task has."""
        return {}

    def galleries(self) -> list[Gallery]:
        """Images that a report shows: the surest mistakes and the like."""
        return []


def _flat(values: NDArray[Any]) -> str:
    return " ".join(f"{value:.6g}" for value in np.ravel(values))
