"""The training loop: one generator, read top to bottom. It never asks which task it runs."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.errors import TrainingError, listing
from striate.core.records import Epoch, Failed, Record, Saved, Step
from striate.core.runtime import Runtime
from striate.data.augment import Batch, Pipeline
from striate.data.loader import Ids, Store, batches
from striate.optim.schedules import Schedule
from striate.tasks.task import Outputs, Task
from striate.training.activity import moved, weights_of
from striate.training.measure import Probe
from striate.training.state import Position, State


@dataclass(frozen=True)
class Job:
    """What a training consists of, as plain functions and values; nothing in it changes.

    plan(epoch, losses) → batches of image numbers, where `losses` are those that a sampler asked
    for, else None; `threads` load and augment ahead; validate(net) → (scores, logits);
    save(state) → path, at the end of each epoch and every `save_steps` and `save_seconds` (0: not);
    after_backward(net) → clips or adds penalties; after_step(net) → limits weights. A batch goes
    through the network in parts of `micro_batch` images (0: at once), whose gradients add up.
    `probe` measures what the doctor needs; it changes nothing.
    """

    epochs: int
    store: Store
    targets: NDArray[Any]
    name: Callable[[int], str]
    plan: Callable[[int, Any], Sequence[Ids]]
    augment: Pipeline
    task: Task
    rate: Schedule
    lr: float
    seed: int
    runtime: Runtime
    validate: Callable[[nn.Module], tuple[dict[str, float], Outputs]]
    save: Callable[[State], str]
    after_backward: Sequence[Callable[[nn.Module], None]] = ()
    after_step: Sequence[Callable[[nn.Module], None]] = ()
    patience: int = 0
    save_steps: int = 0
    save_seconds: float = 0.0
    stop: Callable[[], bool] = field(default=lambda: False)
    threads: int = 1
    steps_per_epoch: int = 1
    micro_batch: int = 0
    probe: Probe | None = None

    def batches(self, epoch: int, start: int, losses: Any = None) -> Generator[Batch, None, None]:
        """The augmented batches of an epoch, from number `start` on."""
        plan = self.plan(epoch, losses)
        return batches(
            self.store, plan, self.augment, epoch, start=start, threads=self.threads,
            rank=self.runtime.group.rank, world=self.runtime.group.size,
        )  # fmt: skip

    def watches(self, at: Position) -> bool:
        """Whether the next update is looked at: the last of an epoch that is measured."""
        due = self.probe is not None and self.probe.due(at.epoch, self.epochs)
        return due and at.batch == self.steps_per_epoch - 1


def train(job: Job, state: State) -> Generator[Record, None, str]:
    """Train from the state's position to the last epoch, yielding records.

    Returns why it ended: "planned", "patience" (early stopping) or "interrupted" (`job.stop()`).
    Closing the generator early saves a checkpoint silently, so that a complete run is left. Raises
    TrainingError before an update with a non-finite loss or gradient (F14), after a record of it.
    """
    at, saved = state.position, _Saves(state.position.step)
    try:
        while at.epoch < job.epochs:
            if job.patience and at.epochs_without_gain >= job.patience:
                return "patience"
            complete = yield from _batches(job, state, saved)
            if complete:
                yield from _close_epoch(job, state)
            yield saved.save(job, state)
            if job.runtime.group.any(job.stop()):
                return "interrupted"
    except (GeneratorExit, TrainingError) as end:  # both strike between updates: the state is sound
        if at.step > saved.step and not state.non_finite():
            job.save(state)
        if isinstance(end, NotFiniteError):
            yield end.record
        raise
    return "planned"


class NotFiniteError(TrainingError):
    """A loss or gradient is not finite; `record` says where."""

    def __init__(self, message: str, hint: str, record: Failed) -> None:
        super().__init__(message, hint)
        self.record = record


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
    at = state.position
    hard = state.losses[0].numpy() if state.losses is not None else None
    state.net.train()
    started = time.perf_counter()
    with contextlib.closing(job.batches(at.epoch, at.batch, hard)) as rest:
        for batch in rest:
            lr = job.lr * job.rate(at.step)
            loss, norm = update(job, state, batch, lr)
            seconds = time.perf_counter() - started
            _advance(at, loss, len(batch.everyone), seconds)
            yield Step(at.step, at.epoch, loss, lr, norm, round(len(batch.everyone) / seconds, 1))
            if job.runtime.group.any(job.stop()):
                return at.batch == job.steps_per_epoch
            if at.batch < job.steps_per_epoch and saved.due(job, at.step):
                yield saved.save(job, state)
            started = time.perf_counter()
    return True


def endless(job: Job, state: State, epoch: int = 0) -> Iterator[Batch]:
    """Batches of one epoch after the other, for trials that end by themselves."""
    for number in itertools.count(epoch):
        hard = state.losses[0].numpy() if state.losses is not None else None
        with contextlib.closing(job.batches(number, 0, hard)) as batches_of_epoch:
            yield from batches_of_epoch
        if state.losses is not None:
            state.losses[0] = state.losses[1]


def update(job: Job, state: State, batch: Batch, lr: float) -> tuple[float, float]:
    """One step: set the rate, forward, backward, check finite, step. Returns (loss, grad norm)."""
    net, group = state.net, job.runtime.group
    before = [buffer.clone() for buffer in net.buffers()]
    for parameters in state.optimiser.param_groups:
        parameters["lr"] = lr * parameters["share"]
    parts = batch.parts(job.micro_batch)
    share = group.size / len(batch.everyone)  # gradients are averaged over the processes
    with seeded(job.seed + group.rank, state.position.step, job.runtime.device):
        losses = [_backward(job, state, part, share, last=part is parts[-1]) for part in parts]
    everyone = group.gathered(torch.cat(losses).cpu(), len(batch.everyone))
    loss = everyone.mean()
    norm = torch.nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None])
    if not torch.isfinite(loss + norm):
        fault = _not_finite(job, state, batch, loss.item(), norm.item())
        for buffer, old in zip(net.buffers(), before, strict=True):
            buffer.copy_(old)  # the forward pass has reached batch norm's averages already
        raise fault
    for act in job.after_backward:
        act(net)
    watched = weights_of(net) if job.watches(state.position) else None
    state.optimiser.step()
    if watched:
        state.moved = moved(net, watched)
    state.optimiser.zero_grad(set_to_none=True)
    for act in job.after_step:
        act(net)
    group.average_buffers(net)
    if state.average:
        state.average.update(net, state.position.step)
    if state.losses is not None:
        state.losses[1, torch.from_numpy(batch.everyone)] = everyone
    return loss.item(), norm.item()


def _backward(job: Job, state: State, part: Batch, share: float, *, last: bool) -> Tensor:
    """Add a part's gradients; returns its losses (N,). Processes average them with the last."""
    wait = contextlib.nullcontext() if last or not state.parallel else _unsynchronised(state)
    with wait:
        with job.runtime.autocast():
            logits = state.forward(job.runtime.on_device(part.images))
        losses = _losses(job, logits, part)
        (losses.sum() * share).backward()  # type: ignore[no-untyped-call]
    return losses.detach()


