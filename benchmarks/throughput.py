"""Training images a second: ours, our own float32, timm, and eager float32 as a user writes it.

    python benchmarks/throughput.py                     all rows (twenty minutes on two cores)
    python benchmarks/throughput.py resnet18 fastnet    some of them

Every row is from processes of its own, since an allocator cannot be set back; they take turns. A
shared machine is now fast, now slow, so before each step a 2048×2048 matrix product in float32 is
timed, and rows are compared by the median of steps in units of it. "eager" is torch as it comes;
"pages kept" gives it our allocator settings, "compiled" torch.compile, too (which needs a C++
compiler; the compilation is not counted); "timm" is its network, loss and optimiser as in its
train.py, without flags and with --amp --amp-dtype bfloat16 --channels-last. Images a second are the
best; the share is of the rate of such a product in the row's own format.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from striate.core.runtime import (
    Runtime,
    choose_precision,
    keep_pages,
    processor_name,
    product_gflops,
    usable_cores,
    version_of,
)
from striate.data.augment import About, Pipeline
from striate.data.loader import ArrayStore, epoch_plan
from striate.data.targets import Labels
from striate.models.network import Network
from striate.models.zoo import build
from striate.optim.rules import find_rule, make_optimiser
from striate.tasks import make_task
from striate.training.job import Job
from striate.training.loop import endless
from striate.training.state import Position, State
from striate.training.update import update

ROWS = {"fastnet": (32, 256), "resnet18": (224, 32), "resnet50": (224, 16)}
"""name → (side, batch)."""
TARGETS = {("fastnet", "ours, float32"): 3.5, ("resnet18", "eager"): 3.5,
           ("resnet50", "eager"): 3.5, ("resnet18", "eager, pages kept"): 3.0,
           ("resnet50", "eager, pages kept"): 3.0}  # fmt: skip
FLOAT32 = {("fastnet", "eager"): 1.3, ("resnet18", "eager"): 1.3, ("resnet18", "timm"): 1.3,
           ("resnet50", "eager"): 1.3, ("resnet50", "timm"): 1.3}  # fmt: skip
"""The same for a processor without units for bfloat16, which would only be emulated."""
_STEPS, _TURNS, _SIDE = 6, 3, 2048

Step = Callable[[], Any]


def main(names: list[str]) -> int:
    print(f"{processor_name()}, {usable_cores()} cores, torch {version_of('torch')}, "
          f"Python {platform.python_version()}\n")  # fmt: skip
    print("| network | how | images/s | of the product's rate | ours is so much faster | target |")
    print("|---|---|---|---|---|---|", flush=True)
    missed, emulated = 0, _chosen() == "float32"
    for name in names or ROWS:
        modes = [m for m in MODES if name != "fastnet" or not m.startswith("timm")]
        if emulated:
            modes = [m for m in modes if m not in ("timm, amp", "ours, float32")]
        if not (shutil.which("g++") or shutil.which("clang++")):
            modes.remove("eager, compiled")
        turns = [{mode: _measured(name, mode) for mode in modes} for _ in range(_TURNS)]
        found = {mode: [turn[mode] for turn in turns] for mode in modes}
        for mode, rows in found.items():
            gain = _pace(found["ours"]) / _pace(rows)
            target = (FLOAT32 if emulated else TARGETS).get((name, mode), 0)
            verdict = f"≥ {target}: {'met' if gain >= target else 'MISSED'}" if target else ""
            missed += bool(target and gain < target)
            best = max(speed for row in rows for speed in row["speeds"])
            share = _pace(rows) * rows[0]["work"] / median(row["format"] for row in rows)
            print(f"| {name} {ROWS[name][0]} px | {mode} | {best:.1f} | {share:.0%} "
                  f"| {gain:.2f} | {verdict} |", flush=True)  # fmt: skip
    return 1 if missed else 0


def _pace(rows: list[dict[str, Any]]) -> float:
    """Images in the time of an operation of the product that was timed before the step."""
    pairs = [zip(row["speeds"], row["products"], strict=True) for row in rows]
    return median(speed / product for each in pairs for speed, product in each)


def _measured(name: str, mode: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, mode]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def eager(name: str, *, compiled: bool = False) -> Step:
    """Float32, torch's default layout and optimiser, images that are ready."""
    side, batch = ROWS[name]
    net = build(name, num_classes=10, channels=3, image_size=side).train()
    rule = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    if compiled:
        net = torch.compile(net)
    x, y = torch.randn(batch, 3, side, side), torch.randint(10, (batch,))

    def step() -> None:
        rule.zero_grad()
        F.cross_entropy(net(x), y).backward()
        rule.step()

    return step


