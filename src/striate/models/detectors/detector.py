"""What every detector is: a network of the zoo without its head, and what reads its maps."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from striate.core.boxes import Found
from striate.core.errors import ModelError, RecipeError, perhaps
from striate.models.detectors import DETECTORS
from striate.models.detectors.suppress import suppress, voted
from striate.models.fit import noise, unmoved
from striate.models.stages import Stage, stages_of

MOST, ASKED, LEAST, OVERLAP = 100, 400, 0.01, 0.6
"""Objects that are said of an image; candidates that are compared, the best ones; the least score;
the overlap above which the worse of two boxes of a class goes."""
SIDES = 4
_TRIED = (128, *range(32, 1025, 32))
"""Sides of images with which a body is tried, in this order: a network that ends in a linear layer
on its maps runs with one side only."""
_OTHER = "Leave --model out, or name a network such as resnet18."


class Objects(NamedTuple):
    """The objects of one image: places float32 (G, 4), numbers int64 (G,); `aside` (A, 4): regions
    in which a detector is neither rewarded nor punished."""

    places: Tensor
    numbers: Tensor
    aside: Tensor


class Detector(nn.Module):
    """Prepared images float (N, C, S, S) → outputs, a tensor or a tuple of them.

    `body` is any network whose stages follow one another; it ends at its last maps. STRIDES: of the
    maps that a detector reads, in pixels of the image for each step; where the body has no maps so
    coarse, `coarsest` is smaller than the last of them.
    """

    STRIDES: ClassVar[tuple[int, ...]] = (8, 16, 32)
    class_layer: ClassVar[str]
    """The dotted name of the layer that tells classes apart."""
    parts: ClassVar[tuple[str, ...]]
    """The modules that read the maps."""
    from_pixels: ClassVar[bool] = False
    """Whether it looks at the images beside their maps, so that no frozen part can be cut off."""

    def __init__(self, body: nn.Module, classes: int) -> None:
        super().__init__()
        channels = next(m.in_channels for m in body.modules() if isinstance(m, nn.Conv2d))
        *own, head = _stages(body, channels)
        if own:
            own[-1], top = _without_top(body, own[-1])
            head = replace(head, modules=(*top, *head.modules))
        for name in head.modules:
            parent, _, last = name.rpartition(".")
            setattr(body.get_submodule(parent), last, nn.Identity())
        _refuse_others(body, own, channels, self.STRIDES[0])
        self.body, self.classes, self.own = body, classes, tuple(own)
        self.channels = {s.stride: s.channels for s in own if s.stride in self.STRIDES}

    def maps(self, images: Tensor) -> list[Tensor]:
        """The maps of the body at those of STRIDES that it has."""
        x, found = images, []
        for stage in self.own:
            for name in stage.modules:
                x = self.body.get_submodule(name)(x)
            if stage.stride in self.channels:
                found.append(x)
        return found

    def stages(self) -> list[Stage]:
        """Those of the body, and the rest as the head (`striate.models.stages`)."""
        body = [
            Stage(s.name, tuple(f"body.{name}" for name in s.modules), s.stride, s.channels)
            for s in self.own
        ]
        return [*body, Stage("head", self.parts, 0, 0)]

    def losses(self, outputs: Any, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """Name → loss of each image (N,)."""
        raise NotImplementedError

    def candidates(self, outputs: Any) -> list[tuple[Tensor, Tensor]]:
        """All that is said of each image: boxes (P, 4) in pixels of the network's input, and the
        score of each class (P, classes), from 0 to 1; gradients pass."""
        return list(zip(*self.all_candidates(outputs), strict=True))

    def all_candidates(self, outputs: Any) -> tuple[Tensor, Tensor]:
        """The same of all images at once, (N, P, 4) and (N, P, classes), where each image has as
        many candidates."""
        raise NotImplementedError

    @property
    def at_once(self) -> bool:
        """Whether each image has as many candidates, whatever it shows."""
        return type(self).candidates is Detector.candidates

    def answering(self, outputs: Any, index: int, own: Objects) -> tuple[Tensor, Tensor]:
        """What is asked for the objects of an image: boxes (K, 4), anchors, cells or regions, and
        which object each of them answers for (K,)."""
        raise NotImplementedError

    def read(self, outputs: Any) -> list[Found]:
        """The objects of each image, in pixels of the network's input, best first."""
        return [best_of(boxes, scores) for boxes, scores in self.candidates(outputs)]

    def fit(self, sides: NDArray[np.float64]) -> None:
        """Before a training: widths and heights (M, 2) of its objects in pixels of the input."""


