"""O7: what StepLR's printout shows."""

from __future__ import annotations

import warnings

import torch

from striate.labs.lab import Chart, Lab, Trial
from striate.optim.schedules import step_decay
from striate.report.charts import Line

_RATE, _GAMMA, _EVERY, _EPOCHS = 0.01, 0.99, 3, 10


def measure(_: int, __: bool) -> Trial:
    parameter = torch.nn.Parameter(torch.zeros(1))
    rule = torch.optim.SGD([parameter], lr=_RATE)
    schedule = torch.optim.lr_scheduler.StepLR(rule, _EVERY, _GAMMA)
    used, printed = [], []
    for _ in range(_EPOCHS):
        used.append(float(rule.param_groups[0]["lr"]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "use get_last_lr()": that is the point
            printed.append(float(schedule.get_lr()[0]))
        rule.step()
        schedule.step()
    ours = [_RATE * step_decay(e, every=_EVERY, gamma=_GAMMA) for e in range(_EPOCHS)]
    rows = [["epoch", "the rate", "get_lr() says"]]
    rows += [[str(e), f"{used[e]:.8f}", f"{printed[e]:.8f}"] for e in range(_EPOCHS)]
    lines = [
        Line(name, range(_EPOCHS), [1000 * rate for rate in rates])
        for name, rates in (("the rate", used), ("get_lr()", printed))
    ]
    return Trial(
        {
            "largest difference of ours and torch's": max(
                abs(a - b) for a, b in zip(ours, used, strict=True)
            ),
            "rates that get_lr() prints wrongly": sum(
                abs(a - b) > 1e-9 for a, b in zip(printed, used, strict=True)
            ),
            "rate of the last epoch": used[-1],
        },
        [Chart("StepLR(step 3, γ 0.99) from 0.01", "epoch", "rate, in thousandths", lines)],
        rows,
    )


LAB = Lab(
    "O7", "schedules",
    "Deck A's printout of StepLR (step 3, γ 0.99) has a smaller rate at each cut and a larger one "
    "after it.",
    "torch's StepLR runs for ten epochs: the rate that the update rule uses, and what the old "
    "get_lr() prints.",
    measure,
    {
        "wrong": lambda f: f["rates that get_lr() prints wrongly"] >= 2
        and f["largest difference of ours and torch's"] < 1e-12
        and abs(f["rate of the last epoch"] - 0.00970299) < 1e-9
    },
    "rate of the last epoch",
    "Read the rate from the update rule (or get_last_lr()), not from get_lr(), which multiplies "
    "once too often at each cut. The rates are .01, .0099, .009801, each for three epochs, then "
    ".00970299.",
    "wrong",
    deck="get_lr() prints 0.009801 in epoch 3 and 0.0099 after it",
    truth="0.0099 in epochs 3, 4 and 5",
    seeds=1,
)  # fmt: skip
