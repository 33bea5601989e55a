"""O3: three ways to write momentum."""

from __future__ import annotations

from itertools import islice

import numpy as np

from striate.labs.lab import Chart, Figures, Lab, Trial
from striate.report.charts import Line
from striate.textbook.updates import RULES, descend

_FORMS = {"A": "momentum_a", "D": "momentum_d", "E": "momentum"}


def _cut(step: int) -> float:
    return 0.1 if step < 2 else 0.01


def measure(_: int, full: bool) -> Trial:
    steps = 60 if full else 6
    paths: dict[str, list[float]] = {}
    figures: dict[str, float] = {}
    for form, rule in _FORMS.items():
        constant = [float(w) for w in islice(descend(RULES[rule], _slope, np.array(1.0), 0.1), 40)]
        paths[form] = [1.0]
        paths[form] += [float(w) for w in islice(descend(RULES[rule], _slope, np.array(1.0), _cut),
                                                 steps)]  # fmt: skip
        figures[f"{form} at a constant rate"] = constant[-1]
        figures[f"{form} when the rate is cut"] = paths[form][6]
    lines = [Line(f"form {form}", range(len(ws)), ws) for form, ws in paths.items()]
    return Trial(
        figures, [Chart("w²/2 from 1, rate 0.1, cut to 0.01 after two steps", "step", "w", lines)]
    )


def _slope(w: np.ndarray) -> np.ndarray:
    return w


def _same_at_a_constant_rate_only(f: Figures) -> bool:
    ends = [f[f"{form} at a constant rate"] for form in _FORMS]
    alike = max(ends) - min(ends) < 1e-12
    cut = [round(f[f"{form} when the rate is cut"], 3) for form in _FORMS]
    return alike and cut == [0.113, 0.113, 0.602]


LAB = Lab(
    "O3", "momentum",
    "The decks write momentum in three forms, as if they were the same.",
    "The three forms descend w²/2 from w = 1: 40 steps at a constant rate of 0.1, and 6 with the "
    "rate cut to 0.01 after two.",
    measure,
    {"conditional": _same_at_a_constant_rate_only},
    "E when the rate is cut",
    "At a constant rate the three forms take the same path. When a schedule cuts the rate, form E "
    "(torch's) slows what is already moving, forms A and D let it roll on: a schedule written for "
    "one is not the same training in another.",
    "conditional",
    seeds=1,
)  # fmt: skip
