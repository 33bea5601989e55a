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
from striate.plan.keep import images_fingerprint
from striate.plan.recall import settled_recipe
from striate.studio.live import Tail
from striate.studio.messages import Difference


def compare(one: Tail, other: Tail) -> Difference:
    """The first against the second; a difference above 0 speaks for the first."""
    knobs, known = [], True
    try:
        ours, theirs = (flat(settled_recipe(RunDirectory(t.path))) for t in (one, other))
        knobs = [[k, finite(ours[k]), finite(theirs[k])] for k in ours if ours[k] != theirs[k]]
    except StriateError:
        known = False
    rows = [_answers(t.path) for t in (one, other)]
    if not all(rows):
        text = "Answers are compared when both runs are finished and give each image a class."
        return Difference(knobs, known, 0, None, None, None, text)
    if len({images_fingerprint(t.path) for t in (one, other)} - {""}) > 1:
        text = "The runs have other images: their answers cannot be compared."
        return Difference(knobs, known, 0, None, None, None, text)
    shared = [i for i in rows[0] if i in rows[1] and rows[0][i][0] == rows[1][i][0]]
    if not shared:
        return Difference(knobs, known, 0, None, None, None, "No image was scored in both runs.")
    right = [np.array([r[i][0] == r[i][1] for i in shared], dtype=np.float64) for r in rows]
    apart, (low, high) = difference(right[0], right[1])
    partly = len(shared) < max(map(len, rows))
    note = "Only the images that both were scored on count." if partly else ""
    return Difference(knobs, known, len(shared), apart, low, high, note)


def _answers(path: Path) -> dict[str, tuple[str, str]]:
    """Image → (its class, the answer); empty where the run does not know it."""
    try:
        with (path / "predictions.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return {}
    if not rows or not {"image", "true", "predicted"} <= rows[0].keys():
        return {}
    return {row["image"]: (row["true"], row["predicted"]) for row in rows}
