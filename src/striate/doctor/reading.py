"""Quantities that several rules read off a history."""

from __future__ import annotations

import math

import numpy as np

from striate.doctor.history import Column, History

LITTLE = 3e-3
"""Change of weights a step, as a share of their size, below which hardly anything is learnt."""


def relative(h: History) -> float:
    """Training loss now as a share of that of guessing; NaN if it is not known.

    In evaluation mode, unless running averages make that useless: then as training saw it.
    """
    curve = h.curve
    if (
        curve is not None
        and len(curve)
        and math.isfinite(curve.train[-1])
        and not useless_averages(h)
    ):
        return float(curve.train[-1] / h.chance)
    recent = h.steps.loss[-20:] if len(h.steps) else h.epochs.train_loss[-1:]
    known = recent[np.isfinite(recent)]
    return float(known.mean() / h.chance) if len(known) else math.nan


def useless_averages(h: History) -> bool:
    """Whether running averages cost more than guessing does."""
    stale = h.measured[-1].norm_stale if h.measured else None
    return stale is not None and stale > h.chance and len(h.steps) > 0


def finite_epochs(h: History) -> int:
    """Epochs with a training loss."""
    return int(np.isfinite(h.epochs.train_loss).sum())


def turnover(h: History) -> float:
    """The largest change of a layer's weights in a step at the peak rate, as a share of their size:
    the median over measurements. NaN if it was not measured."""
    each = [max(shares.values(), default=math.nan) for shares in turnovers(h)]
    known = [x for x in each if math.isfinite(x)]
    return float(np.median(known)) if known else math.nan


def turnovers(h: History) -> list[dict[str, float]]:
    """Of each measurement: layer → change of its weights in a step, scaled to the peak rate.

    Updates are proportional to the rate; the last steps of a schedule have nearly none, and what
    rounding leaves of them is not scaled up.
    """
    peak = h.rate()
    rates = dict(zip(h.steps.step.tolist(), h.steps.lr.tolist(), strict=True))
    found = []
    for m in h.measured:
        lr = rates.get(float(m.step), math.nan)
        if not lr > 1e-4 * peak:
            continue
        found.append(
            {
                name: layer["update"] / layer["weight"] * peak / lr
                for name, layer in m.layers.items()
                if layer.get("weight") and layer.get("update") is not None
            }
        )
    return found


def shrinkage(h: History) -> float:
    """Size of the layers' weights now as a share of their largest measured size: the median layer.
    NaN if it was not measured twice."""
    if len(h.measured) < 2:
        return math.nan
    now = h.measured[-1].layers
    shares = [
        layer["weight"] / max(m.layers[name]["weight"] for m in h.measured if name in m.layers)
        for name, layer in now.items()
        if layer.get("weight")
    ]
    return float(np.median(shares)) if shares else math.nan


def gradient_spike(h: History) -> float:
    """The largest gradient norm in terms of the first few; 1 where steps are not known."""
    slopes = h.steps.gradient[np.isfinite(h.steps.gradient)]
    if len(slopes) < 20:
        return 1.0
    return float(slopes.max() / max(float(np.median(slopes[:5])), 1e-12))


def grew_before_the_end(h: History) -> bool:
    """A loss or gradient that was not finite, after losses or gradients that grew."""
    losses = h.steps.loss if len(h.steps) else h.epochs.train_loss
    finite = np.isfinite(losses)
    broken = h.failed is not None or bool(np.isinf(losses).any())
    if not broken:
        return False
    before = losses[finite]
    if not len(before):
        return True  # at once: nothing else is known
    if not len(h.steps):
        return True
    slopes = h.steps.gradient[np.isfinite(h.steps.gradient)]
    usual = float(np.median(slopes)) if len(slopes) else math.nan
    jumped = before[-20:].max() > 2 * min(h.chance, before.min() * 3)
    return bool(jumped or (len(slopes) and slopes[-1] > 30 * usual) or len(before) < 5)


def falls_steadily(values: Column) -> bool:
    """Whether a curve falls all the way, in its last half not much slower than in its first."""
    known = values[np.isfinite(values)]
    if len(known) < 4:
        return False
    middle = len(known) // 2
    first, last = known[0] - known[middle], known[middle] - known[-1]
    return bool(first > 0 and last > 0.4 * first and (np.diff(known) < 0).mean() > 0.7)


