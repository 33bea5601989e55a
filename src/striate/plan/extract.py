"""Trained weights as features of images: what maps, audits and probes compare images by (M4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from striate.core.arrays import Pixels
from striate.core.runtime import Runtime, choose_precision, keep_pages
from striate.data.decode import Unified
from striate.models.frozen import Prefix, frozen_modules
from striate.models.stages import stages_of
from striate.plan.weights import Start, network_of_card, open_weights


@dataclass(frozen=True)
class Extractor:
    """Weights without their head. shape: how images must be decoded for them."""

    name: str
    prefix: Prefix
    shape: Unified

    def features(self, images: Pixels) -> NDArray[np.float32]:
        """uint8 (N, size, size, channels) → what enters the head, float32 (N, features). An image's
        row does not depend on the others."""
        rows = self.prefix(torch.from_numpy(np.ascontiguousarray(images)))
        return rows.float().cpu().flatten(1).numpy()


def open_extractor(name: str, megapixels: float = 100.0) -> Extractor:
    """The weights called `name` as an extractor, on the CPU. Raises as `open_weights`. megapixels:
    larger images are refused."""
    keep_pages()
    weights = open_weights(name)
    card = weights.card
    net = network_of_card(card)
    start = Start(weights, weights.matched(net, (), ()))
    whole = start.network(net, card.image_size, card.channels)
    stages = stages_of(net, card.channels, card.image_size)
    modules = frozen_modules(net, stages, len(stages) - 1)
    device = torch.device("cpu")
    runtime = Runtime(device, choose_precision(device)[0])
    prefix = Prefix(whole, modules, runtime.product_type)
    how = Unified(card.image_size, card.channels, "crop", megapixels, card.resize)
    return Extractor(card.name, prefix, how)
