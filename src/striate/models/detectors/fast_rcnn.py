"""Fast R-CNN: regions come from selective search, and all of an image's regions share its maps (E2;
Girshick 2015)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from striate.models.detectors.detector import Objects
from striate.models.detectors.faster_rcnn import FasterRCNN, drawn
from striate.models.detectors.proposals import selective_search

REGIONS = 150
"""Regions of an image that are looked at."""


class Seen(NamedTuple):
    """The maps (N, WIDTH, H, W), and the images that they are of (N, C, S, S)."""

    maps: Tensor
    images: Tensor


class FastRCNN(FasterRCNN):
    """The second stage of `FasterRCNN` alone. Regions of an image are searched for once: which are
    found is remembered, by the image's pixels, as long as the network lives."""

    parts: ClassVar[tuple[str, ...]] = ("neck", "hidden", "kinds", "moving")
    from_pixels = True

    def __init__(self, body: nn.Module, classes: int) -> None:
        super().__init__(body, classes)
        del self.proposing
        self.remembered: dict[bytes, Tensor] = {}

    def forward(self, images: Tensor) -> Seen:  # type: ignore[override]
        return Seen(self.shared_maps(images), images)

    def losses(self, outputs: Seen, objects: Sequence[Objects]) -> dict[str, Tensor]:  # type: ignore[override]
        """What is in a sample of the regions, and where."""
        regions = [
            drawn(torch.cat([boxes, own.places]), own)
            for boxes, own in zip(self.proposals(outputs), objects, strict=True)
        ]
        return self.second_losses(outputs.maps, regions, objects)

    def proposals(self, outputs: Seen) -> list[Tensor]:  # type: ignore[override]
        return [self._regions(image) for image in outputs.images]

    def _regions(self, image: Tensor) -> Tensor:
        """Regions (≤ REGIONS, 4) of a prepared image (C, S, S)."""
        values = image.detach().float().cpu()
        low, high = values.min(), values.max()
        levels = (values - low) / (high - low).clamp(min=1e-6) * 255
        pixels = levels.round().to(torch.uint8).permute(1, 2, 0).numpy()
        pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        key = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        if key not in self.remembered:
            found = selective_search(pixels, REGIONS)
            self.remembered[key] = torch.from_numpy(found).float()
        return self.remembered[key].to(image.device)
