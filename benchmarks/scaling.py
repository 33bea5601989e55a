"""Constants of the cost model in striate.core.cost, and how well it predicts real trainings.

    python benchmarks/scaling.py        about four minutes on two cores

One machine, one compute thread a process, gloo over TCP. Each row of the second table is a real
`striate` step in two processes, over links of different bandwidth where the rights allow to limit
one (a network namespace with a token bucket), beside what the formula says with the constants of
the first table. The last table extends it to GPUs whose constants are assumed, and says so.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

from striate.core.cost import GRADIENT_BYTES, Machine, cost
from striate.core.group import Group
from striate.core.runtime import Runtime, keep_pages, processor_name, usable_cores, version_of
from striate.data.augment import About, Pipeline
from striate.data.loader import ArrayStore, epoch_plan
from striate.data.targets import Labels
from striate.models.fit import parameter_count
from striate.models.network import Network
from striate.models.zoo import build
from striate.optim.rules import find_rule, make_optimiser
from striate.tasks import make_task
from striate.training.job import Job
from striate.training.state import Position, State
from striate.training.update import update

NET, SIDE, BATCH = "resnet18", 32, 64
SIZES = (1 << 10, 1 << 16, 1 << 20, 1 << 22, 1 << 24, 1 << 25)
LINKS = {"unlimited": "", "1 Gbit/s": "1gbit", "100 Mbit/s": "100mbit"}
STEPS = 6


def main() -> int:
    print(f"{processor_name()}, {usable_cores()} cores, torch {version_of('torch')}, "
          f"Python {platform.python_version()}\n")  # fmt: skip
    step, each = compute_constants()
    parameters = parameter_count(build(NET, num_classes=10, small_stem=True))
    print(f"{NET} at {SIDE} px, one thread: {1e3 * step:.1f} ms a step + {1e3 * each:.2f} ms an "
          f"image; {parameters:,} parameters, {GRADIENT_BYTES * parameters / 2**20:.0f} MB of "
          "gradients\n")  # fmt: skip
    print("| link | latency µs | bandwidth MB/s | step of 2 ranks, s | half of the backward pass "
          "hides sending | nothing hides it | all of it |")  # fmt: skip
    print("|---|---|---|---|---|---|---|", flush=True)
    for name, rate in LINKS.items():
        found = pair("reduce", rate)
        if found is None:
            print(f"| {name} | no right to limit a link here | | | | | |", flush=True)
            continue
        latency, bandwidth = fitted(found["times"])
        trained = pair("train", rate)
        assert trained is not None
        row = predictions(step, each, latency, bandwidth, parameters)
        print(f"| {name} | {1e6 * latency:.0f} | {bandwidth / 1e6:.0f} | {trained['step']:.2f} "
              f"| {row[0.5]:.2f} | {row[0.0]:.2f} | {row[1.0]:.2f} |", flush=True)  # fmt: skip
    extended()
    return 0


def predictions(
    step: float, each: float, latency: float, bandwidth: float, parameters: int
) -> dict[float, float]:
    """Seconds of a step of two ranks, by the share of the backward pass that hides sending."""
    found = {}
    for hidden in (0.0, 0.5, 1.0):
        machine = Machine(step, each, latency=latency, bandwidth=bandwidth, hidden=hidden)
        found[hidden] = cost(
            machine, images=BATCH, parameters=parameters, ranks=2, batch=BATCH
        ).step
    return found


def compute_constants() -> tuple[float, float]:
    """Seconds a step and an image, by least squares over several shares."""
    shares = (8, 16, 32, 64)
    times = [json.loads(_script("alone", str(share)).splitlines()[-1])["step"] for share in shares]
    each, step = np.polyfit(shares, times, 1)
    return max(float(step), 0.0), float(each)


def fitted(times: dict[str, float]) -> tuple[float, float]:
    """(latency, bandwidth) of two ranks: seconds = 2 α + bytes/β, in relative least squares."""
    sizes = np.array([float(size) for size in times])
    seconds = np.array(list(times.values()))
    design = np.stack([2 * np.ones_like(sizes), sizes], axis=1) / seconds[:, None]
    latency, slope = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)[0]
    return max(float(latency), 1e-6), 1 / float(slope)


def pair(what: str, rate: str) -> dict[str, float] | None:
    """Two processes over the loopback of a network namespace of their own; None without rights."""
    inside = ["ip link set lo up"]
    if rate:
        inside.append(f"tc qdisc add dev lo root tbf rate {rate} burst 256kb latency 400ms")
    inside.append(f"{sys.executable} {__file__} --pair {what}")
    wrap = ["unshare", "-rn", "sh", "-ec", "; ".join(inside)]
    command = wrap if rate else [sys.executable, __file__, "--pair", what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def extended() -> None:
    """Assumed GPUs: ResNet-50 at 2,500 images/s, 25 GB/s links of 15 µs, readers that keep up."""
    gpu = Machine(0.004, 1 / 2500, input_rate=4000, latency=15e-6, bandwidth=25e9, hidden=0.7)
    slow = Machine(0.004, 1 / 2500, input_rate=4000, latency=30e-6, bandwidth=1.25e9, hidden=0.7)
    starved = Machine(0.004, 1 / 2500, input_rate=800, latency=15e-6, bandwidth=25e9, hidden=0.7)
    print("\nAssumed, not measured: ResNet-50 (25.6 M parameters) at 2,500 images/s a GPU, 64 "
          "images a GPU and step, 1 B images\n")  # fmt: skip
    print("| GPUs | 200 Gbit/s links: efficiency, hours an epoch | 10 Gbit/s links "
          "| readers at 800 images/s |")  # fmt: skip
    print("|---|---|---|---|")
    for ranks in (1, 8, 64, 256, 1000):
        cells = []
        for machine in (gpu, slow, starved):
            found = cost(
                machine, images=10**9, parameters=25_600_000, ranks=ranks, batch=64 * ranks
            )
            hours = found.epoch / 3600
            cells.append(f"{found.efficiency:.0%}, {hours:,.1f} h ({found.bound})")
        print(f"| {ranks:,} | " + " | ".join(cells) + " |")


def _script(*arguments: str) -> str:
    command = [sys.executable, __file__, "--" + arguments[0], *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _pair(what: str) -> None:
    """Start both ranks and print what rank 0 found."""
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517", "WORLD_SIZE": "2",
           "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--rank", what], env={**env, "RANK": str(rank)},
            stdout=subprocess.PIPE if rank == 0 else None, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    out, _ = processes[0].communicate()
    if processes[1].wait() or processes[0].returncode:
        sys.exit(1)
    print(out.splitlines()[-1])


def _rank(what: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=120))
    found = (
        {"times": _reduce_times()} if what == "reduce" else {"step": _step_seconds(BATCH // 2, 2)}
    )
    if dist.get_rank() == 0:
        print(json.dumps(found))
    dist.destroy_process_group()


def _reduce_times() -> dict[int, float]:
    """Median seconds of an all-reduce, by bytes."""
    found = {}
    for size in SIZES:
        tensor = torch.zeros(size // 4)
        times = []
        for _ in range(5):
            dist.barrier()
            began = time.perf_counter()
            dist.all_reduce(tensor)
            times.append(time.perf_counter() - began)
        found[size] = statistics.median(times[1:])
    return found


def _step_seconds(share: int, ranks: int) -> float:
    """Median seconds of the library's own step."""
    keep_pages()
    torch.set_num_threads(1)
    count = share * ranks
    images = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    backbone = build(NET, num_classes=10, small_stem=True)
    net = Network(backbone, torch.full((3,), 127.0), torch.full((3,), 1 / 64))
    net = net.to(memory_format=torch.channels_last).train()
    optimiser = make_optimiser(
        net, "nesterov", lr=0.01, l2=5e-4, knobs=find_rule("nesterov").knobs, bfloat16=False
    )
    group = Group(dist.get_rank() if ranks > 1 else 0, ranks)
    runtime = Runtime(torch.device("cpu"), "float32", group)
    job = Job(
        epochs=1, store=ArrayStore(images), targets=Labels(np.arange(count) % 10), name=str,
        plan=lambda epoch, _: epoch_plan(count, count, 0, epoch),
        augment=Pipeline(0, {"pad": 2, "flip": 0.5}, About(SIDE, np.full(3, 120.0))),
        task=make_task("labels", "cross_entropy", smoothing=0.1), rate=lambda _: 1.0,
        lr=0.01, seed=0, runtime=runtime, validate=lambda _: {}, save=lambda _: "",
    )  # fmt: skip
    state = State(net, optimiser, None, Position())
    state.parallel = group.parallel(net, runtime.device)
    times = []
    for epoch in range(STEPS):
        for batch in job.batches(epoch, 0):
            began = time.perf_counter()
            update(job, state, batch, 0.01)
            times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


if __name__ == "__main__":
    kind, *rest = sys.argv[1:] or [""]
    if kind == "--alone":
        print(json.dumps({"step": _step_seconds(int(rest[0]), 1)}))
    elif kind == "--pair":
        _pair(rest[0])
    elif kind == "--rank":
        _rank(rest[0])
    else:
        sys.exit(main())
