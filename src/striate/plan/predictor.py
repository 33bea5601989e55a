"""A trained network with what its outputs mean: predict, explain, export and serve share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from striate.core.errors import RunError, listing
from striate.core.run import ADOPTED, RunDirectory
from striate.core.runtime import Runtime, choose_device, usable_cores
from striate.data.loader import Store
from striate.data.targets import Targets
from striate.plan.network import network_of
from striate.plan.settled import Settled
from striate.tasks.evaluation import Evaluation
from striate.tasks.task import Answer, Predictions, Scored, Task
from striate.training import checkpoints
from striate.training.averages import adopt
from striate.training.inference import Pass, evaluate, predictions
from striate.training.state import load_weights


@dataclass(frozen=True)
class Predictor:
    """`net`: uint8 (N, size, size, C) → outputs. `views`: the kind of test views that are averaged.
    `temperature`: what outputs are divided by before they become probabilities."""

    net: nn.Module
    task: Task
    classes: tuple[str, ...]
    size: int
    runtime: Runtime
    views: str = "single"
    temperature: float = 1.0

    def probabilities(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Outputs (N, classes) → probabilities (N, classes)."""
        return self.task.probabilities(outputs / np.float32(self.temperature))

    def predictions(self, store: Store) -> Predictions:
        """What the network says of all images of a store."""
        return predictions(self.task, self.net, store, self._pass)

    def answers(self, store: Store, names: Sequence[str], top: int = 1) -> Sequence[Answer]:
        """The same as answers, one an image."""
        scored = Scored("images", self.classes, tuple(names))
        said = self.predictions(store)
        return self.task.answers(said, scored, temperature=self.temperature, top=top)

    def evaluate(self, store: Store, targets: Targets, scored: Scored) -> Evaluation:
        """Scores of a store's images, with calibrated probabilities where the task has them."""
        found = evaluate(self.task, self.net, store, targets, scored, self._pass)
        return found.calibrated(self.temperature)

    @property
    def _pass(self) -> Pass:
        return Pass(self.size, self.runtime, self.views, usable_cores())

    def with_views(self, views: str) -> Predictor:
        """The same, averaging other test views."""
        return replace(self, views=views)


def trained_network(
    directory: RunDirectory, settled: Settled, task: Task, classes: int
) -> nn.Module:
    """A run's network with the best validation score, on the CPU.

    Raises RunError if no checkpoint is sound.
    """
    chosen, faults = checkpoints.best(directory.checkpoints)
    if chosen is None:
        reasons = "\n" + listing(faults) if faults else ""
        raise RunError(
            f"{directory.path} has no usable checkpoint{reasons}",
            f"`striate resume {directory.path}` continues a training that was cut off early.",
        )
    net = network_of(settled, task, classes, None)
    load_weights(net, chosen.model())
    if (directory.path / ADOPTED).is_file():
        adopt(net, checkpoints.read_tensors(directory.path / ADOPTED))
    return net.eval()


def runtime_of(settled: Settled) -> Runtime:
    """The precision of the training where it ran on such a device, else float32."""
    device = choose_device("auto")
    same = settled.device.partition(":")[0] == device.type
    return Runtime(device, settled.precision if same else "float32")
