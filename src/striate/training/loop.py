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
from torch import Tensor, nn

from striate.core.arrays import Ids
from striate.core.errors import TrainingError, listing
from striate.core.group import Group
from striate.core.records import Epoch, Failed, Record, Saved, Step
from striate.core.runtime import Runtime
from striate.data.augment import Pipeline
from striate.data.batch import Batch
from striate.data.loader import Store, batches
from striate.data.targets import Targets
from striate.optim.schedules import Schedule
from striate.tasks.evaluation import Evaluation
from striate.tasks.task import Losses, Task
from striate.training.activity import moved, weights_of
from striate.training.features import Features
from striate.training.monitor import Monitor
from striate.training.state import Position, State


@dataclass(frozen=True)
class Job:
    """What a training consists of, as plain functions and values; nothing in it changes.

    store, targets: the training images and what is known of them. plan(epoch, losses) → batches of
    image numbers, where `losses` are those that a sampler asked for, else None; `threads` load and
    augment ahead. validate(net) → the evaluation of the validation images. save(state) → path, at
    the end of each epoch and every `save_steps` and `save_seconds` (0: not). after_backward(net)
    clips or adds penalties; after_step(net) limits weights. features: what keeps the outputs of a
    frozen part, where there is one; the batches then hold these in place of images. A batch goes
    through the network in parts of `micro_batch` images (0: at once), whose gradients add up.
    `monitor` measures what the doctor needs; it changes nothing.
    """

    epochs: int
    store: Store
    targets: Targets
    name: Callable[[int], str]
    plan: Callable[[int, Any], Sequence[Ids]]
    augment: Pipeline
    task: Task
    rate: Schedule
    lr: float
    seed: int
    runtime: Runtime
    validate: Callable[[nn.Module], Evaluation]
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
    monitor: Monitor | None = None
    features: Features | None = None

    def batches(
        self, state: State, epoch: int, start: int, losses: Any = None
    ) -> Generator[Batch, None, None]:
        """The augmented batches of an epoch, from number `start` on."""
        plan = self.plan(epoch, losses)
        if self.features is not None:
            return self.features.batches(state.net, self.targets, plan, epoch, start)
        return batches(
            self.store, self.targets, plan, self.augment, epoch, start=start, threads=self.threads,
            group=self.runtime.group,
        )  # fmt: skip

    def watches(self, position: Position) -> bool:
        """Whether the next update is looked at: the last of an epoch that is measured."""
        due = self.monitor is not None and self.monitor.due(position.epoch, self.epochs)
        return due and position.batch == self.steps_per_epoch - 1


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
    except (GeneratorExit, TrainingError) as end:  # both strike between updates: the state is sound
        if position.step > saved.step and not state.non_finite():
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
    position = state.position
    last_losses = state.losses[0].numpy() if state.losses is not None else None
    state.set_training()
    started = time.perf_counter()
    with contextlib.closing(
        job.batches(state, position.epoch, position.batch, last_losses)
    ) as rest:
        for batch in rest:
            lr = job.lr * job.rate(position.step)
            loss, norm, terms = update(job, state, batch, lr)
            seconds, images = time.perf_counter() - started, len(batch.everyone)
            _advance(position, loss, images, seconds)
            speed = round(images / seconds, 1)
            yield Step(position.step, position.epoch, loss, lr, norm, speed, terms)
            if job.runtime.group.any(job.stop()):
                return position.batch == job.steps_per_epoch
            if position.batch < job.steps_per_epoch and saved.due(job, position.step):
                yield saved.save(job, state)
            started = time.perf_counter()
    return True


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


def update(
    job: Job, state: State, batch: Batch, lr: float
) -> tuple[float, float, dict[str, float]]:
    """One step: set the rate, forward, backward, check finite, step.

    Returns the mean loss, the norm of the gradient, and the means of the loss's terms, if it has
    several.
    """
    net, group = state.net, job.runtime.group
    before = [buffer.clone() for buffer in net.buffers()]
    for parameters in state.optimiser.param_groups:
        parameters["lr"] = lr * parameters["lr_scale"]
    parts, images = batch.parts(job.micro_batch), len(batch.everyone)
    weight = group.size / images  # gradients are averaged over the processes
    try:
        with seeded(job.seed + group.rank, state.position.step, job.runtime.device):
            losses = [_backward(job, state, part, weight, last=part is parts[-1]) for part in parts]
    except torch.OutOfMemoryError as error:
        _undo(net, before)
        raise _out_of_memory(error, job, len(parts[0])) from None
    loss, each = _mean_loss(losses, group, images)
    norm = torch.nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None])
    if not torch.isfinite(loss + norm):
        fault = _not_finite(job, state, batch, loss.item(), norm.item())
        _undo(net, before)
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
    if state.losses is not None and each is not None:
        state.losses[1, torch.from_numpy(batch.everyone)] = each
    return loss.item(), norm.item(), _mean_terms(losses, group, images)


