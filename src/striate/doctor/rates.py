"""The learning rate: too high, too low, lowered too early or too late (O6, O7, T5)."""

from __future__ import annotations

import math

import numpy as np

from striate.doctor.history import Column, History
from striate.doctor.reading import (
    LITTLE,
    falls_steadily,
    finite_epochs,
    grew_before_the_end,
    late_fall,
    relative,
    turnover,
)
from striate.doctor.saying import (
    Answer,
    Lacking,
    faster,
    flag,
    found,
    longer,
    of_chance,
    picture,
    slower,
    sure,
)

_TOO_LITTLE = 4
"""Epochs from which a curve's shape can be read."""


def learning_rate_too_high(h: History) -> Answer:
    """The loss explodes, jumps up and stays there, or bounces (O6, T5).

    Signs: a loss that is not finite after it grew; a jump to several times the loss of knowing
    nothing; updates that replace a large part of the weights at each step while the loss stays
    high; validation losses that swing. Confounders: bad inputs (not_finite looks at the growth
    before), an initialisation that explodes (exploding_gradient looks at the first steps), noise of
    small batches (the swings must be larger than their errors), and norm layers, which forgive
    rates that are ten times too high.
    """
    source = "O6, T5; Goodfellow et al. 2016, 11.4"
    losses = h.steps.loss if len(h.steps) else h.epochs.train_loss
    if not len(losses):
        return Lacking("training losses")
    remedies = [slower(h, 10), slower(h, 3), flag("optim.clip_norm", 1.0)]
    curves = {"curves": {"training loss": picture(losses)}}
    if grew_before_the_end(h):
        worst = float(np.nanmax(np.where(np.isfinite(losses), losses, math.nan)))
        text = f"the training loss grew to {worst:.3g} and then was not finite"
        return found(
            "learning_rate_too_high",
            text,
            0.95,
            evidence={"largest_loss": worst, **curves},
            remedies=remedies,
            source=source,
            anew=True,
        )
    peak = float(np.nanmax(losses[np.isfinite(losses)], initial=0.0))
    now, change = relative(h), turnover(h)
    jump = peak / h.chance
    if math.isnan(now):
        return None
    evidence = {
        "largest_loss": peak,
        "loss_of_chance": h.chance,
        "loss_now": now * h.chance,
        "change_of_weights_a_step": change,
        **curves,
    }
    if jump > 3 and now > 0.3:
        text = (
            f"the training loss jumped to {peak:.3g}, {jump:.3g} times that of knowing nothing "
            f"({h.chance:.3g}), and is {now * h.chance:.3g} now"
        )
        return found(
            "learning_rate_too_high",
            text,
            sure(jump, 2, 6),
            evidence=evidence,
            remedies=remedies,
            source=source,
            anew=now > 0.9,
        )
    if change > 0.1 and now > 0.3:
        text = (
            f"each step changed the weights of a layer by {change:.0%}, and the training loss is "
            f"still {of_chance(now)}"
        )
        return found(
            "learning_rate_too_high",
            text,
            sure(change, 0.05, 0.3),
            evidence=evidence,
            remedies=remedies,
            source=source,
            anew=now > 0.9,
        )
    swing, error = swings(h.epochs.val_loss)
    if swing > 0.3 and now > 0.1:
        text = f"the validation loss swings by {swing:.0%} from epoch to epoch"
        return found(
            "learning_rate_too_high",
            text,
            sure(swing, 0.2, 0.6),
            evidence={**evidence, "swing": swing, "swing_error": error},
            remedies=remedies,
            source=source,
        )
    return None


def swings(values: Column) -> tuple[float, float]:
    """(typical rise of the rising epochs as a share of the loss, how much of it may be chance)."""
    known = values[np.isfinite(values)]
    if len(known) < _TOO_LITTLE:
        return 0.0, 0.0
    rises = np.diff(known)
    up = rises[rises > 0]
    if len(up) < max(2, 0.25 * len(rises)):
        return 0.0, 0.0
    share = float(np.median(up) / np.median(known))
    return share, share / math.sqrt(len(up))


