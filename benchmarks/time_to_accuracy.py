"""Wall time from process start to an accuracy on CIFAR-10, against peers in the same run.

    python benchmarks/time_to_accuracy.py            ours once, and the peers (a quarter of an hour)
    python benchmarks/time_to_accuracy.py 0 1 2      ours with these seeds
    python benchmarks/time_to_accuracy.py curve 12   the peers' curve anew, alone, over 12 epochs:
                                                     hours. Stopped, it goes on where it was

Ours is `striate train cifar10-jpeg.zip` with no flags: decoding, checks, training, scores of all
splits. The peers (plain torch, fastai, timm) train ResNet-18 and are measured in images/s over 16
steps; the epochs that ResNet-18 needs are taken from a whole curve, benchmarks/curves/resnet18.csv,
and their time is extended from the two, without the time that they take to start and to evaluate.
They live in an environment of their own, made on first use (benchmarks/.peers, or STRIATE_PEERS).
"""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from statistics import mean

import torch

from striate.core.runtime import choose_precision, processor_name, usable_cores, version_of

HERE = Path(__file__).parent
DATA = Path(os.environ.get("STRIATE_DATA", HERE.parents[1] / "shared" / "data"))
SOURCE = DATA / "cifar10-jpeg.zip"
PEERS = Path(os.environ.get("STRIATE_PEERS", HERE / ".peers"))
CURVE = HERE / "curves" / "resnet18.csv"
ACCURACY, PLAIN, SECONDS, GAIN = 0.90, 0.89, 360, 20
IMAGES = 50_000


def main(arguments: list[str]) -> int:
    print(f"{processor_name()}, {usable_cores()} cores, torch {version_of('torch')}, "
          f"Python {platform.python_version()}\n")  # fmt: skip
    if not SOURCE.exists():
        print(f"no data at {SOURCE}: set STRIATE_DATA")
        return 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if arguments[:1] == ["curve"]:
            return draw_curve(extracted(folder), arguments[1])
        seconds, met = ours([int(seed) for seed in arguments] or [0], folder)
        if not arguments:
            met &= against_peers(seconds, extracted(folder))
    return 0 if met else 1


def ours(seeds: list[int], folder: Path) -> tuple[float, bool]:
    """Mean seconds, and whether accuracy and time are reached."""
    print("| ours, seed | accuracy | single view | epochs | wall s |")
    print("|---|---|---|---|---|", flush=True)
    rows = []
    for seed in seeds:
        env = {**os.environ, "STRIATE_CACHE": str(folder / f"cache{seed}")}
        command = [sys.executable, "-m", "striate", "train", str(SOURCE), "--json",
                   "--seed", str(seed), "--run", str(folder / f"run{seed}")]  # fmt: skip
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        wall = time.perf_counter() - began
        said = json.loads(done.stdout.splitlines()[-1])
        test = said["test"]
        rows.append((test["accuracy"], test["plain_accuracy"], wall))
        print(f"| {seed} | {test['accuracy']:.4f} | {test['plain_accuracy']:.4f} "
              f"| {said['epochs']} | {wall:.0f} |", flush=True)  # fmt: skip
    accuracy, plain, seconds = (mean(column) for column in zip(*rows, strict=True))
    met = accuracy >= ACCURACY and plain >= PLAIN and seconds <= SECONDS
    print(f"\nmean accuracy {accuracy:.4f} (target {ACCURACY}), single view {plain:.4f} ({PLAIN}), "
          f"{seconds:.0f} s ({SECONDS}): {'met' if met else 'MISSED'}\n", flush=True)  # fmt: skip
    return seconds, met


def against_peers(seconds: float, images: Path) -> bool:
    if not CURVE.exists():
        print(f"no curve at {CURVE}: make it with `python {sys.argv[0]} curve`")
        return False
    epochs, reached = epochs_needed()
    print(f"ResNet-18 reaches {reached:.4f} in {epochs} epochs ({CURVE.name})"
          + (f": it needs more for {ACCURACY}, so the ratios are lower bounds\n"
             if reached < ACCURACY else "\n"))  # fmt: skip
    print("| peer | images/s (measured) | minutes to that (extended) | ours is so much faster |")
    print("|---|---|---|---|", flush=True)
    gains = {}
    for kind in ("torch", "timm", "fastai", "timm-amp"):
        done = peer(kind, images)
        if done.returncode:
            print(f"| {kind} | failed: {(done.stderr.splitlines() or ['?'])[-1][:80]} | | |")
            continue
        rate = json.loads(done.stdout.splitlines()[-1])["rate"]
        needed = epochs * IMAGES / rate
        gains[kind] = needed / seconds
        print(f"| {kind} | {rate:.0f} | {needed / 60:.0f} | {gains[kind]:.1f}× |", flush=True)
    met = gains.get("torch", 0) >= GAIN
    print(f"\nagainst plain torch: target {GAIN}×: {'met' if met else 'MISSED'}")
    return met


def draw_curve(images: Path, epochs: str) -> int:
    """Train the peer; its curve is committed only when it is whole."""
    precision, _ = choose_precision(torch.device("cpu"))
    unfinished = PEERS.parent / ".resnet18.csv"
    done = peer("curve", images, str(unfinished), epochs, precision)
    print(done.stderr, end="")
    if not done.returncode:
        CURVE.parent.mkdir(exist_ok=True)
        CURVE.write_bytes(unfinished.read_bytes())
    return done.returncode


def epochs_needed() -> tuple[int, float]:
    """(epochs of the committed curve's one-cycle recipe, the accuracy at its end)."""
    with CURVE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return int(rows[-1]["epoch"]), float(rows[-1]["test_accuracy"])


def peer(kind: str, images: Path, *rest: str) -> subprocess.CompletedProcess[str]:
    """Run peers.py in its environment."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        print(f"installing fastai and timm into {PEERS}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "fastai", "timm"], check=True)
    command = [str(python), str(HERE / "peers.py"), kind, str(images), *rest]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def extracted(folder: Path) -> Path:
    """The archive's train and test folders as files."""
    where = folder / "images"
    with zipfile.ZipFile(SOURCE) as archive:
        names = [n for n in archive.namelist() if n.endswith(".jpg")]
        for name in names:
            kept = where / Path(*Path(name).parts[-3:])
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(archive.read(name))
    return where


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
