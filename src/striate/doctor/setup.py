"""How the network and the recipe are put together: faults that no amount of training mends."""

from __future__ import annotations

import math

import numpy as np

from striate.core.records import Measured
from striate.doctor.history import History
from striate.doctor.reading import relative
from striate.doctor.saying import Answer, Lacking, flag, found, of_chance, picture, sure

_SMALL = 0.02
"""Deviation between images at the first layer below which they hardly differ; 1 is usual."""
_WILD = {
    "augment.rotate": 60.0, "augment.affine": 0.4, "augment.random_erasing": 0.8,
    "augment.blur": 3.0, "augment.brightness": 0.8, "augment.contrast": 0.8, "augment.hue": 0.4,
}  # fmt: skip
"""Strengths of augmentation that leave little of most images."""


def output_activation(h: History) -> Answer:
    """The network ends with softmax, sigmoid or ReLU before a loss that expects logits (L11).

    Softmax is then taken twice: its outputs lie between 0 and 1, so the loss cannot fall far, and
    gradients are small. Signs: no output is below 0, in no measurement; after softmax each image's
    outputs add up to 1. Confounder: none is known; logits of some class are always below 0. The
    squared error does want outputs between 0 and 1.
    """
    ranges = [m.output_range for m in h.measured if m.output_range is not None]
    if not ranges:
        return Lacking("the range of the network's outputs")
    if (h.plan and h.plan.loss == "mse") or min(r[0] for r in ranges) < 0:
        return None
    high, apart = max(r[1] for r in ranges), max(r[2] for r in ranges)
    least, last = min(r[0] for r in ranges), ranges[-1]
    if last[1] - last[0] < 1e-6:
        return None  # one value for every class and image: something else is dead
    confidence = 0.97 if len(ranges) > 1 or least < 1e-3 else 0.7
    if high <= 1.001 and (least > 0 or apart < 0.05):
        kind = "softmax" if apart < 0.05 else "a sigmoid"
        also = ", and each image's outputs add up to 1" if kind == "softmax" else ""
        text = f"all outputs lie between 0 and 1{also}: the network ends with {kind}"
    else:
        kind = "ReLU"
        text = "no output is below 0, for any image: the network ends with ReLU"
        confidence *= sure(relative(h), 0.1, 0.5)  # as published SqueezeNet does, and learns
    return found(
        "output_activation",
        f"{text}, and the loss expects logits, which may be any number",
        confidence,
        evidence={"least": least, "greatest": high},
        remedies=[f"take {kind} out of the end of the network: the loss applies its own"],
        source="L11; the lectures' decknet has this fault",
        anew=True,
    )


def input_too_small(h: History) -> Answer:
    """Images hardly differ where they reach the first layer with weights: they are constant, or
    were scaled down once too often (D1).

    Signs: the deviation between images there, 1 for standardised ones, is below a fiftieth, and
    little is learnt. Confounder: a norm layer right behind it brings it back; so the loss must
    be high, unless there is no difference at all.
    """
    known = [m.input_deviation for m in h.measured if m.input_deviation is not None]
    if not known:
        return Lacking("what the first layer receives")
    deviation, now = max(known), relative(h)
    if deviation > _SMALL or (deviation > 1e-6 and now < 0.2):
        return None
    text = (
        "the first layer with weights receives the same values for every image"
        if deviation <= 1e-6
        else f"at the first layer with weights images differ by {deviation:.2g} (usual: 1)"
    )
    return found(
        "input_too_small",
        f"{text}, and the training loss is {of_chance(now)}",
        0.98 if deviation <= 1e-6 else sure(-math.log10(deviation), 1.7, 2.6),
        evidence={"deviation": deviation, "loss_now": now * h.chance},
        remedies=[
            "let the network take its images as Striate standardises them, without scaling again",
            flag("data.prepare", "standardise"),
            "look at the images: `striate data show DATA --png FILE`",
        ],
        source="D1; LeCun et al. 1998",
        anew=True,
    )


def frozen_layers(h: History) -> Answer:
    """Layers with weights never learn: they are frozen, not used, or cut off from the loss.

    Signs: weights that do not learn, or gradients that are exactly 0 in every measurement, beside
    layers that do learn. Confounders: a first layer that is fixed on purpose (model.whiten), ReLU
    units that are all dead (dead_units has its own evidence), frozen weights that were learnt on
    other images: then the loss is low, and this is undetermined.
    """
    if not h.measured:
        return Lacking("gradients of the layers")
    if max((x.get("dead", 0.0) for x in h.measured[-1].layers.values()), default=0.0) > 0.9:
        return None  # nothing passes dead units
    frozen = list(h.measured[-1].frozen)
    if h.knob("model.whiten") is True and frozen:
        frozen = frozen[1:]
    if h.knob("model.freeze") not in (None, 0, "auto"):
        frozen = []  # as the recipe says
    with_gradients = [m for m in h.measured if any("gradient" in x for x in m.layers.values())]
    idle = [name for name in _names(with_gradients) if _never(with_gradients, name)]
    learning = [name for name in _names(with_gradients) if name not in idle]
    if not (frozen or idle) or not learning:
        return None
    now = relative(h)
    share = (len(frozen) + len(idle)) / (len(frozen) + len(idle) + len(learning))
    what = [f"{len(frozen)} frozen ({', '.join(frozen[:3])})"] if frozen else []
    if idle:
        shown = ", ".join(idle[:3]) + (", …" if len(idle) > 3 else "")
        what.append(f"{len(idle)} without any gradient, so not used or cut off ({shown})")
    high = sure(now, 0.05, 0.3)
    confidence = max(high, 0.7) if idle else min(high, 0.95 if share > 0.3 else 0.6)
    return found(
        "frozen_layers",
        f"layers with weights that never learn: {'; '.join(what)}; {len(learning)} learn. The "
        f"training loss is {of_chance(now)}",
        confidence,
        evidence={"frozen": frozen, "idle": idle, "learning": len(learning)},
        remedies=[
            "let all layers learn (requires_grad = True), unless their weights were learnt before",
            "look for detach(), no_grad() and layers that forward() does not call",
        ],
        source="T2",
        anew=True,
    )


