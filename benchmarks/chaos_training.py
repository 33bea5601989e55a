"""Kills, signals, damage and full disks, in the numbers of the fault list (F1–F6).

    make chaos                                       all
    python benchmarks/chaos_training.py --share 0.1  a tenth of every number
    python benchmarks/chaos_training.py saves disk   some parts

saves       200 kills −9 of a process that saves without pause: the newest sound checkpoint loads
damage      2,000 truncations and flipped bits of checkpoints: all are noticed
disk        50 disks that fill up in the middle of a save: the old checkpoint stays
trainings   30 trainings, each killed −9 twice at random moments (workers 0, 2 and 4, one and two
            processes) and resumed: final weights as without a kill, records without holes
signals     100 SIGTERMs: 100 trainings that saved and can be resumed
launchers   50 kills −9 of a launcher of two processes: nobody is left after ten seconds
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from striate.core.errors import RunError
from striate.core.records import Step
from striate.core.run import RunDirectory, has_checkpoint
from striate.training import checkpoints

RNG, LARGE = np.random.default_rng(0), torch.ones(20_000)
TRAIN = ("train", "digits", "--model", "lenet", "--epochs", "4", "--augment.flip", "True",
         "--checkpoints.every-steps", "5", "--device.precision", "float32")  # fmt: skip
WRITER = """
import sys, torch
from pathlib import Path
from striate.training import checkpoints
step = 0
while True:
    step += 1
    checkpoints.save(Path(sys.argv[1]), {"step": step, "val_score": None},
                     {"w": torch.full((200_000,), float(step))}, {})
    checkpoints.prune(Path(sys.argv[1]))
    print(step, flush=True)
