"""Is it right? Losses beside the CPU's, the same bits twice and after a resume, exact scores."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import CheckFailedError, Place, Report
from torch import Tensor, nn

import striate
from striate.core.records import Step
from striate.core.runtime import Runtime
from striate.data.loader import Store
from striate.data.targets import class_numbers
from striate.tasks.task import Pass, Task
from striate.training import inference

SOURCE = "fake:720x3x32x32x10"
QUICK: dict[str, Any] = {
    "batch_size": 64, "seed": 0, "workers": 2, "augment.flip": True, "report.write": False,
}  # fmt: skip
NETWORKS: dict[str, dict[str, Any]] = {
    "lenet": {"model": "lenet"},
    "fastnet": {"model": "fastnet"},
    "resnet18, small stem": {"model": "resnet18", "model.small_stem": True},
    "resnet18, large stem": {"model": "resnet18", "model.small_stem": False},
}
STEPS, FIRST, ALL = 5, 1e-4, 1e-2
"""So many losses are compared; relative differences that the first and all may have."""


def run(report: Report, place: Place) -> None:
    """All checks that need no process of their own."""
    for name in ("lenet", "fastnet", "resnet18, small stem"):
        report.check(f"losses as on the CPU, {name}", partial(same_losses, place, name))
    for name in ("fastnet", "resnet18, small stem", "resnet18, large stem"):
        if not place.card and name.endswith("small stem"):
            continue
        kept: dict[str, Path] = {}
        report.check(f"the same weights twice, {name}", partial(same_twice, place, name, kept), 20)
        report.check(f"resumed is bit-equal, {name}", partial(resumed, place, name, kept))
    report.check("evaluation is exact", partial(exact_evaluation, place), 20)


def same_losses(place: Place, name: str) -> str:
    """The first losses in float32, without TF32; with it for comparison. The rate is low: with a
    high one differences in the last bit grow. On the CPU the other side is the other memory layout,
    so that there is something to compare."""
    other: dict[str, Any] = {} if place.card else {"device.channels_last": False}
    with tf32(False):
        ours = _losses(place, name, "cpu", {})
        theirs = _losses(place, name, place.device, other)
    apart = np.abs(theirs - ours) / np.abs(ours)
    text = (f"losses {_few(ours)} and {_few(theirs)}; relative difference {apart[0]:.1e} "
            f"at first (allowed {FIRST:g}), {apart.max():.1e} in {STEPS} "
            f"(allowed {ALL:g})")  # fmt: skip
    if place.card:
        with tf32(True):
            coarse = _losses(place, name, place.device, other)
        text += f"; with TF32 convolutions {np.abs(coarse / ours - 1).max():.1e}"
    if not (apart[0] <= FIRST and apart.max() <= ALL):
        raise CheckFailedError(text)
    return text


def _losses(place: Place, name: str, device: str, more: dict[str, Any]) -> np.ndarray:
    """Losses of the first steps of a training in float32, which is closed then."""
    knobs = {**QUICK, **NETWORKS[name], **more, "device": device, "device.precision": "float32",
             "doctor.measure": False, "epochs": 2, "lr": 0.01}  # fmt: skip
    found: list[float] = []
    with contextlib.closing(striate.stream(SOURCE, run=new_folder(place), **knobs)) as records:  # type: ignore[type-var]
        for record in records:
            if isinstance(record, Step):
                found.append(record.loss)
            if len(found) == STEPS:
                break
    return np.array(found)


def same_twice(place: Place, name: str, kept: dict[str, Path]) -> str:
    """Two trainings with everything as it is by default. Where weights differ it is tried whether
    deterministic algorithms are the answer."""
    kept["whole"], again = (_trained(place, name) for _ in range(2))
    one, two = weights_sum(kept["whole"]), weights_sum(again)
    if one == two:
        return f"SHA-256 of the weights {one[:16]} twice"
    text = f"SHA-256 of the weights {one[:16]} and {two[:16]}; {_parting(kept['whole'], again)}"
    raise CheckFailedError(f"{text}\n{_remedies(place, name)}")


def resumed(place: Place, name: str, kept: dict[str, Path]) -> str:
    """A training that is closed within its second epoch and resumed, beside one that was not."""
    whole = kept.get("whole") or _trained(place, name)
    cut, at = new_folder(place), 0
    with contextlib.closing(striate.stream(SOURCE, run=cut, **_knobs(place, name))) as records:  # type: ignore[type-var]
        for record in records:
            at = record.step if isinstance(record, Step) else at
            if at == 11:
                break
    striate.resume(cut)
    one, two = weights_sum(whole), weights_sum(cut)
    text = f"stopped after step {at}; SHA-256 {one[:16]} and {two[:16]}"
    if one != two:
        raise CheckFailedError(f"{text}; {_parting(whole, cut)}")
    return text


def _knobs(place: Place, name: str) -> dict[str, Any]:
    return {**QUICK, **NETWORKS[name], "device": place.device, "epochs": 2}


def _trained(place: Place, name: str) -> Path:
    folder = new_folder(place)
    striate.train(SOURCE, run=folder, **_knobs(place, name))
    return folder


def _parting(one: Path, two: Path) -> str:
    """Where the records of two trainings part."""
    steps = [[r for r in striate.Run(run).records() if isinstance(r, Step)] for run in (one, two)]
    for a, b in zip(*steps, strict=False):
        if (a.loss, a.gradient_norm) != (b.loss, b.gradient_norm):
            what = "the loss" if a.loss != b.loss else "the gradient's norm"
            return f"{what} differs first at step {a.step}"
    return "losses and gradient norms are equal"


def _remedies(place: Place, name: str) -> str:
    """Does determinism that is asked for give equal weights? And what says that it is not?"""
    said = []
    for title, context in (("cudnn.deterministic", cudnn_deterministic),
                           ("use_deterministic_algorithms", all_deterministic)):  # fmt: skip
        with context() as seen:
            sums = {weights_sum(_trained(place, name)) for _ in range(2)}
        said.append(f"with {title}: {'equal' if len(sums) == 1 else 'they differ'}")
        said += sorted(set(seen))
    return "; ".join(said)


@contextlib.contextmanager
def cudnn_deterministic() -> Iterator[list[str]]:
    """Within it cuDNN uses only algorithms that repeat."""
    cudnn = torch.backends.cudnn
    was = cudnn.deterministic
    cudnn.deterministic = True
    try:
        yield []
    finally:
        cudnn.deterministic = was


@contextlib.contextmanager
def all_deterministic() -> Iterator[list[str]]:
    """Within it everything repeats that can; what cannot is in the list."""
    seen: list[str] = []
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda text, *_, **__: seen.append(str(text)[:90])
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield seen
        finally:
            torch.use_deterministic_algorithms(False)


def _logits(
    task: Task, store: Store, size: int, net: torch.nn.Module, runtime: Runtime, at_once: int
) -> np.ndarray:
    """(N, outputs) of a network for all images, `at_once` of which are computed together."""
    usual, inference._AT_ONCE = inference._AT_ONCE, at_once
    try:
        return inference.predictions(task, net, store, Pass(size, runtime))["logits"]
    finally:
        inference._AT_ONCE = usual


def exact_evaluation(place: Place) -> str:
    """Every image once and in order, by a network that only tells an image's mean; logits of a run
    with two batch sizes and on the CPU; and the run's own accuracy."""
    folder = new_folder(place)
    knobs = {**QUICK, "epochs": 3, "device": place.device}
    run = striate.train("digits", run=folder, **knobs)
    sample = run.sample(split="test")
    images = len(sample)
    card, cpu = (Runtime(torch.device(name), "float32") for name in (place.device, "cpu"))
    ask = partial(_logits, run.task, sample.store, sample.size)
    means = ask(_Mean().to(place.device), card, 37)[:, 0]
    truth = sample.images(np.arange(images)).reshape(images, -1).mean(axis=1)
    wrong = int((np.abs(means - truth) > 1e-3).sum())
    with tf32(False):
        each = {
            "500 at once": ask(run.network, card, 500),
            "37 at once": ask(run.network, card, 37),
            "the CPU": ask(copy.deepcopy(run.network).cpu(), cpu, 500),
        }
    first, truths = each["500 at once"], class_numbers(sample.targets)
    apart = {name: float(np.abs(logits - first).max()) for name, logits in each.items()}
    right = {k: int((logits.argmax(axis=1) == truths).sum()) for k, logits in each.items()}
    found = run.evaluate(split="test", views="single")
    own = round(found["accuracy"] * images)
    text = (f"{images} images, {wrong} out of place; right: {right}, as the run scores itself "
            f"{own}; logits apart by {max(apart.values()):.1e} at most")  # fmt: skip
    near = max(apart.values()) <= 1e-3 * max(1.0, float(np.abs(first).max()))
    names = len(set(sample.names)) == images == len(found.names)
    close = max(right.values()) - min(right.values()) <= 1 and abs(own - right["the CPU"]) <= 3
    if wrong or not (near and names and close):
        raise CheckFailedError(text)
    return text


class _Mean(nn.Module):
    """The mean of an image's pixels, as its only output."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(1, 2, 3))[:, None]


@contextlib.contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Whether products and convolutions in float32 may be taken in TF32, where a card has it."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    was = cudnn.allow_tf32, products.allow_tf32
    cudnn.allow_tf32, products.allow_tf32 = on, False
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32 = was


def weights_sum(run: Path) -> str:
    """SHA-256 of the weights of the last checkpoint."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    return hashlib.sha256((last / "model.safetensors").read_bytes()).hexdigest()


def new_folder(place: Place) -> Path:
    """A place for a run that is not there yet."""
    number = len(list(place.folder.iterdir()))
    while (place.folder / f"run{number}").exists():
        number += 1
    return place.folder / f"run{number}"


def _few(losses: np.ndarray) -> str:
    return " ".join(f"{loss:.5f}" for loss in (losses[0], losses[-1]))
