"""Before a detector is trained: do objects fit its maps, and can it learn a few by heart (T3)?"""

from __future__ import annotations

import time

import numpy as np
import torch

from striate.core.anchors import unfit
from striate.core.arrays import Floats
from striate.core.findings import Finding
from striate.data.boxes import Boxes
from striate.data.loader import ArrayStore
from striate.models.detectors.detector import Detector
from striate.optim.rules import UPDATE_RULES, make_optimiser
from striate.preflight.bench import Bench, Sample, without_regularisation
from striate.training.inference import Pass, batch_of, predictions
from striate.training.quick import learn

FEW, GOAL, SECONDS, STEPS, EVERY = 8, 0.98, 55.0, 600, 10
"""Pictures that are learnt by heart, average precision at an overlap of a half that is enough, how
long that may take, and every how many steps it is scored."""
_RATE, _RARE = 2e-3, 5
_MUCH = 0.1


def box_sizes(bench: Bench) -> list[Finding]:
    """Objects that are smaller than a step of the finest maps, classes with hardly an object, boxes
    that no anchor fits."""
    whole = bench.data.dataset.splits["train"].targets
    if not isinstance(whole, Boxes):
        return []
    sides = bench.prepared.sides()
    stride, size = Detector.STRIDES[0], bench.settled.image_size
    tiny = float((sides.min(axis=1) < stride).mean()) if len(sides) else 0.0
    text = (
        f"{tiny:.0%} of {len(sides):,} objects have a side below {stride} pixels at {size}, a step "
        "of the finest maps"
    )
    found = [Finding("object_sizes", "warn" if tiny > _MUCH else "pass", text, {"tiny": tiny},
                     f"Train on larger images: --image-size {2 * size}.")]  # fmt: skip
    names = bench.data.dataset.classes
    counts = np.bincount(whole.numbers[whole.sure], minlength=len(names))
    rare = [f"{names[i]} ({counts[i]})" for i in np.flatnonzero(counts < _RARE)]
    text = (
        f"classes with fewer than {_RARE} objects to learn from: {', '.join(rare)}"
        if rare
        else f"every class has {int(counts.min()):,} objects or more to learn from"
    )
    found.append(Finding("class_objects", "warn" if rare else "pass", text, {
        "objects": dict(zip(names, counts.tolist(), strict=True))
    }, "Add pictures of these classes, or leave the classes out."))  # fmt: skip
    return [*found, *_anchors(bench, sides)]


def _anchors(bench: Bench, sides: Floats) -> list[Finding]:
    shapes = getattr(bench.fresh().net.backbone, "shapes", None)
    if shapes is None or not len(sides):
        return []
    lost = int(unfit(sides, shapes.reshape(-1, 2).double().numpy()).sum())
    share = lost / len(sides)
    text = f"{lost:,} of {len(sides):,} objects ({share:.0%}) have a shape that no anchor fits"
    return [Finding("anchors", "warn" if share > _MUCH else "pass", text, {"unfit": lost},
                    "--model.detector one_stage needs no anchors.")]  # fmt: skip


def overfit_boxes(bench: Bench, targets: Boxes) -> Finding:
    """T3 for boxes: eight pictures with objects, no augmentation, all in one batch: average
    precision at an overlap of a half must reach 0.98. targets: of all training images."""
    having = np.flatnonzero(np.bincount(targets.images[targets.sure], minlength=len(targets)))
    if not len(having):
        return Finding("overfit_few", "fail", "no training image has an object", {})
    few = bench.sample("train", having[np.linspace(0, len(having) - 1, FEW).astype(int)])
    state, began = bench.fresh(), time.perf_counter()
    without_regularisation(state.net)
    knobs = UPDATE_RULES["adamw"].knobs
    state.optimiser = make_optimiser(state.net, "adamw", lr=_RATE, l2=0.0, knobs=knobs)
    batch, losses, score, steps = batch_of(*few), [], 0.0, 0
    parts = (batch for _ in range(STEPS))
    training = learn(bench.task, state.net.train(), parts, state.optimiser, bench.runtime, seed=0)
    for steps, found in enumerate(training, 1):
        losses.append(float(found.total.detach()) / FEW)
        if steps % EVERY == 0:
            score = _score(bench, state.net, few)
            if score >= GOAL or time.perf_counter() - began > SECONDS:
                break
    text = (
        f"{FEW} pictures: average precision at an overlap of a half is {score:.3f} after {steps} "
        f"steps, {time.perf_counter() - began:.0f} s"
    )
    evidence = {"score": score, "losses": losses}
    if score >= GOAL:
        return Finding("overfit_few", "pass", text, evidence)
    slow = time.perf_counter() - began > SECONDS
    remedy = (
        "Try it on a faster machine."
        if slow
        else "Are the boxes where the objects are? `striate data show DATA` draws them."
    )
    return Finding("overfit_few", "undetermined" if slow else "fail", text, evidence, remedy)


def _score(bench: Bench, net: torch.nn.Module, few: Sample) -> float:
    images, targets = few
    size = images.shape[1]
    said = predictions(bench.task, net, ArrayStore(images), Pass(size, bench.runtime))
    net.train()
    return bench.task.scores(said, targets)["average_precision_50"]