def learning_rate_too_low(h: History) -> Answer:
    """The loss falls very slowly (O6, T5).

    Signs: it still falls at nearly the speed of the beginning, training and validation together,
    far above its floor; the updates change the weights by far less than a thousandth a step.
    Confounders: too few epochs (then the updates are of a usual size), gradients that vanish (then
    only some layers stand still), too strong regularisation (then the loss does not fall at all).
    """
    source = "O6, T5; Karpathy, CS231n notes: updates of about 1e-3 of the weights"
    now, change = relative(h), turnover(h)
    if math.isnan(now):
        return Lacking("training losses")
    done = finite_epochs(h)
    evidence = {
        "loss_now": now * h.chance,
        "loss_of_chance": h.chance,
        "change_of_weights_a_step": change,
        "curves": {"training loss": picture(h.epochs.train_loss)},
    }
    remedies = [faster(h, 100 if change < LITTLE / 30 else 10), faster(h, 3), longer(h, 3)]
    if not math.isnan(change):
        if change > LITTLE or now < 0.3 or len(h.steps) < 20:
            return None
        text = (
            f"the training loss is still {of_chance(now)}, and a step changes "
            f"no layer's weights by more than {change:.1g} of their size (usual: 0.001 to 0.01)"
        )
        return found(
            "learning_rate_too_low",
            text,
            sure(-math.log10(change), 3.0, 4.0),
            evidence=evidence,
            remedies=remedies,
            source=source,
        )
    if done < _TOO_LITTLE:
        return Lacking("updates of the layers, or four epochs")
    if falls_steadily(h.epochs.train_loss) and now > 0.5:
        text = (
            f"after {done} epochs the training loss is {now:.0%} of what it was and still falls "
            "as slowly and steadily as at first"
        )
        return found(
            "learning_rate_too_low", text, 0.75, evidence=evidence, remedies=remedies, source=source
        )
    return None


def decayed_too_early(h: History) -> Answer:
    """The rate was cut while the loss still fell fast, and nearly nothing was learnt since (O7).

    Confounder: a network at its floor learns nothing after a cut either; so the loss must be far
    above zero and equal for training and validation.
    """
    lr, loss = h.epochs.lr, h.epochs.train_loss
    known = np.isfinite(lr) & np.isfinite(loss)
    if known.sum() < _TOO_LITTLE:
        return Lacking("learning rates of four epochs")
    lr, loss = lr[known], loss[known]
    low = lr < 0.1 * lr.max()
    if not low.any() or not low[-1]:
        return None
    first = len(low) - int(np.argmin(low[::-1])) if not low.all() else 0
    after = len(low) - first
    if after < len(low) / 2 or first < 1:
        return None
    now = relative(h)
    gained = (loss[first - 1] - loss[-1]) / h.chance
    if now < 0.35 or gained / after > 0.02:
        return None
    text = (
        f"the learning rate was cut below a tenth after epoch {first} of {len(low)}; since then "
        f"the training loss fell by {gained:.0%} of that of knowing nothing, and {now:.0%} are left"
    )
    later = [flag("schedule.name", "one_cycle")]
    if h.knob("schedule.name") == "step":
        later.insert(0, flag("schedule.step_epochs", float(max(1, round(h.planned / 3)))))
    evidence = {
        "epoch": first,
        "loss_now": now * h.chance,
        "gained_since": gained * h.chance,
        "curves": {"training loss": picture(loss), "learning rate": picture(lr)},
    }
    return found(
        "decayed_too_early",
        text,
        sure(now, 0.3, 0.6),
        evidence=evidence,
        remedies=later,
        source="O7",
        anew=True,
    )


def decayed_too_late(h: History) -> Answer:
    """The rate never fell, or only at the very end, and the loss bounces around a level that it
    would sink below (O7).

    Confounder: a loss that still falls needs no lower rate yet, so its fall over the last third
    must be small against the scatter of its steps.
    """
    if len(h.steps) < 100 or not h.ended:
        return None if h.ended else Lacking("the end of the training")
    lr, loss = h.steps.lr, h.steps.loss
    half = len(lr) // 2
    constant = lr[-max(1, len(lr) // 20)] > 0.9 * np.nanmax(lr)
    now = relative(h)
    if not constant or now < 0.05 or late_fall(h) > 0.05:
        return None
    scatter = float(np.nanstd(loss[half:]) / np.nanmean(loss[half:]))
    swing, _ = swings(h.epochs.val_loss[len(h.epochs) // 2 :])
    if swing < 0.1:
        return None
    text = (
        f"the learning rate stayed at its peak to the end; the loss no longer falls and its steps "
        f"scatter by {scatter:.0%}, the validation loss swings by {swing:.0%}"
    )
    evidence = {"scatter": scatter, "swing": swing, "curves": {"training loss": picture(loss)}}
    return found(
        "decayed_too_late",
        text,
        sure(swing, 0.08, 0.25),
        evidence=evidence,
        remedies=[flag("schedule.name", "one_cycle"), slower(h, 3)],
        source="O7",
    )
