"""What the doctor's rules need beside losses: measured on fixed images, now and then.

Nothing here changes a training: the network's mode, its running averages and every random state are
as before.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.randomness import permutation
from striate.core.records import Measured
from striate.core.runtime import Runtime
from striate.data.augment import centre
from striate.data.dataset import Split
from striate.data.loader import Ids, Store, SubStore
from striate.tasks.task import Outputs, Task
from striate.training.evaluate import forward, outputs
from striate.training.state import State

COST = 0.025
"""Share of a training's time that measuring may take."""
_SAMPLE, _LEAST, _SHARE, _LAST = 500, 128, 8, 4
"""At most so many images, at least so many, otherwise this part; times so many at the end."""
_WATCHED, _BATCHES = 128, 16
"""Images on which activations and batch statistics are looked at, in at most so many batches."""
_GROUPS = 10
_NORM = nn.modules.batchnorm._BatchNorm
_SATURATED = 0.05
"""Of its steepest slope: a sigmoid or tanh that is flatter hardly passes a gradient on."""

Moved = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Probe:
    """Fixed samples and what is asked of them.

    `store` and `train`: all training images; `val`: what the validation pass holds. A measurement
    of `ids` each `every` epochs, of `last_ids` at the end. `batch`: images that batch norm sees at
    once in training; `class_images`: training images of each class.
    """

    store: Store
    train: Split
    val: Split
    task: Task
    size: int
    runtime: Runtime
    batch: int
    threads: int
    ids: Ids
    last_ids: Ids
    every: int
    class_images: NDArray[np.int64]

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether the epoch of this number (0 is the first) ends with a measurement."""
        return epoch % self.every == 0 or epoch == epochs - 1

    def measure(self, state: State, val_logits: Outputs, *, last: bool = False) -> Measured:
        """Look at the network that would be deployed, after an epoch, or after the last one."""
        began, net, task = time.perf_counter(), state.deployed, self.task
        ids = self.last_ids if last else self.ids
        store, targets = SubStore(self.store, ids), self.train.targets[ids]
        logits, _ = outputs(net, store, size=self.size, runtime=self.runtime, threads=self.threads)
        ours = task.plain_losses(logits, targets)
        theirs = task.plain_losses(val_logits, self.val.targets)
        seen, gap = self._watch(net)
        single = targets.ndim == 1
        return Measured(
            step=state.position.step,
            epoch=state.position.epoch,
            train_loss=float(ours.mean()),
            train_loss_error=_error(ours),
            train_score=task.scores(logits, targets)[task.main_score],
            val_loss=float(theirs.mean()),
            val_loss_error=_error(theirs),
            val_score=task.scores(val_logits, self.val.targets)[task.main_score],
            train_images=len(ours),
            val_images=len(theirs),
            contradicted=contradicted(logits, targets) if single else None,
            norm_gap=gap,
            recall=recall_by_count(val_logits, self.val.targets, self.class_images)
            if single
            else (),
            layers={**state.moved, **seen},
            seconds=round(time.perf_counter() - began, 3),
        )

    def _watch(self, net: nn.Module) -> tuple[Moved, float | None]:
        """(activations, loss with running averages minus loss with batch statistics)."""
        ids = self.ids[:: max(1, len(self.ids) // _WATCHED)][:_WATCHED]  # from all classes
        images, targets = centre(self.store.load(ids), self.size), self.train.targets[ids]
        was = net.training
        net.eval()
        try:
            with torch.inference_mode():
                with watched(net) as seen:
                    logits = forward(net, images, self.runtime)
                if not any(isinstance(m, _NORM) for m in net.modules()):
                    return seen(), None
                size = max(2, min(self.batch, len(ids)))
                starts = range(0, len(ids) - size + 1, size)[:_BATCHES]
                with batch_statistics(net):
                    own = [forward(net, images[i : i + size], self.runtime) for i in starts]
        finally:
            net.train(was)
        used = len(starts) * size
        running = self.task.plain_losses(logits[:used], targets[:used])
        batch = self.task.plain_losses(np.concatenate(own), targets[:used])
        return seen(), float(running.mean() - batch.mean())


def sample(count: int, seed: int) -> tuple[Ids, Ids, int]:
    """(images to measure on, those of the last measurement, every how many epochs) of so many
    training images, so that measuring keeps to `COST`: a forward pass is a third of a step."""
    wanted = min(count, _SAMPLE, max(_LEAST, count // _SHARE))
    order = permutation(seed, 0, "measured", count)
    cost = (wanted + 2 * min(_WATCHED, wanted)) / 3
    last = np.sort(order[: _LAST * wanted])
    return np.sort(order[:wanted]), last, math.ceil(cost / (COST * count))


def contradicted(logits: Outputs, targets: NDArray[Any]) -> float | None:
    """Share of images that are called otherwise and whose label ranks in the lower half of the
    other answers. Wrong labels drawn at random rank anywhere; a hard image's ranks high, so this is
    about half of the share of random labels. None below four classes.
    """
    rows, classes = logits.shape
    if classes < 4 or not rows:
        return None
    own = logits[np.arange(rows), targets][:, None]
    better = (logits > own).sum(axis=1)  # 0: right; 1 … C − 1: rank among the others
    return float((better > classes / 2).mean())


def recall_by_count(
    logits: Outputs, targets: NDArray[Any], class_images: NDArray[np.int64]
) -> tuple[tuple[float, int, float], ...]:
    """Classes from common to rare in training, in at most ten groups: (mean training images of a
    class, validation images, share recognised). Groups without validation images are left out."""
    right = logits.argmax(axis=1) == targets
    groups = np.array_split(
        np.argsort(-class_images, kind="stable"), min(_GROUPS, len(class_images))
    )
    found = []
    for group in groups:
        here = np.isin(targets, group)
        if here.any():
            found.append(
                (float(class_images[group].mean()), int(here.sum()), float(right[here].mean()))
            )
    return tuple(found)


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """Copies of the weights that learn, before an update."""
    return {n: p.detach().clone() for n, p in _learning(net)}


def moved(net: nn.Module, before: dict[str, Tensor]) -> Moved:
    """Root mean squares of weights, gradients and the update since `before`, by layer."""
    kinds = {name: type(module).__name__ for name, module in net.named_modules()}
    found = {}
    for name, p in _learning(net):
        layer = name.rpartition(".")[0]
        gradient = torch.zeros(()) if p.grad is None else _rms(p.grad)
        figures = torch.stack([_rms(before[name]), gradient.to(p.device), _rms(p - before[name])])
        weight, slope, update = figures.tolist()
        found[_label(layer, kinds[layer])] = {
            "weight": weight, "gradient": slope, "update": update,
        }  # fmt: skip
    return found


def _learning(net: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Weights of layers; biases and the gains of norm layers are left out."""
    return ((n, p) for n, p in net.named_parameters() if p.ndim > 1 and p.requires_grad)


