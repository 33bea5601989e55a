"""T4: too many parameters."""

from __future__ import annotations

import numpy as np

from striate.labs.bench import Size
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_POINTS, _NOISE, _SETS = 25, 0.1, 200


def measure(seed: int, full: bool) -> Trial:
    rng = np.random.default_rng(seed)
    sets = 1000 if full else _SETS
    grid = np.linspace(-1, 1, 101)
    truth = grid**2 + grid
    degrees = np.arange(1, 21)
    bias, variance, train = [], [], []
    xs = rng.uniform(-1, 1, (sets, _POINTS))
    ys = xs**2 + xs + rng.normal(0, _NOISE, xs.shape)
    for degree in degrees:
        fits, own = [], []
        for x, y in zip(xs, ys, strict=True):
            found = np.polynomial.Polynomial.fit(x, y, degree, domain=[-1, 1])
            own.append(float(np.mean((found(x) - y) ** 2)))
            fits.append(found(grid))
        at = np.array(fits)
        middle = np.median(at, axis=0)  # single fits of high degree go astray by thousands
        bias.append(float(np.mean((middle - truth) ** 2)))
        variance.append(float(np.median(np.mean((at - middle) ** 2, axis=1))))
        train.append(float(np.median(own)))
    total = np.array(bias) + np.array(variance)
    shown = {"bias², of the median fit": bias, "variance (median)": variance,
             "error on the points themselves (median)": train}  # fmt: skip
    lines = [Line(name, degrees.tolist(), values) for name, values in shown.items()]
    return Trial(
        {
            "best degree": int(degrees[int(np.argmin(total))]),
            "degree 1: error": Size(total[0]), "degree 2: error": Size(total[1]),
            "degree 15: error": Size(total[14]),
            "degree 15: error on its points": Size(train[14]),
            "degree 2: error on its points": Size(train[1]),
        },
        [Chart("polynomials on 25 noisy points of x² + x", "degree", "squared error", lines,
               logarithmic=True)],
    )  # fmt: skip


LAB = Lab(
    "T4", "polynomials",
    "Too many parameters fit what they have seen and nothing else: polynomials of high degree on "
    "noisy points of x² + x.",
    "Polynomials of degree 1 to 20 are fitted to 200 sets of 25 noisy points; bias, variance, and "
    "the error on the points themselves, each by medians, since single fits of a high degree go "
    "astray by thousands.",
    measure,
    {
        "confirmed": lambda f: f["best degree"] == 2
        and f["degree 15: error"] > 10 * f["degree 2: error"]
        and f["degree 15: error on its points"] < f["degree 2: error on its points"]
    },
    "degree 15: error",
    "The error on the seen points falls on and on and soon says nothing; the error elsewhere is "
    "least where the polynomial is as simple as the truth. What helps is more points, a simpler "
    "model, or a penalty – and looking at validation images.",
    "confirmed", seeds=3,
)  # fmt: skip
