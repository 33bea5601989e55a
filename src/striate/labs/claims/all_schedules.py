"""O7: the schedules side by side."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from striate.labs.bench import alike, digits, fit_each, loss_of, partly_random
from striate.labs.lab import Chart, Figures, Lab, Trial
from striate.optim.schedules import SCHEDULES, make_schedule
from striate.report.charts import Line

_BATCH, _EPOCHS, _WRONG = 8, 4, 0.2
_RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_OWN: dict[str, dict[str, float]] = {"exponential": {"gamma": 0.5}}
"""A training of four epochs falls faster than one of a hundred."""


def _least(x: Tensor, y: Tensor) -> float:
    """The lowest loss that a linear classifier can have."""
    net = nn.Linear(x.shape[1], 10)
    rule = torch.optim.LBFGS(net.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def again() -> Tensor:
        rule.zero_grad()
        loss = cross_entropy(net(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    rule.step(again)  # type: ignore[no-untyped-call]
    return loss_of(net, x, y)


def measure(seed: int, full: bool) -> Trial:
    data, figures, lines = digits(seed), {}, []
    torch.manual_seed(seed)
    x, y = (data.x - data.x.mean()).flatten(1) * 2, partly_random(data.y, _WRONG, 10)
    least = _least(x, y)
    epochs, each = 30 if full else _EPOCHS, len(y) // _BATCH
    factors = {name: _factors(name, epochs, each) for name in SCHEDULES}
    lrs = torch.cat([factor[:, None] * torch.tensor(_RATES) for factor in factors.values()], dim=1)
    nets = alike(lambda: nn.Linear(x.shape[1], 10), lrs.shape[1], seed)
    fit_each(nets, x, y, steps=len(lrs), lrs=lrs, batch=_BATCH, seed=seed)
    above = np.reshape([loss_of(net, x, y) - least for net in nets], (len(factors), -1))
    rows = [["schedule", *(f"{rate:g}" for rate in _RATES)]]
    for (name, factor), found in zip(factors.items(), above, strict=True):
        figures[f"{name}: above the least loss, best rate"] = float(found.min())
        figures[f"{name}: its best rate"] = _RATES[found.argmin()]
        rows.append([name, *(f"{value:.4f}" for value in found)])
        if name != "constant":
            steps = range(0, len(factor), 5)
            lines.append(Line(name, [s / each for s in steps], factor[::5].tolist()))
    return Trial(figures, [Chart("share of the peak rate", "epoch", "factor", lines)], rows)


def _factors(name: str, epochs: int, each: int) -> Tensor:
    """The share of the peak rate at each step."""
    knobs = SCHEDULES[name].defaults | _OWN.get(name, {})
    if "step_epochs" in knobs:
        knobs["step_epochs"] = epochs / 3
    factor = make_schedule(name, total=epochs * each, per_epoch=each, **knobs)
    return torch.tensor([factor(step) for step in range(epochs * each)])


def _falling_is_better(figures: Figures) -> bool:
    best = {name: figures[f"{name}: above the least loss, best rate"] for name in SCHEDULES}
    return all(best[name] < best["constant"] for name in SCHEDULES if name != "constant")


LAB = Lab(
    "O7", "all-schedules",
    "Let the rate fall while training: by steps, exponentially, as √(1 − t/T), as 1/t.",
    "A linear classifier learns digits, a fifth of them with wrong labels, for four epochs in "
    "batches of 8 under each of Striate's schedules (the exponential one halves the rate each "
    "epoch, steps come after each third). Each has its best of six peak rates from 0.01 to 3. The "
    "least loss that any linear classifier can have is found by another method (L-BFGS).",
    measure,
    {"confirmed": _falling_is_better},
    "constant: above the least loss, best rate",
    "With a constant rate the noise of small batches keeps the loss above its least value, the "
    "more the higher the rate. A schedule that ends low loses that noise, and so bears a peak "
    "three to ten times as high; at a rate as low as the constant one needs it gains little "
    "or slows. Which of them matters less than that the peak suits.",
    "confirmed",
)  # fmt: skip
