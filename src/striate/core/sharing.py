"""Compute threads that give way while other programs want the same cores.

torch's threads meet at the end of each operation, and the one that comes first spins: it asks again
and again whether the others have come. That is fastest on a machine that does nothing else. Where
another program holds the core of one thread, the others burn their cores until it is back: beside
one busy program a training took three times as long, and two trainings at once ten times.

libgomp, whose threads torch uses on Linux, spins for a few microseconds only while it manages more
threads than there are cores (its manual, GOMP_SPINCOUNT). So while others want the cores, a parked
thread holds threads of its own, which sleep. Which thread computes what stays the same, and so does
every result, bit by bit. On other systems nothing happens.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

LOOK_SECONDS = 0.5
BUSY, QUIET = 0.25, 0.1
"""Seconds in a second for which the threads of this process, added up, were ready and had no core.
From BUSY on they give way, from QUIET down they spin. 0.03 when alone; 0.7 to 1 on two cores beside
another busy program, giving way or not."""
_MOST_PARKED = 8
_TASKS = "/proc/self/task"

_inside = threading.Lock()


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Within it, this process's compute threads give way while other programs want the cores."""
    if waited_for_cores() is None or not _inside.acquire(blocking=False):
        yield  # this system does not tell, or an outer one watches
        return
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(ended,), name="striate-sharing", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        _inside.release()


def be_modest(by: int = 5) -> None:
    """From here on other threads have the processor first. On Linux priority is a thread's own,
    and that of the threads that it starts; elsewhere nothing happens."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), by)


def waited_for_cores() -> dict[str, float] | None:
    """Thread of this process → seconds in which it was ready and had no core; None where the system
    does not tell."""
    waited = {}
    try:
        for thread in os.listdir(_TASKS):  # noqa: PTH208 - twice a second
            with (
                contextlib.suppress(FileNotFoundError, ProcessLookupError),
                open(  # noqa: PTH123
                    f"{_TASKS}/{thread}/schedstat", "rb"
                ) as file,
            ):
                waited[thread] = int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return None
    return waited


def decide(yielding: bool, share: float) -> bool:
    """Whether to give way from now on, by the share of a second that was waited."""
    return share >= BUSY or (yielding and share > QUIET)


def _watch(
    ended: threading.Event, meter: Callable[[], dict[str, float] | None] = waited_for_cores
) -> None:
    last, at = meter(), time.perf_counter()
    with contextlib.ExitStack() as parked:
        yielding = False
        while not ended.wait(LOOK_SECONDS):
            now, clock = meter(), time.perf_counter()
            if now is None or last is None:
                return
            waited = sum(seconds - last.get(thread, seconds) for thread, seconds in now.items())
            wanted = decide(yielding, waited / (clock - at))
            if wanted and not yielding and "torch" in sys.modules:
                parked.enter_context(short_spins())
            elif yielding and not wanted:
                parked.close()
            yielding, last, at = wanted, now, clock


@contextlib.contextmanager
def short_spins() -> Iterator[None]:
    """Within it libgomp manages more threads than there are cores, so that none spins for long."""
    from striate.core.runtime import usable_cores

    leave = threading.Event()
    helpers: list[threading.Thread] = []
    try:
        threads = _park(leave, helpers)
        if threads > 1:
            each = threads - 1  # of a helper's threads, those that libgomp manages for it
            for _ in range(min(_MOST_PARKED, (usable_cores() - threads) // each)):
                _park(leave, helpers)
        yield
    finally:
        leave.set()
        for helper in helpers:
            helper.join()


def _park(leave: threading.Event, helpers: list[threading.Thread]) -> int:
    """Start a thread that computes once with all of its own compute threads, and sleeps then.
    Returns how many these are."""
    computed, found = threading.Event(), [1]

    def park() -> None:
        try:
            import torch

            found[0] = torch.get_num_threads()
            torch.zeros(found[0] << 16).add_(1)
        finally:
            computed.set()
        leave.wait()

    helper = threading.Thread(target=park, name="striate-parked", daemon=True)
    helpers.append(helper)
    helper.start()
    computed.wait()
    return found[0]
