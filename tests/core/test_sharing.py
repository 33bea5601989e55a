"""Threads give way while others want the cores, and what they compute stays the same."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from striate.core import sharing
from striate.core.sharing import decide, giving_way, short_spins, waited_for_cores

needs_linux = pytest.mark.skipif(
    waited_for_cores() is None, reason="this system does not tell how long threads waited"
)


def test_a_decision_does_not_flicker():
    assert [decide(False, share) for share in (0.03, 0.2, 0.25, 0.9)] == [False, False, True, True]
    assert [decide(True, share) for share in (0.9, 0.2, 0.1, 0.0)] == [True, True, False, False]


def test_it_gives_way_while_others_want_the_cores_and_no_longer(monkeypatch):
    waits, states, ended = iter([0.0, 0.01, 1.0, 1.9, 1.95, 1.95]), [], threading.Event()

    class Recorded:
        def __enter__(self):
            states.append(True)

        def __exit__(self, *_):
            states.append(False)

    def meter():
        waited = next(waits, None)
        if waited is None:
            ended.set()
            return None
        return {"1": waited}

    monkeypatch.setattr(sharing, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(sharing, "short_spins", Recorded)
    monkeypatch.setattr(sharing, "decide", lambda _, share: share > 0.0 and share * 0.02 > 0.1)
    sharing._watch(ended, meter)
    assert states == [True, False]


@needs_linux
def test_only_the_outermost_watches_and_nothing_is_left():
    before = threading.active_count()
    with giving_way():
        assert threading.active_count() == before + 1
        with giving_way():
            assert threading.active_count() == before + 1
    assert threading.active_count() == before
    with giving_way(), short_spins():
        torch.zeros(1 << 20).add_(1)
    assert threading.active_count() == before


@needs_linux
def test_the_wait_for_a_core_is_seen():
    """Beside twice as many busy programs as there are cores."""
    cores = len(os.sched_getaffinity(0))
    code = "import time\nend = time.time() + 20\nwhile time.time() < end: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2 * cores)]
    try:
        started, end = waited_for_cores(), time.time() + 15
        while time.time() < end:
            now = waited_for_cores()
            if sum(now.values()) - sum(started.values()) > 0.2:
                return
        pytest.fail("no wait was seen in 15 seconds")
    finally:
        for process in others:
            process.kill()
            process.wait()


def test_results_are_equal_bit_by_bit():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
        torch.nn.Conv2d(16, 8, 3),
    )  # fmt: skip
    images = torch.randn(16, 3, 24, 24)

    def gradients():
        net.zero_grad()
        net(images).square().mean().backward()
        return [p.grad.clone() for p in net.parameters()]

    spinning = gradients()
    with short_spins():
        yielding = gradients()
    assert all(torch.equal(a, b) for a, b in zip(spinning, yielding, strict=True))


SPINS = """
import contextlib, sys, time, torch
from striate.core.sharing import short_spins
torch.set_num_threads(2)
x = torch.zeros(1 << 17)
with short_spins() if sys.argv[1] == "short" else contextlib.nullcontext():
    x.add_(1)
    began = time.process_time()
    for _ in range(300):
        x.add_(1)
        time.sleep(0.002)
    print(time.process_time() - began)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ,
    reason="only libgomp, with its own settings, waits so",
)
def test_threads_sleep_sooner():
    """Between operations the second thread burns its core; giving way, it sleeps."""
    if "libgomp" not in Path("/proc/self/maps").read_text():
        pytest.skip("this torch has no libgomp")
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("on one core libgomp never spins for long")
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    spent = {
        how: float(subprocess.run([sys.executable, "-c", SPINS, how], env=environment,
                                  capture_output=True, text=True, check=True).stdout)
        for how in ("long", "short")
    }  # fmt: skip
    assert spent["short"] < 0.7 * spent["long"], spent
