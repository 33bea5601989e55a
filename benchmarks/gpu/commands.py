"""The verbs in processes of their own, as people use them, and what happens without memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from checks import new_folder
from PIL import Image
from report import CheckFailedError, Place, Report

import striate

_LEFT_FREE = 5 << 30
"""Bytes of the card that a training may find free."""
_LIMITED = """
import sys, torch
from striate.cli.main import main
torch.cuda.set_per_process_memory_fraction({share})
sys.exit(main(sys.argv[1:]))
"""
_SMALL_CPU = """
import sys
from striate.core import runtime
runtime.free_memory = lambda: 8 << 20
from striate.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
_RUNS_OUT = """
import sys, torch
from striate.training import update
from striate.cli.main import main
def _backward(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
update._backward = _backward
sys.exit(main(sys.argv[1:]))
"""


def run(report: Report, place: Place) -> None:
    """Every verb once, then the two ways in which memory is short."""
    trained = new_folder(place)
    device = ["--device", place.device]
    train = ["train", "digits", *device, "--epochs", "3", "--run", trained]
    report.check("striate train", partial(verb, report, train), 20)
    picture = place.folder / "digit.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(picture)
    only = [] if place.card else ["--only", "maps", "--only", "attributions"]
    quick = [] if place.card else ["--model", "lenet"]
    asked = {
        "striate env": ["env"],
        "striate evaluate": ["evaluate", trained],
        "striate explain": ["explain", trained, "--units", "4", "--images", "300", *only],
        "striate predict": ["predict", trained, picture],
        "striate preflight": ["preflight", "digits", *device, "--epochs", "3", *quick],
        "striate lr": ["lr", "digits", *device, "--epochs", "3", *quick],
    }
    for name, words in asked.items():  # one by one: together they fight for the cores
        report.check(name, partial(verb, report, words), 20)
    report.check("little memory: a smaller micro-batch", partial(little_memory, report, place), 40)
    report.check("memory runs out: an answer", partial(runs_out, report, place), 30)


def verb(report: Report, words: list[object]) -> str:
    """`striate …`: exit code 0 and no traceback; its last line."""
    done = _started(report, ["-m", "striate", *words])
    _refuse_traceback(done)
    if done.returncode:
        raise CheckFailedError(f"exit code {done.returncode}\n{_last(done, 12)}")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    chosen = next((line for line in lines if line.startswith("cuda:")), lines[-1] if lines else "")
    return chosen.strip()[:120]


def little_memory(report: Report, place: Place) -> str:
    """A batch that does not fit into what is free is divided, and trained."""
    run = new_folder(place)
    big, small = ("fake:120x3x224x224x4", "resnet50"), ("fake:120x3x32x32x4", "resnet18")
    source, model = big if place.card else small
    words = ["train", source, "--model", model, "--epochs", "1", "--batch-size", "64",
             "--device", place.device, "--run", run, "--augment.flip", "False",
             "--report.no-write", "--workers", "2", "--model.small-stem", "False"]  # fmt: skip
    held: list[torch.Tensor] = []
    try:
        if place.card:
            place.fresh_memory()
            most = max(0, torch.cuda.mem_get_info()[0] - _LEFT_FREE)
            held = [torch.empty(most, dtype=torch.uint8, device="cuda")]
        done = _started(report, ["-m", "striate"] if place.card else ["-c", _SMALL_CPU], *words)
    finally:
        held.clear()
        place.fresh_memory()
    _refuse_traceback(done)
    if done.returncode:
        raise CheckFailedError(f"exit code {done.returncode}\n{_last(done, 8)}")
    made = json.loads((run / "resolved.json").read_text())["device.micro_batch"]
    text = f"micro-batch {made['value']} of 64: {made['why']}"
    if not 0 < made["value"] < 64:
        raise CheckFailedError(text)
    return text


def runs_out(report: Report, place: Place) -> str:
    """Memory that is promised but not there, in the middle of a step: a sentence with a remedy and
    exit code 2, no traceback. Without a card the error is raised by hand."""
    source, model = ("fake:300x3x224x224x4", "resnet50") if place.card else ("digits", "lenet")
    words = ["train", source, "--model", model, "--epochs", "1", "--batch-size", "128",
             "--device", place.device, "--run", new_folder(place), "--augment.flip", "False",
             "--device.micro-batch", "0", "--workers", "2"]  # fmt: skip
    share = 1.0
    if place.card:
        place.fresh_memory()
        share = min(1.0, (2 << 30) / torch.cuda.get_device_properties(0).total_memory)
    program = _LIMITED.format(share=share) if place.card else _RUNS_OUT
    done = _started(report, ["-c", program], *words)
    _refuse_traceback(done)
    text = f"exit code {done.returncode}: {_last(done, 3)}"
    if done.returncode != 2 or "memory" not in done.stderr:
        raise CheckFailedError(text)
    return text


def _started(
    report: Report, command: list[object], *words: object
) -> subprocess.CompletedProcess[str]:
    """Python with these words, from this folder's packages, ended when time is over."""
    places = [str(Path(striate.__file__).parents[1])]
    places += [str(Path(p).absolute()) for p in os.environ.get("PYTHONPATH", "").split(":") if p]
    line = [sys.executable, *map(str, (*command, *words))]
    return subprocess.run(
        line, capture_output=True, text=True, timeout=max(10.0, min(120.0, report.left())),
        check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "COLUMNS": "100"},
    )  # fmt: skip


def _refuse_traceback(done: subprocess.CompletedProcess[str]) -> None:
    if "Traceback (most recent call last)" in done.stderr + done.stdout:
        raise CheckFailedError(f"a traceback, exit code {done.returncode}:\n{_last(done, 15)}")


def _last(done: subprocess.CompletedProcess[str], count: int) -> str:
    return "\n".join((done.stderr or done.stdout).strip().splitlines()[-count:])
