"""How fast is it? Training with Striate beside plain torch in the same run, part by part."""

from __future__ import annotations

import collections
import contextlib
import itertools
import statistics
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checks import new_folder
from plain import Pictures, loader, step_of, windows
from report import Place, Report
from torch import nn

import striate
from striate.core.records import Epoch, Note, Saved, Step
from striate.core.runtime import usable_cores
from striate.data.targets import class_numbers
from striate.plan.network import bare_network
from striate.plan.prepare import Prepared, prepare, requested
from striate.training.job import Job
from striate.training.log import drained
from striate.training.loop import Steps, endless

HEAD = ("", "images/s", "ms/step", "waits", "busy", "peak MB")
_STACK = 40
_OURS = str(Path(striate.__file__).parent)


Found = tuple[float, str, str]
"""Seconds a step, the share of waiting for images, how busy the card says that it is."""


@dataclass(frozen=True)
class Size:
    """What is timed: a source, the knobs of its training, images a step, and how long: steps to
    warm up, windows, steps in each."""

    source: str
    knobs: dict[str, Any]
    batch: int
    warm: int = 8
    count: int = 5
    steps: int = 16

    @property
    def all_steps(self) -> int:
        return self.warm + self.count * self.steps


@dataclass
class Timed:
    """A prepared training, its job and the rows of its table."""

    prepared: Prepared
    job: Job
    size: Size
    rows: list[tuple[str, ...]] = field(default_factory=lambda: [HEAD])


def run(report: Report, place: Place, data: Path) -> None:
    """CIFAR-10 and ResNet-50; a row that fails does not stop the others."""
    for name, size in sizes(report, place, data).items():
        made: list[Timed] = []
        report.check(f"{name}: prepare", partial(_prepared, place, size, made), 40)
        if not made:
            continue
        timed = made[0]
        for title, work in _rows(place, timed).items():
            report.check(f"{name}: {title}", partial(_row, place, timed, title, work), 15)
        report.table(f"{name}, batch {size.batch}, {timed.prepared.runtime.precision}", timed.rows)
        report.check(f"{name}: waits for the card", partial(synchronisations, place, timed), 10)
        if name.startswith("fastnet"):
            report.check(f"{name}: whole epochs", partial(whole_epochs, place, size), 40)
        del timed, made
        place.fresh_memory()


def sizes(report: Report, place: Place, data: Path) -> dict[str, Size]:
    """CIFAR-10 if it is there, else invented images; on the CPU everything small."""
    common = {"augment.flip": True, "device": place.device, "check": "off"}
    small = {**common, "model": "resnet18", "model.small_stem": True}
    large = {**common, "model": "resnet50", "model.small_stem": False, "epochs": 8}
    fast = {**common, "model": "fastnet"}
    if not place.card:
        few = {"warm": 1, "count": 1, "steps": 2}
        source = "fake:400x3x32x32x10"
        return {
            "fastnet 32 px": Size(source, fast, 32, **few),
            "resnet18 32 px": Size(source, small, 16, **few),
            "resnet50 64 px": Size("fake:60x3x64x64x10", large, 4, **few),
        }
    source = cifar(data)
    if not source:
        source = "fake:50000x3x32x32x10"
        report.say(f"CIFAR-10 is not in {data}: invented images instead, {source}")
    return {
        "fastnet 32 px": Size(source, fast, 512),
        "resnet18 32 px": Size(source, small, 512),
        "resnet50 224 px": Size("fake:3000x3x224x224x10", large, 256, warm=4, count=4, steps=6),
    }


def cifar(data: Path) -> str:
    """CIFAR-10 as class folders, in an archive or not; "" if it is not there."""
    for path in (data / "cifar10-jpeg.zip", data / "cifar10-jpeg", data):
        if path.is_file() or (path / "train").is_dir():
            return str(path)
    return ""


def _prepared(place: Place, size: Size, made: list[Timed]) -> str:
    """Everything up to the first step, with what was decided; batches do not end with an epoch."""
    place.fresh_memory()
    wanted = requested(size.source, None, {**size.knobs, "batch_size": size.batch})
    prepared, decisions = drained(prepare(wanted, size.source, time.perf_counter()))
    job = prepared.job()
    made.append(Timed(prepared, replace(job, plan=partial(_many_epochs, job)), size))
    workers = decisions.made.get("data.workers", {}).get("why", "")
    train = len(prepared.data.dataset.splits["train"])
    return f"{train:,} training images; {prepared.settled.rule}; {workers}"


def _many_epochs(job: Job, epoch: int, losses: Any) -> list[Any]:
    """The plans of many epochs as one, so that no window holds the pause between two."""
    steps = itertools.count(0, len(job.plan(epoch, losses)))
    count = next(i for i, done in enumerate(steps) if done > 200)
    return [ids for e in range(count) for ids in job.plan(epoch + e, losses)]


