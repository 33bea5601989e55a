"""Why a detector finds nothing, or less than it could (E1, E3): there is always a reason.

Rules of this room are asked of trainings on boxes only. They read what the monitor saw of boxes on
training and validation images (`Measured.boxes`) and the terms of the loss.
"""

from __future__ import annotations

import math

import numpy as np

from striate.doctor.history import History
from striate.doctor.saying import Answer, Lacking, Rule, faster, flag, found, longer, picture, sure

NOTHING = 0.02
"""Average precision below which nothing is found."""
_LEAST_OBJECTS = 10


def _seen(h: History, split: str) -> dict[str, float] | None:
    """The last look at boxes; None without one in the second half of the training, when boxes are
    learnt, or with too few objects."""
    late = bool(h.measured) and 2 * h.measured[-1].epoch >= h.planned
    found = h.measured[-1].boxes.get(split) if late else None
    return found if found and found.get("objects", 0) >= _LEAST_OBJECTS else None


_WANTS = Lacking(f"a late measurement with {_LEAST_OBJECTS} objects or more")


def all_background(h: History) -> Answer:
    """No box is said at all: at every place the network calls background likelier.

    Confounders: a training that has only begun; so only its second half is looked at.
    """
    seen = _seen(h, "train")
    if seen is None:
        return _WANTS
    if seen["said"] >= 0.5:
        return None
    return found(
        "all_background",
        f"average precision is {_score(h)} because hardly any box is said, even on training images "
        f"({seen['said']:.1f} an image with a score of 0.05 or more; the best ones have "
        f"{seen['score']:.3f} on average): the network calls everything background",
        sure(1 - seen["score"], 0.5, 0.95),
        evidence=_evidence(h),
        remedies=[faster(h, 3), longer(h), "look whether the objects are where their boxes are: "
                  "`striate data show DATA`"],
        source="E3; F12",
        anew=True,
    )  # fmt: skip


def boxes_displaced(h: History) -> Answer:
    """Boxes are said near objects, and hardly any is around one, on validation images only:
    annotations of the splits follow different rules (corners, relative numbers, turned pictures).

    Confounders: overfitting, where boxes are off because little was learnt; then they are not of
    one wrong size.
    """
    ours, theirs = _seen(h, "train"), _seen(h, "val")
    if ours is None or theirs is None:
        return _WANTS
    if ours["placed"] < 0.5 or theirs["placed"] > 0.5 * ours["placed"]:
        return None
    apart = ours["placed"] - theirs["placed"]
    off = abs(math.log(max(theirs["size"], 1e-6)))
    return found(
        "boxes_displaced",
        f"boxes are around {ours['placed']:.0%} of the training's objects and around "
        f"{theirs['placed']:.0%} of those of validation, where near ones have {theirs['size']:.2g} "
        "times the object's area: its boxes may be written by another rule, or it shows other "
        "things",
        sure(apart + 0.2 * min(off, 1.0), 0.35, 0.7),
        evidence=_evidence(h),
        remedies=["look at the boxes of both splits: `striate data show DATA`",
                  "`striate data check DATA`"],
        source="F12",
    )  # fmt: skip


def classes_shifted(h: History) -> Answer:
    """Boxes are around objects and name a class whose number is off by the same each time: two
    class maps, one of which begins at 0 and one at 1, or in another order.

    Confounders: two classes that look alike; then only one of them is called the other.
    """
    theirs = _seen(h, "val")
    if theirs is None:
        return _WANTS
    ours = _seen(h, "train") or {"shift": 0.0, "found": 1.0}
    if h.classes < 2 or not theirs["shift"] or ours["shift"] == theirs["shift"]:
        return None
    return found(
        "classes_shifted",
        f"{theirs['shifted']:.0%} of the boxes around an object of validation name a class that is "
        f"{theirs['shift']:+.0f} in the class map; on training images they do not: the splits "
        "number their classes differently",
        sure(theirs["shifted"] * min(1.0, theirs["placed"] / 0.3), 0.5, 0.8),
        evidence=_evidence(h),
        remedies=["compare the class names of the splits: `striate data show DATA`"],
        source="F12",
    )


