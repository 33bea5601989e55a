"""Stages of a network: the parts between changes of resolution, and the head.

Freezing, learning rates by stage, probes and detection features all ask for stages. They are found
by running the network once on noise, or on shapes alone where images are large, so they exist for
every network: ours, the zoo's, one written on a line, timm's, a user's own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from striate.models.fit import noise, unmoved
from striate.models.hooks import evaluating

_SMALL = 256
"""Side up to which a network is run on noise; larger images would cost more than shapes do."""


@dataclass(frozen=True)
class Stage:
    """Consecutive parts of a network whose maps have one resolution; the last one is the head.

    modules: dotted names, in the order of computation; every parameter belongs to one of them.
    stride: pixels of the image for each step on the maps; 0 for the head. channels: of the maps
    that leave the stage, 0 for the head.
    """

    name: str
    modules: tuple[str, ...]
    stride: int
    channels: int

    def holds(self, parameter: str) -> bool:
        """Whether a parameter or buffer of this dotted name is in the stage."""
        return any(parameter.startswith(f"{module}.") for module in self.modules)


class Backbone(Protocol):
    """What freezing, rates by stage and detectors need of a network."""

    def stages(self) -> list[Stage]:
        """Its stages, the head last."""

    def features(self, images: Tensor) -> dict[int, Tensor]:
        """stage number → its maps float (N, C, H / stride, W / stride); none of the head."""


@dataclass(frozen=True)
class Staged:
    """A network that takes prepared images (N, C, H, W), as a `Backbone`."""

    net: nn.Module
    parts: tuple[Stage, ...]

    def stages(self) -> list[Stage]:
        return list(self.parts)

    def features(self, images: Tensor) -> dict[int, Tensor]:
        found: dict[int, Tensor] = {}

        def keep(number: int) -> Any:
            def hook(_: nn.Module, __: object, output: Tensor) -> None:
                found[number] = output

            return hook

        ends = [(i, stage.modules[-1]) for i, stage in enumerate(self.parts) if stage.stride]
        handles = [self.net.get_submodule(name).register_forward_hook(keep(i)) for i, name in ends]
        try:
            self.net(images)
        finally:
            for handle in handles:
                handle.remove()
        return found


def staged(net: nn.Module, channels: int, image_size: int) -> Staged:
    """The network with its stages for images of this shape."""
    return Staged(net, tuple(stages_of(net, channels, image_size)))


def stages_of(net: nn.Module, channels: int, image_size: int) -> list[Stage]:
    """The stages of a network for images (channels, image_size, image_size).

    A stage begins where the resolution has fallen by half; the head begins after the last part that
    has both weights and maps. A network without maps (a transformer), or one that does not take
    such images, is cut into up to four stages with equally many parts, and its last layer is the
    head.
    """
    if callable(getattr(type(net), "stages", None)):  # a detector knows those of its body
        found: list[Stage] = net.stages()  # type: ignore[operator]
        return found
    parts = _parts(net)
    seen = _shapes(net, parts, channels, image_size)
    trunk = [] if seen is None else _trunk(net, seen)
    if seen is None or not trunk:
        return _in_quarters(net, parts if seen is None else [*seen])
    stages: list[Stage] = []
    level = -1
    for name in trunk:
        shape = seen[name]
        fallen = math.floor(math.log2(image_size / shape[2]) + 0.5) if len(shape) == 4 else level
        if fallen > level:
            stages.append(Stage(f"stage{len(stages)}", (), 0, 0))
            level = fallen
        last = stages[-1]
        stride, wide = (
            (round(image_size / shape[2]), shape[1])
            if len(shape) == 4
            else (last.stride, last.channels)
        )
        stages[-1] = Stage(last.name, (*last.modules, name), stride, wide)
    rest = tuple(name for name in (*seen, *parts) if name not in trunk)
    return [*stages, Stage("head", tuple(dict.fromkeys(rest)), 0, 0)] if rest else stages


def set_frozen(net: nn.Module, modules: tuple[str, ...]) -> tuple[nn.Module, ...]:
    """Keep these parts from learning; returns them. Whoever trains puts them into evaluation mode,
    so that their norm layers keep their averages too (`State.set_training`)."""
    frozen = tuple(net.get_submodule(name) for name in modules)
    for part in frozen:
        for parameter in part.parameters():
            parameter.requires_grad = False
    return frozen


def last_layer(net: nn.Module) -> nn.Module | None:
    """The layer whose weights are the last ones; None for a network without weights."""
    names = last_weights(net)
    return net.get_submodule(names[0].rpartition(".")[0]) if names else None


def last_weights(net: nn.Module) -> tuple[str, ...]:
    """The tensors of the layer whose weights are the last ones: of most networks the classifier. A
    detector names the layer that tells classes apart as `class_layer`."""
    weights = [name for name, p in net.named_parameters() if p.dim() > 1]
    if not weights:
        return ()
    owner = str(getattr(net, "class_layer", weights[-1].rpartition(".")[0]))
    return tuple(n for n in net.state_dict() if n.rpartition(".")[0] == owner)


def number_by_parameter(net: nn.Module, stages: list[Stage], prefix: str = "") -> Mapping[str, int]:
    """Parameter → number of its stage; those of no part (a class token) belong to the first.
    prefix: of the names in `net`, such as "backbone."."""
    found = {}
    for name, _ in net.named_parameters():
        short = name.removeprefix(prefix)
        found[name] = next((i for i, stage in enumerate(stages) if stage.holds(short)), 0)
    return found


def _parts(net: nn.Module) -> list[str]:
    """The parts that a stage consists of: children, and those of plain containers among them."""
    found = []
    for name, child in net.named_children():
        if isinstance(child, nn.Sequential) and type(child) is nn.Sequential and len(child) > 1:
            nested = [f"{name}.{inner}" for inner, _ in child.named_children()]
            found += nested if _is_trunk(name) else [name]
        else:
            found.append(name)
    return found


def _is_trunk(name: str) -> bool:
    """Whether a container holds several stages, as `features` of VGG and `blocks` of timm do; those
    that torchvision numbers (layer1 …) are one each."""
    return not name[-1].isdigit()


def _trunk(net: nn.Module, seen: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The parts before the head, in order: up to the last one with weights and maps, and what
    follows it without weights and leaves the shape as it is (an activation)."""
    found: list[str] = []
    pending: list[str] = []
    before: tuple[int, ...] = ()
    for name, shape in seen.items():
        weights = any(True for _ in net.get_submodule(name).parameters())
        if len(shape) != 4 or (not weights and max(shape[2:]) == 1 and shape != before):
            break  # flattened, or pooled to one place
        pending.append(name)
        if weights or (shape == before and pending == [name]):
            found += pending
            pending = []
        before = shape
    return found


