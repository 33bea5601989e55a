"""All figures of a classifier on one set of images, each with its interval.

With one label an image truth is int (N,), with several 0/1 (N, classes); probabilities are float
(N, classes), losses (N,) without smoothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.metrics.calibration import brier, error_interval, reliability
from striate.metrics.classification import (
    balanced_accuracy,
    confusion,
    macro_f1,
)
from striate.metrics.curves import areas
from striate.metrics.intervals import (
    NONE,
    Interval,
    of_area,
    of_mean,
    of_table,
    wilson,
)

Floats = NDArray[np.floating[Any]]
WORST_LOSS = 5.0
"""A loss that an image may have although none of few images had it: the truth at 1 in 150."""
FEW = "too few images of a class for an interval"
LEAST = 5
"""With fewer images of a class than this nobody knows how sure its area under a curve is."""
SHARES = ("accuracy", "plain_accuracy", "top5_error", "exact_match")
"""Scores that are shares of images."""


@dataclass(frozen=True)
class Figures:
    """`scores` by name; `intervals`: name → (low, high), of 95 %, for those that have one; `by`:
    name → how it was made. `classes`: of each class the intervals of its scores."""

    scores: dict[str, float]
    intervals: dict[str, Interval]
    by: dict[str, str]
    classes: list[dict[str, Interval]]


def summarise(
    truth: NDArray[Any], probabilities: Floats, losses: Floats, scores: dict[str, float]
) -> Figures:
    """Of one label an image: `scores` as the task counts them, and everything that follows from the
    probabilities."""
    values, found, by = _of_images(truth, losses, scores)
    rows = _single(truth, probabilities, values, found, by)
    values["calibration_error"] = reliability(probabilities, truth).error
    found["calibration_error"] = error_interval(probabilities, truth)
    by["calibration_error"] = "bootstrap"
    truths = np.eye(probabilities.shape[1], dtype=np.int8)[truth]
    return _with_areas(truths, probabilities, (values, found, by), rows)


def summarise_sets(
    truth: NDArray[Any], probabilities: Floats, losses: Floats, scores: dict[str, float]
) -> Figures:
    """`summarise` of several labels an image."""
    into = _of_images(truth, losses, scores)
    return _with_areas(truth, probabilities, into, [{} for _ in range(truth.shape[1])])


def _of_images(
    truth: NDArray[Any], losses: Floats, scores: dict[str, float]
) -> tuple[dict[str, float], dict[str, Interval], dict[str, str]]:
    """Scores that are means over images, with intervals and how they were made."""
    n = len(truth)
    values = {k: v for k, v in scores.items() if k != "n"}
    found = {k: wilson(values[k] * n, n) for k in SHARES if k in values}
    by = dict.fromkeys(found, "Wilson")
    worst = float(losses.max()) if n else 0.0
    found["loss"] = _never_negative(of_mean(losses, max(worst, WORST_LOSS)))
    by["loss"] = "standard error"
    return values, found, by


def _with_areas(
    truths: NDArray[Any],
    probabilities: Floats,
    into: tuple[dict[str, float], dict[str, Interval], dict[str, str]],
    rows: list[dict[str, Interval]],
) -> Figures:
    """All figures, those of the curves included. truths: 0/1 (N, classes)."""
    values, found, by = into
    _areas(truths, probabilities, into, rows)
    present = truths.sum(axis=0)
    rarest = float(present[present > 0].min()) if (present > 0).any() else 0.0
    for name in ("balanced_accuracy", "macro_f1", "mean_average_precision", "mean_area_under_roc"):
        low, high = found.get(name, (0.0, 1.0))
        if (
            low == high and name in values
        ):  # no error was seen, so none is ever drawn: what the rarest class allows
            found[name], by[name] = wilson(values[name] * rarest, rarest), "Wilson"
    return Figures({**values, "n": len(truths)}, found, by, rows)


def _single(
    truth: NDArray[Any],
    probabilities: Floats,
    values: dict[str, float],
    found: dict[str, Interval],
    by: dict[str, str],
) -> list[dict[str, Interval]]:
    """Adds what a confusion table and calibration tell; intervals of each class."""
    classes = probabilities.shape[1]
    table = confusion(truth, probabilities.argmax(axis=1), classes)
    right, called, true = (
        counts.astype(np.float64)
        for counts in (table.diagonal(), table.sum(axis=0), table.sum(axis=1))
    )
    drawn = of_table(table, {
        "balanced_accuracy": balanced_accuracy, "macro_f1": macro_f1,
    })  # fmt: skip
    for name, value in (("balanced_accuracy", balanced_accuracy), ("macro_f1", macro_f1)):
        values[name] = float(value(right, called, true))
        found[name], by[name] = drawn[name], "posterior"
    if (true < LEAST).any():  # one that is absent and yet predicted counts as 0
        found["macro_f1"], by["macro_f1"] = NONE, FEW
    squares = brier(probabilities, truth)
    values["brier"] = float(squares.mean()) if len(truth) else float("nan")
    found["brier"], by["brier"] = _never_negative(of_mean(squares, 2.0)), "standard error"
    return [
        {
            "precision": wilson(right[c], called[c]),
            "recall": wilson(right[c], true[c]),
            "f1": wilson(right[c], (called[c] + true[c]) / 2) if true[c] else NONE,
        }
        for c in range(classes)
    ]


def _areas(
    truths: NDArray[Any],
    probabilities: Floats,
    into: tuple[dict[str, float], dict[str, Interval], dict[str, str]],
    rows: list[dict[str, Interval]],
) -> None:
    """Adds the areas under the curves: their means over classes, and of each class."""
    values, found, by = into
    kinds = (("average_precision", "moves_precision"), ("area_under_roc", "moves_roc"))
    sums = {name: np.zeros(len(truths)) for name, _ in kinds}  # of moves: never classes × images
    known: dict[str, list[float]] = {name: [] for name, _ in kinds}
    for c, row in enumerate(rows):
        a = areas(truths[:, c], probabilities[:, c])
        for name, moves in kinds:
            value = getattr(a, name)
            row[name] = of_area(value, getattr(a, moves))
            if 0 < truths[:, c].sum() < LEAST:
                row[name] = NONE
            elif value in (0.0, 1.0):  # nothing moves it: what that many images allow
                own = float(truths[:, c].sum())
                row[name] = wilson(value * own, own)
            if np.isfinite(value):
                known[name].append(value)
                sums[name] += getattr(a, moves)
    there = truths.sum(axis=0)
    few = bool(((there > 0) & (there < LEAST)).any())
    for name, each in known.items():
        if each:
            values[f"mean_{name}"] = mean = float(np.mean(each))
            found[f"mean_{name}"] = NONE if few else of_area(mean, sums[name] / len(each))
            by[f"mean_{name}"] = FEW if few else "jackknife"


def _never_negative(interval: Interval) -> Interval:
    low, high = interval
    return (0.0 if low < 0 else low), high
