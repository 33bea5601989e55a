"""The two tasks of classification: what both share, and what one label or several change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.arrays import Floats, Ids, Pixels
from striate.core.runtime import Runtime
from striate.data.augment import views_of
from striate.data.batch import Batch
from striate.data.targets import Labels, LabelSets, Targets
from striate.metrics.classification import (
    accuracy,
    exact_match,
    mean_average_precision,
    top_k_error,
)
from striate.tasks.classify.answer import Prediction, answer
from striate.tasks.classify.evaluation import (
    ClassEvaluation,
    LabelEvaluation,
    LabelSetEvaluation,
)
from striate.tasks.classify.losses import CHANCE, LOSSES
from striate.tasks.classify.signs import signs_of_label_sets, signs_of_labels
from striate.tasks.scorer import Collector
from striate.tasks.task import Losses, Pass, Predictions, Scored

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class _Classification:
    """Logits (N, classes) of one network, compared with targets by a loss of LOSSES.

    Predictions: `logits`, averaged over the test views, and where there are several those of the
    `single_view`.
    """

    loss_name: str
    smoothing: float = 0.0

    name: ClassVar[str] = "classify"
    main_score: ClassVar[str] = ""
    placed: ClassVar[bool] = False
    evaluation: ClassVar[type[ClassEvaluation]] = ClassEvaluation

    @property
    def calibrates(self) -> bool:
        return False

    def network(self, backbone: Callable[[int], nn.Module], classes: int) -> nn.Module:
        return backbone(classes)

    def output_shape(self, images: int, classes: int) -> tuple[int, ...]:
        return (images, classes)

    def losses(self, net: nn.Module, batch: Batch, runtime: Runtime) -> Losses:
        """Of two mixed images λ of the loss with the first's target and 1 − λ with the other's."""
        with runtime.autocast():
            logits = net(runtime.on_device(batch.images))
        each = self._loss(logits, batch.targets, runtime)
        if batch.mixing is not None:
            lam = runtime.on_device(batch.mixing.lam)
            each = lam * each + (1 - lam) * self._loss(logits, batch.mixing.partners, runtime)
        return Losses(each.sum(), each, logits)

    def _loss(self, logits: Tensor, targets: Targets, runtime: Runtime) -> Tensor:
        array = runtime.on_device(array_of(targets))
        return LOSSES[self.loss_name](logits, array, self.smoothing)

    def predictions(
        self, net: nn.Module, images: Pixels, matrices: Floats, how: Pass
    ) -> Predictions:
        kept = isinstance(images, Tensor)  # features are of one view already
        views = [images] if kept else views_of(images, how.views, how.size)
        each = [logits_of(net, view, how.runtime) for view in views]
        if len(each) == 1:
            return {"logits": each[0]}
        return {"logits": np.mean(each, axis=0), "single_view": each[0]}

    def read(self, outputs: Tensor) -> Predictions:
        return {"logits": outputs.detach().float().cpu().numpy()}

    def unsmoothed_losses(self, predictions: Predictions, targets: Targets) -> Logits:
        logits = predictions["logits"]
        if not len(targets):
            return np.zeros(0, dtype=np.float32)
        with torch.inference_mode():
            truth = torch.from_numpy(array_of(targets))
            found: Logits = LOSSES[self.loss_name](torch.from_numpy(logits), truth, 0.0).numpy()
        return found

    def scores(self, predictions: Predictions, targets: Targets) -> dict[str, float]:
        """The main score is what `predict` delivers, `plain_…` that of a single view."""
        losses = self.unsmoothed_losses(predictions, targets)
        named = self._named(array_of(targets), predictions["logits"])
        main = single = named.pop(self.main_score)
        if "single_view" in predictions:
            single = self._named(array_of(targets), predictions["single_view"])[self.main_score]
        return {
            self.main_score: main, f"plain_{self.main_score}": single, **named,
            "loss": float(losses.mean()) if len(losses) else float("nan"), "n": len(targets),
        }  # fmt: skip

    def _named(self, truth: NDArray[Any], logits: Logits) -> dict[str, float]:
        raise NotImplementedError

    def scorer(self, targets: Targets, scored: Scored) -> Collector:
        def evaluate(ids: Ids, predictions: Predictions) -> ClassEvaluation:
            own = targets.take(ids)
            names = tuple(scored.names[i] for i in ids.tolist())
            return self.evaluation(
                scored.split, self.scores(predictions, own), scored.classes, names, own,
                predictions, self,
            )  # fmt: skip

        return Collector(evaluate)

    def answers(
        self, predictions: Predictions, scored: Scored, *, temperature: float = 1.0, top: int = 1
    ) -> list[Prediction]:
        each = self.probabilities(np.asarray(predictions["logits"] / np.float32(temperature)))
        several = self.evaluation is LabelSetEvaluation
        return [
            answer(name, row, scored.classes, top, several=several)
            for name, row in zip(scored.names, each, strict=True)
        ]

    def probabilities(self, outputs: NDArray[Any]) -> Logits:
        raise NotImplementedError

    def chance_score(self, targets: Targets) -> float:
        raise NotImplementedError

    def signs(
        self, predictions: Predictions, targets: Targets, class_images: Ids
    ) -> dict[str, Any]:
        raise NotImplementedError

    def linear_truth(self, targets: Targets) -> NDArray[Any] | None:
        return array_of(targets) if self.loss_name in ("cross_entropy", "sigmoid") else None

    def chance_loss(self, classes: int) -> float:
        return CHANCE[self.loss_name](classes)


@dataclass(frozen=True)
class LabelTask(_Classification):
    """Targets are class numbers; accuracy is maximised."""

    main_score: ClassVar[str] = "accuracy"
    evaluation: ClassVar[type[ClassEvaluation]] = LabelEvaluation

    @property
    def calibrates(self) -> bool:
        return self.loss_name == "cross_entropy"

    def _named(self, truth: NDArray[Any], logits: Logits) -> dict[str, float]:
        return {"accuracy": accuracy(truth, logits), "top5_error": top_k_error(truth, logits, 5)}

    def probabilities(self, outputs: NDArray[Any]) -> Logits:
        """Softmax; for the squared error the outputs themselves, clipped and normalised.

        Hinge scores are no probabilities: their softmax only keeps the order.
        """
        if self.loss_name == "mse":
            clipped = np.clip(outputs, 1e-6, None)
            normalised: Logits = clipped / clipped.sum(axis=1, keepdims=True)
            return normalised
        return torch.from_numpy(outputs).softmax(dim=1).numpy()

    def chance_score(self, targets: Targets) -> float:
        """Accuracy of always naming the commonest class."""
        return float(np.bincount(array_of(targets)).max() / len(targets))

    def signs(
        self, predictions: Predictions, targets: Targets, class_images: Ids
    ) -> dict[str, Any]:
        return signs_of_labels(predictions["logits"], array_of(targets), class_images)


@dataclass(frozen=True)
class LabelSetTask(_Classification):
    """Targets are 0/1 for each class; mean average precision is maximised."""

    loss_name: str = "sigmoid"
    main_score: ClassVar[str] = "mean_average_precision"
    evaluation: ClassVar[type[ClassEvaluation]] = LabelSetEvaluation

    def _named(self, truth: NDArray[Any], logits: Logits) -> dict[str, float]:
        return {
            "mean_average_precision": mean_average_precision(truth, logits),
            "exact_match": exact_match(truth, logits),
        }

    def probabilities(self, outputs: NDArray[Any]) -> Logits:
        return torch.from_numpy(outputs).sigmoid().numpy()

    def chance_score(self, targets: Targets) -> float:
        """The classes' mean prevalence."""
        return float(array_of(targets).mean(axis=0).mean())

    def signs(
        self, predictions: Predictions, targets: Targets, class_images: Ids
    ) -> dict[str, Any]:
        return signs_of_label_sets(predictions["logits"])


def array_of(targets: Targets) -> NDArray[Any]:
    """Class numbers int64 (N,), or the 0/1 table float32 (N, classes)."""
    if not isinstance(targets, Labels | LabelSets):
        raise TypeError(f"classification takes labels, not {targets.described}")
    return targets.array


def logits_of(net: nn.Module, images: Pixels, runtime: Runtime) -> Logits:
    """uint8 (N, H, W, C), or features of these → float32 (N, classes), in the runtime's
    precision."""
    x = runtime.on_device(images)
    with torch.inference_mode(), runtime.autocast():
        logits: Logits = net(x).cpu().numpy()
    return logits
