"""Capacity, regularisation and length: over- and underfitting, too few epochs (T4, T5)."""

from __future__ import annotations

import math

import numpy as np

from striate.core.errors import counted
from striate.doctor.history import Curve, History
from striate.doctor.reading import (
    LITTLE,
    decayed,
    falls_steadily,
    finite_epochs,
    gradient_spike,
    late_fall,
    relative,
    restrained,
    shrinkage,
    still_falls,
    takes_off,
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
    sure,
    times,
)
from striate.models.spec import is_spec

_STRONG_DECAY = 5e-3
"""Weight decay that alone can shrink the weights until nothing is learnt."""
_FEW = 300
"""Training images that most networks know by heart."""
_ENOUGH = 6
"""Epochs from which a curve has a beginning, a middle and an end."""


def overfitting(h: History) -> Answer:
    """Validation loss is far above training loss, and it was lower before (T4, T5).

    The lecture's rule, test ≫ train, alone would blame every network that learns its training
    images well; so validation loss must have risen clearly above its own minimum while training
    loss went down, or training images must be known by heart, with far fewer right answers on
    others. A gap at which validation only stands still is undetermined. Confounders:
    validation images of another kind (unlike_splits: then the gap is there from the first epoch),
    wrong training labels (label_noise), overconfidence (validation loss rises while its accuracy
    still grows: undetermined).
    """
    curve = h.curve
    if curve is None or len(curve) < 2:
        return Lacking("training and validation losses of two epochs")
    train, val = float(curve.train[-1]), float(curve.val[-1])
    if not (math.isfinite(train) and math.isfinite(val)) or val <= train:
        return None
    lowest, when, error = _lowest(h, curve)
    rise = (val - lowest) / max(lowest, 1e-12)  # a loss can have been 0
    apart = _score_gap(curve)
    gap = (val - train) / h.chance
    significant = val - train > 3 * curve.gap_error[-1]
    evidence = {
        "training_loss": train,
        "validation_loss": val,
        "lowest_validation_loss": lowest,
        "lowest_at_epoch": when,
        "score_gap": apart,
        "curves": _both(h, curve),
    }
    if not significant or train > 0.7 * val:
        return None
    rose = sure(rise, 0.05, 0.25) if val - lowest > 2 * error and train < 0.5 * val else 0.0
    if _score_since(h, when) > 0.01:  # overconfident, but not worse
        rose = min(rose, 0.55)
    known = 0.0
    if gap > 0.05 and train < 0.1 * val:  # by heart; of few images a smaller gap tells
        least = 0.04 if h.plan is not None and h.plan.images < _FEW else 0.1
        known = sure(apart, least, least + 0.15) if math.isfinite(apart) else sure(gap, 0.1, 0.3)
    stalled = 0.55 if min(gap, apart) > 0.15 and _validation_stalls(h) else 0.0
    confidence = max(rose, known, stalled)
    said = f", {apart:.0%} fewer right answers" if math.isfinite(apart) and apart > 0.02 else ""
    text = f"validation loss {val:.3g} against {train:.3g} in training{said}" + (
        f"; it was {lowest:.3g} after epoch {when:g}" if rise > 0.05 else ""
    )
    return found(
        "overfitting",
        text,
        confidence,
        evidence=evidence,
        remedies=_against_overfitting(h, when),
        source="T4, T5",
    )


def _lowest(h: History, curve: Curve) -> tuple[float, float, float]:
    """(lowest validation loss, its epoch, standard error)."""
    losses = h.epochs.val_loss if len(h.epochs) else curve.val
    epochs = h.epochs.epoch if len(h.epochs) else curve.epoch
    best = int(np.argmin(np.where(np.isfinite(losses), losses, math.inf)))
    return float(losses[best]), float(epochs[best]), float(curve.val_error[-1])


