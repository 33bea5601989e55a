"""Classification with one label an image, or several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.core.errors import RecipeError, perhaps
from striate.metrics.classification import (
    accuracy,
    exact_match,
    mean_average_precision,
    top_k_error,
)
from striate.tasks.losses import LOSSES
from striate.tasks.task import Outputs, Task


@dataclass(frozen=True)
class SingleLabel:
    """Targets are class numbers; accuracy is maximised."""

    loss_name: str
    smoothing: float = 0.0
    main_score: str = "accuracy"

    @property
    def calibrates(self) -> bool:
        return self.loss_name == "cross_entropy"

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        return LOSSES[self.loss_name](logits, targets, self.smoothing)

    def plain_losses(self, logits: Outputs, targets: NDArray[Any]) -> Outputs:
        return _plain_losses(self.loss_name, logits, targets)

    def scores(self, logits: Outputs, targets: NDArray[Any]) -> dict[str, float]:
        return {
            "accuracy": accuracy(targets, logits),
            "top5_error": top_k_error(targets, logits, 5),
            "loss": _mean(self.plain_losses(logits, targets)),
            "n": len(targets),
        }

    def probabilities(self, logits: Outputs) -> Outputs:
        """Softmax; for the squared error the outputs themselves, clipped and normalised.

        Hinge scores are no probabilities: their softmax only keeps the order.
        """
        if self.loss_name == "mse":
            clipped = np.clip(logits, 1e-6, None)
            shares: Outputs = clipped / clipped.sum(axis=1, keepdims=True)
            return shares
        return torch.from_numpy(logits).softmax(dim=1).numpy()


@dataclass(frozen=True)
class MultiLabel:
    """Targets are 0/1 for each class; mean average precision is maximised."""

    loss_name: str = "sigmoid"
    main_score: str = "mean_average_precision"
    calibrates: bool = False

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        return LOSSES[self.loss_name](logits, targets, 0.0)

    def plain_losses(self, logits: Outputs, targets: NDArray[Any]) -> Outputs:
        return _plain_losses(self.loss_name, logits, targets)

    def scores(self, logits: Outputs, targets: NDArray[Any]) -> dict[str, float]:
        return {
            "mean_average_precision": mean_average_precision(targets, logits),
            "exact_match": exact_match(targets, logits),
            "loss": _mean(self.plain_losses(logits, targets)),
            "n": len(targets),
        }

    def probabilities(self, logits: Outputs) -> Outputs:
        return torch.from_numpy(logits).sigmoid().numpy()


def make_task(loss_name: str, *, smoothing: float, multi_label: bool) -> Task:
    """The task for a loss. Raises RecipeError for an unknown loss or one of the other kind."""
    if loss_name not in LOSSES:
        raise RecipeError(f"loss.name: unknown '{loss_name}'", perhaps(loss_name, LOSSES))
    if (loss_name == "sigmoid") != multi_label:
        labels = "several labels" if multi_label else "one label"
        wanted = "sigmoid" if multi_label else "cross_entropy, hinge or mse"
        raise RecipeError(
            f"loss.name: {loss_name} does not fit images with {labels}", f"Use {wanted}."
        )
    return MultiLabel(loss_name) if multi_label else SingleLabel(loss_name, smoothing)


def _plain_losses(name: str, logits: Outputs, targets: NDArray[Any]) -> Outputs:
    if not len(targets):
        return np.zeros(0, dtype=np.float32)
    with torch.inference_mode():
        return LOSSES[name](torch.from_numpy(logits), torch.from_numpy(targets), 0.0).numpy()


def _mean(losses: Outputs) -> float:
    return float(losses.mean()) if len(losses) else float("nan")
