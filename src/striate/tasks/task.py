"""What the loop, the evaluation and the judges need to know of a problem: the protocols.

A new task is a folder with an object that has the methods of `Task`, a line in `TASKS`, and, where
its targets are of a new kind, a class with the methods of `Targets`. Nothing else asks which task
it is. `striate.testing.check_task` tries the laws that every task must keep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.arrays import Floats, Ids, Pixels
from striate.core.runtime import Runtime
from striate.data.batch import Batch
from striate.data.targets import Targets

if TYPE_CHECKING:
    from striate.tasks.evaluation import Evaluation

Predictions = Mapping[str, NDArray[Any]]
"""What a network says of images: arrays by name, each with a row an image."""


@dataclass(frozen=True)
class Pass:
    """How a network passes over images.

    size: side of its input in pixels; views: a kind of `views_of` that is averaged; threads: that
    read ahead. Processes that work together divide the images, and all get all rows.
    """

    size: int
    runtime: Runtime
    views: str = "single"
    threads: int = 1


class Losses(NamedTuple):
    """The losses of a batch, or of a part of one.

    total: the sum over the images; the loop divides it by the number of images of the whole batch,
    so parts of a batch and shares of several processes add up. per_image: (N,), None where a loss
    does not belong to single images; samplers that go by the loss need it. terms: sums by name, for
    losses that consist of several. outputs: what the network gave.
    """

    total: Tensor
    per_image: Tensor | None
    outputs: Any
    terms: Mapping[str, Tensor] = {}


@dataclass(frozen=True)
class Scored:
    """Which images are scored: the split, the class map, the images' names."""

    split: str
    classes: tuple[str, ...]
    names: tuple[str, ...]


class Scorer(Protocol):
    """Collects predictions, in parts that come in any order, and scores them together."""

    def add(self, ids: Ids, predictions: Predictions) -> None:
        """Those of the images at these positions of the split."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that was added, as arrays with a row an image; how it travels between processes."""

    def merge(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add what another scorer holds."""

    def result(self) -> Evaluation:
        """The evaluation of all images that were added."""


class Task(Protocol):
    """Network, losses, predictions and scores of one kind of problem."""

    @property
    def name(self) -> str:
        """Its name in `TASKS`."""

    @property
    def loss_name(self) -> str:
        """The loss that is minimised."""

    @property
    def main_score(self) -> str:
        """Name of the score that is maximised on validation."""

    @property
    def calibrates(self) -> bool:
        """Whether a temperature on the outputs makes sense."""

    @property
    def placed(self) -> bool:
        """Whether its predictions have places in the image."""

    def network(self, backbone: Callable[[int], nn.Module], classes: int) -> nn.Module:
        """The network; `backbone(n)` gives one whose last layer has n outputs an image."""

    def output_shape(self, images: int, classes: int) -> tuple[int, ...] | None:
        """The shape of what the network gives; None where that is not one tensor."""

    def losses(self, net: nn.Module, batch: Batch, runtime: Runtime) -> Losses:
        """The losses of a batch in training; the network may be shown the targets too."""

    def predictions(
        self, net: nn.Module, images: Pixels, matrices: Floats, how: Pass
    ) -> Predictions:
        """What a network in evaluation mode says of stored images, by the test views of `how`;
        places in the coordinates of the originals, from which `matrices` (N, 2, 3) lead to the
        stored pixels. `images` may be a tensor of features, if the network is what follows them
        (`striate.training.features`)."""

    def read(self, outputs: Any) -> Predictions:
        """The predictions that a network's outputs amount to."""

    def unsmoothed_losses(self, predictions: Predictions, targets: Targets) -> NDArray[Any] | None:
        """Each image's loss (N,), without what only regularises; None as in `Losses`."""

    def scores(self, predictions: Predictions, targets: Targets) -> dict[str, float]:
        """Scores of many images, `loss` and `n` among them."""

    def scorer(self, targets: Targets, scored: Scored) -> Scorer:
        """A scorer of the images that have these targets."""

    def answers(
        self,
        predictions: Predictions,
        scored: Scored,
        *,
        temperature: float = 1.0,
        top: int = 1,
    ) -> Sequence[Answer]:
        """What `predict` says of each image."""

    def probabilities(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Outputs (N, C) → probabilities (N, C). Raises NotImplementedError where there are none:
        judges then do not ask."""

    def linear_truth(self, targets: Targets) -> NDArray[Any] | None:
        """What a linear classifier on an image's features learns to say
        (`striate.models.linear.fitted`); None where there is no such classifier."""

    def chance_loss(self, classes: int) -> float | None:
        """The loss of a network that knows only how many classes there are; None: not known."""

    def chance_score(self, targets: Targets) -> float | None:
        """The main score of the best constant answer; None: not known, or it means nothing."""

    def signs(
        self, predictions: Predictions, targets: Targets, class_images: Ids
    ) -> dict[str, Any]:
        """What the doctor is told beside losses and scores: fields of `Measured`, for a task that
        knows them. class_images: training images of each class."""


class Answer(Protocol):
    """What `predict` says of one image."""

    @property
    def image(self) -> str: ...

    def line(self) -> str:
        """In words, without the image's name."""

    def to_json(self) -> dict[str, Any]: ...

    def cells(self) -> dict[str, str]:
        """Column → cell, for a table."""


class Entry(NamedTuple):
    """A task as `TASKS` knows it.

    losses: for each kind of targets that it takes the names of its losses, the usual one first.
    make: (kind, loss, smoothing) → Task; for boxes the name of a detector may follow. per_image:
    whether its losses are sums over images, as samplers that go by the loss need. knows_loss:
    whether predictions tell the loss (`Task.unsmoothed_losses`).
    """

    losses: Mapping[str, Sequence[str]]
    make: Callable[..., Task]
    per_image: bool = True
    knows_loss: bool = True
