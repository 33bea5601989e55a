"""The learning rate: too high, too low, lowered too early or too late (O6, O7, T5)."""

from __future__ import annotations

import math

import numpy as np

from striate.doctor.history import Column, History
from striate.doctor.reading import (
    LITTLE,
    crawls,
    decayed,
    finite_epochs,
    gradient_spike,
    grew_before_the_end,
    late_fall,
    relative,
    restrained,
    still_falls,
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
    usual_rate,
)

_TOO_LITTLE = 4
"""Epochs from which a curve's shape can be read."""


def learning_rate_too_high(h: History) -> Answer:
    """The loss explodes, jumps up and stays there, or bounces (O6, T5).

    Signs: a loss that is not finite after it grew; a jump to several times the loss of knowing
    nothing; gradients that jump to many times their first size and leave nothing learnt; updates
    that replace a large part of the weights at each step while the loss stays high; validation
    losses that swing. Confounders: bad inputs (then the loss was normal until it was not finite),
    an initialisation that explodes (exploding_gradient looks at the first steps), noise of small
    batches, and norm layers, which forgive rates that are ten times too high.
    """
    losses = h.steps.loss if len(h.steps) else h.epochs.train_loss
    if not len(losses):
        return Lacking("training losses")
    signs = [sign(h, losses) for sign in _SIGNS]
    seen = [s for s in signs if s is not None]
    if not seen:
        return None
    text, confidence = max(seen, key=lambda s: s[1])
    now = relative(h)
    evidence = {
        "largest_loss": float(np.max(losses[np.isfinite(losses)], initial=0.0)),
        "loss_of_chance": h.chance,
        "loss_now": now * h.chance,
        "change_of_weights_a_step": turnover(h),
        "curves": {"training loss": picture(losses)},
    }
    return found(
        "learning_rate_too_high",
        text,
        confidence,
        evidence=evidence,
        remedies=[slower(h, 10), slower(h, 3), flag("optim.clip_norm", 1.0)],
        source="O6, T5; Goodfellow et al. 2016, 11.4",
        anew=not now < 0.9,
    )


_Sign = tuple[str, float] | None
"""What was seen, and how sure that is."""


def _exploded(h: History, losses: Column) -> _Sign:
    if not grew_before_the_end(h):
        return None
    worst = float(np.max(losses[np.isfinite(losses)], initial=0.0))
    return f"the training loss grew to {worst:.3g} and then was not finite", 0.95


def _jumped(h: History, losses: Column) -> _Sign:
    now, peak = relative(h), float(np.max(losses[np.isfinite(losses)], initial=0.0))
    jump = peak / max(h.chance, float(losses[0]))  # the first is that of the weights as they start
    if restrained(h) or not now > 0.3 or not jump > 3:
        return None
    text = (
        f"the training loss jumped to {peak:.3g}, {jump:.3g} times that of guessing "
        f"({h.chance:.3g}), and is {now * h.chance:.3g} now"
    )
    return text, sure(jump, 2, 6)


def _spiked(h: History, _: Column) -> _Sign:
    slopes = h.steps.gradient[np.isfinite(h.steps.gradient)]
    now = relative(h)
    if len(slopes) < 20 or not now > 0.6:
        return None
    first, largest = float(np.median(slopes[:5])), float(slopes.max())
    if largest < 5 or slopes[:5].max() > 0.5 * largest:
        return None
    text = (
        f"the gradient's norm jumped from {first:.2g} to {largest:.3g}, and what was learnt before "
        f"is lost: {of_chance(now)} is left"
    )
    return text, sure(gradient_spike(h), 8, 40)


def _killed(h: History, _: Column) -> _Sign:
    """The first updates were so large that the units died: then nothing moves any more."""
    usual, rate, now = usual_rate(h), h.rate(), relative(h)
    if usual is None or not rate > 5 * usual or not now > 0.85 or not h.measured:
        return None
    idle = [m for m in h.measured if max((x["gradient"] for x in m.layers.values()
                                          if "gradient" in x), default=1.0) < 1e-6]  # fmt: skip
    dead = max((x["dead"] for x in h.measured[-1].layers.values() if "dead" in x), default=0.0)
    if not idle and dead < 0.5 and turnover(h) > LITTLE:
        return None
    text = (
        f"the rate is {rate:.2g} (usual: about {usual:.2g}); nothing is learnt, and "
        f"{dead:.0%} of the units of a layer are 0 for every image"
    )
    return text, sure(math.log10(rate / usual), 0.7, 1.3)


def _churned(h: History, _: Column) -> _Sign:
    now, change = relative(h), turnover(h)
    if not now > 0.3 or restrained(h):  # weights that are kept small change by much of their size
        return None
    if decayed(h):
        return None  # nothing has moved for long, however large the first steps were
    text = f"each step changed the weights of a layer by {change:.0%}, and {of_chance(now)} is left"
    turns = h.knob("optim.rule") == "muon"  # its steps are large by design
    return text, sure(change, 0.2, 0.5) if turns else sure(change, 0.06, 0.2)


def _bounced(h: History, losses: Column) -> _Sign:
    swing, now = swings(h.epochs.val_loss), relative(h)
    if not len(h.steps):  # means over epochs hide a bounce within one
        swing = max(swing, swings(losses))
    ends = h.epochs.val_loss[np.isfinite(h.epochs.val_loss)][-1:]
    settled = len(ends) and ends[0] < min(0.3 * h.chance, 1.02 * np.nanmin(h.epochs.val_loss))
    if not now > 0.1 or settled:
        return None
    return f"the loss swings by {swing:.0%} from epoch to epoch", sure(swing, 0.3, 0.8)