def _rows(place: Place, timed: Timed) -> dict[str, Callable[[], Found]]:
    """Each row's name, and what times it."""
    chosen, cores = timed.job.threads, usable_cores()
    rows = {
        f"Striate, as chosen: threads {chosen}": partial(ours, place, timed, chosen),
        "Striate, each step waited for": partial(ours, place, timed, chosen, late=False),
    }
    if chosen != cores:
        rows[f"Striate, threads {cores}"] = partial(ours, place, timed, cores)
    return {
        **rows,
        "Striate, a ready batch": partial(ours_ready, place, timed),
        f"Striate, only reading, threads {cores}": partial(ours_reading, place, timed, cores),
        f"torch, workers {cores}": partial(theirs, place, timed, cores),
        "torch, a batch on the device": partial(theirs_ready, place, timed),
    }


def _row(place: Place, timed: Timed, title: str, work: Callable[[], Found]) -> str:
    place.fresh_memory()
    seconds, waits, card = work()
    rate = timed.size.batch / seconds
    row = (title, f"{rate:,.0f}", f"{1000 * seconds:.2f}", waits, card, place.peak())
    timed.rows.append(row)
    return f"{row[1]} images/s, {row[2]} ms a step, waits {waits}, busy {card}, peak {row[5]} MB"


def ours(place: Place, timed: Timed, threads: int, late: bool | None = None) -> Found:
    """The product's loop: its batches, its steps; how long it waits for images; and how busy the
    card says that it is. late: whether a step is finished after the next was begun; None: as in the
    product."""
    size, job = timed.size, replace(timed.job, threads=threads, lr=0.1 * timed.job.lr)
    job = job if late is None else replace(job, late=late)
    state, waited, images = timed.prepared.fresh(), [], []
    state.set_training()
    steps = Steps(job, state)
    with contextlib.closing(endless(job, state)) as ready, busy(place) as shares:  # type: ignore[type-var]

        def step() -> None:
            began = time.perf_counter()
            batch = next(ready)
            waited.append(time.perf_counter() - began)
            images.append(len(batch.ids))
            void(list(steps.take(batch)))

        seconds = windows(place, step, size.warm, size.count, size.steps)
    share = sum(waited[size.warm :]) / (size.count * size.steps) / seconds
    seconds *= size.batch / statistics.mean(images)  # batches of an epoch are nearly of one size
    card = f"{statistics.mean(shares):.0f}%" if shares else "–"
    return seconds, f"{min(share, 1):.0%}", card


def ours_ready(place: Place, timed: Timed) -> Found:
    """The product's update on one batch that lies ready in the machine's memory."""
    state, size = timed.prepared.fresh(), timed.size
    job = replace(timed.job, lr=0.01 * timed.job.lr)
    state.set_training()
    with contextlib.closing(endless(job, state)) as batches:  # type: ignore[type-var]
        batch = next(batches)
    steps = Steps(job, state)
    step = lambda: void(list(steps.take(batch)))  # noqa: E731
    seconds = windows(place, step, size.warm, size.count, size.steps)
    return seconds * size.batch / len(batch.ids), "–", "–"


def ours_reading(place: Place, timed: Timed, threads: int) -> Found:
    """Batches, read and augmented, without a network."""
    state, size = timed.prepared.fresh(), timed.size
    job, images = replace(timed.job, threads=threads), []
    with contextlib.closing(endless(job, state)) as ready:  # type: ignore[type-var]
        step = lambda: images.append(len(next(ready).ids))  # noqa: E731
        windows(place, step, 2 * threads + 1, 0, 0)  # what was read ahead does not count
        images.clear()
        seconds = windows(place, step, 0, 1, 4 * threads)
    return seconds * size.batch / statistics.mean(images), "all", "–"


