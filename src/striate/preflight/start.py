"""The network at step 0: its loss, activations, gradients, units (L10, L14, T2)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.core.findings import Finding, Verdict
from striate.data.targets import Labels, class_numbers
from striate.preflight.bench import Bench
from striate.training.activity import watched

_LEARNS = (nn.Conv2d, nn.Linear)
_LARGE = {"mse": 3.0}
"""Times the loss of guessing from which outputs start too large: 1.5, and for squares 3."""


def initial_loss(bench: Bench) -> Finding:
    """The first loss is that of guessing (ln C for cross-entropy).

    The tolerance follows from the initialisation: what these very outputs would cost with labels
    drawn at random is known exactly, and the images' scatter gives its error.
    """
    chance = _chance(bench)
    if chance is None:
        return lacking("initial_loss", bench)
    images, targets = bench.images("train", 256)
    said = bench.predictions(bench.fresh().net.train(), images)
    losses = bench.task.unsmoothed_losses(said, targets)
    if losses is None:
        return lacking("initial_loss", bench)
    own = losses.astype(np.float64)
    loss, name = float(own.mean()), f"{chance:.3f}"
    if bench.settled.loss == "cross_entropy":
        name = f"ln {bench.classes} = {name}"
    if class_numbers(targets) is None:
        expected, error = loss, float(own.std() / math.sqrt(len(own)))
    else:
        everyone = (Labels(np.full(len(targets), c)) for c in range(bench.classes))
        rows = [bench.task.unsmoothed_losses(said, same) for same in everyone]
        each = np.stack([row for row in rows if row is not None])
        expected = float(each.mean())
        error = float((own - each.mean(axis=0)).std() / math.sqrt(len(own)))
    evidence = {"loss": loss, "expected": expected, "error": error, "chance": chance}
    text = f"first loss {loss:.3f}; knowing nothing costs {name}, these weights {expected:.3f}"
    if not math.isfinite(loss):
        return Finding(
            "initial_loss",
            "fail",
            f"the first loss is {loss}",
            evidence,
            "The initialisation or the input preparation overflows.",
        )
    if abs(loss - expected) > 4 * error + 0.02 * chance:
        return Finding(
            "initial_loss",
            "warn",
            f"{text} ± {error:.3f}: the untrained network already knows something of the labels",
            evidence,
            "Are the weights fresh? Do images of one class share something trivial?",
        )
    if expected > _LARGE.get(bench.settled.loss, 1.5) * chance:
        return Finding(
            "initial_loss",
            "warn",
            f"{text}: the outputs start too large",
            evidence,
            "Smaller weights in the last layer: --model.initialiser xavier, or scale its output.",
        )
    return Finding("initial_loss", "pass", text, evidence)


def lacking(rule: str, bench: Bench) -> Finding:
    """What a check says of a task that it cannot judge."""
    text = f"lacking: {rule.replace('_', ' ')} cannot be judged for {bench.task.name}"
    return Finding(rule, "undetermined", text)


def _chance(bench: Bench) -> float | None:
    return bench.task.chance_loss(bench.classes)


def activations(bench: Bench) -> Finding:
    """Outputs of the layers keep their size from the first to the last at the start (L14)."""
    images, _ = bench.images("train", 64)
    net = bench.fresh().net.train()
    with torch.no_grad(), _outputs(net) as seen:
        bench.forward(net, images)
    sizes = {name: (float(x.float().mean()), float(x.float().std())) for name, x in seen.items()}
    evidence: dict[str, Any] = {"mean_and_deviation": sizes}
    if len(sizes) < 2:
        return Finding("activations", "note", "fewer than two layers to compare", evidence)
    deviations = [d for _, d in sizes.values()]
    ratio = deviations[-1] / max(deviations[0], 1e-30)
    return _sized("activations", ratio, "output's deviation", evidence)


def gradients(bench: Bench) -> Finding:
    """Gradients keep their size from the last layer to the first at the start (L14)."""
    sizes = _gradients(bench)
    evidence: dict[str, Any] = {"gradient": sizes}
    known = [s for s in sizes.values() if s]
    if len(known) < 2:
        return Finding("gradients", "note", "fewer than two layers with gradients", evidence)
    ratio = known[0] / known[-1]
    return _sized("gradients", ratio, "gradient", evidence, back=True)


def _sized(
    rule: str, ratio: float, what: str, evidence: dict[str, Any], *, back: bool = False
) -> Finding:
    ends = ("first", "last") if back else ("last", "first")
    text = f"the {ends[0]} layer's {what} is {ratio:.2g} times the {ends[1]}'s"
    far = abs(math.log10(max(ratio, 1e-30)))
    if far < 2:
        return Finding(rule, "pass", text, evidence)
    word = "vanish" if ratio < 1 else "explode"
    remedy = (
        "--model.initialiser he, norm layers or residual paths; ReLU instead of sigmoid and tanh."
    )
    return Finding(rule, "fail" if far > 4 else "warn", f"{text}: they {word}", evidence, remedy)


def dead_units(bench: Bench) -> Finding:
    """ReLU units that are 0 for all images at the start never learn (L10)."""
    images, _ = bench.images("train", 256)
    net = bench.fresh().net.train()
    with torch.no_grad(), watched(net) as seen:
        bench.forward(net, images)
    shares = {n: x["dead"] for n, x in seen().items() if "dead" in x}
    if not shares:
        return Finding("dead_units", "note", "the network has no ReLU layers")
    worst = max(shares, key=lambda n: shares[n])
    text = (
        f"{shares[worst]:.0%} of the units of {worst} are 0 for every image, the most of any layer"
    )
    verdict: Verdict = "fail" if shares[worst] > 0.9 else "warn" if shares[worst] > 0.5 else "pass"
    remedy = "--model.initialiser he; no negative --model.bias; leaky ReLU."
    return Finding(
        "dead_units", verdict, text, {"dead": shares}, "" if verdict == "pass" else remedy
    )


def unused_parameters(bench: Bench) -> Finding:
    """Every parameter receives a gradient."""
    state = bench.fresh()
    _backward(bench, state.net)
    idle = [
        name
        for name, p in state.net.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    fixed = [n for n, p in state.net.named_parameters() if not p.requires_grad]
    count = sum(1 for _ in state.net.parameters())
    held = f"; {len(fixed)} held fixed" if fixed else ""
    if not idle:
        return Finding(
            "unused_parameters",
            "pass",
            f"all {count - len(fixed)} parameters receive a gradient{held}",
        )
    return Finding(
        "unused_parameters",
        "warn",
        f"{len(idle)} of {count} parameters receive no gradient: {', '.join(idle[:5])}"
        + (" …" if len(idle) > 5 else ""),
        {"parameters": idle},
        "Are they used in forward? A detach, an argmax or dead units may cut the path.",
    )


def _gradients(bench: Bench) -> dict[str, float]:
    net = bench.fresh().net
    _backward(bench, net)
    return {
        name: float(p.grad.float().square().mean().sqrt())
        for name, p in net.named_parameters()
        if p.dim() > 1 and p.requires_grad and p.grad is not None
    }


def _backward(bench: Bench, net: nn.Module) -> None:
    images, targets = bench.images("train", 64)
    losses = bench.losses(net.train(), (images, targets))
    (losses.total / len(images)).backward()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _outputs(net: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Outputs of the layers that learn, in the order in which they are computed."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        seen[name] = output.detach()

    handles = [
        m.register_forward_hook(lambda _m, _i, out, n=n: keep(n, out))
        for n, m in net.named_modules()
        if isinstance(m, _LEARNS)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
