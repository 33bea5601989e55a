"""A network on the CPU with the images and layers to look at, and what was chosen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from striate.core.arrays import Pixels
from striate.core.errors import ModelError, perhaps
from striate.explain.attribution import ATTRIBUTIONS
from striate.explain.explanation import Maps
from striate.explain.sample import Sample
from striate.models.arithmetic import fields_of
from striate.models.hooks import (
    Layer,
    last_features,
    last_of_each_resolution,
    layers_with_maps,
    maps_of,
)
from striate.models.network import Network
from striate.plan.predictor import Predictor
from striate.textbook.arithmetic import Field

Floats = NDArray[np.floating[Any]]
_CHANNELS = 16
"""Channels of a layer whose maps are shown."""


@dataclass(frozen=True)
class Choice:
    """What to look at: layers by name (none: the last of each resolution), how many units of each,
    at most how many images of the data, topics (none: all), attributions."""

    layers: tuple[str, ...] = ()
    units: int = 16
    images: int = 10_000
    topics: Collection[str] = ()
    methods: tuple[str, ...] = tuple(ATTRIBUTIONS)


class Inspection:
    """A network on the CPU, with the sample and the layers to look at."""

    def __init__(
        self,
        predictor: Predictor,
        sample: Sample,
        train: Callable[[int], Sample],
        choice: Choice,
    ) -> None:
        self.predictor, self.sample, self.train, self.choice = predictor, sample, train, choice
        self.classes = predictor.classes
        self.net: nn.Module = copy.deepcopy(predictor.net).cpu().float().eval()
        self.layers = self._chosen(layers_with_maps(self.net, torch.from_numpy(sample.images([0]))))

    def _chosen(self, found: list[Layer]) -> list[Layer]:
        by_name = {layer.name: layer for layer in found}
        short = {name.removeprefix("backbone."): layer for name, layer in by_name.items()}
        if not self.choice.layers:
            return last_of_each_resolution(found)
        for name in self.choice.layers:
            if name not in short and name not in by_name:
                raise ModelError(f"no layer '{name}' with maps", perhaps(name, short))
        return [short.get(name) or by_name[name] for name in self.choice.layers]

    def module(self, layer: Layer) -> nn.Module:
        return self.net.get_submodule(layer.name)

    @cached_property
    def fields(self) -> dict[str, Field | None]:
        """The receptive field of each layer, None where a unit sees everything."""
        names = [layer.name for layer in self.layers]
        if not isinstance(self.net, Network):
            return dict.fromkeys(names)
        height, width, channels = self.shape
        short = [name.removeprefix("backbone.") for name in names]
        found = fields_of(self.net.backbone, (channels, height, width), short)
        return {name: found[key] for name, key in zip(names, short, strict=True)}

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.sample.images([0]).shape[1:]
        return height, width, channels

    def probabilities(self, images: Pixels) -> Floats:
        with torch.inference_mode():
            logits = self.net(torch.from_numpy(images)).numpy()
        return self.predictor.probabilities(logits)

    def strongest_maps(self, pixels: Pixels) -> list[Maps]:
        """Of each layer the channels that answer most to an image uint8 (H, W, C)."""
        image, found = torch.from_numpy(pixels[None]), []
        for layer in self.layers:
            with torch.inference_mode():
                values = maps_of(self.net, image, self.module(layer))[0].float().numpy()
            best = np.sort(np.argsort(-values.max(axis=(1, 2)), kind="stable")[:_CHANNELS])
            found.append(Maps(layer.name, tuple(map(int, best)), values[best]))
        return found

    @cached_property
    def features(self) -> Floats:
        return last_features(self.net, self.sample.batches())

    @cached_property
    def all_probabilities(self) -> Floats:
        return np.concatenate([self.probabilities(x.numpy()) for x in self.sample.batches()])
