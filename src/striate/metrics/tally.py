"""Figures of images that come in parts, to processes or as a stream: add, merge, compute (F16)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.metrics.calibration import BINS, bin_sums, brier
from striate.metrics.classification import balanced_accuracy, confusion, macro_f1

Floats = NDArray[np.floating[Any]]


@dataclass
class Tally:
    """Sums from which a classifier's figures follow, equal for all ways of dividing the images.

    It holds classes² numbers however many images come. Areas under curves need all scores at once:
    `striate.metrics.summary.summarise` has them.
    """

    table: NDArray[np.int64]
    bins: Floats
    """(3, B): of bins of the predicted class's probability, images, sum of it, how many right."""
    sums: Floats
    """Sums of losses and Brier scores, and images without their truth among the best five."""

    @classmethod
    def of(cls, classes: int) -> Tally:
        """Nothing yet."""
        return cls(np.zeros((classes, classes), dtype=np.int64), np.zeros((3, BINS)), np.zeros(3))

    def update(self, truth: NDArray[np.integer[Any]], probabilities: Floats) -> None:
        """Add images: truth int (N,), probabilities (N, classes) that sum to 1."""
        classes = len(self.table)
        if probabilities.shape != (len(truth), classes):
            raise ValueError(
                f"expected probabilities ({len(truth)}, {classes}), got {probabilities.shape}"
            )
        if not len(truth):
            return
        own = probabilities[np.arange(len(truth)), truth].astype(np.float64)
        better = (probabilities >= own[:, None].astype(probabilities.dtype)).sum(axis=1) - 1
        self.table += confusion(truth, probabilities.argmax(axis=1), classes)
        self.bins += bin_sums(probabilities, truth)
        losses = -np.log(np.maximum(own, np.finfo(np.float32).tiny))
        self.sums += (losses.sum(), brier(probabilities, truth).sum(), (better >= 5).sum())

    def merge(self, other: Tally) -> Tally:
        """The tally of both sets of images."""
        return Tally(self.table + other.table, self.bins + other.bins, self.sums + other.sums)

    def compute(self) -> dict[str, float]:
        """The figures by name; NaN without images."""
        n = int(self.table.sum())
        right, called, true = (
            part.astype(np.float64)
            for part in (self.table.diagonal(), self.table.sum(axis=0), self.table.sum(axis=1))
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            loss, squares, missed = self.sums / np.float64(n)
            accuracy = right.sum() / np.float64(n)
            apart = np.abs(self.bins[1] - self.bins[2]).sum() / np.float64(n)
        found = {
            "accuracy": accuracy, "balanced_accuracy": balanced_accuracy(right, called, true),
            "macro_f1": macro_f1(right, called, true), "loss": loss, "brier": squares,
            "calibration_error": apart,
        }  # fmt: skip
        if len(self.table) > 5:
            found["top5_error"] = missed
        return {name: float(value) for name, value in found.items()} | {"n": n}