def _shapes(
    net: nn.Module, parts: list[str], channels: int, image_size: int
) -> dict[str, tuple[int, ...]] | None:
    """The shape of each part's last output, in the order in which they end."""
    small = image_size <= _SMALL
    shadow = copy.deepcopy(net) if small else copy.deepcopy(net).to("meta")
    found: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor):
                found.pop(name, None)
                found[name] = tuple(output.shape)

        return hook

    for name in parts:
        shadow.get_submodule(name).register_forward_hook(note(name))
    try:
        with torch.no_grad(), unmoved(net), evaluating(shadow):
            shadow(noise(shadow, 2, channels, image_size))
    except (NotImplementedError, RuntimeError, ValueError, IndexError, AssertionError, TypeError):
        return None
    return found


def _in_quarters(net: nn.Module, parts: list[str]) -> list[Stage]:
    with_weights = [n for n in parts if any(True for _ in net.get_submodule(n).parameters())]
    body, head = with_weights[:-1], tuple(n for n in parts if n not in with_weights[:-1])
    count = min(4, len(body))
    runs = np.array_split(np.array(body, dtype=object), count) if count else []
    return [
        *(Stage(f"stage{i}", tuple(run), 0, 0) for i, run in enumerate(runs)),
        Stage("head", head, 0, 0),
    ]
