"""What the data are to blame for: splits, labels, classes (D3, T5)."""

from __future__ import annotations

import math

import numpy as np

from striate.core.records import Measured
from striate.doctor.history import Curve, History
from striate.doctor.saying import Answer, Lacking, flag, found, picture, sure

_SKILL = 0.25
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
    last = slice(-max(2, len(curve) // 2), None)
    if not (np.nanmin(sigma[last]) > 1 and sigma[-1] > 3 and share[-1] > 0.15):
        return None
    if lower[-1] < 0.02 * h.chance:
        return None
    evidence = {
        "training_loss": float(curve.train[-1]),
        "validation_loss": float(curve.val[-1]),
        "standard_errors": float(sigma[-1]),
        "measured_in_evaluation_mode": curve.exact,
        "curves": {"training loss": picture(curve.train), "validation loss": picture(curve.val)},
    }
    remedies = ["striate data check DATA --model", "split anew, by group if images are related: "
                "--data.group-by EXPRESSION"]  # fmt: skip
    if not curve.exact:
        text = (
            f"training loss {curve.train[-1]:.3g} is above validation loss {curve.val[-1]:.3g}: "
            "dropout or augmentation explain that, unless training loss was measured without them"
        )
        return found("bad_split", text, 0.5, evidence=evidence, remedies=remedies, source="T5, D3")
    if _noise(h) > 0.12:
        return None
    text = (
        f"the loss on training images, in evaluation mode and without augmentation, is "
        f"{curve.train[-1]:.3g}, on validation images {curve.val[-1]:.3g}: these are easier, or "
        "among the training images"
    )
    return found(
        "bad_split",
        text,
        sure(min(sigma[-1] / 10, share[-1]), 0.15, 0.4),
        evidence=evidence,
        remedies=remedies,
        source="T5, D3",
        anew=True,
    )


def unlike_splits(h: History) -> Answer:
    """Validation images are unlike training images (D3, T5).

    Validation is far worse from the first epochs on, when nothing can have been learnt by heart
    yet. Overfitting's gap grows with the epochs instead.
    """
    curve = h.curve
    if curve is None or not len(curve):
        return Lacking("training and validation losses")
    early = _early(curve, h.chance)
    if early is None:
        return None
    gap = float(curve.val[early] - curve.train[early]) / h.chance
    sigma = float((curve.val[early] - curve.train[early]) / max(curve.gap_error[early], 1e-9))
    apart = float(curve.train_score[early] - curve.val_score[early])
    if gap < 0.2 or sigma < 4 or not (math.isnan(apart) or apart > 0.1):
        return None
    confidence = min(sure(gap, 0.15, 0.5), 0.97 if curve.exact else 0.65)
    text = (
        f"already after epoch {curve.epoch[early]:g} the loss is {curve.train[early]:.3g} on "
        f"training and {curve.val[early]:.3g} on validation images: too early to have learnt by "
        "heart"
    )
    evidence = {
        "epoch": float(curve.epoch[early]),
        "gap": gap,
        "standard_errors": sigma,
        "score_gap": apart,
        "curves": {"training loss": picture(curve.train), "validation loss": picture(curve.val)},
    }
    remedies = ["striate data check DATA --model", "split training and validation from one source"]
    return found(
        "unlike_splits",
        text,
        confidence,
        evidence=evidence,
        remedies=remedies,
        source="D3, T5",
        anew=True,
    )


def _early(curve: Curve, chance: float) -> int | None:
    """The first moment with some skill, if training is not yet at its floor then."""
    for i in range(len(curve)):
        if curve.train[i] < 0.85 * chance:
            return i if curve.train[i] > 0.12 * chance or i == 0 else None
    return None


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
    share, when = _noisiest(h)
    if when is None:
        return None
    if share < 0.08:
        return None
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
    remedies = ["striate data check DATA --model --csv doubtful.csv, then --exclude doubtful.csv",
                flag("loss.label_smoothing", 0.2)]  # fmt: skip
    return found(
        "label_noise",
        text,
        sure(share, 0.08, 0.2),
        evidence=evidence,
        remedies=remedies,
        source="Arpit et al. 2017; Northcutt et al. 2021",
        anew=True,
    )


def _noisiest(h: History) -> tuple[float, Measured | None]:
    """(largest lower bound of the share of random labels, when); only where there is skill."""
    best, when = 0.0, None
    for m in h.measured:
        if m.contradicted is None or not _skilled(h, m):
            continue
        error = math.sqrt(max(m.contradicted * (1 - m.contradicted), 1e-6) / m.train_images)
        share = 2 * (m.contradicted - error)
        if share > best:
            best, when = share, m
    return best, when


def _skilled(h: History, m: Measured) -> bool:
    """Whether the network is well above guessing on the training images it is asked about."""
    common = max(h.plan.class_images) / sum(h.plan.class_images) if h.plan else 0.0
    return (m.train_score - common) / (1 - common) > _SKILL


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
    if len(count) < 2 or count.max() < 3 * max(1.0, count.min()):
        return None
    rare = count < count.max() / 3
    common = count > count.max() / 2
    if not rare.any() or not common.any():
        return None
    few, many = (float(np.average(recall[part], weights=seen[part])) for part in (rare, common))
    n_few, n_many = float(seen[rare].sum()), float(seen[common].sum())
    error = math.sqrt(0.25 / n_few + 0.25 / n_many)
    together = float(np.corrcoef(np.log(np.maximum(count, 1)), recall)[0, 1])
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
