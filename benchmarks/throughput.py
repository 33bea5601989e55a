"""Training images a second: ours, our own float32, timm, and eager float32 as a user writes it.

    python benchmarks/throughput.py                     all rows (twenty minutes on two cores)
    python benchmarks/throughput.py resnet18 fastnet    some of them

Every figure is from a process of its own, since an allocator cannot be set back; they take turns,
three times, and the best counts, since the machine may be busy. "eager" is torch as it comes;
"pages kept" gives it our allocator settings, "compiled" torch.compile, too (which needs a C++
compiler; the compilation is not counted); "timm" is its network, loss and optimiser as in its
train.py, without flags and with --amp --amp-dtype bfloat16 --channels-last. The share is of the
best rate of a 2048×2048 matrix product in the same format, which each process measures at its end.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import time
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
_STEPS, _TURNS = 4, 3


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
        found = {mode: max((t[mode] for t in turns), key=lambda row: row["rate"]) for mode in modes}
        peaks = {row["precision"]: 0.0 for row in found.values()}
        for row in (row for turn in turns for row in turn.values()):
            peaks[row["precision"]] = max(peaks[row["precision"]], row["peak"])
        for mode, row in found.items():
            share = row["rate"] * row["work"] / peaks[row["precision"]]
            gain = found["ours"]["rate"] / row["rate"]
            target = (FLOAT32 if emulated else TARGETS).get((name, mode), 0)
            verdict = f"≥ {target}: {'met' if gain >= target else 'MISSED'}" if target else ""
            missed += bool(target and gain < target)
            print(f"| {name} {ROWS[name][0]} px | {mode} | {row['rate']:.1f} | {share:.0%} "
                  f"| {gain:.2f} | {verdict} |", flush=True)  # fmt: skip
    return 1 if missed else 0


def _measured(name: str, mode: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, mode]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _eager(name: str, *, compiled: bool = False) -> float:
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

    return batch / _best(step)


def _timm(name: str, *, amp: bool) -> float:
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

    return batch / _best(step)


def _ours(name: str, precision: str) -> float:
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
    return batch / _best(lambda: update(job, state, next(ready), 0.01))


def _best(step: Any) -> float:
    times = []
    for _ in range(_STEPS + 2):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return min(times[2:])


def _kept(name: str, *, compiled: bool = False) -> float:
    keep_pages()
    return _eager(name, compiled=compiled)


def _chosen() -> str:
    return choose_precision(torch.device("cpu"))[0]


MODES: dict[str, Any] = {
    "eager": lambda name: (_eager(name), "float32"),
    "eager, pages kept": lambda name: (_kept(name), "float32"),
    "eager, compiled": lambda name: (_kept(name, compiled=True), "float32"),
    "timm": lambda name: (_timm(name, amp=False), "float32"),
    "timm, amp": lambda name: (_timm(name, amp=True), "bfloat16"),
    "ours, float32": lambda name: (_ours(name, "float32"), "float32"),
    "ours": lambda name: (_ours(name, _chosen()), _chosen()),
}


def _one(name: str, mode: str) -> None:
    rate, precision = MODES[mode](name)
    side = ROWS[name][0]
    with FlopCounterMode(display=False) as counter:
        net = build(name, num_classes=10, channels=3, image_size=side)
        net(torch.randn(2, 3, side, side)).sum().backward()
    work = counter.get_total_flops() / 2
    peak = product_gflops(getattr(torch, precision), 2048) * 1e9
    print(json.dumps({"rate": rate, "work": work, "peak": peak, "precision": precision}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(*sys.argv[2:])
    else:
        sys.exit(main(sys.argv[1:]))
