"""O8: saddles and ravines."""

from __future__ import annotations

from itertools import islice

import numpy as np

from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line
from striate.textbook.arrays import Array
from striate.textbook.landscapes import LANDSCAPES
from striate.textbook.updates import RULES, descend

_STEPS, _NOISE = 2000, 0.05
_NEAR = 1e-12
_SHOWN, _TOP = 500, 0.3
_GOALS = {"saddle": -0.125, "ravine": 0.02}
"""Half of the way down beyond the saddle; a thousandth of the height in the ravine."""
_STEEPEST = {"saddle": 30.0, "ravine": 300.0}
"""The largest curvature: exact steps diverge from the rate 2 / curvature on."""
_SHARES = np.array([0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95, 1.2, 1.5, 1.8])
"""Rates as shares of that one; momentum bears 1.9 times as much."""
_ARMS = {
    "plain SGD": ("sgd", 0.0), "SGD with noise": ("sgd", _NOISE),
    "momentum": ("momentum", 0.0), "momentum with noise": ("momentum", _NOISE),
}  # fmt: skip
"""Name → update rule, and deviation of the gradient's noise."""


def _rates(place: str) -> Array:
    return _SHARES * 2 / _STEEPEST[place]


def _values(place: str, rule: str, noise: float, seed: int) -> Array:
    """Values on the way (steps, rates), a walker for each rate."""
    land, rng = LANDSCAPES[place], np.random.default_rng(seed)
    start = np.array(land.start)
    if place == "saddle":
        start[1] = _NEAR

    def gradient(w: Array) -> Array:
        return land.gradient(w) + noise * rng.normal(size=w.shape)

    walkers = np.repeat(start[:, None], len(_SHARES), axis=1)
    with np.errstate(all="ignore"):  # the highest rates diverge
        walk = [*islice(descend(RULES[rule], gradient, walkers, _rates(place)), _STEPS)]
        return np.array([land.f(w) for w in walk])


def _arrivals(values: Array, goal: float) -> Array:
    """Of each walker the step from which on it stays below the goal, or infinity."""
    above = ~(values <= goal)
    last = _STEPS - np.argmax(above[::-1], axis=0)
    return np.where(above[-1], np.inf, np.where(above.any(axis=0), last + 1, 1))


def measure(seed: int, _: bool) -> Trial:
    figures, lines = {}, []
    for place in ("saddle", "ravine"):
        for name, (rule, noise) in _ARMS.items():
            values = _values(place, rule, noise, seed)
            arrived = _arrivals(values, _GOALS[place])
            best = int(np.argmin(arrived))
            figures[f"{place}, {name}: steps"] = float(arrived[best])
            figures[f"{place}, {name}: its rate"] = float(_rates(place)[best])
            if place == "saddle":
                way = np.minimum(values[:_SHOWN, best], _TOP).tolist()
                lines.append(Line(name, range(_SHOWN), way))
    chart = Chart(f"value on the way over a saddle (cut at {_TOP})", "step", "value", lines)
    return Trial(figures, [chart])


LAB = Lab(
    "O8", "saddles",
    "Plain SGD stalls on saddles and zig-zags in ravines; momentum does not.",
    "Update rules start nearly on the ridge of a saddle (10⁻¹² beside it), and in a ravine 300 "
    "times as steep across as along, with exact gradients and with Gaussian noise of deviation "
    "0.05 on them, which stands for that of mini-batches. Each has its best of ten rates; counted "
    "are the steps until it has left the saddle for half of the way down, and until a thousandth "
    "of the height in the ravine is left.",
    measure,
    {
        "conditional": lambda f: f["saddle, momentum: steps"] < f["saddle, plain SGD: steps"] / 2
        and f["saddle, SGD with noise: steps"] < f["saddle, plain SGD: steps"] / 2
        and f["ravine, momentum: steps"] < f["ravine, plain SGD: steps"] / 2
        and f["ravine, SGD with noise: steps"] > 2 * f["ravine, momentum: steps"]
    },
    "saddle, plain SGD: steps",
    "Exact gradient descent stalls on a saddle, the longer the nearer it begins to the ridge. "
    "Noise leaves it without momentum, wherever it begins; momentum with noise leaves it soonest. "
    "In a ravine noise is no help: there it is momentum that counts.",
    "conditional",
)  # fmt: skip
