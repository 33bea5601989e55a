"""O7: the schedules side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from striate.labs.bench import digits, fit, loss_of, partly_random
from striate.labs.lab import Chart, Figures, Lab, Trial
from striate.optim.schedules import SCHEDULES, Schedule, make_schedule
from striate.report.charts import Line

_BATCH, _EPOCHS, _WRONG = 8, 4, 0.2
_RATES = (0.1, 0.3, 1.0)
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
    total = epochs * each
    for name, entry in SCHEDULES.items():
        knobs = entry.defaults | _OWN.get(name, {})
        if "step_epochs" in knobs:
            knobs["step_epochs"] = epochs / 3
        factor = make_schedule(name, total=total, per_epoch=each, **knobs)
        above = []
        for rate in _RATES:
            net = nn.Linear(x.shape[1], 10)
            fit(net, x, y, steps=total, lr=_scaled(factor, rate), batch=_BATCH, seed=seed)
            above.append(loss_of(net, x, y) - least)
        figures[f"{name}: above the least loss, best rate"] = min(above)
        figures[f"{name}: above the least loss, rate 1"] = above[-1]
        steps = range(0, total, 5)
        if name != "constant":
            lines.append(Line(name, [s / each for s in steps], [factor(s) for s in steps]))
    return Trial(figures, [Chart("share of the peak rate", "epoch", "factor", lines)])


def _scaled(factor: Schedule, rate: float) -> Schedule:
    return lambda step: rate * factor(step)


def _falling_is_better(figures: Figures) -> bool:
    kinds = ("best rate", "rate 1")
    return all(
        figures[f"{name}: above the least loss, {kind}"]
        < figures[f"constant: above the least loss, {kind}"]
        for name in SCHEDULES if name != "constant" for kind in kinds
    )  # fmt: skip


LAB = Lab(
    "O7", "all-schedules",
    "Let the rate fall while training: by steps, exponentially, as √(1 − t/T), as 1/t.",
    "A linear classifier learns digits, a fifth of them with wrong labels, in batches of 8 under "
    "each of Striate's schedules, with peak rates from 0.1 to 1. The least loss that any linear "
    "classifier can have is found by another method (L-BFGS).",
    measure,
    {"confirmed": _falling_is_better},
    "constant: above the least loss, rate 1",
    "With a constant rate the noise of small batches keeps the loss above its least value, the "
    "more the higher the rate. Every schedule that ends low loses that noise; which of them "
    "matters far less than that the rate falls, and that its peak suits.",
    "confirmed", seeds=3,
)  # fmt: skip
