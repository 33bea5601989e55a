"""The batch: too small for its statistics, too large for the number of updates (O2, F15)."""

from __future__ import annotations

import math

import numpy as np

from striate.doctor.history import History
from striate.doctor.reading import relative
from striate.doctor.saying import Answer, Lacking, flag, found, picture, sure, usual_rate


def batch_too_small(h: History) -> Answer:
    """Batch norm learns from a handful of images a step (L12, F15).

    Signs: fewer than eight images a step in a network with batch norm, and a loss that is far above
    its floor. Without norm layers small batches are slow, but sound.
    """
    if h.plan is None or not h.plan.batch_size:
        return Lacking("the batch size")
    norm = any(m.norm_gap is not None for m in h.measured)
    if not norm or h.plan.batch_size >= 8:
        return None
    now = relative(h)
    if now < 0.1:
        return None
    text = f"batch norm sees {h.plan.batch_size} images a step; the loss is {now:.0%} of chance's"
    return found(
        "batch_too_small",
        text,
        sure(8 - h.plan.batch_size, 2, 6),
        evidence={
            "images_a_step": h.plan.batch_size,
            "curves": {"training loss": picture(h.steps.loss)},
        },
        remedies=[_larger(h), "layer or group norm instead of batch norm"],
        source="L12, O2; Wu and He 2018",
    )


def _larger(h: History) -> str:
    """32 images a step, at the rate and in the steps that suit them: small batches take many."""
    assert h.plan is not None
    more = math.ceil(math.sqrt(32 / h.plan.batch_size))
    changes = [flag("optim.batch_size", 32), flag("budget.epochs", h.planned * more)]
    rate = usual_rate(h, 32)
    return " ".join(changes if rate is None else [*changes, flag("optim.lr", rate)])


def batch_too_large(h: History) -> Answer:
    """Batches are so large that there are hardly any steps (O2).

    Signs: fewer than 16 steps an epoch, fewer than 200 in all, and a loss that is still high.
    Confounder: a small data set has few steps an epoch anyway; a smaller batch gives it more.
    """
    if h.plan is None or not h.plan.batch_size or not h.ended:
        return Lacking("the batch size, or the end of the training")
    each = h.plan.steps / max(1, h.plan.epochs)
    now = relative(h)
    if each >= 16 or h.plan.steps >= 200 or h.plan.batch_size < 32 or now < 0.25:
        return None
    noise = float(np.nanstd(np.diff(h.steps.loss)) / h.chance) if len(h.steps) > 3 else math.nan
    smaller = max(8, 2 ** int(math.log2(max(8, h.plan.images / 16))))
    remedies = [flag("optim.batch_size", min(smaller, h.plan.batch_size // 2)),
                flag("budget.epochs", h.plan.epochs * 4)]  # fmt: skip
    text = (
        f"{h.plan.steps} steps of {h.plan.batch_size} images in all, and {now:.0%} of the loss of "
        "knowing nothing is left"
    )
    return found(
        "batch_too_large",
        text,
        sure(16 - each, 2, 10),
        evidence={
            "steps": h.plan.steps,
            "steps_an_epoch": each,
            "scatter": noise,
            "curves": {"training loss": picture(h.steps.loss)},
        },
        remedies=remedies,
        source="O2; Keskar et al. 2017",
    )
