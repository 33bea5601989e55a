"""Is the learning rate that `striate lr` finds as good as the best of a grid?

    python benchmarks/rates.py                 all ten combinations (half an hour or more)
    python benchmarks/rates.py digits mnist    those of some data sets

For each combination of data, network and update rule: the rate found, and the accuracy of the whole
training with it, beside that of the best rate on a grid of half decades around the usual one: the
mean of two seeds over validation and test images. Data are a few thousand images of each set
(benchmarks/doctor/corpus.py), for ResNet-18 a thousand at 16 pixels.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "doctor"))
from common import machine
from corpus import DATA, splits

import striate
from striate.core.errors import TrainingError

PLAIN = "conv 3x3 16 pad 1, relu, pool 2, conv 3x3 32 pad 1, relu, pool 2, fc 64, relu, fc classes"
COMBINATIONS = [
    ("digits", "fastnet", "muon"),
    ("digits", PLAIN, "nesterov"),
    ("mnist", "fastnet", "nesterov"),
    ("mnist", PLAIN, "adam"),
    ("mnist", "lenet", "sgd"),
    ("fashion-mnist", "fastnet", "muon"),
    ("fashion-mnist", PLAIN, "nesterov"),
    ("cifar10", "fastnet", "nesterov"),
    ("cifar10", "resnet18", "nesterov"),
    ("sign-digits", PLAIN, "adam"),
]
GRID = 10.0 ** np.arange(-2, 1.6, 0.5)
WITHIN = 0.01
SEEDS = (0, 1)
BASE = {
    "epochs": 6, "batch_size": 64, "augment.flip": False, "data.check": "off", "data.workers": 1,
    "augment.test_views": "single", "doctor.measure": False,
}  # fmt: skip


def main(names: list[str]) -> int:
    print(machine() + "\n")
    print("| data | network | rule | found | accuracy | best of grid | accuracy | within a point "
          "| search s |\n|---|---|---|---|---|---|---|---|---|", flush=True)  # fmt: skip
    met = [row(*c) for c in COMBINATIONS if not names or c[0] in names]
    print(f"\n{sum(met)} of {len(met)} within {WITHIN:.0%} (target: 8 of 10)")
    return 0 if sum(met) >= 0.8 * len(met) else 1


def row(data: str, model: str, rule: str) -> bool:
    knobs: dict[str, Any] = {**BASE, "model.name": model, "optim.rule": rule}
    if model == "fastnet":
        knobs["model.width"] = 0.5
    source: Any = DATA / "sign-digits.zip" if data == "sign-digits" else dict(splits(data))
    if model == "resnet18":
        knobs["image_size"] = 16
        source["train"] = tuple(part[:1000] for part in source["train"])
    if data == "sign-digits":
        knobs |= {"image_size": 32, "data.channels": 3}
    began = time.perf_counter()
    found = striate.find_rate(source, **knobs)
    seconds = time.perf_counter() - began
    usual = found.usual
    scores = {lr: trained(source, knobs, lr) for lr in (usual * GRID).tolist()}
    best = max(scores, key=lambda lr: scores[lr])
    ours = trained(source, knobs, found.lr)
    near = ours >= scores[best] - WITHIN
    name = model if " " not in model else "plain"
    cells = (data, name, rule, f"{found.lr:.2g}", f"{ours:.4f}", f"{best:.2g}",
             f"{scores[best]:.4f}", "yes" if near else "NO", f"{seconds:.0f}")  # fmt: skip
    print(f"| {' | '.join(cells)} |", flush=True)
    return near


def trained(source: Any, knobs: dict[str, Any], lr: float) -> float:
    """Mean accuracy over seeds and held-out images; 0 for a loss that was not finite."""
    right = images = 0.0
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as place:
            try:
                run = striate.train(source, run=Path(place) / "run", **knobs, lr=lr, seed=seed)
                done = run.finished
            except TrainingError:
                return 0.0
        assert done is not None
        for scores in (done.val, done.test):
            right += scores["n"] * scores["accuracy"]
            images += scores["n"]
    return right / images


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
