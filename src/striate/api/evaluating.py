"""What follows from an evaluation: comparison of two, thresholds, slices, plain values."""

from __future__ import annotations

import csv
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import DataError, perhaps
from striate.data.splits import first_group
from striate.metrics.curves import threshold_for
from striate.metrics.intervals import (
    FEW_IMAGES,
    NONE,
    RESAMPLES,
    difference,
    drawn_again,
    mcnemar,
    spread_of,
)
from striate.metrics.slices import Slice, by_slice
from striate.tasks.evaluation import Evaluation


@dataclass(frozen=True)
class Comparison:
    """By how much the score of one evaluation is above that of another on the same images, with the
    95 % interval of a paired bootstrap; `p`: of McNemar's test, None with several labels."""

    score: str
    ours: float
    theirs: float
    difference: float
    low: float
    high: float
    p: float | None
    n: int

    def __str__(self) -> str:
        way = "better" if self.difference >= 0 else "worse"
        low, high = sorted((abs(self.low), abs(self.high))) if self.sure else (self.low, self.high)
        sure = "" if self.sure else ": undetermined"
        return (
            f"{way} by {100 * abs(self.difference):.1f} points, 95 % interval {100 * low:.1f} to "
            f"{100 * high:.1f}{sure}"
        )

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Robustness:
    """What each of N images contributes to accuracy, clean and for each (corruption, strength)."""

    split: str
    clean: NDArray[np.float64]
    corrupted: dict[tuple[str, int], NDArray[np.float64]]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each corruption: its scores by strength, their mean, and how far that is below
        the clean score with the 95 % interval, the worst first."""
        rows = []
        for name in dict.fromkeys(corruption for corruption, _ in self.corrupted):
            each = [right for (of, _), right in self.corrupted.items() if of == name]
            lost, (low, high) = difference(self.clean, np.mean(each, axis=0))
            rows.append({
                "corruption": name, "scores": [float(right.mean()) for right in each],
                "mean": float(np.mean(each)), "lost": lost, "low": low, "high": high,
            })  # fmt: skip
        return sorted(rows, key=lambda row: -row["lost"])

    def to_json(self) -> dict[str, Any]:
        """Plain values: the clean score, the mean over all corruptions, and the rows."""
        return {
            "images": len(self.clean), "clean": float(self.clean.mean()),
            "mean": float(np.mean(list(self.corrupted.values()))), "rows": self.rows(),
        }  # fmt: skip


def compare(ours: Evaluation, theirs: Evaluation) -> Comparison:
    """Is the first better? Raises DataError if they are not of the same images and classes."""
    same = ours.names == theirs.names and ours.classes == theirs.classes
    if not same or not _same_truth(ours, theirs):
        raise DataError(
            f"the two evaluations are of different images: {len(ours.names)} and "
            f"{len(theirs.names)}",
            "Evaluate both on the same data: striate evaluate RUN DATA --compare OTHER_RUN.",
        )
    a, b = ours.contributions(), theirs.contributions()
    if a is None or b is None:
        return _by_resamples(ours, theirs)
    apart, (low, high) = difference(a, b)
    p = mcnemar(a > 0, b > 0) if ours.right_or_wrong else None
    return Comparison(
        ours.compared_by, float(a.mean()), float(b.mean()), apart, low, high, p, len(a)
    )


def _by_resamples(ours: Evaluation, theirs: Evaluation) -> Comparison:
    """Of a score that is no mean over images: both runs on the same draws of them (bootstrap)."""
    main, weights = ours.task.main_score, drawn_again(len(ours), RESAMPLES)
    a, b = ours.resampled(weights), theirs.resampled(weights)
    if a is None or b is None:
        raise DataError(
            f"{main} is not a mean over images, so two runs cannot be paired",
            "Compare their scores and intervals.",
        )
    first, second = ours.scores[main], theirs.scores[main]
    low, high = spread_of(a - b) if len(ours) >= FEW_IMAGES else NONE
    apart = first - second
    return Comparison(
        ours.compared_by, first, second, apart, apart + low, apart + high, None, len(ours)
    )


def _same_truth(ours: Evaluation, theirs: Evaluation) -> bool:
    pairs = (tuple(e.truth.digest(i) for e in (ours, theirs)) for i in range(len(ours)))
    return ours.truth.kind == theirs.truth.kind and all(a == b for a, b in pairs)


def thresholds(
    chosen_on: Evaluation,
    shown_on: Evaluation,
    *,
    precision: float | None = None,
    recall: float | None = None,
) -> list[dict[str, Any]]:
    """For each class the probability from which on to call it, so that a wanted precision or recall
    is reached on one set of images (validation), and what that gives on another (E1)."""
    rows = []
    for c, name in enumerate(chosen_on.classes):
        found = chosen_on.curve_of_class(c)
        at = threshold_for(found, precision=precision, recall=recall)
        row: dict[str, Any] = {"class": name, "threshold": at, "precision": None, "recall": None}
        if at is not None:
            shown = shown_on.curve_of_class(c)
            hits, alarms = shown.called(at)
            row["precision"] = hits / (hits + alarms) if hits + alarms else None
            row["recall"] = hits / shown.positives if shown.positives else None
        rows.append(row)
    return rows


def slices(found: Evaluation, by: str | None = None) -> list[Slice]:
    """Parts of the images by what was measured of them (size, brightness …) and by `by`, the worst
    first.

    by: a regular expression whose first group is taken from the image's name, or a .csv whose first
    column names images as predictions.csv does and whose other columns say something of them.
    Raises DataError.
    """
    columns: dict[str, NDArray[Any]] = dict(found.traits)
    if by is not None:
        columns |= _table(Path(by), found.names) if _is_table(by) else _group(by, found)
    each = found.contributions()
    if each is None:
        raise DataError(f"{found.task.main_score} is not a mean over images: there are no slices")
    return by_slice(each, columns)


def slices_json(found: list[Slice]) -> list[dict[str, Any]]:
    """As plain values."""
    return [{**asdict(s), "worse": s.worse} for s in found]


def check_grouping(by: str) -> None:
    """Raise DataError early for what `slices` could not read."""
    if _is_table(by):
        _read_table(Path(by))
    else:
        _pattern(by)


def _is_table(by: str) -> bool:
    return by.lower().endswith(".csv")


def _pattern(by: str) -> re.Pattern[str]:
    try:
        return re.compile(by)
    except re.error as error:
        raise DataError(
            f"'{by}' is no regular expression: {error}", r"Expected such as '^(hospital\d+)/'."
        ) from None


def _group(by: str, found: Evaluation) -> dict[str, NDArray[Any]]:
    pattern = _pattern(by)
    matches = [pattern.search(name) for name in found.names]
    if not any(matches):
        raise DataError(f"'{by}' is in no image's name", f"A name is such as {found.names[0]}.")
    texts = [first_group(m) if m else "(none)" for m in matches]
    return {by: np.array(texts)}


def _read_table(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if len(rows) < 2 or len(rows[0]) < 2:
        raise DataError(
            f"{path} is no table of images",
            "Expected a first line with names of columns, the first for the image.",
        )
    return rows


def _table(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    rows = _read_table(path)
    known = {row[0]: row for row in rows[1:] if row}
    missing = [name for name in names if name not in known]
    if missing:
        raise DataError(
            f"{path} lacks {len(missing)} of {len(names)} images, such as {missing[0]}",
            perhaps(missing[0], known) or "Name them as the run's predictions.csv does.",
        )
    short = next((n for n in names if len(known[n]) < len(rows[0])), None)
    if short is not None:
        raise DataError(f"{path}: the row of {short} has too few cells")
    return {
        title: _typed([known[name][c] for name in names]) for c, title in enumerate(rows[0]) if c
    }


def _typed(texts: list[str]) -> NDArray[Any]:
    try:
        return np.array([float(t) for t in texts])
    except ValueError:
        return np.array(texts)
