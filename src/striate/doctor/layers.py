"""Inside the network: gradients, dead and saturated units, norm layers (L10, L12, L14)."""

from __future__ import annotations

import math

import numpy as np

from striate.doctor.history import History
from striate.doctor.reading import grew_before_the_end, relative, turnovers, useless_averages
from striate.doctor.saying import (
    Answer,
    Lacking,
    flag,
    found,
    of_chance,
    picture,
    slower,
    started_by,
    sure,
)


def not_finite(h: History) -> Answer:
    """A loss or gradient became infinite or NaN; names the first cause that is known (F14)."""
    losses = h.steps.loss if len(h.steps) else h.epochs.train_loss
    if h.failed is None and not (np.isinf(losses).any() or np.isinf(h.epochs.val_loss).any()):
        return None if len(losses) else Lacking("losses")
    grew = grew_before_the_end(h)
    evidence: dict[str, object] = {"grew_before": grew}
    where = "a loss"
    if h.failed is not None:
        f = h.failed
        evidence |= {"step": f.step, "layer": f.layer, "images": f.images, "lr": f.lr}
        where = f"step {f.step}: the {'loss' if f.loss is None else 'gradient'}"
    layer = f", first in the output of {h.failed.layer}" if h.failed and h.failed.layer else ""
    cause = (
        "it grew before: the learning rate, or an initialisation that explodes"
        if grew
        else "it was normal until then: the network's own arithmetic, or rounding"
    )
    remedies = (
        [slower(h, 10), flag("optim.clip_norm", 1.0)]
        if grew
        else [flag("device.precision", "float32"), flag("optim.clip_norm", 1.0), slower(h, 10)]
    )
    return found(
        "not_finite",
        f"{where} was not finite{layer}; {cause}",
        0.99,
        evidence=evidence,
        remedies=remedies,
        source="L14, O6; F14",
        anew=True,
    )