def theirs(place: Place, timed: Timed, cores: int) -> Found:
    """The same network as people train it."""
    size, step, waited = timed.size, _their_step(place, timed), []
    store, train = timed.prepared.data.stores["train"], timed.prepared.data.dataset.splits["train"]
    ids = np.arange(min(len(store), 20_000))
    pixels = store.load(ids)
    numbers = class_numbers(train.targets)
    assert numbers is not None
    pictures = Pictures(pixels, numbers[ids], max(1, pixels.shape[1] // 8))
    batches = loader(place, pictures, size.batch, size.all_steps, cores)

    def one() -> None:
        began = time.perf_counter()
        images, labels = next(batches)
        waited.append(time.perf_counter() - began)
        step(images, labels)

    seconds = windows(place, one, size.warm, size.count, size.steps)
    share = sum(waited[size.warm :]) / (size.count * size.steps) / seconds
    return seconds, f"{min(share, 1):.0%}", "–"


def theirs_ready(place: Place, timed: Timed) -> Found:
    """The upper bound: nothing to read, nothing to move, nothing to wait for."""
    size, step = timed.size, _their_step(place, timed)
    shape = timed.prepared.settled.architecture
    side, channels = shape.image_size, shape.channels
    images = torch.randn(size.batch, channels, side, side, device=place.device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (size.batch,), device=place.device)
    seconds = windows(place, lambda: step(images, labels), size.warm, size.count, size.steps)
    return seconds, "–", "–"


def _their_step(place: Place, timed: Timed) -> Callable[..., None]:
    prepared = timed.prepared
    settled, classes = prepared.settled, len(prepared.data.dataset.classes)
    net: nn.Module = bare_network(settled.architecture, prepared.task, classes)
    return step_of(place, net, settled.smoothing, prepared.runtime.precision)


def synchronisations(place: Place, timed: Timed) -> str:
    """How often a step makes the program wait for the card, and where in our code."""
    steps = 10 if place.card else 2
    job, state = replace(timed.job, lr=0.01 * timed.job.lr), timed.prepared.fresh()
    state.set_training()
    taken = Steps(job, state)
    with contextlib.closing(endless(job, state)) as ready:  # type: ignore[type-var]
        void(list(taken.take(next(ready))))
        batches = list(itertools.islice(ready, steps))
    with counted(place) as places:
        for batch in batches:
            void(list(taken.take(batch)))
    if not place.card:
        return f"not counted: no card ({sum(places.values())} seen)"
    each = "; ".join(f"{n / steps:g} × {where}" for where, n in places.most_common(12))
    return f"{sum(places.values()) / steps:g} a step: {each}"


@contextlib.contextmanager
def counted(place: Place) -> Iterator[collections.Counter[str]]:
    """Within it torch warns of each synchronisation; where they come from is counted."""
    found: collections.Counter[str] = collections.Counter()

    def see(message: Any, *_: Any, **__: Any) -> None:
        if "synchronizing CUDA" in str(message):
            found[_origin()] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = see
        if place.card:
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            if place.card:
                torch.cuda.set_sync_debug_mode("default")


def _origin() -> str:
    """The innermost line of Striate on the stack."""
    frames = traceback.extract_stack(limit=_STACK)
    ours_at = [i for i, f in enumerate(frames) if f.filename.startswith(_OURS)]
    if not ours_at:
        return "outside striate"
    at = frames[ours_at[-1]]
    return f"{at.filename.removeprefix(_OURS)[1:]}:{at.lineno} {(at.line or '').strip()[:60]}"


@contextlib.contextmanager
def busy(place: Place) -> Iterator[list[int]]:
    """Within it the driver is asked now and then which share of the time the card computes; the
    list stays empty where it cannot be asked."""
    shares: list[int] = []
    done = threading.Event()

    def ask() -> None:
        with contextlib.suppress(Exception):  # a hint, for which pynvml is needed
            while not done.wait(0.25):
                shares.append(int(torch.cuda.utilization()))

    asker = threading.Thread(target=ask, daemon=True)
    if place.card:
        asker.start()
    try:
        yield shares
    finally:
        done.set()
        if place.card:
            asker.join(timeout=5)


def whole_epochs(place: Place, size: Size) -> str:
    """The product as it is used: seconds before the first step, an epoch, its steps, a save, and
    what comes after the last epoch."""
    knobs = {**size.knobs, "batch_size": size.batch, "epochs": 2, "run": new_folder(place)}
    began, first, found = time.perf_counter(), 0.0, collections.defaultdict(list)
    for record in striate.stream(size.source, **knobs):
        if isinstance(record, Step):
            first = first or time.perf_counter() - began
            found["rate"].append(record.images_per_second)
        elif isinstance(record, Epoch):
            found["epoch"].append(record.seconds)
            last = time.perf_counter()
        elif isinstance(record, Saved):
            found["save"].append(record.seconds)
        elif isinstance(record, Note) and record.level == "warning":
            found["warning"].append(record.text.splitlines()[0][:80])
    said = f"; said: {'; '.join(found['warning'])}" if found["warning"] else ""
    return (f"first step after {first:.1f} s, epochs {found['epoch']} s, median of a step "
            f"{statistics.median(found['rate']):,.0f} images/s, a save {found['save'][-1]:.2f} s, "
            f"scores and report {time.perf_counter() - last:.1f} s{said}")  # fmt: skip


def void(_: object) -> None:
    """Nothing of a step's answer is needed."""
