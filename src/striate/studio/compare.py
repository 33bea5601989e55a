"""Two runs side by side: what differs in their recipes, and in their answers to the same images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from striate.core.errors import StriateError
from striate.core.recipe_io import flat
from striate.core.run import RunDirectory
from striate.core.strict_json import finite
from striate.metrics.intervals import difference
from striate.plan.recall import settled_recipe
from striate.studio.live import Tail
from striate.studio.messages import Difference


def compare(one: Tail, other: Tail) -> Difference:
    """The first against the second; a difference above 0 speaks for the first."""
    knobs, note = [], ""
    try:
        ours, theirs = (flat(settled_recipe(RunDirectory(t.path))) for t in (one, other))
        knobs = [[k, finite(ours[k]), finite(theirs[k])] for k in ours if ours[k] != theirs[k]]
    except StriateError as error:
        note = error.message
    name = one.planned.score if one.planned else ""
    answers = [_right(t.path) for t in (one, other)]
    if not all(answers):
        note = note or (
            "Scores are compared on the same images when both runs are finished and classify."
        )
        return Difference(knobs, name, 0, None, None, None, note)
    shared = [image for image in answers[0] if image in answers[1]]
    if not shared:
        return Difference(knobs, name, 0, None, None, None, "The runs were scored on other images.")
    rows = [np.array([a[image] for image in shared], dtype=np.float64) for a in answers]
    apart, (low, high) = difference(rows[0], rows[1])
    partly = len(shared) < max(map(len, answers))
    note = note or ("Only the images that both were scored on count." if partly else "")
    return Difference(knobs, name, len(shared), apart, low, high, note)


def _right(path: Path) -> dict[str, bool]:
    """Which images were answered rightly; empty where the run does not know it."""
    try:
        with (path / "predictions.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return {}
    if not rows or not {"image", "true", "predicted"} <= rows[0].keys():
        return {}
    return {row["image"]: row["predicted"] == row["true"] for row in rows}
