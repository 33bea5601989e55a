"""L3: a gradient by differences."""

from __future__ import annotations

import numpy as np
import torch

from striate.labs.bench import Size, dense, digits
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_DECK = 1e-4


def measure(seed: int, full: bool) -> Trial:
    torch.manual_seed(seed)
    data = digits(seed)
    x, y = data.x[:50].double(), data.y[:50]
    net = dense([64, 16, 10], torch.nn.Tanh).double()
    weights = torch.nn.utils.parameters_to_vector(net.parameters()).detach()

    def loss(at: torch.Tensor) -> float:
        torch.nn.utils.vector_to_parameters(at, net.parameters())
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(net(x), y))

    torch.nn.functional.cross_entropy(net(x), y).backward()  # type: ignore[no-untyped-call]
    analytic = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).numpy()
    chosen = np.random.default_rng(seed).choice(len(weights), 60 if full else 20, replace=False)
    widths = 10.0 ** np.arange(-12, 0)
    central, one_sided = [], []
    for h in widths:
        errors: dict[str, list[float]] = {"central": [], "one": []}
        for i in chosen:
            up, down = weights.clone(), weights.clone()
            up[i] += h
            down[i] -= h
            high, middle, low = loss(up), loss(weights), loss(down)
            errors["central"].append(abs((high - low) / (2 * h) - analytic[i]))
            errors["one"].append(abs((high - middle) / h - analytic[i]))
        central.append(Size(np.median(errors["central"])))
        one_sided.append(Size(np.median(errors["one"])))
    at = int(np.flatnonzero(np.isclose(widths, _DECK))[0])
    powers = np.log10(widths).tolist()
    lines = [Line("central", powers, central), Line("one-sided", powers, one_sided)]
    chart = Chart("error of the numeric gradient", "log10 of h", "error", lines, logarithmic=True)
    return Trial(
        {
            "best width of a central difference": Size(widths[int(np.argmin(central))]),
            "central error at its best": min(central),
            "one-sided error at h = 0.0001": one_sided[at],
            "central error at h = 0.0001": central[at],
            "passes through the network for all weights, by differences": 2 * len(weights),
            "passes by the formula, forward and backward": 2,
        },
        [chart],
    )


LAB = Lab(
    "L3", "gradient-check",
    "A gradient by differences is approximate, slow and easy; by formula it is exact and fast: "
    "use the formula and check it by differences.",
    "Numeric gradients of a small network on digits in float64, for widths h from 1e-12 to 0.1.",
    measure,
    {
        "confirmed": lambda f: f["central error at its best"] < 1e-8
        and f["one-sided error at h = 0.0001"] > 3 * f["central error at h = 0.0001"]
        and f["passes through the network for all weights, by differences"]
        > 100 * f["passes by the formula, forward and backward"]
    },
    "passes through the network for all weights, by differences",
    "Take the central difference with h about 1e-5 in float64: smaller widths drown in rounding, "
    "larger ones in curvature. A whole numeric gradient costs thousands of forward passes.",
    "confirmed", seeds=3,
)  # fmt: skip