def exploding_gradient(h: History) -> Answer:
    """Gradients grow from layer to layer towards the input, or are huge at the first steps (L14).

    Confounders: a rate too high makes gradients explode after some steps; here they are huge before
    the first update has acted. Batch norm forgives such a start, unless its averages are useless:
    then norm_mismatch has its own evidence.
    """
    if len(h.steps) < 2:
        return Lacking("gradient norms of steps")
    first = h.steps.gradient[: max(2, min(5, len(h.steps) // 20))]
    start = float(np.nanmax(np.where(np.isfinite(first), first, np.nan)))
    loss = float(h.steps.loss[0])
    if not math.isfinite(start) or start < 50 or loss < 2 * h.chance or useless_averages(h):
        return None
    text = (
        f"at the first steps the gradient's norm is {start:.3g} and the loss {loss:.3g}, "
        f"{loss / h.chance:.3g} times that of guessing: the weights start too large"
    )
    return found(
        "exploding_gradient",
        text,
        sure(math.log10(start), 1.5, 2.5),
        evidence={
            "first_norm": start,
            "first_loss": loss,
            "curves": {"gradient norm": picture(h.steps.gradient)},
        },
        remedies=[started_by(h, "he"), flag("optim.clip_norm", 1.0), slower(h, 10)],
        source="L14, T2; Glorot and Bengio 2010",
        anew=True,
    )


def vanishing_gradient(h: History) -> Answer:
    """Gradients shrink towards the input until the early layers learn nothing (L14).

    Signs: the first layer's gradient is less than a thousandth of the last's, in a network that has
    not learnt its training images. Confounder: a trained network has small gradients everywhere,
    and a frozen layer none; so layers are compared with each other, and the loss must be high.
    """
    if not h.measured:
        return Lacking("gradients of the layers")
    now = relative(h)
    if now < 0.3:
        return None
    ratios = []
    for m in h.measured:
        slopes = [x["gradient"] for x in m.layers.values() if x.get("gradient")]
        if len(slopes) > 1:
            ratios.append(slopes[0] / max(slopes[-1], 1e-30))
    if not ratios:
        return None
    ratio = float(np.median(ratios))
    if ratio > 3e-3:
        return None
    text = (
        f"the gradient of the first layer is {ratio:.1g} of that of the last, and the training "
        f"loss {of_chance(now)}: early layers learn nothing"
    )
    deepest = h.measured[-1].layers
    evidence = {
        "ratio": ratio,
        "gradients": {n: x["gradient"] for n, x in deepest.items() if "gradient" in x},
    }
    return found(
        "vanishing_gradient",
        text,
        sure(-math.log10(ratio), 2.3, 3.5),
        evidence=evidence,
        remedies=_against_vanishing(h),
        source="L14, L10; Hochreiter 1991",
        anew=True,
    )


def _unbent(h: History, *bent: str) -> list[str]:
    """ReLU for these activations of a one-line network, and first weights that suit it."""
    name = better = str(h.knob("model.name", ""))
    for kind in bent:
        better = better.replace(kind, "relu")
    return [f"--model '{better}' {started_by(h, 'he')}"] if better != name else []


def _against_vanishing(h: History) -> list[str]:
    """ReLU for sigmoid, norm layers, an initialisation that keeps the size."""
    return [
        *_unbent(h, "sigmoid", "tanh"),
        started_by(h, "he"),
        "norm layers or residual paths: --model resnet18",
    ]


_LEARNT = 0.05
"""Share of the loss of guessing below which training images are learnt."""


def dead_units(h: History) -> Answer:
    """Many ReLU units are never above zero, so they pass no gradient and never recover (L10).

    Confounder: in a trained network some units are always idle; so half of a layer must be.
    """
    if not h.measured:
        return Lacking("activations")
    last = h.measured[-1]
    shares = {n: x["dead"] for n, x in last.layers.items() if "dead" in x}
    if not shares:
        return Lacking("ReLU layers")
    worst = max(shares, key=lambda n: shares[n])
    mean = float(np.mean(list(shares.values())))
    confidence = max(sure(shares[worst], 0.5, 0.95), sure(mean, 0.35, 0.7))
    if relative(h) < _LEARNT:
        confidence = min(confidence, 0.55)  # the others did the work
    text = f"{shares[worst]:.0%} of the units of {worst} are 0 for every image ({mean:.0%} of all)"
    bias = h.knob("model.bias")
    remedies = [flag("model.bias", 0.0)] if isinstance(bias, float) and bias < 0 else []
    remedies += [slower(h, 10), started_by(h, "he"), "leaky ReLU or norm layers"]
    return found(
        "dead_units",
        text,
        confidence,
        evidence={"dead": shares},
        remedies=remedies,
        source="L10; Maas et al. 2013",
        anew=True,
    )


def saturated_units(h: History) -> Answer:
    """Sigmoid or tanh outputs sit at their ends, where the slope is nearly zero (L10, L14).

    Confounder: the last sigmoid of a trained network may be sure of itself; so the loss must be
    high.
    """
    if not h.measured:
        return Lacking("activations")
    shares = {n: x["saturated"] for n, x in h.measured[-1].layers.items() if "saturated" in x}
    if not shares:
        return Lacking("sigmoid or tanh layers")
    worst = max(shares, key=lambda n: shares[n])
    if shares[worst] < 0.4 or relative(h) < 0.15:
        return None
    text = f"{shares[worst]:.0%} of the outputs of {worst} are where its slope is below a twentieth"
    return found(
        "saturated_units",
        text,
        sure(shares[worst], 0.4, 0.8),
        evidence={"saturated": shares},
        remedies=[*_unbent(h, "sigmoid"), started_by(h, "xavier"), slower(h, 10)],
        source="L10, L14, T2; Glorot and Bengio 2010",
        anew=True,
    )


def unequal_layers(h: History) -> Answer:
    """Some layers change at less than a hundredth of the rate of the others (L14).

    Confounders: layers that are frozen on purpose are not counted, gradients that vanish are named
    by their own rule, adaptive rules and muon give every layer the same step.
    """
    each = turnovers(h)
    if not each:
        return Lacking("updates of the layers")
    names = [n for n in each[-1] if all(n in e for e in each)]
    if len(names) < 3 or relative(h) < 0.3:
        return None
    change = {n: float(np.median([e[n] for e in each])) for n in names}
    usual = float(np.median(list(change.values())))
    slowest = min(change, key=lambda n: change[n])
    if not usual or change[slowest] > 0.01 * usual:
        return None
    text = (
        f"{slowest} changes by {change[slowest]:.1g} of its weights a step, the others by "
        f"{usual:.1g}"
    )
    return found(
        "unequal_layers",
        text,
        sure(-math.log10(max(change[slowest], 1e-30) / usual), 2.0, 3.0),
        evidence={"change_of_weights_a_step": change},
        remedies=[started_by(h, "he"), flag("optim.rule", "adamw")],
        source="L14",
        anew=True,
    )


def norm_mismatch(h: History) -> Answer:
    """Batch norm's running averages do not fit: evaluation is worse than training (L12).

    The same images are scored with the running averages and with averages that fit the weights as
    they are. Confounder: a batch of few images has statistics of its own, so only a loss that is
    clearly higher with the running averages counts.
    """
    gaps = [m.norm_gap for m in h.measured if m.norm_gap is not None]
    if not gaps:
        return Lacking("batch norm layers")
    last = h.measured[-1]
    gap = gaps[-1] if last.norm_stale is None else last.norm_stale
    now = last.train_loss
    if h.estimated is None and (gap < 0.1 * h.chance or gap < 0.4 * (now - gap)):
        return None
    text = (
        f"on the same training images the loss is {now:.3g} with batch norm's running averages and "
        f"lower by {gap:.3g} with averages that fit the weights"
    )
    remedies = [
        slower(h, 3),
        "batch norm layers that follow faster (momentum 0.1 in torch's sense), or layer or group "
        "norm",
    ]
    batch = h.plan.batch_size if h.plan else 0
    if 0 < batch < 16:
        remedies.insert(0, flag("optim.batch_size", 32))
    if h.estimated is not None:
        text += (
            f"; with averages estimated anew the validation score is {h.estimated.estimated:.3f} "
            f"instead of {h.estimated.running:.3f}"
        )
        remedies.insert(0, "striate doctor RUN --adopt")
    return found(
        "norm_mismatch",
        text,
        max(sure(gap / h.chance, 0.07, 0.25), 0.9 if h.estimated else 0.0),
        evidence={"gap": gap, "loss": now, "images_a_step": batch},
        remedies=remedies,
        source="L12; Ioffe and Szegedy 2015; Wu and He 2018",
    )