def _validation_stalls(h: History) -> bool:
    """Whether validation loss stood still over the last third while training loss fell."""
    val = h.epochs.val_loss[np.isfinite(h.epochs.val_loss)]
    third = max(1, len(val) // 3)
    return len(val) >= _ENOUGH and late_fall(h) > 0.1 and bool(val[-1] > 0.98 * val[-third - 1])


def _score_since(h: History, epoch: float) -> float:
    """By how much the validation score rose since an epoch; NaN if it is not known."""
    then = h.epochs.val_score[h.epochs.epoch == epoch]
    return float(h.epochs.val_score[-1] - then[0]) if len(then) else math.nan


def _score_gap(curve: Curve) -> float:
    return float(curve.train_score[-1] - curve.val_score[-1])


def _both(h: History, curve: Curve) -> dict[str, tuple[float, ...]]:
    return {
        "training loss": picture(curve.train),
        "validation loss": picture(h.epochs.val_loss if len(h.epochs) else curve.val),
    }


def _against_overfitting(h: History, when: float) -> list[str]:
    """What the recipe does not do yet, the most helpful first (D2, T4)."""
    remedies = []
    if not h.knob("augment.affine") and not h.knob("augment.rotate"):
        remedies.append(
            f"{flag('augment.affine', 0.1)} {flag('augment.rotate', 10.0)} "
            f"{flag('augment.crop', 'pad')}"
        )
    remedies.append(
        times("regularise.l2", h, 4, 5e-4)
        if h.knob("regularise.l2")
        else flag("regularise.l2", 5e-4)
    )
    if not h.knob("regularise.dropout") and not is_spec(str(h.knob("model.name", ""))):
        remedies.append(flag("regularise.dropout", 0.3))
    if when < 0.7 * h.planned:
        remedies.append(flag("budget.epochs", max(1, round(when * 1.25))))
    return [*remedies, "more training images"]


def underfitting(h: History) -> Answer:
    """Training loss stays high although the training had the time and the rate to lower it (T5).

    Confounders: a rate too low or too high, gradients that vanish, dead units, wrong labels (each
    has its own evidence, and the finding is undetermined where one of them is likely), too few
    epochs (then the loss still falls), strong regularisation.
    """
    curve, now = h.curve, relative(h)
    if curve is None or math.isnan(now):
        return Lacking("training and validation losses")
    if not h.ended and finite_epochs(h) < 10:
        return Lacking("the end of the training")
    train, val = float(curve.train[-1]), float(curve.val[-1])
    gap = (val - train) / h.chance
    score = float(curve.train_score[-1])
    high = sure(now, 0.15, 0.45)
    if math.isfinite(score):
        high = min(high, sure(1 - score, 0.05, 0.2))
    if gap > 0.15 or gap > 0.5 * now:
        return None
    change = turnover(h)
    if not math.isnan(change) and change < LITTLE:
        return None
    high = min(high, sure(_flatness(h), 0.0, 0.4))
    falling = still_falls(h.epochs.train_loss)
    unknown = falling is None and (h.plan is None or finite_epochs(h) < _ENOUGH)
    if (falling and (h.plan is None or _flatness(h) < 0.3)) or takes_off(h):
        return None
    if decayed(h) or unknown:  # flat because of that, or nobody knows
        high = min(high, 0.55)
    flat = "no longer falls" if falling is False else "hardly falls"
    if unknown:
        flat = "it cannot be told from so few epochs whether it still falls"
    text = (
        f"training loss {train:.3g} is {of_chance(now)} and {flat}, "
        f"and validation ({val:.3g}) is no worse"
    )
    evidence = {
        "training_loss": train,
        "validation_loss": val,
        "share_of_chance": now,
        "training_score": score,
        "curves": _both(h, curve),
    }
    return found(
        "underfitting",
        text,
        high,
        evidence=evidence,
        remedies=_against_underfitting(h),
        source="T5",
        anew=True,
    )


def _against_underfitting(h: History) -> list[str]:
    if restrained(h):
        return [_release(h), flag("model.name", "fastnet"), longer(h)]
    name = h.knob("model.name", "")
    larger = times("model.width", h, 2, 1.0) if name == "fastnet" else flag("model.name", "fastnet")
    return [larger, longer(h), faster(h, 3)]


def _release(h: History) -> str:
    """The strongest restraint back to its usual value."""
    knobs = {
        "regularise.dropout": (0.7, 0.2),
        "regularise.l2": (0.01, 5e-4),
        "regularise.l1": (1e-3, 0.0),
        "loss.label_smoothing": (0.5, 0.1),
    }
    flags = [
        flag(knob, usual)
        for knob, (limit, usual) in knobs.items()
        if isinstance(h.knob(knob), float) and h.knob(knob) > limit
    ]
    if 0 < h.knob("regularise.max_norm", 0.0) < 0.3:
        flags.append(flag("regularise.max_norm", 3.0))
    return " ".join(flags) or times("regularise.l2", h, 0.1, 5e-4)


def regularisation_too_strong(h: History) -> Answer:
    """What keeps the network from learning by heart keeps it from learning (T4).

    Signs: training loss stays high and equal to validation's, while the weights of the layers
    shrink to a fraction (weight decay), or the loss that training sees, with dropout, mixing and
    augmentation, is far above the loss on the same images without. Confounder: underfitting without
    any restraint has neither sign.
    """
    curve, now = h.curve, relative(h)
    if curve is None or not curve.exact:
        return Lacking("training losses in evaluation mode")
    if not h.ended and finite_epochs(h) < 10:
        return Lacking("the end of the training")
    gap = float(curve.val[-1] - curve.train[-1]) / h.chance
    if now < 0.25 or gap > 0.15:
        return None
    shrunk, eased = shrinkage(h), _eased(h, curve)
    if shrunk > 0.3 and eased < 0.25 * h.chance and not restrained(h):
        return None
    usual = 0 < h.knob("regularise.l2", 1.0) < _STRONG_DECAY  # then something else shrank them
    shaken = usual or gradient_spike(h) > 20
    left = 0.0 if shaken else sure(-math.log10(max(shrunk, 1e-9)), 0.4, 1.0)
    confidence = max(left, sure(eased / h.chance, 0.2, 0.5), 0.9 if restrained(h) else 0.0)
    text = (
        f"the training loss stays at {of_chance(now)}"
        + (f"; weights have shrunk to {shrunk:.0%} of their size" if shrunk < 0.5 else "")
        + (f"; without dropout and augmentation it is lower by {eased:.2g}" if eased > 0.1 else "")
    )
    evidence = {
        "weights_left": shrunk,
        "loss_without": float(curve.train[-1]),
        "loss_with": float(h.epochs.train_loss[-1]),
        "curves": _both(h, curve),
    }
    return found(
        "regularisation_too_strong",
        text,
        confidence,
        evidence=evidence,
        remedies=[_release(h), longer(h)],
        source="T4, T5",
        anew=True,
    )


def _eased(h: History, curve: Curve) -> float:
    """By how much the loss that training saw in the last epoch is above that in evaluation mode."""
    seen = h.epochs.train_loss[-1] if len(h.epochs) else math.nan
    floor = _smoothing_floor(h)
    return float(seen - floor - curve.train[-1]) if math.isfinite(seen) else 0.0


def _smoothing_floor(h: History) -> float:
    """The least loss with smoothed labels: their entropy."""
    share, classes = h.knob("loss.label_smoothing", 0.0), h.classes
    if not isinstance(share, float) or not share or classes < 2:
        return 0.0
    rest = share / classes
    top = 1 - share + rest
    return -(top * math.log(top) + (classes - 1) * rest * math.log(rest))


def _flatness(h: History) -> float:
    """How flat the training loss is: 1 if it does not fall at all, 0 where it falls as that of a
    network that still learns (the more is left, the more may fall). The middle of the training
    counts too, where the rate was high: schedules that end near 0 end flat.
    """
    if math.isnan(turnover(h)) and falls_steadily(h.epochs.train_loss):
        return 0.0
    loss = h.epochs.train_loss[np.isfinite(h.epochs.train_loss)]
    if len(loss) < _ENOUGH:
        return 0.0 if late_fall(h) > 0.1 else 1.0
    first, last = loss[len(loss) // 3], loss[2 * len(loss) // 3]
    middle = (first - last) / max(first - _smoothing_floor(h), 1e-9)
    fall = max(middle, 0.0) + 2 * max(late_fall(h), 0.0)
    return float(1 - fall / (0.09 + 0.13 * relative(h)))


def too_few_epochs(h: History) -> Answer:
    """The training ended while both losses still fell fast and together (T5).

    Confounder: every schedule that ends at a low rate ends with a fall; so the loss must also be
    far from its floor, and validation no worse than training.
    """
    curve, now = h.curve, relative(h)
    if curve is None or not h.ended:
        return Lacking("the end of the training")
    gap = float(curve.val[-1] - curve.train[-1])
    if now < 0.25 or gap > 0.1 * h.chance:
        return None
    few = h.plan is not None and 0 < h.plan.steps < 150
    change = turnover(h)
    if not math.isnan(change) and change < (LITTLE / 10 if few else LITTLE):
        return None  # more epochs of nothing
    fall, begins = late_fall(h), takes_off(h)
    if not few and fall < 0.15 and not begins:
        return None
    text = (
        f"training ended after {counted(h.planned, 'epoch')}"
        + (f" of {counted(h.plan.steps // max(1, h.plan.epochs), 'step')}" if h.plan else "")
        + f" with {of_chance(now)} left"
        + (f", which fell by {fall:.0%} in the last third" if math.isfinite(fall) else "")
        + (", faster than before: it has only begun to learn" if begins else "")
    )
    confidence = sure(now, 0.2, 0.5) if few or begins or fall > 0.25 else 0.55
    return found(
        "too_few_epochs",
        text,
        confidence,
        evidence={"late_fall": fall, "curves": _both(h, curve)},
        remedies=[longer(h, 4), *([faster(h, 3)] if begins else []), longer(h, 2)],
        source="T5",
    )


def plateau(h: History) -> Answer:
    """The training loss has not fallen for half of the training, and nothing else explains it.

    Says only that it is so: undetermined.
    """
    losses = h.epochs.train_loss[np.isfinite(h.epochs.train_loss)]
    if len(losses) < 6:
        return Lacking("six epochs")
    half = len(losses) // 2
    now = relative(h)
    if now < 0.2 or losses[half:].min() < 0.97 * losses[:half].min() or still_falls(losses):
        return None
    text = f"the training loss has not fallen since epoch {int(np.argmin(losses[:half])) + 1}"
    return found(
        "plateau",
        text,
        0.55,
        evidence={"curves": {"training loss": picture(losses)}},
        remedies=[faster(h, 3), "`striate doctor RUN --try` compares remedies"],
        source="T5",
    )
