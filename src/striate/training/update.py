"""One step of a training: forward, backward, check, change the weights.

A GPU computes while the program goes on, and a program that asks it for a number waits. So a step
is begun and finished apart: `begin` gives the device its work, `finish` reads the loss and the norm
of the gradient. On a GPU the loop finishes a step after it began the next one. What a step with a
non-finite loss, and the one after it, have changed is then taken back; elsewhere a step is checked
before it changes anything. Both leave the same weights and the same record.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from striate.core.errors import TrainingError, listing
from striate.core.records import Failed
from striate.core.runtime import Runtime
from striate.data.batch import Batch
from striate.models.patches import patched_gradients
from striate.tasks.task import Losses
from striate.training.activity import moved, weights_of
from striate.training.job import Job
from striate.training.state import State


class NotFiniteError(TrainingError):
    """A loss or gradient is not finite; `record` says where."""

    def __init__(self, message: str, hint: str, record: Failed) -> None:
        super().__init__(message, hint)
        self.record = record


@dataclass(frozen=True)
class Figures:
    """What a step says of itself: the mean loss of its images, the norm of its gradient, the means
    of the loss's terms if it has several, each image's loss (N,) if it is known."""

    loss: float
    norm: float
    terms: dict[str, float]
    each: Tensor | None


@dataclass(frozen=True)
class Begun:
    """A step that the device was given, the `step`-th of the training, counted from 0. read() waits
    for its figures, where they are not known; undo() takes back what it changed."""

    batch: Batch
    step: int
    lr: float
    read: Callable[[], Figures]
    undo: Callable[[], None]
    known: Figures | None = None


def update(job: Job, state: State, batch: Batch, lr: float) -> Figures:
    """One step at the rate `lr`, begun and finished. Raises TrainingError before the weights are
    changed where the loss or the gradient is not finite, or memory runs out."""
    return finish(job, state, begin(job, state, batch, lr))


def begin(job: Job, state: State, batch: Batch, lr: float, backup: Backup | None = None) -> Begun:
    """Give the device all the work of a step.

    With a backup, which is filled first, nothing is waited for, and `finish` checks. Without one
    the loss and the gradient are waited for and checked before the weights are changed.
    """
    net, group = state.net, job.runtime.group
    undo = _buffers(net) if backup is None else backup.fill(state)
    for parameters in state.optimiser.param_groups:
        parameters["lr"] = lr * parameters["lr_scale"]
    parts, images = batch.parts(job.micro_batch), len(batch.everyone)
    weight = group.size / images  # gradients are averaged over the processes
    try:
        with seeded(job.seed + group.rank, state.position.step, job.runtime.device):
            losses = [_backward(job, state, part, weight, last=part is parts[-1]) for part in parts]
    except torch.OutOfMemoryError as error:
        undo()
        raise _out_of_memory(error, job, len(parts[0])) from None
    norm = torch.nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None])
    read = _figures(losses, norm, job.runtime, images)
    begun = Begun(batch, state.position.step, lr, read, undo)
    if backup is None:
        begun = replace(begun, known=_checked(job, state, begun))
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
    return begun


def finish(job: Job, state: State, begun: Begun) -> Figures:
    """Wait for the figures of a step. Raises TrainingError, and leaves the state as it was before
    the step, where they are not finite: what steps begun after it have changed is gone too."""
    figures = begun.known or _checked(job, state, begun)
    if state.losses is not None and figures.each is not None:
        state.losses[1, torch.from_numpy(begun.batch.everyone)] = figures.each
    return figures


class Backup:
    """What a step changes, as it was before: weights, buffers, the rule's memory, the average. The
    copies' memory is used again by the next step."""

    def __init__(self) -> None:
        self._copies: dict[int, Tensor] = {}

    @torch.no_grad()
    def fill(self, state: State) -> Callable[[], None]:
        """Copy all; returns what puts it back. Gradients are gone then."""
        rule = state.optimiser
        memory = {p: dict(kept) for p, kept in rule.state.items()}
        tensors = [*(p for p in state.net.parameters() if p.requires_grad), *state.net.buffers()]
        if state.average:
            tensors += [*state.average.net.parameters(), *state.average.net.buffers()]
        tensors += [t for kept in memory.values() for t in kept.values() if isinstance(t, Tensor)]
        copies = [self._copy_of(tensor) for tensor in tensors]
        copy_all(copies, tensors)

        @torch.no_grad()
        def undo() -> None:
            copy_all(tensors, copies)
            rule.state = defaultdict(dict, memory)
            state.net.zero_grad(set_to_none=True)

        return undo

    def _copy_of(self, tensor: Tensor) -> Tensor:
        """Memory of its form, without its values."""
        kept = self._copies.get(id(tensor))
        if kept is None or (kept.shape, kept.dtype) != (tensor.shape, tensor.dtype):
            kept = self._copies[id(tensor)] = torch.empty_like(tensor)
        return kept


