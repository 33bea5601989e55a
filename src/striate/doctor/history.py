"""What rules read: the history of a training, from its records or from anybody's table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.records import (
    Epoch,
    Estimated,
    Failed,
    Finished,
    Measured,
    Planned,
    Record,
    Step,
)
from striate.tasks import knows_loss, task_of_loss

Column = NDArray[np.float64]
"""One number an epoch or step: NaN where it is not known, infinite where it was not finite."""


@dataclass(frozen=True)
class Steps:
    """A number for each update: its loss before it, learning rate, gradient norm."""

    step: Column
    loss: Column
    lr: Column
    gradient: Column

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True)
class Epochs:
    """A number for each epoch. `train_…` as training saw them: means over the epoch, augmented and
    with dropout; `lr` the largest of the epoch."""

    epoch: Column
    train_loss: Column
    val_loss: Column
    train_score: Column
    val_score: Column
    lr: Column

    def __len__(self) -> int:
        return len(self.epoch)


@dataclass(frozen=True)
class Curve:
    """Losses of training and validation images at the same moments; `epoch`: how many are done.

    `exact`: both in evaluation mode and without augmentation; otherwise training loss is a mean
    over the epoch, with dropout, augmentation and smoothing in it. Errors are standard errors.
    """

    exact: bool
    epoch: Column
    train: Column
    val: Column
    train_error: Column
    val_error: Column
    train_score: Column
    val_score: Column

    def __len__(self) -> int:
        return len(self.epoch)

    @property
    def gap_error(self) -> Column:
        """Standard error of val − train."""
        found: Column = np.hypot(self.train_error, self.val_error)
        return found


@dataclass(frozen=True)
class History:
    """A training as far as it is known.

    `measured` is empty for trainings that are not ours; `knobs` holds the settled recipe's, by
    their dotted names, where it is known; `planned` epochs; `faults`: what is wrong with the record
    itself.
    """

    epochs: Epochs
    steps: Steps
    measured: tuple[Measured, ...] = ()
    plan: Planned | None = None
    failed: Failed | None = None
    finished: bool = False
    knobs: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    estimated: Estimated | None = None
    terms: Mapping[str, Column] = field(default_factory=dict)
    """Of a loss that consists of several: each by step."""

    @property
    def classes(self) -> int:
        """0 if it is not known."""
        return len(self.plan.class_images) if self.plan else 0

    @property
    def chance(self) -> float:
        """Loss of a network that knows nothing: by the classes, else as the curves tell."""
        task = task_of_loss(self.plan.loss) if self.plan else None
        known_loss = task.chance_loss(self.classes) if task and self.classes > 1 else None
        if known_loss is not None:
            return known_loss
        early = self.steps.loss[:3]
        known = early[np.isfinite(early)]
        return float(known.mean()) if len(known) else first_loss(self.epochs)

    @property
    def task(self) -> str:
        """What is trained: a name of TASKS, the loss where it is none of ours; "" is not known."""
        if not self.plan or not self.plan.loss:
            return ""
        task = task_of_loss(self.plan.loss)
        return task.name if task else self.plan.loss

    @property
    def learnt_nothing(self) -> bool:
        """Whether the validation score ended where it began, at a loss that fits guessing."""
        score, loss = self.epochs.val_score, self.epochs.train_loss
        score, loss = score[np.isfinite(score)], loss[np.isfinite(loss)]
        if len(score) < _SEEN or len(loss) < _SEEN or not score.max() < 1.7 * score.min() + 0.02:
            return False
        guessing = math.log(1 / max(float(score.mean()), 1e-3))
        return bool(max(0.9 * guessing, 0.9 * loss[1]) < loss[-1] < 1.5 * guessing)

    @property
    def planned(self) -> int:
        """Epochs that were planned, or that there are."""
        return self.plan.epochs if self.plan else len(self.epochs)

    @property
    def ended(self) -> bool:
        """Whether it went to its planned end."""
        return self.finished or (self.plan is not None and len(self.epochs) >= self.plan.epochs)

    def knob(self, name: str, default: Any = None) -> Any:
        return self.knobs.get(name, default)

    @property
    def curve(self) -> Curve | None:
        """Training and validation loss at the same moments, None if one is not known."""
        if self.plan is not None and not knows_loss(self.plan.loss):
            return None
        return _measured(self.measured) if self.measured else _noted(self.epochs)

    def rate(self) -> float:
        """The peak learning rate, NaN if it is not known."""
        known = np.concatenate([self.steps.lr, self.epochs.lr])
        known = known[np.isfinite(known)]
        return float(known.max()) if len(known) else math.nan


def first_loss(epochs: Epochs) -> float:
    """What the loss was before the first step, from its means over epochs; NaN if there are none.

    The first mean is already that of a network that learns. The losses that follow tell how fast:
    they are continued backwards as an exponential (by half an epoch, from the first one's middle).
    """
    known = epochs.train_loss[np.isfinite(epochs.train_loss)]
    if len(known) < _SEEN or known[1] >= known[0]:
        return float(known[0]) if len(known) else math.nan
    fall, next_fall = known[0] - known[1], known[1] - known[2]
    ratio = float(np.clip(fall / next_fall, 1, _STEEPEST)) if next_fall > 0 else _STEEPEST
    return float(known[0] + fall * ratio / (1 + math.sqrt(ratio)))


class Book:
    """Records are put in one by one; `history` at any time tells what they amount to.

    An epoch or step that comes twice counts as it came last. Of very many steps every second,
    fourth … is kept.
    """

    def __init__(self, knobs: Mapping[str, Any] | None = None) -> None:
        self.knobs = knobs or {}
        self._steps: dict[int, Step] = {}
        self._epochs: dict[int, Epoch] = {}
        self._measured: dict[int, Measured] = {}
        self._peaks: dict[int, float] = {}
        self._plan: Planned | None = None
        self._failed: Failed | None = None
        self._estimated: Estimated | None = None
        self._finished = False
        self._next, self._every, self._missing = 0, 1, 0

    def put(self, record: Record) -> None:
        match record:
            case Planned():
                self._plan = record
                self._next = record.step + 1
            case Step():
                self._failed = None
                self._put_step(record)
            case Epoch():
                self._epochs[record.epoch] = record
            case Measured():
                self._measured[record.epoch] = record
            case Estimated():
                self._estimated = record
            case Failed():
                self._failed = record
            case Finished():
                self._finished = True
            case _:
                pass

    @property
    def measured(self) -> Measured | None:
        """The last measurement."""
        return self._measured[max(self._measured)] if self._measured else None

    def _put_step(self, record: Step) -> None:
        if self._next and record.step > self._next:
            self._missing += record.step - self._next
        self._next = record.step + 1
        self._peaks[record.epoch] = max(self._peaks.get(record.epoch, 0.0), record.lr or 0.0)
        if record.step % self._every == 0:
            self._steps[record.step] = record
        if len(self._steps) > _MOST_STEPS:
            self._every *= 2
            self._steps = {n: s for n, s in self._steps.items() if n % self._every == 0}

    def history(self) -> History:
        steps = [self._steps[n] for n in sorted(self._steps)]
        epochs = [self._epochs[n] for n in sorted(self._epochs)]
        epoch, train_loss, val_loss, val_score = _columns(
            epochs, ("epoch", "train_loss", "val_loss", "val_score")
        )
        if self._plan is not None and not knows_loss(self._plan.loss):
            val_loss = np.full_like(val_loss, math.nan)
        scores = {m.epoch: m.train_score for m in self._measured.values()}
        return History(
            Epochs(
                epoch,
                train_loss,
                val_loss,
                _known(scores, epoch),
                val_score,
                _known({n + 1: lr for n, lr in self._peaks.items()}, epoch),
            ),
            Steps(*_columns(steps, ("step", "loss", "lr", "gradient_norm"))),
            tuple(self._measured[n] for n in sorted(self._measured)),
            self._plan,
            self._failed,
            self._finished,
            self.knobs,
            self._faults(epoch),
            self._estimated,
            {
                name: np.array([s.terms.get(name, math.nan) for s in steps])
                for name in (steps[-1].terms if steps else ())
            },
        )

    def _faults(self, epoch: Column) -> tuple[str, ...]:
        lost = int(epoch[-1] - epoch[0]) + 1 - len(epoch) if len(epoch) else 0
        counts = {"step": self._missing, "epoch": lost}
        return tuple(f"{n:,} {what}s are missing" for what, n in counts.items() if n > 0)


_MOST_STEPS = 20_000
_SEEN, _STEEPEST = 3, 4.0
"""Epochs that tell something of a curve's shape; a loss falls to at least a fourth in an epoch."""


def of_records(records: Iterable[Record], knobs: Mapping[str, Any] | None = None) -> History:
    """The history that records tell."""
    book = Book(knobs)
    for record in records:
        book.put(record)
    return book.history()


def _measured(found: Sequence[Measured]) -> Curve:
    names = (
        "epoch",
        "train_loss",
        "val_loss",
        "train_loss_error",
        "val_loss_error",
        "train_score",
        "val_score",
    )
    return Curve(True, *_columns(found, names))


def _noted(epochs: Epochs) -> Curve | None:
    """From the training's own means; their roughness stands in for their errors."""
    known = np.isfinite(epochs.train_loss) & np.isfinite(epochs.val_loss)
    if not known.any():
        return None
    train, val = epochs.train_loss[known], epochs.val_loss[known]
    train_error, val_error = (np.full(len(x), roughness(x)) for x in (train, val))
    scores = epochs.train_score[known], epochs.val_score[known]
    return Curve(False, epochs.epoch[known], train, val, train_error, val_error, *scores)


def roughness(values: Column) -> float:
    """Deviation of the noise of a smooth curve, from its second differences; 0 below 4 values."""
    if len(values) < 4:
        return 0.0
    return float(np.median(np.abs(np.diff(values, 2))) / (0.6745 * math.sqrt(6)))


def _columns(records: Sequence[Any], names: tuple[str, ...]) -> list[Column]:
    return [_numbers(getattr(r, name) for r in records) for name in names]


def _numbers(values: Iterable[Any]) -> Column:
    """null in a log stands for what is not finite."""
    plain = [math.inf if v is None or math.isnan(v) else v for v in values]
    return np.array(plain, dtype=np.float64)


def _known(values: Mapping[int, float], epoch: Column) -> Column:
    return np.array([values.get(int(n), math.nan) for n in epoch], dtype=np.float64)
