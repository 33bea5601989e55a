"""What the data are to blame for: splits, labels, classes (D3, T5)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from striate.core.findings import Finding
from striate.core.records import Measured
from striate.doctor.history import Column, Curve, History
from striate.doctor.reading import splits_apart
from striate.doctor.saying import Answer, Lacking, flag, found, picture, sure

_RANDOM = 0.09
"""Share of the mistakes on training images whose label ranks low: half where labels are random and
nothing is learnt by heart yet, next to nothing where images are hard."""
_FEW = 500
"""Fewer training images than this may be known by heart as soon as anything is learnt."""
_EARLY = 4
"""Epochs before which labels that are still to be learnt look like wrong ones."""
_SKILL = 0.35
"""Share of the way from guessing to perfect from which a network's mistakes say something."""


def bad_split(h: History) -> Answer:
    """Training images are harder than validation images (T5: train ≫ test).

    The lecture's rule is false under dropout, augmentation and smoothing, which raise only the loss
    that training sees; so training loss is measured again, in evaluation mode on unaugmented
    images. Confounder: wrong labels in training alone (label_noise), which is looked at first.
    """
    curve = h.curve
    if curve is None or len(curve) < 2:
        return Lacking("training and validation losses of two epochs")
    lower = curve.train - curve.val
    sigma = lower / np.maximum(curve.gap_error, 1e-9)
    share = lower / curve.train
    at = _clearest(curve, lower > 0.02 * h.chance, sigma, share)
    if at is None:
        return None
    evidence = {
        "epoch": float(curve.epoch[at]),
        "training_loss": float(curve.train[at]),
        "validation_loss": float(curve.val[at]),
        "standard_errors": float(sigma[at]),
        "measured_in_evaluation_mode": curve.exact,
        "curves": {"training loss": picture(curve.train), "validation loss": picture(curve.val)},
    }
    remedies = ["striate data check DATA", "split anew, by group if images are related: "
                "--data.group-by EXPRESSION"]  # fmt: skip
    if not curve.exact:
        text = (
            f"training loss {curve.train[at]:.3g} is above validation loss {curve.val[at]:.3g}: "
            "dropout or augmentation explain that, unless training loss was measured without them"
        )
        return found("bad_split", text, 0.5, evidence=evidence, remedies=remedies, source="T5, D3")
    if _noise(h) > 0.12:
        return None
    text = (
        f"after epoch {curve.epoch[at]:g} the loss on training images, in evaluation mode and "
        f"without augmentation, is {curve.train[at]:.3g}, on validation images "
        f"{curve.val[at]:.3g}: these are easier"
    )
    return found(
        "bad_split",
        text,
        min(sure(sigma[at], 2.7, 4.0), sure(share[at], 0.03, 0.15)),
        evidence=evidence,
        remedies=remedies,
        source="T5, D3",
        anew=True,
    )