def timm(name: str, *, amp: bool) -> Step:
    """timm's own network, label smoothing and SGD."""
    from timm import create_model
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2

    side, batch = ROWS[name]
    layout = torch.channels_last if amp else torch.contiguous_format
    net = create_model(name, num_classes=10).to(memory_format=layout).train()
    rule = create_optimizer_v2(net, opt="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)
    loss = LabelSmoothingCrossEntropy(0.1)
    x = torch.randn(batch, 3, side, side).contiguous(memory_format=layout)
    y = torch.randint(10, (batch,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            value = loss(net(x), y)
        rule.zero_grad()
        value.backward()
        rule.step()

    return step


def ours(name: str, precision: str) -> Step:
    """The library's own step, augmentation of the next batch beside it."""
    side, batch = ROWS[name]
    keep_pages()
    images = np.random.default_rng(0).integers(0, 256, (batch * 4, side, side, 3), dtype=np.uint8)
    backbone = build(name, num_classes=10, channels=3, image_size=side)
    net = Network(backbone, torch.full((3,), 127.0), torch.full((3,), 1 / 64))
    net = net.to(memory_format=torch.channels_last).train()
    rule = "muon" if name == "fastnet" else "nesterov"
    optimiser = make_optimiser(
        net, rule, lr=0.01, l2=5e-4, knobs=find_rule(rule).knobs, bfloat16=precision == "bfloat16"
    )
    job = Job(
        epochs=1, store=ArrayStore(images), name=str,
        targets=Labels(np.arange(len(images)) % 10),
        plan=lambda epoch, _: epoch_plan(len(images), batch, 0, epoch),
        augment=Pipeline(0, {"pad": 2, "flip": 0.5}, About(side, np.full(3, 120.0))),
        task=make_task("labels", "cross_entropy", smoothing=0.1), rate=lambda _: 1.0,
        lr=0.01, seed=0, runtime=Runtime(torch.device("cpu"), precision),
        validate=lambda _: {}, save=lambda _: "",
    )  # fmt: skip
    state = State(net, optimiser, None, Position())
    ready = endless(job, state)
    return lambda: update(job, state, next(ready), 0.01)


def _kept(name: str, *, compiled: bool = False) -> Step:
    keep_pages()
    return eager(name, compiled=compiled)


def _chosen() -> str:
    return choose_precision(torch.device("cpu"))[0]


MODES: dict[str, Any] = {
    "eager": lambda name: (eager(name), "float32"),
    "eager, pages kept": lambda name: (_kept(name), "float32"),
    "eager, compiled": lambda name: (_kept(name, compiled=True), "float32"),
    "timm": lambda name: (timm(name, amp=False), "float32"),
    "timm, amp": lambda name: (timm(name, amp=True), "bfloat16"),
    "ours, float32": lambda name: (ours(name, "float32"), "float32"),
    "ours": lambda name: (ours(name, _chosen()), _chosen()),
}


def _one(name: str, mode: str) -> None:
    step, precision = MODES[mode](name)
    side, batch = ROWS[name]
    ones, products, speeds = torch.ones(_SIDE, _SIDE), [], []
    for _ in range(_STEPS + 2):  # the first two warm up
        products.append(2 * _SIDE**3 / _seconds(lambda: ones @ ones))
        speeds.append(batch / _seconds(step))
    with FlopCounterMode(display=False) as counter:
        net = build(name, num_classes=10, channels=3, image_size=side)
        net(torch.randn(2, 3, side, side)).sum().backward()
    own = product_gflops(torch.bfloat16, _SIDE) / product_gflops(torch.float32, _SIDE)
    print(json.dumps({
        "speeds": speeds[2:], "products": products[2:], "work": counter.get_total_flops() / 2,
        "format": own if precision == "bfloat16" else 1.0,
    }))  # fmt: skip


def _seconds(work: Step) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(*sys.argv[2:])
    else:
        sys.exit(main(sys.argv[1:]))
