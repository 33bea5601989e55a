"""Weights of a training that goes on, for who looks at it: written only while somebody does."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from striate.core.records import Record, Step
from striate.training.checkpoints import write_tensors
from striate.training.state import State

WATCHED, WEIGHTS = "watched", "live.safetensors"
"""A file in the run that whoever looks touches, and the weights as they were a moment ago."""
FRESH = 5.0
"""Seconds after which nobody looks any more."""
_EVERY, _COST = 1.0, 0.01
"""Seconds between two looks for a watcher, and the share of the time that writing may take."""


class Glance:
    """Called with each record of a training; writes its weights at most once a second."""

    def __init__(self, run: Path, state: State) -> None:
        self._run, self._state = run, state
        self._next = time.monotonic() + _EVERY

    def see(self, record: Record) -> None:
        """Cheap where nobody looks: a clock a step, a file's time a second."""
        if not isinstance(record, Step) or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
        if not watched(self._run):
            return
        began = time.monotonic()
        try:
            write_tensors(self._run / WEIGHTS, self._state.deployed.state_dict())
        except Exception:
            self._next = began + 60
            return
        took = time.monotonic() - began
        self._next = time.monotonic() + max(_EVERY, took / _COST)

    def end(self) -> None:
        """The checkpoints say it all now."""
        for name in (WEIGHTS, WATCHED):
            with contextlib.suppress(OSError):
                (self._run / name).unlink(missing_ok=True)


def watched(run: Path) -> bool:
    """Whether somebody has looked in the last seconds."""
    try:
        return time.time() - (run / WATCHED).stat().st_mtime < FRESH
    except OSError:
        return False


def watch(run: Path) -> bool:
    """Ask a training for its weights; whether the run could be written to."""
    try:
        with (run / WATCHED).open("a", encoding="utf-8"):
            os.utime(run / WATCHED)
    except OSError:
        return False
    return True
