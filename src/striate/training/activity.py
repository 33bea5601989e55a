"""What goes on inside a network in a forward pass and an update, as numbers by layer.

Nothing here changes a training: hooks are removed, and modes are as before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

NORM = nn.modules.batchnorm._BatchNorm
_SATURATED = 0.05
"""Of its steepest slope: a sigmoid or tanh that is flatter hardly passes a gradient on."""

Moved = dict[str, dict[str, float]]


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """Copies of the weights that learn, before an update."""
    return {n: p.detach().clone() for n, p in _learning(net)}


def moved(net: nn.Module, before: dict[str, Tensor]) -> Moved:
    """Root mean squares of weights, gradients and the update since `before`, by layer."""
    kinds = {name: type(module).__name__ for name, module in net.named_modules()}
    found = {}
    for name, p in _learning(net):
        layer = name.rpartition(".")[0]
        gradient = torch.zeros(()) if p.grad is None else _rms(p.grad)
        figures = torch.stack([_rms(before[name]), gradient.to(p.device), _rms(p - before[name])])
        weight, slope, update = figures.tolist()
        found[_label(layer, kinds[layer])] = {
            "weight": weight, "gradient": slope, "update": update,
        }  # fmt: skip
    return found


def _learning(net: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Weights of layers; biases and the gains of norm layers are left out."""
    return ((n, p) for n, p in net.named_parameters() if p.dim() > 1 and p.requires_grad)


@contextlib.contextmanager
def watched(net: nn.Module) -> Iterator[Callable[[], Moved]]:
    """Within it forward passes are watched; what is yielded tells of each activation layer the
    share of `dead` or `saturated` parts."""
    found: Moved = {}

    def hook(name: str, look: Callable[[Tensor], dict[str, float]]) -> Callable[..., None]:
        def see(_: nn.Module, __: Any, output: Tensor) -> None:
            label = name  # a module that is used several times is several activations
            while label in found:
                label += "'"
            found[label] = look(output)

        return see

    handles = [
        module.register_forward_hook(
            hook(_label(name, type(module).__name__), _LOOKS[type(module)])
        )
        for name, module in net.named_modules()
        if type(module) in _LOOKS
    ]
    try:
        yield lambda: found
    finally:
        for handle in handles:
            handle.remove()


def _dead(output: Tensor) -> dict[str, float]:
    """Units (channels) that are 0 for every image, everywhere."""
    rest = [d for d in range(output.dim()) if d != 1]
    return {"dead": float((output.amax(dim=rest) <= 0).float().mean())}


def _flat(slope: Callable[[Tensor], Tensor]) -> Callable[[Tensor], dict[str, float]]:
    return lambda output: {"saturated": float((slope(output.float()) < _SATURATED).float().mean())}


_LOOKS: dict[type[nn.Module], Callable[[Tensor], dict[str, float]]] = {
    nn.ReLU: _dead,
    nn.Sigmoid: _flat(lambda y: 4 * y * (1 - y)),
    nn.Tanh: _flat(lambda y: 1 - y * y),
}


def frozen_layers(net: nn.Module) -> tuple[str, ...]:
    """Layers whose weights do not learn."""
    kinds = {name: type(module).__name__ for name, module in net.named_modules()}
    names = [n for n, p in net.named_parameters() if p.dim() > 1 and not p.requires_grad]
    layers = dict.fromkeys(name.rpartition(".")[0] for name in names)
    return tuple(_label(layer, kinds[layer]) for layer in layers)


@contextlib.contextmanager
def received(net: nn.Module) -> Iterator[Callable[[], float | None]]:
    """Within it the first layer with weights to which images come is listened to; what is yielded
    tells by how much they differ there: the root mean square over values of the deviation between
    images. None if no such layer was used."""
    found: list[float] = []

    def hear(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not found and inputs and isinstance(inputs[0], Tensor) and inputs[0].is_floating_point():
            spread = inputs[0].float().std(dim=0, unbiased=False)
            found.append(float(spread.square().mean().sqrt()))

    handles = [
        m.register_forward_pre_hook(hear)
        for m in net.modules()
        if any(p.dim() > 1 for p in m.parameters(recurse=False))
    ]
    try:
        yield lambda: found[0] if found else None
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def batch_statistics(net: nn.Module) -> Iterator[None]:
    """Within it batch norm uses the batch and learns nothing from it."""
    norms = [m for m in net.modules() if isinstance(m, NORM)]
    before = [(m.training, m.track_running_stats) for m in norms]
    for m in norms:
        m.training, m.track_running_stats = True, False
    try:
        yield
    finally:
        for m, (training, tracking) in zip(norms, before, strict=True):
            m.training, m.track_running_stats = training, tracking


def _label(name: str, kind: str) -> str:
    return f"{name.removeprefix('backbone.')} {kind}"


def _rms(tensor: Tensor) -> Tensor:
    return tensor.detach().float().square().mean().sqrt()