def detector_class(name: str) -> type[Detector]:
    """The class of this name. Raises RecipeError for one that is not known."""
    if name not in DETECTORS:
        raise RecipeError(f"model.detector: unknown '{name}'", perhaps(name, DETECTORS))
    module, _, kind = DETECTORS[name].partition(":")
    found: type[Detector] = getattr(importlib.import_module(module), kind)
    return found


def make_detector(name: str, body: nn.Module, classes: int) -> Detector:
    """The detector of this name around a body. Raises as `detector_class`."""
    return detector_class(name)(body, classes)


def detector_in(net: nn.Module) -> Detector:
    """The detector in a network behind its input stage, or in the rest of one whose first part is
    frozen; of several processes each has it in a wrapper."""
    own = net.module if isinstance(net, DistributedDataParallel) else net
    inner = own if isinstance(own, Detector) else own.get_submodule("backbone")
    return cast(Detector, inner)


def best_of(boxes: Tensor, scores: Tensor) -> Found:
    """The best boxes of an image, of each class those without a better one around the same object,
    each at the mean place of those around it (`voted`). boxes: (P, 4); scores: (P, classes), from 0
    to 1."""
    flat = scores.flatten()
    order = torch.nonzero(flat > LEAST)[:, 0]
    if len(order) > ASKED:
        order = order[flat[order].topk(ASKED).indices]
    point, number = order // scores.shape[1], order % scores.shape[1]
    all_places = boxes[point]
    kept = suppress(all_places, flat[order], number, OVERLAP)[:MOST]
    places = voted(all_places, flat[order], number, kept)
    numbers, sure = number[kept], flat[order[kept]]
    return Found(places.double().cpu().numpy(), numbers.cpu().numpy(), sure.double().cpu().numpy())


def padded(objects: Sequence[Objects]) -> Objects:
    """The objects of several images with as many places for each: places (N, G, 4), numbers (N, G),
    −1 where there is no object; nothing is aside."""
    places = nn.utils.rnn.pad_sequence([own.places for own in objects], batch_first=True)
    numbers = nn.utils.rnn.pad_sequence(
        [own.numbers for own in objects], batch_first=True, padding_value=-1
    )
    return Objects(places, numbers, places.new_zeros((0, 4)))


def within(places: Tensor, regions: Tensor) -> Tensor:
    """Whether points (P, 2) are in any of the regions (A, 4): (P,)."""
    after = places[None] > regions[:, None, :2]
    before = places[None] < regions[:, None, 2:]
    return (after & before).all(dim=2).any(dim=0)


def _stages(body: nn.Module, channels: int) -> list[Stage]:
    """The stages of a body, at the first side of an image with which it has maps."""
    for side in _TRIED:
        found = stages_of(body, channels, side)
        if any(stage.stride for stage in found):
            return found
    return found


def _without_top(body: nn.Module, last: Stage) -> tuple[Stage, tuple[str, ...]]:
    """The last stage without what only widens its maps for a classifier (a pointwise convolution
    to twice the channels or more), and the names of that."""
    for number, name in enumerate(last.modules[1:], 1):
        layers = [m for m in body.get_submodule(name).modules() if isinstance(m, nn.Conv2d)]
        if len(layers) == 1 and layers[0].kernel_size == (1, 1):
            wide = layers[0]
            if wide.out_channels >= 2 * wide.in_channels:
                kept = replace(last, modules=last.modules[:number], channels=wide.in_channels)
                return kept, last.modules[number:]
    return last, ()


def _refuse_others(body: nn.Module, own: Sequence[Stage], channels: int, finest: int) -> None:
    """Raises ModelError for a network whose stages do not follow one another, or have no maps at
    the finest stride."""
    strides = [stage.stride for stage in own]
    if finest not in strides:
        raise ModelError(
            f"a detector needs maps at stride {finest}; the network's have strides "
            f"{', '.join(map(str, strides)) or '–'}",
            _OTHER,
        )
    x = noise(body, 1, channels, _TRIED[0])
    try:
        shadow = copy.deepcopy(body).eval()
        with torch.no_grad(), unmoved(body):
            for stage in own:
                for name in stage.modules:
                    x = shadow.get_submodule(name)(x)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"the network's parts do not follow one another: {str(error).splitlines()[0]}", _OTHER
        ) from None
