"""O5: Adam's hats."""

from __future__ import annotations

from itertools import islice

import numpy as np

from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line
from striate.textbook.arrays import Array
from striate.textbook.updates import Gradient, State, adam, descend

_RATE = 0.01


def without_hats(
    w: Array, gradient: Gradient, state: State, rate: float,
    beta: float = 0.9, rho: float = 0.999, delta: float = 1e-8,
) -> Array:  # fmt: skip
    """Deck D's last line: s and r as they are, although both start at zero."""
    g = gradient(w)
    s = state["s"] = beta * state.get("s", 0.0) + (1 - beta) * g
    r = state["r"] = rho * state.get("r", 0.0) + (1 - rho) * g * g
    return w - rate * s / (np.sqrt(r) + delta)


def measure(seed: int, full: bool) -> Trial:
    steps = 2000 if full else 300
    start = np.random.default_rng(seed).uniform(0.5, 2.0, 1)
    lines, figures = [], {}
    for name, rule in (("with hats", adam), ("without", without_hats)):
        walk = [start, *islice(descend(rule, lambda w: w, start, _RATE), steps)]
        lengths = np.abs(np.diff(np.array(walk)[:, 0])) / _RATE
        figures[f"{name}: first step / rate"] = float(lengths[0])
        figures[f"{name}: longest step / rate"] = float(lengths[:100].max())
        lines.append(Line(name, range(1, 101), lengths[:100].tolist()))
    return Trial(figures, [Chart("length of a step, in rates", "step", "length / rate", lines)])


LAB = Lab(
    "O5", "adam",
    "Deck D's last line of Adam divides s by √r, without the hats (corrections for the start at "
    "0).",
    "Adam with and without the corrections walks down w²/2.",
    measure,
    {
        "wrong": lambda f: abs(f["with hats: first step / rate"] - 1) < 1e-4
        and f["without: first step / rate"] > 3
        and f["without: longest step / rate"] > 5
    },
    "without: first step / rate",
    "With the hats a step is about as long as the rate, from the first one on: that is what makes "
    "Adam's rate easy to choose. Without them the first steps are 3 to 7 times as long, and a "
    "training may be thrown out before it begins.",
    "wrong",
    deck="s/√r: the first step is 3.16 rates long",
    truth="ŝ/√r̂: the first step is one rate long",
)  # fmt: skip
