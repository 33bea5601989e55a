"""The main job on real data, with defaults: accuracy, wall time from process start, peak memory.

    make bench                                    all sets in STRIATE_DATA (default ../shared/data)
    python benchmarks/main_job.py digits mnist    some of them

Each row is one `striate train DATA --json` in a process of its own; nothing is tuned per set. The
last row trains twice with one seed and compares the bytes of the final weights. What the doctor
says of each, and what its measurements cost, is printed too: these trainings should be healthy.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from common import DATA, machine, verb

from striate.core.records import Epoch, Measured
from striate.core.run import RunDirectory

TARGETS = {
    # name: (source, test accuracy, seconds)
    "digits": ("digits", 0.98, 60),
    "mnist": (DATA / "mnist", 0.993, 300),
    "fashion-mnist": (DATA / "fashion-mnist", 0.93, 600),
    "cifar10": (DATA / "cifar10-jpeg.zip", 0.85, 600),
    "sign-digits": (DATA / "sign-digits.zip", 0.93, 300),
}


def main(names: list[str]) -> int:
    print(machine() + "\n")
    print("| data | test accuracy | target | single view | epochs | wall s | limit | peak MB "
          "| doctor | measuring |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in names or TARGETS:
            missed += not row(name, Path(folder))
        same = repeatable(Path(folder))
    print(f"\nthe same seed twice on digits: {'identical' if same else 'DIFFERENT'} final weights")
    return 1 if missed or not same else 0


def row(name: str, folder: Path) -> bool:
    """Train once and print the figures; True if both targets are met or the data is not here."""
    source, accuracy, seconds = TARGETS[name]
    if name != "digits" and not Path(source).exists():
        print(f"| {name} | no data at {source}: set STRIATE_DATA | | | | | | | | |", flush=True)
        return True
    said, wall, peak = verb("train", source, "--run", folder / name)
    test, doctor = said["test"], said["doctor"]
    named = ", ".join(f["rule"] for f in doctor["findings"])
    print(
        f"| {name} | {test['accuracy']:.4f} | {accuracy} | {test['plain_accuracy']:.4f} "
        f"| {said['epochs']} | {wall:.0f} | {seconds} | {peak:.0f} "
        f"| {doctor['verdict']} {named} | {measuring(folder / name):.1%} |",
        flush=True,
    )
    return bool(test["accuracy"] >= accuracy and wall <= seconds)


def measuring(run: Path) -> float:
    """Share of the time of the epochs that the doctor's measurements took."""
    kinds: dict[type, float] = {Measured: 0.0, Epoch: 0.0}
    for record in RunDirectory(run).records():
        if type(record) in kinds:
            kinds[type(record)] += record.seconds
    return kinds[Measured] / kinds[Epoch]


def repeatable(folder: Path) -> bool:
    weights = []
    for name in ("first", "second"):
        verb("train", "digits", "--run", folder / name)
        last = max((folder / name / "checkpoints").glob("step-*"))
        weights.append((last / "model.safetensors").read_bytes())
    return weights[0] == weights[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
