"""The layers of any network that have maps, and their outputs for images.

Networks are taken as they are used: images float (N, H, W, C) in, with hooks that are always
removed, also on an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """A module whose output is maps: its name as `striate layers` prints it, and their sizes."""

    name: str
    channels: int
    height: int
    width: int


def layers_with_maps(net: nn.Module, images: Tensor) -> list[Layer]:
    """All modules with maps (N, C, H, W) of more than one place, in the order in which they end: a
    block stands after its parts. Of one that is used several times the first use counts, here and
    in `maps_of`. Maps have the proportions of the image: what attention or channels-last blocks
    give between is none."""
    height, width = images.shape[1:3]
    found: dict[str, Layer] = {}
    names = {module: name for name, module in net.named_modules() if name}

    def see(module: nn.Module, _: object, output: object) -> None:
        if not isinstance(output, Tensor) or output.dim() != 4 or min(output.shape[2:]) < 2:
            return
        high, wide = output.shape[2:]
        alike = abs(high * width - wide * height) <= 2 * max(height, width)
        if alike and names[module] not in found:
            found[names[module]] = Layer(names[module], *output.shape[1:])

    with _hooked([(module, see) for module in names]), evaluating(net), torch.inference_mode():
        net(images[:1].float())
    return list(found.values())


def last_of_each_resolution(layers: list[Layer]) -> list[Layer]:
    """Of each resolution the last layer: the units that the next one is made of."""
    last = {(layer.height, layer.width): layer for layer in layers}
    return [layer for layer in layers if layer in last.values()]


def last_maps(net: nn.Module, images: Tensor) -> nn.Module:
    """The last module that has maps. Raises ValueError if there is none."""
    found = layers_with_maps(net, images)
    if not found:
        raise ValueError("the network has no layer with maps")
    return net.get_submodule(found[-1].name)


def last_linear(net: nn.Module, images: Tensor) -> nn.Module | None:
    """The linear layer that is used last: the classifier."""
    used: list[nn.Module] = []

    def use(module: nn.Module, *_: object) -> None:
        used.append(module)

    linear = [m for m in net.modules() if isinstance(m, nn.Linear)]
    with _hooked([(m, use) for m in linear]), evaluating(net), torch.inference_mode():
        net(images[:1].float())
    return used[-1] if used else None


def maps_of(net: nn.Module, images: Tensor, layer: nn.Module) -> Tensor:
    """What a layer gives for images at its first use; nothing after it is computed. Raises
    ValueError if the network does not use it."""

    def stop(_: nn.Module, __: object, output: Tensor) -> None:
        raise _Reached(output)

    with _hooked([(layer, stop)]), evaluating(net):
        try:
            net(images if images.is_floating_point() else images.float())
        except _Reached as found:
            return found.output
    raise ValueError("the network does not use this layer")


def entering_of(net: nn.Module, images: Tensor, layer: nn.Module) -> Tensor:
    """What enters a layer; nothing after it is computed. Raises ValueError as `maps_of`."""

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise _Reached(inputs[0])

    handle = layer.register_forward_pre_hook(stop)
    try:
        with evaluating(net):
            net(images.float())
    except _Reached as found:
        return found.output
    finally:
        handle.remove()
    raise ValueError("the network does not use this layer")


def last_features(net: nn.Module, batches: Iterable[Tensor]) -> NDArray[np.float32]:
    """What enters the last linear layer (N, features), or the logits where there is none."""
    found, head = [], None
    for images in batches:
        head = head or last_linear(net, images)
        with torch.inference_mode():
            entering = entering_of(net, images, head) if head else net(images.float())
        found.append(entering.flatten(1).float().cpu().numpy())
    return np.concatenate(found)


@contextlib.contextmanager
def kept_output(layer: nn.Module) -> Iterator[list[Tensor]]:
    """A list to which every output of the layer is added."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows may work in place

    with _hooked([(layer, keep)]):
        yield kept


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Within it the network is in evaluation mode and its weights collect no gradients."""
    was = [(m, m.training) for m in net.modules()]
    needs = [(p, p.requires_grad) for p in net.parameters()]
    net.eval()
    for p, _ in needs:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for m, training in was:
            m.training = training
        for p, needed in needs:
            p.requires_grad_(needed)


class _Reached(Exception):  # noqa: N818 – no error, a way out
    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


@contextlib.contextmanager
def _hooked(hooks: list[tuple[nn.Module, object]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in hooks]  # type: ignore[arg-type]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
