"""Checkpoints: whole or absent, verified, never believed when damaged (F1, F5, F6)."""

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from striate.core.errors import RunError
from striate.training import checkpoints

MODEL, STATE = {"w": torch.arange(40.0)}, {"m": torch.ones(3)}


def save(folder, step, score=None, model=None):
    return checkpoints.save(folder, {"step": step, "val_score": score}, model or MODEL, STATE)


def test_round_trip(tmp_path):
    save(tmp_path, 7, 0.5)
    found, faults = checkpoints.latest(tmp_path)
    assert (found.step, faults) == (7, [])
    assert torch.equal(found.model()["w"], MODEL["w"])
    assert torch.equal(found.state()["m"], STATE["m"])
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_equal_weights_are_equal_bytes(tmp_path):
    a, b = save(tmp_path / "a", 1), save(tmp_path / "b", 1)
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()


def test_best_last_and_prune(tmp_path):
    for step, score in ((1, 0.3), (2, 0.9), (3, 0.5), (4, None)):
        save(tmp_path, step, score)
    assert checkpoints.best(tmp_path)[0].step == 2
    assert checkpoints.latest(tmp_path)[0].step == 4
    assert checkpoints.prune(tmp_path) > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000004"]


def test_every_damage_is_noticed(tmp_path):
    """Truncations and bit flips of every file: detected, never loaded, no other exception (F6)."""
    rng = np.random.default_rng(0)
    path = save(tmp_path, 1)
    intact = tmp_path / "copy"
    shutil.copytree(path, intact)
    for name in ("model.safetensors", "state.safetensors", "manifest.json"):
        data = (intact / name).read_bytes()
        for trial in range(60):
            damaged = bytearray(data)
            if trial % 2:
                damaged = damaged[: rng.integers(0, len(data))]
            else:
                damaged[rng.integers(0, len(data))] ^= 1 << rng.integers(0, 8)
            (path / name).write_bytes(damaged)
            try:
                sound = checkpoints.verified(path)
            except RunError as error:
                assert name in str(error)
            else:  # white space of the manifest
                assert name == "manifest.json"
                assert sound.manifest == checkpoints.verified(intact).manifest
        (path / name).write_bytes(data)
    assert checkpoints.verified(path)


def test_fall_back_names_the_reason(tmp_path):
    save(tmp_path, 300)
    newest = save(tmp_path, 400)
    (newest / "state.safetensors").write_bytes(b"")
    found, faults = checkpoints.latest(tmp_path)
    assert found.step == 300
    assert faults == ["step-00000400 is incomplete: size of state.safetensors differs"]


def test_order_of_writing(tmp_path, monkeypatch):
    """F1: contents are on the disk before the rename that shows them, then the folder is."""
    events = []
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(fd):
        events.append(("fsync", Path(os.readlink(f"/proc/self/fd/{fd}")).name))
        fsync(fd)

    def spy_replace(self, target):
        events.append(("rename", Path(target).name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    save(tmp_path, 5)
    names = [name for kind, name in events if kind == "rename"]
    assert names == ["model.safetensors", "state.safetensors", "manifest.json", "step-00000005"]
    for name in names[:-1]:
        assert events.index(("fsync", f".{name}.tmp")) < events.index(("rename", name))
    assert events[-1] == ("fsync", tmp_path.name)
    assert events[-2] == ("rename", "step-00000005")


@pytest.mark.parametrize("fail_at", range(1, 5))
def test_a_full_disk_leaves_the_old_checkpoint(fail_at, tmp_path, monkeypatch):
    """F5: an error at each write: path and bytes named, no stray files, the old one is sound."""
    save(tmp_path, 1)
    calls, fsync = [], os.fsync

    def full(fd):
        calls.append(fd)
        if len(calls) == fail_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError) as error:
        save(tmp_path, 2)
    assert "step-00000002" in str(error.value) or "bytes needed" in str(error.value)
    assert "No space left" in str(error.value)
    assert "bytes free" in str(error.value)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoints.latest(tmp_path)[0].step == 1


WRITER = """
import sys, torch
from pathlib import Path
from striate.training import checkpoints
step = 0
while True:
    step += 1
    checkpoints.save(Path(sys.argv[1]), {"step": step, "val_score": None},
                     {"w": torch.full((20000,), float(step))}, {})
    checkpoints.prune(Path(sys.argv[1]))
    print(step, flush=True)
"""


@pytest.mark.slow
def test_kill_at_random_moments(tmp_path):
    """F1, a small sample: after kill −9 the newest sound checkpoint is at most one save behind."""
    rng = np.random.default_rng(0)
    for trial in range(4):
        folder = tmp_path / str(trial)
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
        ) as writer:
            told = int(writer.stdout.readline())
            time.sleep(rng.uniform(0, 0.2))
            writer.send_signal(signal.SIGKILL)
            told = max([told, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        found, _ = checkpoints.latest(folder)
        assert found.step >= told
        assert (found.model()["w"] == found.step).all()


def test_kill_at_every_file_operation(tmp_path):
    """F1: a process that dies just before its nth operation on files, for every n: the checkpoint
    before it is sound, or the new one is, and the next save leaves nothing else behind."""
    watched = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        save(folder, 1)
        if _dies_at(number, watched, lambda folder=folder: _save_and_prune(folder, 2)):
            found, _ = checkpoints.latest(folder)
            assert found.step in (1, 2), number
            assert found.model()
            _save_and_prune(folder, 3)
            assert [p.name for p in folder.iterdir()] == ["step-00000003"], number
        else:
            break
    assert number > 15  # so many operations there are


def _save_and_prune(folder, step):
    save(folder, step)
    checkpoints.prune(folder)


def _dies_at(number, watched, work):
    """Whether a child that is killed at its nth watched event was killed before it had ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # forking beside threads: the child touches files only
        child = os.fork()
    if child == 0:
        left = [number]

        def hook(event, _):
            if event in watched:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
