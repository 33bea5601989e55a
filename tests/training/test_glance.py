"""Weights for who looks at a training: only while somebody does, and never at its cost."""

import os
import time

import pytest
import torch

import striate
from striate.core.records import Step
from striate.training import glance
from striate.training.checkpoints import latest, read_tensors
from striate.training.glance import WATCHED, WEIGHTS, Glance, watch, watched
from tests.conftest import QUICK, write_colours

KNOBS = {**QUICK, "model": "lenet", "lr": 0.05, "optim.rule": "momentum",
         "device.precision": "float32"}  # fmt: skip


class Net:
    """A state whose weights are counted."""

    def __init__(self):
        self.read, self.fault = 0, None

    @property
    def deployed(self):
        return self

    def state_dict(self):
        self.read += 1
        if self.fault:
            raise self.fault
        return {"w": torch.tensor([float(self.read)])}


STEP = Step(1, 0, 1.0, 0.1, 1.0, 1.0)


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(glance.time, "monotonic", lambda: now[0])
    return now


def test_nobody_looks_nothing_is_written(tmp_path, clock):
    net = Net()
    found = Glance(tmp_path, net)
    for _ in range(100):
        clock[0] += 1
        found.see(STEP)
    assert net.read == 0
    assert not any(tmp_path.iterdir())


def test_who_looks_gets_weights_once_a_second(tmp_path, clock):
    net = Net()
    found = Glance(tmp_path, net)
    assert watch(tmp_path)
    for _ in range(50):
        clock[0] += 0.1
        found.see(STEP)
    assert 4 <= net.read <= 5
    assert read_tensors(tmp_path / WEIGHTS)["w"].item() == net.read
    os.utime(tmp_path / WATCHED, (1, 1))  # who looked is gone
    clock[0] += 10
    found.see(STEP)
    assert net.read <= 5
    found.end()
    assert not any(tmp_path.iterdir())


def test_a_write_that_is_slow_is_rare(tmp_path, clock, monkeypatch):
    net = Net()
    found = Glance(tmp_path, net)
    watch(tmp_path)

    def slow(*_):
        clock[0] += 0.5

    monkeypatch.setattr(glance, "write_tensors", slow)
    began = clock[0]
    while clock[0] < began + 200:
        clock[0] += 0.1
        found.see(STEP)
    assert net.read * 0.5 <= 0.015 * 200


def test_a_full_disk_does_not_end_a_training(tmp_path, clock):
    net = Net()
    net.fault = OSError(28, "No space left on device")
    found = Glance(tmp_path, net)
    watch(tmp_path)
    clock[0] += 2
    found.see(STEP)
    assert not (tmp_path / WEIGHTS).exists()


def test_watching_never_changes_the_weights(tmp_path):
    write_colours(tmp_path / "data")
    striate.train(tmp_path / "data", run=tmp_path / "alone", **KNOBS)
    seen = []
    for record in striate.stream(tmp_path / "data", run=tmp_path / "seen", **KNOBS):
        if isinstance(record, Step):
            watch(tmp_path / "seen")
            if record.step == 2:
                time.sleep(1.1)
            if (tmp_path / "seen" / WEIGHTS).is_file():
                seen.append(read_tensors(tmp_path / "seen" / WEIGHTS))
    assert seen
    one, other = (latest(tmp_path / name / "checkpoints")[0].model() for name in ("alone", "seen"))
    assert seen[0].keys() == one.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not (tmp_path / "seen" / WEIGHTS).exists()
    assert not watched(tmp_path / "seen")


def test_a_disk_that_is_read_only_cannot_be_watched(tmp_path):
    assert not watch(tmp_path / "none")
