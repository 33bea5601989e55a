"""What changes while training: weights, optimiser, average, position. To and from tensors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from striate.core.errors import RunError
from striate.models.network import Network
from striate.optim.regularise import MovingAverage


@dataclass
class Position:
    """How far training is. `batch` batches of `epoch` are consumed; sums belong to that epoch."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    images: int = 0
    seconds: float = 0.0
    total_seconds: float = 0.0
    best_score: float | None = None
    val_score: float | None = None
    epochs_without_gain: int = 0

    def start_epoch(self, number: int) -> None:
        """Move to the first batch of this epoch."""
        self.epoch, self.batch, self.loss_sum, self.images, self.seconds = number, 0, 0.0, 0, 0.0

    def begin(self, images: int) -> None:
        """The step of the next batch, of so many images, was begun."""
        self.step, self.batch, self.images = self.step + 1, self.batch + 1, self.images + images
        self.val_score = None  # a score belongs to the weights that it was measured on

    def finish(self, loss_sum: float, seconds: float) -> None:
        """A step that was begun is finished; loss_sum: of its images."""
        self.loss_sum += loss_sum
        self.seconds += seconds
        self.total_seconds += seconds

    def take_back(self, before: Position) -> None:
        """To where it was before a step that was begun and will not be finished."""
        self.step, self.batch, self.images = before.step, before.batch, before.images
        self.val_score = before.val_score


@dataclass
class State:
    """Everything that a checkpoint must hold. Randomness is a function of the position."""

    net: nn.Module
    optimiser: torch.optim.Optimizer
    average: MovingAverage | None
    position: Position
    losses: Tensor | None = None
    """(2, N) for a sampler that asks: each image's loss when the epoch was planned, and last."""
    parallel: nn.Module | None = None
    """The network as it runs in training with other processes."""
    moved: dict[str, dict[str, float]] = field(default_factory=dict)
    """What the last watched update did to each layer; not kept in checkpoints."""

    frozen: tuple[nn.Module, ...] = ()
    """Parts that do not learn compute as in evaluation: their norm layers keep their averages."""
    tail: nn.Module | None = None
    """What follows the frozen part, where that part's outputs are kept and stand for images."""

    def set_training(self) -> None:
        """Training mode, without the parts that are frozen."""
        self.net.train()
        if self.tail is not None:
            self.tail.train()
        for part in self.frozen:
            part.eval()

    @property
    def trained(self) -> nn.Module:
        """What the batches of the training go through."""
        return self.tail or self.net

    @property
    def forward(self) -> nn.Module:
        return self.parallel or self.trained

    @property
    def deployed(self) -> nn.Module:
        """The network to evaluate: the moving average if one is kept."""
        return self.average.net if self.average else self.net

    @property
    def rate(self) -> float:
        """The learning rate of the last step that was begun."""
        return max(group["lr"] / group["lr_scale"] for group in self.optimiser.param_groups)

    def non_finite(self) -> str:
        """Name of the first weight or buffer that is not finite, or an empty string."""
        for name, tensor in self.net.state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                return name
        return ""

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(model tensors to use, state tensors that only training needs)."""
        state = _optimiser_tensors(self.optimiser, self.net)
        if self.average:
            state |= {f"raw.{name}": t for name, t in self.net.state_dict().items()}
        if self.losses is not None:
            state["sampler.losses"] = self.losses
        return self.deployed.state_dict(), state

    def restore(
        self, model: Mapping[str, Tensor], state: Mapping[str, Tensor], manifest: dict[str, Any]
    ) -> None:
        """Take all values from a checkpoint. Raises RunError if it is another network's."""
        raw = {n.removeprefix("raw."): t for n, t in state.items() if n.startswith("raw.")}
        load_weights(self.deployed, model)
        load_weights(self.net, raw or model)
        _restore_optimiser(self.optimiser, self.net, state)
        if self.losses is not None and "sampler.losses" in state:
            self.losses.copy_(state["sampler.losses"])
        self.position = position_of(manifest)


def position_of(manifest: dict[str, Any]) -> Position:
    """The position in a manifest."""
    return Position(**{f.name: manifest[f.name] for f in fields(Position)})


def manifest_of(position: Position) -> dict[str, Any]:
    """The position as manifest entries."""
    return asdict(position)


def load_weights(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into `net`, keeping its memory layout. Raises RunError on any difference."""
    if isinstance(net, Network):
        net.take_shape(tensors)
    own = net.state_dict()
    wrong = [
        f"{name}: {tuple(own[name].shape) if name in own else 'absent'} in the network, "
        f"{tuple(tensors[name].shape) if name in tensors else 'absent'} in the checkpoint"
        for name in sorted(own.keys() ^ tensors.keys())
        + sorted(n for n in own.keys() & tensors.keys() if own[n].shape != tensors[n].shape)
    ]
    if wrong:
        raise RunError(
            f"the checkpoint does not fit the network ({len(wrong)} tensors): {wrong[0]}",
            "The run's recipe.yaml or dataset.json was changed, or belongs to another run.",
        )
    whole = OrderedDict(tensors)  # some networks ask for the version of what they load
    whole._metadata = getattr(own, "_metadata", {})  # type: ignore[attr-defined]
    net.load_state_dict(whole)


def _named(net: nn.Module) -> dict[int, str]:
    return {id(p): name for name, p in net.named_parameters()}


def _optimiser_tensors(optimiser: torch.optim.Optimizer, net: nn.Module) -> dict[str, Tensor]:
    """`optimiser.PARAMETER.KEY` for every tensor that the rule keeps."""
    names = _named(net)
    return {
        f"optimiser.{names[id(p)]}.{key}": value
        for p, kept in optimiser.state.items()
        for key, value in kept.items()
        if isinstance(value, Tensor)
    }


def _restore_optimiser(
    optimiser: torch.optim.Optimizer, net: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    for group in optimiser.param_groups:
        for p in group["params"]:
            prefix = f"optimiser.{_named(net)[id(p)]}."
            for name, value in tensors.items():
                if name.startswith(prefix) and "." not in name.removeprefix(prefix):
                    where = p.device if group.get("fused") else value.device
                    kept = (
                        torch.empty_like(p) if value.shape == p.shape
                        else torch.empty_like(value, device=where)
                    )  # fmt: skip
                    optimiser.state[p][name.removeprefix(prefix)] = kept.copy_(value)