def _clearest(curve: Curve, apart: Any, sigma: Column, share: Column) -> int | None:
    """When training images were most clearly harder. In evaluation mode at any time: what is learnt
    by heart later hides it. Means over epochs must show it to the end."""
    if not curve.exact:
        last = slice(-max(2, len(curve) // 2), None)
        clear = np.nanmin(sigma[last]) > 1 and sigma[-1] > 3 and share[-1] > 0.15 and apart[-1]
        return len(curve) - 1 if clear else None
    usable = np.where(apart & (share > 0.03), sigma, 0.0)
    return int(np.argmax(usable))


def unlike_splits(h: History) -> Answer:
    """Validation images are unlike training images (D3, T5).

    Validation is far worse from the first epochs on, when nothing can have been learnt by heart
    yet: then the mean loss of an epoch, on images that were new to it, tells what training images
    cost that are not known by heart. Overfitting's gap grows with the epochs instead. Confounders:
    a few hundred images are known by heart as soon as anything is learnt (then nothing is said);
    batch norm's averages lag and high rates shake them, so the gap must also be there at the end.
    """
    if answer := _by_looks(h):
        return answer
    seen = _while_new(h)
    if seen is None:
        return Lacking("losses of the first epochs in which something is learnt")
    epochs, train, val = seen
    gaps = (val - train) / h.chance
    score = h.epochs.val_score
    best = float(np.nanmax(score)) if np.isfinite(score).any() else math.nan
    gap = float(np.median(gaps)) if len(gaps) else 0.0
    wide = gaps > 0.05
    if h.plan is None:  # the loss of guessing is guessed: less of the first epoch
        wide = np.array([gaps[0] > 0, *wide[1:]])
    if not wide[0] or wide.mean() < 0.7 or not _still_apart(h):
        return None
    text = (
        f"in epochs {epochs[0]:g} to {epochs[-1]:g} the loss is {train.mean():.3g} on training "
        f"and {val.mean():.3g} on validation images: too early to have learnt by heart"
    )
    evidence = {
        "epochs": tuple(epochs.tolist()),
        "gap": gap,
        "best_validation_score": best,
        "curves": {
            "training loss": picture(h.epochs.train_loss),
            "validation loss": picture(h.epochs.val_loss),
        },
    }
    remedies = ["striate data check DATA", "split training and validation from one source"]
    return found(
        "unlike_splits",
        text,
        min(sure(gap, 0.1, 0.4), _could_be_by_heart(h), 0.55 if _look_alike(h) else 1.0),
        evidence=evidence,
        remedies=remedies,
        source="D3, T5",
        anew=True,
    )


def _by_looks(h: History) -> Finding | None:
    """A classifier tells training from validation images, and validation is clearly worse from the
    first measurement on in which something was learnt. Either alone is no fault."""
    curve = h.curve
    if curve is None or not curve.exact or not splits_apart(h):
        return None
    skilled = np.flatnonzero(curve.train < 0.85 * h.chance)
    if not len(skilled):
        return None
    apart = (curve.val - curve.train) / h.chance
    errors = curve.gap_error / h.chance
    first = int(skilled[0])
    if apart[first] < 0.08 or apart[-1] < 0.1 or apart[-1] < 3 * errors[-1]:
        return None
    area, error = next(m.splits_area for m in reversed(h.measured) if m.splits_area)
    text = (
        f"a linear classifier tells training from validation images by their looks (area under the "
        f"curve {area:.2f} ± {2 * error:.2f}; alike would be 0.5), and the loss on validation "
        f"images is {curve.val[-1]:.3g} against {curve.train[-1]:.3g}: they come from elsewhere"
    )
    return found(
        "unlike_splits",
        text,
        min(sure(area - 2 * error, 0.65, 0.9), sure(float(apart[-1]), 0.05, 0.3)),
        evidence={"area": area, "standard_error": error, "gap": float(apart[-1]), "curves": {
            "training loss": picture(curve.train), "validation loss": picture(curve.val),
        }},
        remedies=["striate data check DATA", "split training and validation from one source"],
        source="D3, T5",
        anew=True,
    )  # fmt: skip


def _look_alike(h: History) -> bool:
    """Whether it is known that training and validation images cannot be told apart well."""
    known = [m.splits_area for m in h.measured if m.splits_area is not None]
    return bool(known) and known[-1][0] + 2 * known[-1][1] < 0.7


def _could_be_by_heart(h: History) -> float:
    """The most that can be said: how many images there are may not be known, and few are known by
    heart in a few epochs."""
    by_heart = h.plan is None and bool(h.epochs.train_loss[-1] < 0.1 * h.chance)
    return 0.55 if by_heart else 1.0


def _still_apart(h: History) -> bool:
    """Whether validation is clearly worse at the end too."""
    curve = h.curve
    return curve is not None and bool(curve.val[-1] - curve.train[-1] > 0.1 * h.chance)


def _while_new(h: History) -> tuple[Column, Column, Column] | None:
    """(epochs, training, validation losses) of the first epochs with some skill, before training
    images are known by heart; None if there are none."""
    train, val = h.epochs.train_loss, h.epochs.val_loss
    known = np.isfinite(train) & np.isfinite(val)
    skilled = np.flatnonzero(known & (train < 0.85 * h.chance))
    images = h.plan.images if h.plan else _FEW
    if not len(skilled) or (skilled[0] > 0 and images < _FEW):
        return None
    first = int(skilled[0])
    here = slice(first, first + max(2, min(4, len(train) // 3)))
    usable = known[here] & (train[here] > 0.1 * h.chance)
    if not usable.any():
        return None
    return h.epochs.epoch[here][usable], train[here][usable], val[here][usable]


def label_noise(h: History) -> Answer:
    """Training labels contradict what the network learns from all the others.

    A hard image is taken for a similar class, so its label ranks high among the other answers; a
    random label ranks anywhere. Twice the share of training images whose label ranks in the lower
    half estimates the share of random labels, as long as they are not learnt by heart (networks
    learn the regular part first: Arpit et al. 2017, arXiv:1706.05394); late memorisation shows as
    that share going down while validation gets worse. Blind to wrong labels that are always of the
    similar class, below four classes, and while the network has no skill yet.
    """
    if not h.measured:
        return Lacking("predictions on training images")
    if h.classes < 4:
        return Lacking("four classes or more")
    if splits_apart(h):
        return Lacking("validation images that are like the training images")
    share, when = _noisiest(h)
    if when is None:
        return None
    if not h.ended and when.epoch < _EARLY:
        return Lacking("a few more epochs: networks learn the regular part first")
    text = (
        f"about {min(1.0, share):.0%} of the training labels contradict the network after epoch "
        f"{when.epoch} in the way random labels do"
    )
    evidence = {
        "share_of_labels": share,
        "epoch": when.epoch,
        "score": when.val_score,
        "curves": {"contradicted": picture(np.array([m.contradicted or 0.0 for m in h.measured]))},
    }
    remedies = ["striate data check DATA --csv doubtful.csv",
                flag("loss.label_smoothing", 0.2)]  # fmt: skip
    return found(
        "label_noise",
        text,
        sure(share, 0.02, 0.1),
        evidence=evidence,
        remedies=remedies,
        source="Arpit et al. 2017; Northcutt et al. 2021",
        anew=True,
    )


def _noisiest(h: History) -> tuple[float, Measured | None]:
    """(lower bound of the share of random labels, when): over the measurements at which validation
    was near its best, after the rule is learnt and mostly before the exceptions are."""
    able = [m for m in h.measured if m.contradicted is not None and _skilled(h, m)]
    if not able:
        return 0.0, None
    best = max(able, key=lambda m: m.val_score)
    near = [m for m in able if m.val_score >= 0.85 * best.val_score]
    seen = [m.contradicted or 0.0 for m in able]
    if len(seen) > 1 and seen[-1] < 0.5 * seen[-2] and not h.ended:
        return 0.0, best  # what looks wrong is still being learnt
    contradicted = float(np.mean([m.contradicted or 0.0 for m in near]))
    wrong = float(np.mean([1 - m.train_score for m in near]))
    error = math.sqrt(max(contradicted * (1 - contradicted), 1e-6) / best.train_images)
    if contradicted < _RANDOM * wrong:  # hard images: their labels rank high
        return 0.0, best
    return max(0.0, 2 * (contradicted - 1.64 * error)), best


def _skilled(h: History, m: Measured) -> bool:
    """Whether the network is well above guessing, on training and on validation images, and sure of
    some answers: what ranks second says nothing as long as all outputs are nearly equal."""
    if m.train_loss > 0.85 * h.chance:
        return False
    common = max(h.plan.class_images) / sum(h.plan.class_images) if h.plan else 0.0
    skills = [(score - common) / (1 - common) for score in (m.train_score, m.val_score)]
    return skills[0] > _SKILL and skills[1] > 0.4 * _SKILL


def _noise(h: History) -> float:
    return _noisiest(h)[0] if h.measured and h.classes >= 4 else 0.0


def class_imbalance(h: History) -> Answer:
    """Rare classes are hardly recognised, because they are rare.

    Signs: classes with few training images have a far lower recall than those with many.
    Confounder: hard classes; so the recall must go with the number of images over all groups.
    """
    if not h.measured or not h.measured[-1].recall:
        return Lacking("recall by class")
    groups = np.array(h.measured[-1].recall, dtype=np.float64)
    count, seen, recall = groups.T
    if len(count) < 2 or count.max() < max(30.0, 3 * count.min()):
        return None
    rare = count < count.max() / 3
    common = count > count.max() / 2
    if not rare.any() or not common.any():
        return None
    few, many = (float(np.average(recall[part], weights=seen[part])) for part in (rare, common))
    n_few, n_many = float(seen[rare].sum()), float(seen[common].sum())
    error = math.sqrt(0.25 / n_few + 0.25 / n_many)
    together = _correlation(np.log(np.maximum(count, 1)), recall)
    if many - few < 0.2 or many - few < 2.5 * error or (len(count) > 2 and together < 0.4):
        return None
    text = (
        f"classes with fewer than {count.max() / 3:.0f} training images are recognised in "
        f"{few:.0%} of the cases, those with more than {count.max() / 2:.0f} in {many:.0%}"
    )
    evidence = {
        "recall_of_rare": few,
        "recall_of_common": many,
        "correlation": together,
        "largest": float(count.max()),
        "smallest": float(count.min()),
    }
    return found(
        "class_imbalance",
        text,
        sure(many - few, 0.15, 0.4),
        evidence=evidence,
        remedies=[flag("data.sampler", "balanced"), "more images of the rare classes"],
        source="Buda et al. 2018, arXiv:1710.05381",
        anew=True,
    )


def _correlation(a: Column, b: Column) -> float:
    """Pearson's, 0 where one does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0