def _undo(net: nn.Module, before: list[Tensor]) -> None:
    """Running averages as they were before the forward pass, and no gradients."""
    for buffer, old in zip(net.buffers(), before, strict=True):
        buffer.copy_(old)
    net.zero_grad(set_to_none=True)


def _out_of_memory(error: Exception, job: Job, images: int) -> TrainingError:
    """What to do where a step does not fit into the device's memory."""
    reason = str(error).partition("\n")[0]
    smaller = max(1, images // 2)
    return TrainingError(
        f"{job.runtime.device} has too little memory for {images} images at once: {reason}",
        f"--device.micro-batch {smaller} computes the same batch in smaller parts; a smaller "
        "--batch-size or --image-size needs less too.",
    )


def _backward(job: Job, state: State, part: Batch, weight: float, *, last: bool) -> Losses:
    """Add a part's gradients; returns its losses. Processes average gradients with the last."""
    wait = contextlib.nullcontext() if last or not state.parallel else _unsynchronised(state)
    with wait:
        losses = job.task.losses(state.forward, part, job.runtime)
        (losses.total * weight).backward()  # type: ignore[no-untyped-call]
    each = None if losses.per_image is None else losses.per_image.detach()
    terms = {name: term.detach() for name, term in losses.terms.items()}
    return Losses(losses.total.detach(), each, None, terms)


def _mean_loss(losses: list[Losses], group: Group, images: int) -> tuple[Tensor, Tensor | None]:
    """(mean loss, each image's loss (N,) or None) of the whole batch, in all processes."""
    known = [part.per_image for part in losses if part.per_image is not None]
    if len(known) < len(losses):
        total = torch.stack([part.total for part in losses]).sum().cpu()
        return group.sum(total) / images, None
    each = group.all_gather(torch.cat(known).cpu(), images)
    return each.mean(), each


def _mean_terms(losses: list[Losses], group: Group, images: int) -> dict[str, float]:
    return {
        name: float(group.sum(torch.stack([part.terms[name] for part in losses]).sum().cpu()))
        / images
        for name in losses[0].terms
    }


def _unsynchronised(state: State) -> contextlib.AbstractContextManager[None]:
    no_sync = getattr(state.parallel, "no_sync", contextlib.nullcontext)
    context: contextlib.AbstractContextManager[None] = no_sync()
    return context


@contextlib.contextmanager
def seeded(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Dropout and the like as a function of (seed, step); the global generator stays as it was."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed((seed * 1_000_003 + step) % 2**63)
        yield


def _advance(position: Position, loss: float, images: int, seconds: float) -> None:
    position.step, position.batch = position.step + 1, position.batch + 1
    position.loss_sum += loss * images
    position.images += images
    position.seconds += seconds
    position.total_seconds += seconds
    position.val_score = None  # a score belongs to the weights that it was measured on


def _close_epoch(job: Job, state: State) -> Generator[Record, None, None]:
    """Validate, remember the best, move the position to the next epoch, measure."""
    position, started = state.position, time.perf_counter()
    found = job.validate(state.deployed)
    score = found.scores[job.task.main_score]
    is_best = position.best_score is None or score > position.best_score
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
            Failed(state.position.step, state.position.epoch, None, None, _rate(state), bad),
        )
    path, position = job.save(state), state.position
    return Saved(position.step, position.epoch, path, round(time.perf_counter() - started, 3))


def _rate(state: State) -> float:
    """The learning rate of the last update."""
    return max(group["lr"] / group["lr_scale"] for group in state.optimiser.param_groups)


def _not_finite(job: Job, state: State, batch: Batch, loss: float, norm: float) -> NotFiniteError:
    """Name the step, the first layer whose output is not finite, and the images of the batch."""
    what = f"loss {loss:g}" if not math.isfinite(loss) else f"gradient norm {norm:g}"
    parts = (job.runtime.on_device(part.images) for part in batch.parts(job.micro_batch))
    layer = next(filter(None, (first_bad_layer(state.trained, images) for images in parts)), "")
    where = f"; the first layer with a non-finite output is {layer}" if layer else ""
    names = [job.name(int(i)) for i in batch.everyone]
    position = state.position
    record = Failed(
        position.step + 1, position.epoch, loss, norm, _rate(state), layer, tuple(names[:10])
    )
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