def small_objects_lost(h: History) -> Answer:
    """The smallest third of the objects is hardly found, the largest mostly is: they are smaller
    than the steps of the maps at this image size."""
    seen = _seen(h, "val") or _seen(h, "train")
    if seen is None:
        return _WANTS
    if seen["found_large"] < 0.5 or seen["found_small"] > 0.5 * seen["found_large"]:
        return None
    size = h.knob("data.image_size")
    remedy = [flag("data.image_size", 32 * math.ceil(1.5 * size / 32))] if size else []
    return found(
        "small_objects_lost",
        f"{seen['found_large']:.0%} of the largest third of the objects are found and "
        f"{seen['found_small']:.0%} of the smallest: at {size} pixels they are small for the maps",
        sure(seen["found_large"] - seen["found_small"], 0.35, 0.8),
        evidence=_evidence(h),
        remedies=[*remedy, "predict large pictures in parts: `striate predict RUN IMAGE --tiles`"],
        source="E3",
    )


def losses_out_of_balance(h: History) -> Answer:
    """One part of the loss is nearly all of it, to the end: the others learn little."""
    if not h.terms or len(h.terms) < 2:
        return Lacking("the terms of the loss")
    last = {name: float(np.mean(values[-len(values) // 4 :])) for name, values in h.terms.items()}
    total = sum(last.values())
    if not total > 0 or not h.ended:
        return None
    name = max(last, key=lambda n: last[n])
    share = last[name] / total
    return found(
        "losses_out_of_balance",
        f"{share:.0%} of the loss is that of {name.replace('_', ' ')} at the end: the other parts "
        "hardly move the weights",
        sure(share, 0.93, 0.99) if _ap(h) < 0.1 else 0.0,
        evidence={"terms": last},
        remedies=[faster(h, 3), longer(h)],
        source="E3",
    )


def boxes_by_heart(h: History) -> Answer:
    """Training images are scored far better than validation ones, which have stopped gaining (T4).

    Confounders: validation that is written or drawn otherwise (boxes_displaced, classes_shifted).
    """
    if len(h.measured) < 2 or len(h.epochs) < 4:
        return Lacking("two measurements and four epochs")
    last, scores = h.measured[-1], h.epochs.val_score
    gap = last.train_score - last.val_score
    half = len(scores) // 2
    gained = float(np.nanmax(scores[half:]) - np.nanmax(scores[:half]))
    if gap < 0.2 or gained > 0.02 or last.train_score < 0.3:
        return None
    return found(
        "boxes_by_heart",
        f"average precision is {last.train_score:.2f} on training images and {last.val_score:.2f} "
        f"on validation images, which gained {gained:+.2f} in the second half: the training images "
        "are learnt by heart",
        sure(gap, 0.2, 0.5),
        evidence=_evidence(h),
        remedies=[flag("augment.crop_scale", 0.2), flag("model.freeze", 3), "more images"],
        source="T4",
    )


def nothing_found(h: History) -> Answer:
    """Average precision stays at 0 although there are boxes: says how far they get."""
    seen = _seen(h, "val")
    if seen is None:
        return _WANTS
    if not h.ended or _ap(h) >= NOTHING:
        return None
    text = (
        f"average precision is {_score(h)}: of {seen['objects']:.0f} objects of validation "
        f"{seen['near']:.0%} have a box near, {seen['placed']:.0%} one around them, "
        f"{seen['found']:.0%} one with the right class"
    )
    return found(
        "nothing_found",
        text,
        0.9,
        evidence=_evidence(h),
        remedies=[longer(h), faster(h, 3)],
        source="E1",
    )


def _ap(h: History) -> float:
    known = h.epochs.val_score[np.isfinite(h.epochs.val_score)]
    return float(known.max()) if len(known) else math.nan


def _score(h: History) -> str:
    return f"{_ap(h):.3f}"


def _evidence(h: History) -> dict[str, object]:
    return {
        **h.measured[-1].boxes,
        "curves": {"average precision": picture(h.epochs.val_score)},
    }


BOX_RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        all_background,
        classes_shifted,
        boxes_displaced,
        boxes_by_heart,
        small_objects_lost,
        losses_out_of_balance,
        nothing_found,
    )
}
"""Causes before effects."""
BOX_EXPLAINED_BY: dict[str, set[str]] = {
    "nothing_found": {*BOX_RULES} - {"nothing_found", "small_objects_lost"},
    "losses_out_of_balance": {"all_background"},
    "boxes_by_heart": {"classes_shifted", "boxes_displaced"},
}
