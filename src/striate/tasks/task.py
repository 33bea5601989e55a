"""The Task protocol: what the loop and the evaluation need to know of a problem."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Outputs = NDArray[np.float32]


class Task(Protocol):
    """Targets, loss and scores of one kind of problem."""

    @property
    def main_score(self) -> str:
        """Name of the score that is maximised on validation."""

    @property
    def calibrates(self) -> bool:
        """Whether a temperature on the logits makes sense."""

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Each image's loss (N,); training minimises their mean."""

    def plain_losses(self, logits: Outputs, targets: NDArray[Any]) -> Outputs:
        """Each image's loss (N,) without smoothing, as `scores` averages it."""

    def scores(self, logits: Outputs, targets: NDArray[Any]) -> dict[str, float]:
        """Scores of many outputs, `loss` (without smoothing) and `n` among them."""

    def probabilities(self, logits: Outputs) -> Outputs:
        """(N, classes) in [0, 1]."""