def _rose(h: History, losses: Column) -> _Sign:
    """From means over epochs: what was learnt before is lost."""
    known = losses[np.isfinite(losses)]
    if len(h.steps) or len(known) < _TOO_LITTLE:
        return None
    lowest = np.minimum.accumulate(known)
    rise = float(np.max(known - lowest)) / h.chance
    if rise < 0.04 or not (known[-1] > 1.02 * known.min() or relative(h) > 0.4):
        return None  # it recovered
    worst = int(np.argmax(known - lowest))
    text = f"the training loss rose from {lowest[worst]:.3g} to {known[worst]:.3g}"
    return f"{text} and is {known[-1]:.3g} now", sure(rise, 0.04, 0.15)


def _started_above(h: History, losses: Column) -> _Sign:
    """From means over epochs: worse than knowing nothing at first, and nothing is learnt."""
    if len(h.steps) or not h.learnt_nothing or crawls(h):
        return None
    later = float(np.nanmedian(losses[1:]))
    above = float(losses[0] / later) - 1
    text = (
        f"the mean training loss of the first epoch is {losses[0]:.3g}, then it stays at that of "
        f"guessing ({later:.3g}): nothing was learnt"
    )
    fast = sure(math.log10(h.rate()), -0.4, 1.0) if h.rate() > 0 else 0.0
    if fast > max(0.5, sure(above, 0.03, 0.2)):
        text = f"nothing was learnt at a rate of {h.rate():g}"
    return text, max(sure(above, 0.03, 0.2), fast)


_SIGNS = (_exploded, _jumped, _spiked, _killed, _churned, _bounced, _rose, _started_above)


def swings(values: Column) -> float:
    """Typical rise of the rising epochs as a share of the loss; 0 if few of them rise."""
    known = values[np.isfinite(values)]
    if len(known) < _TOO_LITTLE:
        return 0.0
    rises = np.diff(known)
    up = rises[rises > 0]
    if len(up) < max(2, 0.25 * len(rises)):
        return 0.0
    return float(np.median(up) / np.median(known))


def learning_rate_too_low(h: History) -> Answer:
    """The loss falls very slowly (O6, T5).

    Signs: it still falls at nearly the speed of the beginning, training and validation together,
    far above its floor; the updates change the weights by far less than a thousandth a step.
    Confounders: too few epochs (then the updates are of a usual size), gradients that vanish (then
    only some layers stand still), too strong regularisation (then the loss does not fall at all).
    """
    now, change = relative(h), turnover(h)
    if math.isnan(now):
        return Lacking("training losses")
    updates = not math.isnan(change)
    if not updates and finite_epochs(h) < _TOO_LITTLE:
        return Lacking("updates of the layers, or four epochs")
    seen = _small_updates(h, change) if updates else _slow_curve(h)
    if seen is None:
        return None
    text, confidence = seen
    return found(
        "learning_rate_too_low",
        text,
        confidence,
        evidence={
            "loss_now": now * h.chance,
            "loss_of_chance": h.chance,
            "change_of_weights_a_step": change,
            "curves": {"training loss": picture(h.epochs.train_loss)},
        },
        remedies=[faster(h, 100 if change < LITTLE / 30 else 10), faster(h, 3), longer(h, 3)],
        source="O6, T5; Karpathy, CS231n notes: updates of about 1e-3 of the weights",
    )


def _small_updates(h: History, change: float) -> _Sign:
    now = relative(h)
    short = h.plan is not None and h.plan.steps < 150 and h.plan.epochs <= 2
    if change > (LITTLE / 10 if short else LITTLE) or now < 0.4 or len(h.steps) < 20:
        return None
    text = (
        f"the training loss is still {of_chance(now)}, and a step changes "
        f"no layer's weights by more than {change:.1g} of their size (usual: 0.001 to 0.01)"
    )
    return text, sure(-math.log10(max(change, 1e-12)), 2.5, 3.1)


def _slow_curve(h: History) -> _Sign:
    """From means over epochs alone."""
    now, done, rate = relative(h), finite_epochs(h), h.rate()
    if now > 0.7 and crawls(h):
        text = (
            f"after {done} epochs the training loss is {now:.0%} of what it was; it falls as the "
            "sum of the rates grows, as slowly and steadily at the end as at first"
        )
        return text, sure(now, 0.7, 0.9)
    if h.learnt_nothing and 0 < rate < 1e-3:
        text = f"nothing was learnt in {done} epochs at a rate of {rate:.1g}"
        return text, sure(-math.log10(rate), 3.7, 5)
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
    level = min(loss[first - 1], loss[first], h.chance)  # an epoch's mean lags behind its end
    gained = (level - loss[-1]) / h.chance
    fell = (loss[first - 2] - loss[first - 1]) / h.chance if first > 2 else math.inf
    if now < 0.35 or gained / after > 0.02 or fell < 0.06:
        return None
    text = (
        f"the learning rate was cut below a tenth after epoch {first} of {len(low)}; since then "
        f"the training loss fell by {gained:.0%} of that of guessing, and {now:.0%} are left"
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
    if not constant or now < 0.05 or late_fall(h) > 0.05 or still_falls(h.epochs.train_loss):
        return None
    scatter = float(np.nanstd(loss[half:]) / np.nanmean(loss[half:]))
    swing = swings(h.epochs.val_loss[len(h.epochs) // 2 :])
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
