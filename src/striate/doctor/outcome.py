"""What came out: scores at chance, classes that are never found, gaps, labels without meaning."""

from __future__ import annotations

import math

import numpy as np

from striate.core.findings import Finding
from striate.doctor.history import History
from striate.doctor.reading import LITTLE, splits_apart, turnover
from striate.doctor.saying import Answer, Lacking, flag, found, picture, sure

_FEW_A_CLASS = 15
"""Training images of a class with which most networks learn something of it."""
_STEPS_TO_LEARN = 100
_GAP, _WIDE_GAP = 0.05, 0.15


def guessing(h: History) -> float:
    """Validation accuracy of always naming the class that is commonest in training; NaN where it is
    not known."""
    groups = h.measured[-1].recall if h.measured else ()
    seen = sum(images for _, images, _ in groups)
    if not seen or h.classes < 2:
        return math.nan
    together = -(-h.classes // 10)  # classes in the first group, the commonest ones
    return max(groups[0][1] / seen / together, 1 / h.classes)


def never_above_chance(h: History) -> bool | None:
    """Whether no validation accuracy of the training was clearly above guessing; None where they
    are of so few images that a network which knows half of all there is has such ones, too."""
    from scipy.special import bdtr

    chance = guessing(h)
    scores = [m.val_score for m in h.measured]
    images = h.measured[-1].val_images if h.measured else 0
    if not chance < 1 or not images or (h.plan and h.plan.score != "accuracy"):
        return False
    known = h.epochs.val_score[np.isfinite(h.epochs.val_score)]
    best, half = max([*scores, *known.tolist()]), (1 + chance) / 2
    tries = math.sqrt(2 * math.log(max(2, len(known))))  # the best of many is above the mean
    if best > chance + (1.5 + tries) * math.sqrt(chance * (1 - chance) / images) + 0.5 / images:
        return False
    return True if bdtr(round(best * images), images, half) < 0.05 else None


def _too_few(h: History) -> Lacking:
    return Lacking(f"more validation images: {h.measured[-1].val_images} are too few to be sure")


def labels_random(h: History) -> Answer:
    """Labels have nothing to do with the images: nothing can be learnt of many images, although 20
    of them can be learnt by heart; or all are learnt by heart, and nothing of others (T3, T5).

    Confounders: a network or a rate that learns nothing at all (then it cannot learn 20 images by
    heart either, and its own rule fires), few images of each class, validation from elsewhere.
    """
    last = h.measured[-1] if h.measured else None
    if last is None or not h.ended:
        return Lacking("the end of the training, with measurements")
    images = sorted(h.plan.class_images) if h.plan else []
    enough = bool(images) and images[len(images) // 2] >= _FEW_A_CLASS
    stuck = never_above_chance(h)
    if not enough or not stuck or splits_apart(h):
        return _too_few(h) if enough and stuck is None else None
    if turnover(h) < LITTLE / 2 or len(h.steps) < _STEPS_TO_LEARN:
        return None  # 20 images were given more steps than all of them
    if last.by_heart is not None:
        if last.by_heart < 0.7:
            return None
        text = (
            f"nothing is learnt of {h.plan.images if h.plan else 0:,} images, although 20 of them "
            "are learnt by heart: their labels have nothing to do with what they show"
        )
        confidence = sure(last.by_heart, 0.5, 0.9)
    else:
        skill = (last.train_score - guessing(h)) / (1 - guessing(h))
        new = h.epochs.train_loss[1:3]  # random labels are learnt late, image by image
        if skill < 0.1 or last.splits_area is None or (new < 0.9 * h.chance).any():
            return None
        text = (
            f"training images are learnt by heart ({last.train_score:.0%} right), and validation "
            f"stays at guessing ({last.val_score:.0%}): labels have nothing to do with what images "
            "show"
        )
        confidence = sure(skill, 0.1, 0.4)
    return found(
        "labels_random",
        text,
        confidence,
        evidence={
            "by_heart": last.by_heart, "training_score": last.train_score,
            "validation_score": last.val_score, "guessing": guessing(h),
        },
        remedies=["look at images and labels: `striate data show DATA --png FILE`",
                  "striate data check DATA"],
        source="T3, T5; Zhang et al. 2017, arXiv:1611.03530",
        anew=True,
    )  # fmt: skip


def at_chance(h: History) -> Answer:
    """Validation never rose above guessing: whatever the reason, nothing useful was learnt (T5)."""
    if not h.measured or not h.ended:
        return Lacking("the end of the training, with measurements")
    stuck = never_above_chance(h)
    if stuck is None:
        return _too_few(h)
    if not stuck:
        return None
    last, chance = h.measured[-1], guessing(h)
    each = h.plan.images / max(1, h.classes) if h.plan else math.nan
    few = each < _FEW_A_CLASS
    text = (
        f"validation accuracy is {last.val_score:.1%} ({_best(h):.1%} at best), and guessing gives "
        f"{chance:.1%}: nothing was learnt that holds for other images"
        + (f"; there are about {each:.0f} training images of each class" if few else "")
    )
    remedies = ["`striate preflight DATA` looks for the reason"]
    if few:
        remedies.insert(0, "more images of each class, or fewer classes")
    return found(
        "at_chance",
        text,
        0.9,
        evidence={"best": _best(h), "guessing": chance, "images_of_a_class": each,
                  "curves": {"validation": picture(h.epochs.val_score)}},
        remedies=remedies,
        source="T5",
        anew=True,
    )  # fmt: skip


def _best(h: History) -> float:
    known = h.epochs.val_score[np.isfinite(h.epochs.val_score)]
    return float(known.max()) if len(known) else h.measured[-1].val_score


def class_never_found(h: History) -> Answer:
    """A class of which no validation image is recognised (E1).

    Confounder: a hard class of which few images are there; so the chance of missing all of them by
    bad luck, at the accuracy of the others, must be small. Undetermined otherwise.
    """
    last = h.measured[-1] if h.measured else None
    if last is None or not h.ended:
        return Lacking("the end of the training, with measurements")
    if not last.never_found or len(last.never_found) > h.classes / 2 + 0.5:
        return None
    luck = {c: (1 - last.val_score) ** n for c, n in last.never_found}
    worst = min(luck, key=lambda c: luck[c])
    images = dict(last.never_found)
    trained = h.plan.class_images if h.plan else ()
    of = f", {trained[worst]:,} training images" if worst < len(trained) else ""
    others = len(luck) - 1
    also = f"; the same holds for {others} other class{'es' * (others > 1)}" if others else ""
    name = h.plan.classes[worst] if h.plan and worst < len(h.plan.classes) else f"no. {worst + 1}"
    count = images[worst]
    text = (
        f"of the class {name} no validation image is recognised ({count} "
        f"image{'s' * (count > 1)}{of}){also}"
    )
    rare = worst < len(trained) and trained[worst] < 0.2 * float(np.median(trained))
    remedies = [flag("data.sampler", "balanced")] if rare else []
    return found(
        "class_never_found",
        text,
        sure(-math.log10(max(luck[worst], 1e-12)), 0.8, 2.5) if luck[worst] < 0.2 else 0.55,
        evidence={"classes": [int(c) for c in luck], "validation_images": images[worst]},
        remedies=[*remedies, "more images of that class", "look at its mistakes: the report shows "
                  "the confusion table"],
        source="E1; Buda et al. 2018",
        anew=True,
    )  # fmt: skip


def generalisation_gap(h: History) -> Answer:
    """How far validation is behind training, and what can be expected to help (T4).

    A gap is no fault: a network that knows its training images well has one. So this is a note, and
    undetermined where the gap is 15 points or more.
    """
    last = h.measured[-1] if h.measured else None
    if last is None or not h.ended:
        return Lacking("the end of the training, with measurements")
    gap = last.train_score - last.val_score
    error = math.sqrt(0.25 / max(1, last.val_images) + 0.25 / max(1, last.train_images))
    spread = math.sqrt(max(last.val_score * (1 - last.val_score), 0.01) / max(1, last.val_images))
    if gap < _GAP or gap < 2.5 * min(error, max(spread, 1e-3)):
        return None
    learnt = last.train_score >= 0.95
    help_ = (
        "Training images are learnt almost completely, so more images, augmentation and "
        "regularisation can all be expected to help"
        if learnt
        else "More images can be expected to help; more regularisation alone cannot, since "
        "training images are not learnt completely either"
    )
    text = (
        f"{last.train_score:.3f} on training images against {last.val_score:.3f} on validation "
        f"images, a gap of {100 * gap:.0f} points. {help_}"
    )
    wide = gap >= _WIDE_GAP
    remedies = [flag("augment.policy", "trivial")] if h.knob("augment.policy") == "none" else []
    return Finding(
        "generalisation_gap",
        "undetermined" if wide else "note",
        text,
        {"training_score": last.train_score, "validation_score": last.val_score, "gap": gap},
        confidence=0.55,
        remedies=(*(remedies if learnt else ()), "more training images"),
        anew=True,
        source="T4, T5",
    )
