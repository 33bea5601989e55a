"""What an exported file computes: a network with all that is needed to use it rightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from striate.core.errors import ModelError
from striate.models.detectors.detector import Detector
from striate.tasks.classify.task import LabelSetTask, LabelTask
from striate.tasks.task import Task

IMAGES = "images"
"""The name of the input: uint8 (N, size, size, C), as decoded and resized, nothing else."""
OF_CLASSES, OF_BOXES = ("logits", "probabilities"), ("boxes", "scores")


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


def _shares(outputs: Tensor) -> Tensor:
    clipped = outputs.clamp(min=1e-6)
    return clipped / clipped.sum(dim=1, keepdim=True)


class PackedClassifier(nn.Module):
    """uint8 images (N, S, S, C) → logits (N, K) and probabilities (N, K), both float32.

    The input stage is the network's own; the logits are divided by the temperature on the way to
    probabilities, as `predict` does.
    """

    outputs = OF_CLASSES

    def __init__(
        self, net: nn.Module, turn: Callable[[Tensor], Tensor], temperature: float
    ) -> None:
        super().__init__()
        self.net, self._turn, self._temperature = net, turn, temperature

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.net(images)
        return logits, self._turn(logits / self._temperature)


class PackedDetector(nn.Module):
    """uint8 images (N, S, S, C) → boxes (N, P, 4) in pixels of the input, as left, top, right and
    bottom, and the score of each class (N, P, K). Nothing is suppressed yet."""

    outputs = OF_BOXES

    def __init__(self, net: nn.Module, detector: Detector) -> None:
        super().__init__()
        self.net, self._detector = net, detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self._detector.all_candidates(self.net(images))


def packed(net: nn.Module, task: Task, temperature: float) -> PackedClassifier | PackedDetector:
    """The module that a file holds. Raises ModelError for a detector whose regions depend on what
    it finds, and for a task that is not known here."""
    backbone: Any = getattr(net, "backbone", None)
    if isinstance(backbone, Detector):
        if not backbone.at_once:
            raise ModelError(
                f"{type(backbone).__name__} chooses regions image by image, so it cannot be one "
                "file without its suppression",
                "Train a detector of one stage: --model.detector one_stage (the default), anchors "
                "or grid.",
            )
        return PackedDetector(net, backbone).eval()
    if isinstance(task, LabelSetTask):
        return PackedClassifier(net, torch.sigmoid, temperature).eval()
    if isinstance(task, LabelTask):
        turn = _shares if task.loss_name == "mse" else _softmax
        return PackedClassifier(net, turn, temperature).eval()
    raise ModelError(f"a network that was trained to {task.name} cannot be exported yet")
