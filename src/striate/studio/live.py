"""Run directories as they grow: each log is read on from where it was, and never twice."""

from __future__ import annotations

import json
import math
import threading
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.core import records
from striate.core.findings import Finding
from striate.core.records import (
    Epoch,
    Failed,
    Finished,
    Measured,
    Note,
    Planned,
    Started,
    Step,
)
from striate.core.run import is_locked
from striate.studio.messages import (
    Curves,
)

MOST_STEPS = 200_000
"""Steps of a run that are kept in memory; of more every second, fourth … is."""
POINTS = 1500
"""Points of a curve that the page draws."""
_NOTES = 200
_REMEMBERED = 200
"""Bytes before the place that was read to: are they others now, the log was written anew."""
_NUMBERS = ("loss", "lr", "gradient_norm", "images_per_second")


@dataclass
class Tail:
    """A run directory as far as its log was read."""

    id: str
    path: Path
    offset: int = 0
    fault: str = ""
    planned: Planned | None = None
    finished: Finished | None = None
    failed: Failed | None = None
    started: Started | None = None
    steps: dict[str, array[float]] = field(default_factory=lambda: {
        name: array("d") for name in ("step", "loss", "lr", "gradient")
    })  # fmt: skip
    epochs: list[Epoch] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    last: Step | None = None
    running: bool = False
    generation: int = 0
    """How often the log was cut and written anew: curves of another generation are others."""
    _every: int = 1
    _end: bytes = b""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> bool:
        """Read what is new; whether anything was. A damaged line is said, not raised."""
        with self.lock:  # a page and the pulse ask at once
            return self._read()

    def _read(self) -> bool:
        path = self.path / "records.jsonl"
        try:
            size = path.stat().st_size
            if size == self.offset or self.fault:
                return False
            with path.open("rb") as file:
                file.seek(max(0, self.offset - len(self._end)))
                if file.read(len(self._end)) != self._end:
                    self._forget()  # a resumed training has cut the log at its checkpoint
                    file.seek(0)
                new = file.read()
        except OSError:
            return False
        whole = new.rfind(b"\n") + 1
        if not whole:
            return False
        try:
            for steps, lines in groupby(new[:whole].splitlines(), _is_step):
                if steps:
                    self._put_steps(json.loads(b"[" + b",".join(lines) + b"]"))
                else:
                    for line in lines:
                        self._put(line)
        except Exception as error:
            self.fault = f"records.jsonl is damaged: {error}"
        self.offset += whole
        self._end = (self._end + new[:whole])[-_REMEMBERED:]
        return True

    def look_whether_running(self) -> bool:
        """Ask the lock; whether the answer changed."""
        was, self.running = self.running, self.finished is None and is_locked(self.path)
        return was != self.running

    def _forget(self) -> None:
        fresh = Tail(self.id, self.path)
        fresh.running, fresh.lock = self.running, self.lock
        fresh.generation = self.generation + 1
        self.__dict__.update(fresh.__dict__)

    def _put(self, line: bytes) -> None:
        match records.from_json(line.decode("utf-8")):
            case Started() as started:
                self.started = started
            case Planned() as planned:
                self.planned = planned
            case Epoch() as epoch:
                self.epochs = [e for e in self.epochs if e.epoch != epoch.epoch] + [epoch]
            case Measured() as measured:
                self.measured.append(measured)
            case Finding() as finding:
                self.findings.append(finding)
            case Note() as note:
                self.notes = [*self.notes, note.text][-_NOTES:]
            case Failed() as failed:
                self.failed = failed
            case Finished() as finished:
                self.finished = finished

    def _put_steps(self, found: list[dict[str, Any]]) -> None:
        """Nearly all lines of a log are steps: they are read at once, without a dataclass each."""
        self.failed, self.finished = None, None
        last = found[-1]
        loss, lr, gradient, speed = (_number(last[k]) for k in _NUMBERS)
        self.last = Step(int(last["step"]), int(last["epoch"]), loss, lr, gradient, speed)
        kept = [one for one in found if one["step"] % self._every == 0]
        for name, key in zip(self.steps, ("step", *_NUMBERS), strict=False):
            self.steps[name].extend([math.nan if (v := o[key]) is None else v for o in kept])
        while len(self.steps["step"]) > MOST_STEPS:
            self._every *= 2
            keep = np.frombuffer(self.steps["step"]) % self._every == 0
            for name, values in self.steps.items():
                self.steps[name] = array("d", np.frombuffer(values)[keep].tobytes())


def _is_step(line: bytes) -> bool:
    return line.startswith(b'{"kind": "step"')


class Since(NamedTuple):
    """How much of a run's curves a page has: of which generation, up to which step, and how many
    epochs and measurements."""

    generation: int = 0
    step: int = 0
    epochs: int = 0
    measurements: int = 0


_NOTHING = Since()


def curves_of(tail: Tail, since: Since = _NOTHING) -> Curves:
    """The curves beyond what a page has, thinned to some `POINTS` points; all of them where what it
    has is of another generation."""
    with tail.lock:
        if since.generation != tail.generation:
            since = Since(tail.generation)
        columns = {name: np.array(values) for name, values in tail.steps.items()}
        epochs, measured = tail.epochs[since.epochs :], tail.measured[since.measurements :]
        totals = len(tail.epochs), len(tail.measured)
    begin = int(np.searchsorted(columns["step"], since.step, side="right"))
    columns = {name: values[begin:] for name, values in columns.items()}
    keep = np.union1d(*(thinned(columns[name], POINTS // 2) for name in ("loss", "gradient")))
    layers = {name for m in measured for name, v in m.layers.items() if _dead(v) is not None}
    return Curves(
        id=tail.id,
        generation=since.generation,
        epochs=totals[0],
        measurements=totals[1],
        step=columns["step"][keep].tolist(),
        loss=plain_list(columns["loss"][keep]),
        lr=plain_list(columns["lr"][keep]),
        gradient=plain_list(columns["gradient"][keep]),
        epoch_step=[e.step for e in epochs],
        train_loss=plain_list(e.train_loss for e in epochs),
        val_loss=plain_list(e.val_loss for e in epochs),
        val_score=plain_list(e.val_score for e in epochs),
        measured=[m.step for m in measured],
        dead={
            name: plain_list(_dead(m.layers.get(name, {})) for m in measured)
            for name in sorted(layers)
        },
    )


def thinned(values: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Positions of at most `most` values: of each stretch the lowest and the highest, so that
    peaks stay, and both ends."""
    count = len(values)
    if count <= most:
        return np.arange(count)
    edges = np.linspace(0, count, most // 2 + 1).astype(np.int64)
    low, high = np.nan_to_num(values, nan=np.inf), np.nan_to_num(values, nan=-np.inf)
    chosen = {0, count - 1}
    for start, end in pairwise(edges.tolist()):
        chosen.add(int(start + low[start:end].argmin()))
        chosen.add(int(start + high[start:end].argmax()))
    return np.array(sorted(chosen))


def _dead(values: dict[str, float]) -> float | None:
    return values.get("dead", values.get("saturated"))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def plain_list(values: Iterable[float | None]) -> list[float | None]:
    """Six digits are more than a screen shows."""
    return [None if v is None or not math.isfinite(v) else float(f"{v:.6g}") for v in values]
