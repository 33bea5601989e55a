"""Is preflight's estimate true, and how long does preflight take?

    python benchmarks/preflight.py                  all combinations (about a quarter of an hour)
    python benchmarks/preflight.py digits           those of one data set

For each combination `striate preflight` and then `striate train` with the same flags, each in a
process of its own: the estimated and the true seconds of the epochs and scores, and the memory.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from common import DATA, machine, verb

SOURCES = {
    "digits": "digits",
    "sign-digits": DATA / "sign-digits.zip",
    "mnist": DATA / "mnist",
    "cifar10": DATA / "cifar10-jpeg.zip",
}
COMBINATIONS = [
    ("digits", ["--epochs", "20"]),
    ("digits", ["--model", "lenet", "--epochs", "20"]),
    ("sign-digits", []),
    ("sign-digits", ["--model", "resnet18", "--image-size", "64", "--epochs", "2"]),
    ("mnist", ["--epochs", "3"]),
    ("cifar10", ["--epochs", "2"]),
    ("cifar10", ["--model", "vgg11", "--image-size", "32", "--epochs", "1"]),
]
LOW, HIGH = 0.75, 1.33


def main(names: list[str]) -> int:
    print(machine() + "\n")
    print("| data | flags | preflight s | verdicts | estimated s | true s | ratio | estimated MB "
          "| true MB |\n|---|---|---|---|---|---|---|---|---|", flush=True)  # fmt: skip
    ratios = [row(*c) for c in COMBINATIONS if not names or c[0] in names]
    near = sum(LOW <= r <= HIGH for r in ratios)
    print(f"\n{near} of {len(ratios)} estimates within {LOW:g} to {HIGH:g} of the truth")
    return 0 if near == len(ratios) else 1


def row(data: str, flags: list[str]) -> float:
    source = str(SOURCES[data])
    before, wall, _ = verb("preflight", source, *flags, ok=(0, 1))
    findings = {f["rule"]: f for f in before["findings"]}
    expected = findings["estimate"]["evidence"]
    named = ", ".join(f["rule"] for f in before["findings"] if f["verdict"] in ("fail", "warn"))
    with tempfile.TemporaryDirectory() as folder:
        after, _, peak = verb("train", source, *flags, "--run", Path(folder) / "run")
    ratio = expected["seconds"] / after["seconds"]
    cells = (data, " ".join(flags), f"{wall:.0f}", named or "nothing", f"{expected['seconds']:.0f}",
             f"{after['seconds']:.0f}", f"{ratio:.2f}", f"{expected['peak_mb']:.0f}",
             f"{peak:.0f}")  # fmt: skip
    print(f"| {' | '.join(cells)} |", flush=True)
    return float(ratio)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
