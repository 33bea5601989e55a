"""The training loop: one generator, read top to bottom. It never asks which task it runs."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace

from striate.core.errors import TrainingError
from striate.core.records import Epoch, Failed, Record, Saved, Step
from striate.data.batch import Batch
from striate.tasks.evaluation import Evaluation
from striate.training.job import Job
from striate.training.state import Position, State
from striate.training.update import Backup, Begun, NotFiniteError, begin, finish, update


def train(job: Job, state: State) -> Generator[Record, None, str]:
    """Train from the state's position to the last epoch, yielding records.

    Returns why it ended: "planned", "patience" (early stopping) or "interrupted" (`job.stop()`).
    Closing the generator early saves a checkpoint silently, so that a complete run is left. Raises
    TrainingError before an update with a non-finite loss or gradient (F14), after a record of it.
    """
    position, saved = state.position, _Saves(state.position.step)
    try:
        while position.epoch < job.epochs:
            if job.patience and position.epochs_without_gain >= job.patience:
                return "patience"
            complete = yield from _batches(job, state, saved)
            if complete:
                yield from _close_epoch(job, state)
            yield saved.save(job, state)
            if job.runtime.group.any(job.stop()):
                return "interrupted"
    except (GeneratorExit, TrainingError) as end:  # the state is that of the last finished step
        if position.step > saved.step and not state.non_finite():
            job.save(state)
        if isinstance(end, NotFiniteError):
            yield end.record
        raise
    return "planned"


@dataclass
class _Saves:
    """When the last checkpoint was written."""

    step: int
    time: float = field(default_factory=time.monotonic)

    def due(self, job: Job, step: int) -> bool:
        by_steps = 0 < job.save_steps <= step - self.step
        return by_steps or 0 < job.save_seconds <= time.monotonic() - self.time

    def save(self, job: Job, state: State) -> Saved:
        record = _save(job, state)
        self.step, self.time = state.position.step, time.monotonic()
        return record


def _batches(job: Job, state: State, saved: _Saves) -> Generator[Record, None, bool]:
    """The rest of this epoch's batches; True if none is left, False after a request to stop."""
    position = state.position
    last_losses = state.losses[0].numpy() if state.losses is not None else None
    state.set_training()
    steps = Steps(job, state)
    with contextlib.closing(
        job.batches(state, position.epoch, position.batch, last_losses)
    ) as rest, contextlib.closing(steps):  # fmt: skip
        for batch in rest:
            yield from steps.take(batch)
            stop = job.runtime.group.any(job.stop())
            ended = position.batch == job.steps_per_epoch
            due = not ended and saved.due(job, position.step)
            if stop or ended or due:
                yield from steps.rest()
            if stop:
                return ended
            if due:
                yield saved.save(job, state)
                steps.restart_clock()
    return True


class Steps:
    """The steps of an epoch: begun one by one, and finished at once, or where the job is `late`
    each after the next one was begun. Closing it takes back what was begun and is not finished."""

    def __init__(self, job: Job, state: State) -> None:
        self._job, self._state = job, state
        self._waiting: deque[tuple[Begun, Position]] = deque()
        self._backups = itertools.cycle([Backup(), Backup()] if job.late else [None])
        self.restart_clock()

    def restart_clock(self) -> None:
        """The next step's seconds count from now."""
        self._started = time.perf_counter()

    def take(self, batch: Batch) -> Generator[Record, None, None]:
        """Begin the step of a batch; records of the steps that are finished."""
        job, position = self._job, self._state.position
        before = replace(position)
        try:
            lr = job.lr * job.rate(position.step)
            begun = begin(job, self._state, batch, lr, next(self._backups))
        except TrainingError:
            yield from self.rest()
            raise
        self._waiting.append((begun, before))
        position.begin(len(batch.everyone))
        yield from self._finished(1 if job.late else 0)

    def rest(self) -> Generator[Record, None, None]:
        """Finish all steps that were begun."""
        yield from self._finished(0)

    def close(self) -> None:
        """Weights and position as they were before the oldest step that is not finished."""
        if self._waiting:
            begun, before = self._waiting[0]
            begun.undo()
            self._state.position.take_back(before)
            self._waiting.clear()

    def _finished(self, remaining: int) -> Generator[Record, None, None]:
        position = self._state.position
        while len(self._waiting) > remaining:
            begun, before = self._waiting[0]
            try:
                found = finish(self._job, self._state, begun)
            except TrainingError:
                self.close()
                raise
            self._waiting.popleft()
            images, seconds = len(begun.batch.everyone), time.perf_counter() - self._started
            position.finish(found.loss * images, seconds)
            speed, step = round(images / seconds, 1), begun.step + 1
            yield Step(step, before.epoch, found.loss, begun.lr, found.norm, speed, found.terms)
            self.restart_clock()


def endless(job: Job, state: State, epoch: int = 0) -> Iterator[Batch]:
    """Batches of one epoch after the other, for trials that end by themselves."""
    for number in itertools.count(epoch):
        last_losses = state.losses[0].numpy() if state.losses is not None else None
        with contextlib.closing(job.batches(state, number, 0, last_losses)) as batches_of_epoch:
            yield from batches_of_epoch
        if state.losses is not None:
            state.losses[0] = state.losses[1]


def briefly(job: Job, state: State, steps: int, rate: Callable[[int], float]) -> Evaluation | None:
    """Train for a number of steps, at `rate(step)`, and evaluate the validation images; None if a
    loss or a weight was not finite. For trials: nothing is recorded or saved."""
    for step, batch in enumerate(itertools.islice(endless(job, state), steps)):
        try:
            update(job, state, batch, rate(step))
        except TrainingError:
            return None
        state.position.step += 1
    return None if state.non_finite() else job.validate(state.deployed)


def _close_epoch(job: Job, state: State) -> Generator[Record, None, None]:
    """Validate, remember the best, move the position to the next epoch, measure."""
    position, started = state.position, time.perf_counter()
    found = job.validate(state.deployed)
    score = found.scores[job.task.main_score]
    best = position.best_score
    is_best = best is None or score > best or math.isnan(best)  # NaN: nothing was to be found
    seconds = time.perf_counter() - started
    record = Epoch(
        epoch=position.epoch + 1,
        step=position.step,
        train_loss=position.loss_sum / position.images,
        val_loss=found.scores["loss"],
        val_score=score,
        seconds=round(position.seconds + seconds, 2),
        best=is_best,
    )
    position.val_score = score
    position.total_seconds += seconds
    position.best_score = score if is_best else position.best_score
    position.epochs_without_gain = 0 if is_best else position.epochs_without_gain + 1
    if state.losses is not None:
        state.losses[0] = state.losses[1]  # an epoch is planned once, also when it is resumed
    measured = job.monitor is not None and job.monitor.due(position.epoch, job.epochs)
    position.start_epoch(position.epoch + 1)
    yield record
    if job.monitor is not None and measured:
        yield job.monitor.measure(state, found, last=position.epoch == job.epochs)


def _save(job: Job, state: State) -> Saved:
    started = time.perf_counter()
    if bad := state.non_finite():
        raise NotFiniteError(
            f"step {state.position.step}: {bad} is not finite after the update; it was not saved",
            "A lower learning rate usually helps (--lr), or --optim.clip-norm 1.",
            Failed(state.position.step, state.position.epoch, None, None, state.rate, bad),
        )
    path, position = job.save(state), state.position
    return Saved(position.step, position.epoch, path, round(time.perf_counter() - started, 3))