def _unsynchronised(state: State) -> contextlib.AbstractContextManager[None]:
    no_sync = getattr(state.parallel, "no_sync", contextlib.nullcontext)
    context: contextlib.AbstractContextManager[None] = no_sync()
    return context


def _losses(job: Job, logits: Tensor, batch: Batch) -> Tensor:
    """Each image's loss (N,); of two mixed images both losses by their shares."""
    y = job.runtime.on_device(job.targets[batch.ids])
    losses = job.task.losses(logits, y)
    if batch.partners is None or batch.shares is None:
        return losses
    other = job.task.losses(logits, job.runtime.on_device(job.targets[batch.partners]))
    share = job.runtime.on_device(batch.shares)
    return share * losses + (1 - share) * other


@contextlib.contextmanager
def seeded(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Dropout and the like as a function of (seed, step); the global generator stays as it was."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed((seed * 1_000_003 + step) % 2**63)
        yield


def _advance(at: Position, loss: float, images: int, seconds: float) -> None:
    at.step, at.batch = at.step + 1, at.batch + 1
    at.loss_sum, at.images = at.loss_sum + loss * images, at.images + images
    at.seconds, at.total_seconds = at.seconds + seconds, at.total_seconds + seconds
    at.val_score = None  # a score belongs to the weights that it was measured on


def _close_epoch(job: Job, state: State) -> Generator[Record, None, None]:
    """Validate, remember the best, move the position to the next epoch, measure."""
    at, started = state.position, time.perf_counter()
    scores, logits = job.validate(state.deployed)
    score = scores[job.task.main_score]
    is_best = at.best_score is None or score > at.best_score
    seconds = time.perf_counter() - started
    record = Epoch(
        epoch=at.epoch + 1,
        step=at.step,
        train_loss=at.loss_sum / at.images,
        val_loss=scores["loss"],
        val_score=score,
        seconds=round(at.seconds + seconds, 2),
        best=is_best,
    )
    at.val_score, at.total_seconds = score, at.total_seconds + seconds
    at.best_score = score if is_best else at.best_score
    at.epochs_without_gain = 0 if is_best else at.epochs_without_gain + 1
    if state.losses is not None:
        state.losses[0] = state.losses[1]  # an epoch is planned once, also when it is resumed
    measured = job.probe is not None and job.probe.due(at.epoch, job.epochs)
    at.epoch, at.batch, at.loss_sum, at.images, at.seconds = at.epoch + 1, 0, 0.0, 0, 0.0
    yield record
    if job.probe is not None and measured:
        yield job.probe.measure(state, logits, last=at.epoch == job.epochs)


def _save(job: Job, state: State) -> Saved:
    started = time.perf_counter()
    if bad := state.non_finite():
        raise NotFiniteError(
            f"step {state.position.step}: {bad} is not finite after the update; it was not saved",
            "A lower learning rate usually helps (--lr), or --optim.clip-norm 1.",
            Failed(state.position.step, state.position.epoch, None, None, _rate(state), bad),
        )
    path = job.save(state)
    at = state.position
    return Saved(at.step, at.epoch, path, round(time.perf_counter() - started, 3))


def _rate(state: State) -> float:
    """The learning rate of the last update."""
    return max(group["lr"] / group["share"] for group in state.optimiser.param_groups)


def _not_finite(job: Job, state: State, batch: Batch, loss: float, norm: float) -> NotFiniteError:
    """Name the step, the first layer whose output is not finite, and the images of the batch."""
    what = f"loss {loss:g}" if not math.isfinite(loss) else f"gradient norm {norm:g}"
    parts = (job.runtime.on_device(part.images) for part in batch.parts(job.micro_batch))
    layer = next(filter(None, (first_bad_layer(state.net, images) for images in parts)), "")
    where = f"; the first layer with a non-finite output is {layer}" if layer else ""
    names = [job.name(int(i)) for i in batch.everyone]
    at = state.position
    record = Failed(at.step + 1, at.epoch, loss, norm, _rate(state), layer, tuple(names[:10]))
    return NotFiniteError(
        f"step {state.position.step + 1}: {what}{where}. The weights were not changed. "
        f"Images of this batch:\n{listing(names, 10)}",
        "A lower learning rate usually helps (--lr), or --optim.clip-norm 1; "
        "--device.precision float32 tells whether rounding is to blame.",
        record,
    )


@torch.no_grad()
def first_bad_layer(net: nn.Module, images: Tensor) -> str:
    """Name of the first layer, in order of computation, whose output is not finite, or ""."""
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not found and not torch.isfinite(output).all():
                found.append(name)

        return hook

    handles = [m.register_forward_hook(watch(n)) for n, m in net.named_modules() if n]
    try:
        net(images)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ""