@contextlib.contextmanager
def watched(net: nn.Module) -> Iterator[Callable[[], Moved]]:
    """Within it forward passes are watched; what is yielded tells of each activation layer the
    share of `dead` or `saturated` parts."""
    found: Moved = {}

    def hook(name: str, look: Callable[[Tensor], dict[str, float]]) -> Callable[..., None]:
        def see(_: nn.Module, __: Any, output: Tensor) -> None:
            label = name  # a module that is used several times is several activations
            while label in found:
                label += "'"
            found[label] = look(output)

        return see

    handles = [
        module.register_forward_hook(
            hook(_label(name, type(module).__name__), _LOOKS[type(module)])
        )
        for name, module in net.named_modules()
        if type(module) in _LOOKS
    ]
    try:
        yield lambda: found
    finally:
        for handle in handles:
            handle.remove()


def _dead(output: Tensor) -> dict[str, float]:
    """Units (channels) that are 0 for every image, everywhere."""
    rest = [d for d in range(output.ndim) if d != 1]
    return {"dead": float((output.amax(dim=rest) <= 0).float().mean())}


def _flat(slope: Callable[[Tensor], Tensor]) -> Callable[[Tensor], dict[str, float]]:
    return lambda output: {"saturated": float((slope(output.float()) < _SATURATED).float().mean())}


_LOOKS: dict[type[nn.Module], Callable[[Tensor], dict[str, float]]] = {
    nn.ReLU: _dead,
    nn.Sigmoid: _flat(lambda y: 4 * y * (1 - y)),
    nn.Tanh: _flat(lambda y: 1 - y * y),
}


@contextlib.contextmanager
def batch_statistics(net: nn.Module) -> Iterator[None]:
    """Within it batch norm uses the batch and learns nothing from it."""
    norms = [m for m in net.modules() if isinstance(m, _NORM)]
    before = [(m.training, m.track_running_stats) for m in norms]
    for m in norms:
        m.training, m.track_running_stats = True, False
    try:
        yield
    finally:
        for m, (training, tracking) in zip(norms, before, strict=True):
            m.training, m.track_running_stats = training, tracking


def _label(name: str, kind: str) -> str:
    return f"{name.removeprefix('backbone.')} {kind}"


def _rms(tensor: Tensor) -> Tensor:
    return tensor.detach().float().square().mean().sqrt()


def _error(losses: Outputs) -> float:
    return float(losses.std() / math.sqrt(max(1, len(losses))))