def copy_all(into: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copy many tensors, those of one type and device together."""
    alike: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
    for own, new in zip(into, values, strict=True):
        pairs = alike.setdefault((own.dtype, own.device), ([], []))
        pairs[0].append(own)
        pairs[1].append(new)
    for own_all, new_all in alike.values():
        torch._foreach_copy_(own_all, new_all)


def _buffers(net: nn.Module) -> Callable[[], None]:
    """What puts running averages back as they are now; gradients are gone then."""
    before = [buffer.clone() for buffer in net.buffers()]

    def undo() -> None:
        for buffer, old in zip(net.buffers(), before, strict=True):
            buffer.copy_(old)
        net.zero_grad(set_to_none=True)

    return undo


def _figures(
    losses: list[Losses], norm: Tensor, runtime: Runtime, images: int
) -> Callable[[], Figures]:
    """Send a step's losses, one a part of the batch, and the norm of its gradient to the host;
    returns what waits for them and puts together those of all parts and processes."""
    known = [part.per_image for part in losses if part.per_image is not None]
    each = runtime.to_host(torch.cat(known)) if len(known) == len(losses) else None
    totals = None if each is not None else runtime.to_host(_sum([part.total for part in losses]))
    terms = {name: runtime.to_host(_sum([part.terms[name] for part in losses]))
             for name in losses[0].terms}  # fmt: skip
    last, group, arrived = runtime.to_host(norm), runtime.group, runtime.marker()

    def read() -> Figures:
        arrived()
        if each is None:
            assert totals is not None
            loss, gathered = group.sum(totals) / images, None
        else:
            gathered = group.all_gather(each, images)
            loss = gathered.mean()
        means = {name: float(group.sum(term)) / images for name, term in terms.items()}
        return Figures(loss.item(), last.item(), means, gathered)

    return read


def _sum(tensors: list[Tensor]) -> Tensor:
    return torch.stack(tensors).sum()


def _checked(job: Job, state: State, begun: Begun) -> Figures:
    figures = begun.read()
    if not math.isfinite(figures.loss + figures.norm):
        begun.undo()
        fault = _not_finite(job, state, begun, figures)
        begun.undo()  # the search for the layer has moved running averages
        raise fault
    return figures


def _out_of_memory(error: Exception, job: Job, images: int) -> TrainingError:
    """What to do where a step does not fit into the device's memory."""
    said = str(error).partition("\n")[0]
    asked = re.match(r".*?Tried to allocate [\d.]+ \w+", said)  # what follows is torch's own advice
    reason = asked[0] if asked else said
    smaller = max(1, images // 2)
    return TrainingError(
        f"{job.runtime.device} has too little memory for {images} images at once: {reason}",
        f"--device.micro-batch {smaller} computes the same batch in smaller parts; a smaller "
        "--batch-size or --image-size needs less too.",
    )


def _backward(job: Job, state: State, part: Batch, weight: float, *, last: bool) -> Losses:
    """Add a part's gradients; returns its losses. Processes average gradients with the last."""
    wait = contextlib.nullcontext() if last or not state.parallel else _unsynchronised(state)
    with wait, patched_gradients(job.runtime):
        losses = job.task.losses(state.forward, part, job.runtime)
        (losses.total * weight).backward()  # type: ignore[no-untyped-call]
    each = None if losses.per_image is None else losses.per_image.detach()
    terms = {name: term.detach() for name, term in losses.terms.items()}
    return Losses(losses.total.detach(), each, None, terms)


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


def _not_finite(job: Job, state: State, begun: Begun, figures: Figures) -> NotFiniteError:
    """Name the step, the first layer whose output is not finite, and the images of the batch."""
    loss, norm, batch = figures.loss, figures.norm, begun.batch
    what = f"loss {loss:g}" if not math.isfinite(loss) else f"gradient norm {norm:g}"
    parts = (job.runtime.on_device(part.images) for part in batch.parts(job.micro_batch))
    layer = next(filter(None, (first_bad_layer(state.trained, images) for images in parts)), "")
    where = f"; the first layer with a non-finite output is {layer}" if layer else ""
    names = [job.name(int(i)) for i in batch.everyone]
    step, epoch = begun.step + 1, state.position.epoch
    record = Failed(step, epoch, loss, norm, begun.lr, layer, tuple(names[:10]))
    return NotFiniteError(
        f"step {step}: {what}{where}. The weights were not changed. "
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
