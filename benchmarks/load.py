"""A training on a machine that does other work: how much slower, with threads that give way.

    python benchmarks/load.py            steps of the default network (seven minutes)
    python benchmarks/load.py train      whole trainings on photographs of hand signs (nine minutes)

Each is timed alone, beside one program that is busy all the time, and two of a kind at once. Steps
are timed as torch's threads wait by themselves, too ("spinning"), in turn with ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import throughput
from common import DATA, machine

from striate.core.sharing import giving_way

CASES = ((32, 256), (32, 32), (96, 32))
"""(side, batch) of the steps."""
BESIDE, TWO = 2.2, 2.4
"""At most so many times its time alone."""
_SECONDS, _ROUNDS = 5.0, 1
Times = dict[str, list[float]]


def main(arguments: list[str]) -> int:
    print(f"{machine()}\n")
    if arguments == ["train"]:
        return trainings()
    print("| images | threads | alone, ms a step | beside a busy program | two at once |")
    print("|---|---|---|---|---|", flush=True)
    missed = 0
    for side, batch in CASES:
        found: dict[str, Times] = {"spinning": {}, "giving way": {}}
        for _ in range(_ROUNDS):
            for how, times in found.items():
                _note(times, [sys.executable, __file__, "--steps", str(side), str(batch), how])
        for how, times in found.items():
            alone, beside, two = (statistics.median(v) for v in times.values())
            good = beside <= BESIDE * alone and two <= TWO * alone
            missed += how == "giving way" and not good
            print(f"| {batch} of {side} px | {how} | {1000 * alone:.0f} | {beside / alone:.2f}× "
                  f"| {two / alone:.2f}× |", flush=True)  # fmt: skip
    return _judged(missed)


def trainings() -> int:
    """`striate train sign-digits.zip`, six epochs of the default network from scratch."""
    source = DATA / "sign-digits.zip"
    if not source.exists():
        print(f"no data at {source}: set STRIATE_DATA")
        return 0
    times: Times = {}
    with tempfile.TemporaryDirectory() as folder:
        _run([[sys.executable, __file__, "--train", folder]])  # the first fills the cache
        _note(times, [sys.executable, __file__, "--train", folder])
    alone, beside, two = (times[name][0] for name in ("alone", "beside", "two"))
    print(f"alone {alone:.0f} s; beside a busy program {beside:.0f} s, {beside / alone:.2f}×; "
          f"two at once {two:.0f} s, {two / alone:.2f}×")  # fmt: skip
    return _judged(int(beside > BESIDE * alone or two > TWO * alone))


def _judged(missed: int) -> int:
    print(f"\nat most {BESIDE}× beside a busy program, {TWO}× of two at once: "
          f"{'MISSED' if missed else 'met'}")  # fmt: skip
    return 1 if missed else 0


def _note(times: Times, command: list[str]) -> None:
    times.setdefault("alone", []).extend(_run([command]))
    with busy():
        times.setdefault("beside", []).extend(_run([command]))
    times.setdefault("two", []).append(max(_run([command, command])))


def _run(commands: list[list[str]]) -> list[float]:
    """What each of these programs, begun together, prints."""
    started = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True) for c in commands]
    return [float(process.communicate()[0].splitlines()[-1]) for process in started]


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """A program that computes without a pause, for half an hour at most."""
    code = "import time\nend = time.time() + 1800\nwhile time.time() < end: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            yield
        finally:
            process.kill()


def steps(side: int, batch: int, how: str) -> float:
    """Seconds a step of the default network."""
    throughput.ROWS["fastnet"] = side, batch
    step, _ = throughput.MODES["ours"]("fastnet")
    for _ in range(3):
        step()
    with giving_way() if how == "giving way" else contextlib.nullcontext():
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < _SECONDS:
            step()
            count += 1
        return (time.perf_counter() - started) / count


def train(folder: str) -> float:
    """Seconds of a training, from the program's start to its end."""
    place = tempfile.mkdtemp(dir=folder)
    command = [sys.executable, "-m", "striate", "train", str(DATA / "sign-digits.zip"), "--model",
               "fastnet", "--epochs", "6", "--json", "--run", f"{place}/run"]  # fmt: skip
    environment = {"STRIATE_CACHE": str(Path(folder) / "cache")}
    began = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1])["epochs"]
    return time.perf_counter() - began


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--steps", side, batch, how]:
            print(steps(int(side), int(batch), how))
        case ["--train", folder]:
            print(train(folder))
        case others:
            sys.exit(main(others))
