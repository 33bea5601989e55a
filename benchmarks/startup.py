"""How long `striate train` takes to its first step, and where that time goes.

    python benchmarks/startup.py            the built-in digits, with defaults

Processor time of the program's own process, user and system, and wall time; the best of three.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

from common import machine

SECONDS = 4.0
"""Of processor time, at most."""
PROGRAM = """
import gc, json, os, sys, time

from striate.cli.main import _NEW_OBJECTS, main

gc.set_threshold(_NEW_OBJECTS)  # as the command does

def spent():
    times = os.times()
    return times.user + times.system

parts, last = {}, 0.0

def note(name):
    global last
    parts[name], last = parts.get(name, 0) + spent() - last, spent()

note("Python and the command")
began = time.perf_counter()
import torch
note("import torch")
import striate.api.stream
note("import striate")
import striate.plan.prepare as prepare
import striate.training.loop as loop

def timed(name):
    inner = getattr(prepare, name)
    def outer(*arguments, **knobs):
        note("the rest")
        found = inner(*arguments, **knobs)
        note(name)
        return found
    setattr(prepare, name, outer)

for name in ("flip_test", "check_fits", "enough_threads", "settle_device"):
    timed(name)

def first_step(*_, **__):
    note("the rest")
    print(json.dumps([time.perf_counter() - began, parts]))
    sys.stdout.flush()
    os._exit(0)

loop.begin = first_step
main(["train", "--run", sys.argv[1]])
"""


def main() -> int:
    print(f"{machine()}\n")
    tries = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3):
            command = [sys.executable, "-c", PROGRAM, f"{folder}/{number}"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            tries.append(json.loads(done.stdout.splitlines()[-1]))
    wall, parts = min(tries, key=lambda found: sum(found[1].values()))
    total = sum(parts.values())
    for name, seconds in sorted(parts.items(), key=lambda pair: -pair[1]):
        print(f"  {seconds:5.2f} s  {name}")
    print(f"\n{total:.2f} s of processor time to the first step (at most {SECONDS:g}: "
          f"{'met' if total <= SECONDS else 'MISSED'}), {wall:.2f} s of wall time")  # fmt: skip
    return int(total > SECONDS)


if __name__ == "__main__":
    sys.exit(main())
