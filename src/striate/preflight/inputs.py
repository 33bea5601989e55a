"""What the network is fed: labels, augmentation, the first layer, batches, workers (D2, L12)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from striate.core.arrays import Pixels
from striate.core.findings import Finding
from striate.data.loader import ArrayStore, batches
from striate.models.fit import trail_of
from striate.plan.flip_test import KEPT_SKILL, flip_test
from striate.preflight.bench import Bench, rehearsal
from striate.training.state import State

_SMALL, _SHRINKS = 96, 4
_FEW_A_CLASS, _NORM_IMAGES = 5, 8


def labels(bench: Bench) -> Finding:
    """Every class has training images, and held-out splits have no other classes."""
    dataset = bench.data.dataset
    counts = dataset.counts("train")
    if not counts:
        return Finding("labels", "note", f"{dataset.splits['train'].targets.described}: no classes")
    evidence = {"classes": len(counts), "fewest": min(counts), "most": max(counts)}
    few = [c for c, n in zip(dataset.classes, counts, strict=True) if n < _FEW_A_CLASS]
    absent = {
        name: [c for c, n in zip(dataset.classes, dataset.counts(name), strict=True) if not n]
        for name in dataset.splits
        if name != "train"
    }
    absent = {name: gone for name, gone in absent.items() if gone}
    text = f"{len(counts)} classes, {min(counts):,} to {max(counts):,} training images each"
    if few:
        return Finding(
            "labels",
            "warn",
            f"{text}; fewer than {_FEW_A_CLASS}: {', '.join(few[:5])}",
            evidence,
            "Their scores will be noise: collect more, or leave them out.",
        )
    if absent:
        said = "; ".join(f"{name} has no {', '.join(gone[:5])}" for name, gone in absent.items())
        return Finding(
            "labels",
            "warn",
            f"{text}; {said}",
            evidence,
            "Those classes will not be scored: split anew (--data.val-fraction).",
        )
    return Finding("labels", "pass", text, evidence)


_TURNS: dict[str, tuple[str, Callable[[Pixels], Pixels]]] = {
    "flip": ("mirrored", lambda x: x[:, :, ::-1]),
    "vertical_flip": ("upside down", lambda x: x[:, ::-1]),
    "rotate": ("turned by 90 degrees", lambda x: np.rot90(x, axes=(1, 2))),
}


def augmentation(bench: Bench) -> list[Finding]:
    """Labels survive the changes that the recipe makes: asked of a quick classifier (D2).

    It learns upright images; if its skill on changed ones drops, a change can alter what an image
    is. A 6 turned by 180 degrees is a 9, a mirrored arrow another traffic sign.
    """
    if bench.task.placed:
        text = "what has a place in the image moves with its pixels"
        return [Finding("augmentation", "pass", text)]
    augment = bench.recipe.augment
    used = {
        "flip": augment.flip is True,
        "vertical_flip": augment.vertical_flip,
        "rotate": augment.rotate >= 60,
    }
    found = []
    for knob, on in used.items():
        word, turn = _TURNS[knob]
        if not on:
            continue
        train, val = bench.images("train", 3000), bench.images("val", 1000)
        verdict = flip_test(
            train, val, bench.task, bench.classes, bench.settled.seed, turn, early=False
        )
        if verdict.flip:
            found.append(Finding("augmentation", "pass", f"{word}: {verdict.why}"))
        else:
            sure = "undecided" not in verdict.why
            found.append(
                Finding(
                    "augmentation",
                    "fail" if sure else "undetermined",
                    f"images are {word} in training; labels may not survive that: {verdict.why}",
                    {"kept_skill_needed": KEPT_SKILL},
                    f"--augment.{knob.replace('_', '-')} {'0' if knob == 'rotate' else 'False'}",
                )
            )
    if not found:
        why = bench.decided.get("augment.flip", {}).get("why", "no flips, no large turns")
        found.append(Finding("augmentation", "pass", f"nothing turns images over: {why}"))
    return found


def stem(bench: Bench) -> Finding:
    """The first layers suit the size of the images: a stem for 224 pixels wastes small ones."""
    size = bench.settled.image_size
    net = bench.fresh().net.train()
    trail = trail_of(net)
    images, _ = bench.images("train", 2)
    with torch.no_grad():
        bench.forward(net, np.concatenate([images, images]))
    sides = [shape[-1] for name, shape in trail if name.endswith("(Conv2d)")]
    text = f"{size}-pixel images: the convolutions get maps of " + ", ".join(map(str, sides[:4]))
    evidence = {"sides": sides, "image_size": size}
    if len(sides) > 1 and 16 < size < _SMALL and sides[1] * _SHRINKS <= size:
        return Finding(
            "stem",
            "warn",
            f"{text} pixels: three quarters of the resolution are lost at once",
            evidence,
            "--model.small-stem True, a larger --image-size, or fastnet.",
        )
    return Finding("stem", "pass", text, evidence)


def batch_norm(bench: Bench) -> Finding:
    """Batch norm needs a handful of images at once (F15)."""
    net = bench.fresh().net
    norms = sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules())
    micro, images = bench.settled.micro_batch, len(bench.data.dataset.splits["train"])
    batch = min(bench.settled.batch_size, images)
    seen = min(batch, micro) if micro else batch
    if not norms:
        return Finding("batch_norm", "note", "the network has no batch norm")
    text = f"{norms} batch norm layers see {seen} images at once"
    if seen >= _NORM_IMAGES:
        return Finding("batch_norm", "pass", text, {"images": seen})
    return Finding(
        "batch_norm",
        "warn",
        f"{text}: too few for their statistics",
        {"images": seen},
        f"--batch-size {_NORM_IMAGES * 4}, or layers that normalise each image.",
    )


def workers(bench: Bench) -> Finding:
    """Augmentation repeats for every number of workers, and differs between images and epochs."""
    job, state = rehearsal(bench.job), bench.fresh()
    one, three = (_images(replace(job, threads=n, features=None), state, 0) for n in (1, 3))
    if not np.array_equal(one, three):
        return Finding("workers", "fail", "batches depend on the number of workers")
    active = sorted(k for k, v in job.augment.strengths.items() if v)
    if not active:
        return Finding("workers", "pass", "batches do not depend on the workers; no augmentation")
    ids = job.plan(0, None)[0]
    same = np.repeat(bench.data.stores["train"].load(ids[:1]), 16, axis=0)
    store, plan = ArrayStore(same), [np.arange(16, dtype=np.int64)]
    targets = job.targets.take(np.repeat(ids[:1], 16))
    views = [
        next(batches(store, targets, plan, job.augment, epoch, start=0, threads=1)).images
        for epoch in (0, 1)
    ]
    distinct = len({view.tobytes() for view in views[0]})
    text = f"of 16 copies of an image, {distinct} come out different ({', '.join(active)})"
    if distinct < 2 and not {"mixup", "cutmix"} & set(active):
        return Finding("workers", "fail", f"{text}: all images are changed alike")
    if np.array_equal(views[0], views[1]):
        return Finding("workers", "fail", "every epoch sees the same changes")
    return Finding("workers", "pass", f"{text}, and do not depend on the workers")


def _images(job: Any, state: State, epoch: int) -> Any:
    return next(job.batches(state, epoch, 0)).images