def crawls(h: History) -> bool:
    """Whether training and validation loss fall in proportion to the sum of the learning rates: to
    the first order a loss does so as long as the weights hardly change. Without rates, epochs."""
    train, val, lr = h.epochs.train_loss, h.epochs.val_loss, h.epochs.lr
    known = np.isfinite(train)
    if known.sum() < 4 or decayed(h):
        return False
    rated = np.isfinite(lr[known]).all() and lr[known].sum() > 0
    time = np.cumsum(lr[known] if rated else np.ones(known.sum()))
    seen = [train[known]] + ([val[known]] if np.isfinite(val[known]).all() else [])
    return all(_straight(time, losses) for losses in seen)


def _straight(time: Column, losses: Column) -> bool:
    if not losses.std() or np.corrcoef(time, losses)[0, 1] > -0.9:
        return False
    middle = int(np.searchsorted(time, time[0] + (time[-1] - time[0]) / 2))
    middle = min(max(middle, 1), len(time) - 2)
    first = (losses[0] - losses[middle]) / (time[middle] - time[0])
    last = (losses[middle] - losses[-1]) / (time[-1] - time[middle])
    return bool(last > 0.4 * first)


def decayed(h: History) -> bool:
    """Whether the rate was below a tenth of its peak for the last half of the epochs."""
    lr = h.epochs.lr[np.isfinite(h.epochs.lr)]
    return len(lr) > 2 and bool((lr[len(lr) // 2 :] < 0.1 * lr.max()).all())


def late_fall(h: History) -> float:
    """By how much the training loss fell over the last third of the epochs, as a share of its value
    before."""
    known = h.epochs.train_loss[np.isfinite(h.epochs.train_loss)]
    if len(known) < 3:
        return math.inf
    third = max(1, len(known) // 3)
    return float((known[-third - 1] - known[-1]) / known[-third - 1])


def restrained(h: History) -> bool:
    """Whether regularisation is far above its usual strength."""
    l2, usual = h.knob("regularise.l2", 0.0), 0.05 if h.knob("optim.rule") == "adamw" else 5e-4
    return bool(
        (isinstance(l2, float) and l2 > 20 * usual)
        or h.knob("regularise.dropout", 0.0) > 0.7
        or h.knob("regularise.l1", 0.0) > 1e-3
        or (
            isinstance(h.knob("loss.label_smoothing"), float)
            and h.knob("loss.label_smoothing") > 0.5
        )
        or 0 < h.knob("regularise.max_norm", 0.0) < 0.3
    )


def splits_apart(h: History) -> bool:
    """Whether training and validation images can be told apart by their looks, surely and well."""
    known = [m.splits_area for m in h.measured if m.splits_area is not None]
    return bool(known) and known[-1][0] - 2 * known[-1][1] > 0.7


def takes_off(h: History) -> bool:
    """Whether the loss has only begun to fall: near that of guessing, and ever faster."""
    loss = h.epochs.train_loss[np.isfinite(h.epochs.train_loss)]
    if len(loss) < 6 or relative(h) < 0.8 or not still_falls(loss):
        return False
    half = len(loss) // 2
    return float(loss[half] - loss[-1]) > 1.5 * float(loss[0] - loss[half]) > 0


def still_falls(values: Column) -> bool | None:
    """Whether a curve still falls over its last part: its slope there against the slope's standard
    error, by more than 1.5 % of the value in all, or by much of what it fell so far. None where too
    few points tell."""
    known = values[np.isfinite(values)]
    if len(known) < 4:
        return None
    part = known[-max(4, len(known) // 3) :]
    x = np.arange(len(part)) - (len(part) - 1) / 2
    slope = float((x * part).sum() / (x * x).sum())
    rest = part - part.mean() - slope * x
    error = math.sqrt(float((rest**2).sum()) / max(1, len(part) - 2) / float((x * x).sum()))
    fall, doubt = -slope * (len(part) - 1), error * (len(part) - 1)
    level = abs(float(part.mean())) or 1.0
    if fall > max(3 * doubt, 0.005 * level) and fall > 0.4 * float(known[0] - known[-1]):
        return True  # slowly, but ever faster: it takes off
    if fall > max(3 * doubt, 0.015 * level) or (fall > 0.02 * level and (np.diff(part) < 0).all()):
        return True
    return False if fall + 2 * doubt < 0.03 * level else None
