"""O8: saddles and ravines."""

from __future__ import annotations

from itertools import islice

import numpy as np

from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line
from striate.textbook.landscapes import LANDSCAPES
from striate.textbook.updates import RULES, descend

_STEPS = 4000
_RATES = {"saddle": 0.01, "ravine": 0.003}


def _arrival(place: str, rule: str, noise: float, seed: int) -> tuple[int, list[float]]:
    """(steps until the goal's value is reached for good, values of the first steps)."""
    land, rng = LANDSCAPES[place], np.random.default_rng(seed)
    start = np.array(land.start)
    if place == "saddle":
        start[1] = 1e-6  # nearly on the ridge

    def gradient(w: np.ndarray) -> np.ndarray:
        return land.gradient(w) + noise * rng.normal(size=2)

    walk = np.array([*islice(descend(RULES[rule], gradient, start, _RATES[place]), _STEPS)])
    values = np.array([float(land.f(w)) for w in walk])
    above = np.flatnonzero(values > land.lowest + 0.01 * abs(float(land.f(start)) - land.lowest))
    return int(above[-1] + 2) if len(above) else 1, values[:1500].tolist()


def measure(seed: int, _: bool) -> Trial:
    figures, lines = {}, []
    for name, rule, noise in (
        ("plain SGD", "sgd", 0.0), ("SGD with noise", "sgd", 0.05), ("momentum", "momentum", 0.0),
    ):  # fmt: skip
        steps, values = _arrival("saddle", rule, noise, seed)
        figures[f"saddle, {name}: steps"] = float(steps)
        lines.append(Line(name, range(len(values)), values))
    for name, rule in (("plain SGD", "sgd"), ("momentum", "momentum")):
        figures[f"ravine, {name}: steps"] = float(_arrival("ravine", rule, 0.0, seed)[0])
    return Trial(figures, [Chart("value on the way over a saddle", "step", "value", lines)])


LAB = Lab(
    "O8", "saddles",
    "Plain SGD stalls on saddles and zig-zags in ravines; momentum does not.",
    "Update rules start nearly on the ridge of a saddle, and in a ravine 300 times as steep across "
    "as along.",
    measure,
    {
        "conditional": lambda f: f["saddle, momentum: steps"] < f["saddle, plain SGD: steps"] / 2
        and f["saddle, SGD with noise: steps"] < f["saddle, plain SGD: steps"] / 2
        and f["ravine, momentum: steps"] < f["ravine, plain SGD: steps"] / 2
    },
    "saddle, plain SGD: steps",
    "Exact gradient descent stalls on a saddle. The noise of mini-batches leaves it as well as "
    "momentum does: what SGD really suffers from are ravines.",
    "conditional",
)  # fmt: skip
