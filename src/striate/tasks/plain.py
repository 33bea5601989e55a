"""Evaluations as plain values, for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from striate.tasks.evaluation import Evaluation


def plain_row(row: Mapping[str, float | str]) -> dict[str, float | str | None]:
    """Scores as plain values; JSON has no NaN, so one that does not exist is null."""
    return {k: v if isinstance(v, str) or np.isfinite(v) else None for k, v in row.items()}


def figures_json(found: Evaluation) -> dict[str, Any]:
    """All scores with `intervals` and how they were made, as plain values."""
    figures = found.figures
    pairs = {k: v for k, v in figures.intervals.items() if np.isfinite(v).all()}
    return {
        **plain_row(figures.scores),
        "intervals": {k: list(pair) for k, pair in pairs.items()},
        "intervals_by": {k: figures.by[k] for k in pairs},
    }


def class_rows(found: Evaluation) -> list[dict[str, Any]]:
    """The scores of each class with their intervals; null is an interval that does not exist."""
    return [
        {
            **plain_row(row),
            "intervals": {k: list(v) if v[0] == v[0] else None for k, v in each.items()},
        }
        for row, each in zip(found.per_class(), found.figures.classes, strict=True)
    ]


def evaluation_json(found: Evaluation) -> dict[str, Any]:
    """All figures with intervals, each class's too, as plain values."""
    rows = [
        {**row, "intervals": {k: v for k, v in row["intervals"].items() if v is not None}}
        for row in class_rows(found)
    ]
    return {
        **figures_json(found), "temperature": found.temperature, "per_class": rows,
        "confusions": found.worst_confusions(),
    }  # fmt: skip