"""


def saves(count: int, folder: Path) -> int:
    """Kills whose newest sound checkpoint is older than one that was said to be saved."""
    lost = 0
    for trial in range(count):
        place = folder / str(trial % 8)  # old strays lie about for the next writer
        command = [sys.executable, "-c", WRITER, str(place)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            told = int(writer.stdout.readline())
            time.sleep(RNG.uniform(0, 0.3))
            writer.send_signal(signal.SIGKILL)
            told = max([told, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        found, _ = checkpoints.latest(place)
        sound = found is not None and found.step >= told
        lost += not (sound and found and bool((found.model()["w"] == found.step).all()))
        shutil.rmtree(place)
    return lost


def damage(count: int, folder: Path) -> int:
    """Damaged files that `verified` takes for sound although their meaning changed."""
    tensors = {"w": torch.randn(3000)}
    manifest = {"step": 7, "val_score": 0.5}
    path = checkpoints.save(folder, manifest, tensors, {"m": torch.randn(100)})
    before = checkpoints.verified(path).manifest
    missed = 0
    for _ in range(count):
        name = str(RNG.choice(["model.safetensors", "state.safetensors", "manifest.json"]))
        data = (path / name).read_bytes()
        damaged = bytearray(data)
        if RNG.random() < 0.5:
            damaged = damaged[: RNG.integers(0, len(data))]
        else:
            damaged[RNG.integers(0, len(data))] ^= 1 << int(RNG.integers(0, 8))
        (path / name).write_bytes(damaged)
        with contextlib.suppress(RunError):
            missed += checkpoints.verified(path).manifest != before or name != "manifest.json"
        (path / name).write_bytes(data)
    return missed


def disk(count: int, folder: Path) -> int:
    """Saves onto a disk that is full at a random offset (by a limit on file sizes) after which the
    old checkpoint is not sound, or strays are left."""
    bad = 0
    for trial in range(count):
        place = folder / str(trial)
        checkpoints.save(place, {"step": 1, "val_score": None}, {"w": torch.ones(500)}, {})
        if (child := os.fork()) == 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            limit = int(RNG.integers(0, 80_000)) + trial
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            with contextlib.suppress(RunError, OSError):
                checkpoints.save(
                    place, {"step": 2, "val_score": None}, {"w": torch.ones(20_000)}, {}
                )
            os._exit(0)
        os.waitpid(child, 0)
        found, _ = checkpoints.latest(place)
        names = {p.name for p in place.iterdir()}
        bad += found is None or not {"step-00000001"} <= names <= {"step-00000001", "step-00000002"}
    return bad


def trainings(count: int, folder: Path) -> int:
    """Killed and resumed trainings that end otherwise than one that was left in peace."""
    wholes = {}
    for procs in (1, 2):
        _started(*TRAIN, "--run", folder / f"whole{procs}", "--procs", procs).wait()
        wholes[procs] = _final(folder / f"whole{procs}")
    bad = 0
    for trial in range(count):
        workers, procs = (0, 2, 4)[trial % 3], 1 + trial % 2
        run = folder / f"run{trial}"
        resume = _line("resume", run) if procs == 1 else _together("resume", run)
        first = _line(*TRAIN, "--run", run, "--procs", procs, "--data.workers", workers)
        _kill_in_the_middle(first, run)
        _kill_in_the_middle(resume, run)
        subprocess.run(resume, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        steps = [r.step for r in RunDirectory(run).records() if isinstance(r, Step)]
        whole = steps == list(range(1, len(steps) + 1))
        bad += not (whole and _final(run) == wholes[procs])
        shutil.rmtree(run)
    return bad


def signals(count: int, folder: Path) -> int:
    """Trainings that after SIGTERM left no checkpoint, or another exit code than 130."""
    bad = 0
    for trial in range(count):
        run = folder / str(trial)
        with _started(*TRAIN, "--run", run) as process:
            _when(partial(has_checkpoint, run))
            time.sleep(RNG.uniform(0, 0.3))
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        found, faults = checkpoints.latest(run / "checkpoints")
        bad += process.returncode not in (0, 130) or found is None or bool(faults)
        shutil.rmtree(run)
    return bad


def launchers(count: int, folder: Path) -> int:
    """Processes that are left ten seconds after their launcher was killed."""
    left = 0
    for trial in range(count):
        run = folder / str(trial)
        with _started(*TRAIN, "--epochs", 500, "--run", run, "--procs", 2) as process:
            _when(partial(has_checkpoint, run))
            process.kill()
        _when(lambda run=run: not _of(run), seconds=10, need=False)
        left += len(_of(run))
        for number in _of(run):
            os.kill(number, signal.SIGKILL)
        shutil.rmtree(run, ignore_errors=True)
    return left


PARTS: dict[str, tuple[Callable[[int, Path], int], int]] = {
    "saves": (saves, 200), "damage": (damage, 2000), "disk": (disk, 50),
    "trainings": (trainings, 30), "signals": (signals, 100), "launchers": (launchers, 50),
}  # fmt: skip


def main(names: list[str], share: float) -> int:
    total = 0
    for name in names or PARTS:
        part, whole = PARTS[name]
        count, began = max(1, round(whole * share)), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            bad = part(count, Path(folder))
        print(f"{name}: {count} times, {bad} bad ({time.perf_counter() - began:.0f} s)", flush=True)
        total += bad
    return 1 if total else 0


def _kill_in_the_middle(line: list[str], run: Path) -> None:
    """Start, and kill −9 at a random moment after it has written more records."""
    records = run / "records.jsonl"
    before = records.stat().st_size if records.exists() else 0
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _when(
            lambda: (
                (has_checkpoint(run) and records.stat().st_size != before)
                or process.poll() is not None
            )
        )
        time.sleep(RNG.uniform(0, 0.5))
        process.kill()
    _when(lambda: not _of(run), seconds=20)


def _started(*command: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(_line(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _line(*command: object) -> list[str]:
    return [sys.executable, "-m", "striate", *map(str, command)]


def _together(*command: object) -> list[str]:
    """The same in two processes."""
    return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
            "-m", "--", "striate", *map(str, command)]  # fmt: skip


def _final(run: Path) -> bytes:
    found, _ = checkpoints.latest(run / "checkpoints")
    assert found is not None
    return (found.path / "model.safetensors").read_bytes()


def _of(run: Path) -> list[int]:
    """Processes with the run's folder on their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if str(run).encode() in words and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def _when(condition: Callable[[], bool], seconds: float = 120, *, need: bool = True) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            assert not need, "waited in vain"
            return
        time.sleep(0.02)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    part = float(arguments.pop(arguments.index("--share") + 1)) if "--share" in arguments else 1.0
    sys.exit(main([a for a in arguments if a != "--share"], part))