def _names(measured: list[Measured]) -> list[str]:
    return list(dict.fromkeys(n for m in measured for n, x in m.layers.items() if "gradient" in x))


def _never(measured: list[Measured], name: str) -> bool:
    slopes = [m.layers[name].get("gradient", 0.0) for m in measured if name in m.layers]
    return bool(slopes) and max(slopes) == 0.0


def momentum_too_high(h: History) -> Answer:
    """Momentum so high that updates of hundreds of steps add up (O4).

    With momentum m a step goes on for 1 / (1 − m) steps: 10 for 0.9, 300 for 0.997, as if the
    rate were that many times higher, and the training overshoots. Confounder: a rate that is as
    many times lower makes up for it; so little must have been learnt, or the loss must swing.
    """
    momentum = h.knob("optim.momentum")
    if not isinstance(momentum, float) or h.knob("optim.rule") not in _WITH_MOMENTUM:
        return Lacking("a momentum")
    now = relative(h)
    losses = h.epochs.val_loss[np.isfinite(h.epochs.val_loss)]
    broken = math.isnan(now) or h.failed is not None or len(losses) < len(h.epochs)
    swung = len(losses) > 1 and float(losses[-1]) > 1.5 * float(losses.min())
    early = h.failed is None and not h.ended and len(h.epochs) < 6  # it may recover
    if momentum <= 0.97 or early or not (broken or now > 0.15 or swung):
        return None
    reach = 1 / (1 - momentum)
    return found(
        "momentum_too_high",
        f"the momentum is {momentum:g}: each gradient acts for about {reach:.0f} steps (usual: "
        f"10), and the training loss is {of_chance(now) if math.isfinite(now) else 'not finite'}",
        sure(math.log10(reach), 1.5, 2.0),
        evidence={"momentum": momentum, "steps": reach, "curves": {
            "training loss": picture(h.steps.loss if len(h.steps) else h.epochs.train_loss),
        }},
        remedies=[flag("optim.momentum", 0.9)],
        source="O4; Sutskever et al. 2013",
        anew=True,
    )  # fmt: skip


_WITH_MOMENTUM = ("momentum", "nesterov", "adam", "adamw", "muon")


def augmentation_too_strong(h: History) -> Answer:
    """Training images are changed so much that little of what they show is left (D2).

    Signs: the same images cost far more after augmentation than as they are, in evaluation mode,
    and even as they are they are not learnt. Confounders: strong augmentation of a network that
    learns its images all the same is sound; dropout and mixing are not in either loss.
    """
    last = h.measured[-1] if h.measured else None
    if last is None or last.augmented_gap is None:
        return Lacking("losses of augmented images")
    if not h.ended and len(h.epochs) < 6:
        return Lacking("the end of the training")
    apart, error = last.augmented_gap
    now, used = relative(h), _strong(h)
    if now < 0.25 or not used:
        return None
    wide = sure(apart / h.chance, 0.1, 0.35) if apart > 3 * error else 0.0
    wild = 0.8 if len(_wild(h)) > 1 else 0.0
    if now > 0.9 and not wild:
        return None
    text = (
        f"augmentation raises the loss of training images by {apart:.2g}, and even without it the "
        f"loss is {of_chance(now)}"
        if apart > 3 * error
        else "training images are changed so strongly ("
        + ", ".join(f"{knob.partition('.')[2]} {value:g}" for knob, value in used.items())
        + f") that they are not learnt: the loss is {of_chance(now)}"
    )
    return found(
        "augmentation_too_strong",
        text,
        max(wide, wild),
        evidence={"gap": apart, "error": error, "strengths": used},
        remedies=[" ".join(_weaker(used)), *_without(used)],
        source="D2",
        anew=True,
    )


def _strong(h: History) -> dict[str, float]:
    """The augmentations that are stronger than usual; where none is, all that are used."""
    used = {
        knob: float(h.knob(knob))
        for knob in (*_WILD, "augment.mixup", "augment.cutmix", "augment.saturation")
        if isinstance(h.knob(knob), int | float) and h.knob(knob) and not isinstance(
            h.knob(knob), bool)
    }  # fmt: skip
    return _wild(h) or used


def _wild(h: History) -> dict[str, float]:
    """The augmentations that are stronger than usual."""
    known = {knob: h.knob(knob) for knob in _WILD}
    wild = {
        knob: float(value)
        for knob, value in known.items()
        if isinstance(value, int | float) and value >= _WILD[knob]
    }
    scale = h.knob("augment.crop_scale")
    if h.knob("augment.crop") == "resized" and isinstance(scale, float) and scale < 0.1:
        wild["augment.crop_scale"] = scale
    return wild


def _weaker(used: dict[str, float]) -> list[str]:
    return [
        flag(knob, 0.5 if knob == "augment.crop_scale" else float(f"{value / 8:.2g}"))
        for knob, value in used.items()
    ]


def _without(used: dict[str, float]) -> list[str]:
    off = [flag(knob, 0.0) for knob in used if knob != "augment.crop_scale"]
    return [" ".join(off)] if off else []
