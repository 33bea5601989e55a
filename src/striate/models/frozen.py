"""A network cut in two: the frozen first part, whose outputs can be kept, and the rest.

What a frozen part gives for an image never changes, so it is computed once. The part is made ready
for that: batch norm is folded into the convolution before it, weights are in the type in which
products are taken, and images go through in parts of one size, so that what an image gives depends
on nothing but the image.
"""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_leaves

from striate.models.hooks import evaluating, maps_of
from striate.models.network import Network, in_float32
from striate.models.stages import Stage

AT_ONCE = 16
"""Images that go through a frozen part together."""
_ALIKE = 1e-3
"""Folding is undone where it changes the outputs by more than this share of their size."""


def frozen_modules(backbone: nn.Module, stages: Sequence[Stage], count: int) -> tuple[str, ...]:
    """The modules of the first `count` stages; where all but the head are frozen also what of the
    head neither learns nor drops (pooling), so that what is kept is small."""
    body, head = stages[:-1], stages[-1]
    found = [name for stage in body[:count] for name in stage.modules]
    if count >= len(body):
        for name in head.modules:
            part = backbone.get_submodule(name)
            drops = any(isinstance(m, nn.Dropout) for m in part.modules())
            if drops or any(True for _ in part.parameters()):
                break
            found.append(name)
    return tuple(found)


class Prefix:
    """The frozen first part: uint8 (N, H, W, C) → what enters the rest, (N, …) in `dtype`."""

    def __init__(self, net: Network, modules: Sequence[str], dtype: torch.dtype) -> None:
        whole = copy.deepcopy(net).eval()
        for name, _ in list(whole.backbone.named_modules()):
            kept = any(f"{name}.".startswith(f"{m}.") for m in modules)
            holds = any(m.startswith(f"{name}.") for m in modules)
            if name and not kept and not holds:
                _replace(whole.backbone, name, nn.Identity())
        self.net, self.last, self.dtype = whole, modules[-1], dtype
        self.device = net.shift.device
        self._fold()
        self.net.backbone.to(dtype)

    def means(self, images: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """What each of these modules gives, averaged over places: float32 (N, channels) each."""
        seen: dict[str, list[Tensor]] = {name: [] for name in layers}

        def keep(name: str) -> Any:
            def hook(_: nn.Module, __: object, output: Tensor) -> None:
                seen[name].append(_over_places(output).float().cpu())

            return hook

        modules = [(name, self.net.backbone.get_submodule(name)) for name in layers]
        handles = [module.register_forward_hook(keep(name)) for name, module in modules]
        try:
            self(images)
        finally:
            for handle in handles:
                handle.remove()
        return [torch.cat(parts)[: len(images)] for parts in seen.values()]

    def __call__(self, images: Tensor) -> Tensor:
        """Any number of images, in parts of AT_ONCE."""
        found = []
        for part in torch.split(images, AT_ONCE):
            whole = part
            if len(part) < AT_ONCE:
                blank = part.new_zeros((AT_ONCE - len(part), *part.shape[1:]))
                whole = torch.cat([part, blank])
            found.append(self._outputs(whole)[: len(part)])
        return torch.cat(found)

    def _outputs(self, images: Tensor) -> Tensor:
        x = self.net.prepared(images.to(self.device)).to(self.dtype)
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return maps_of(self.net.backbone, x, self.net.backbone.get_submodule(self.last))

    def _fold(self) -> None:
        """Fold every batch norm into the convolution before it, if the outputs stay alike."""
        pairs = [
            (parent, first, second)
            for parent in self.net.backbone.modules()
            for first, second in _neighbours(parent)
        ]
        if not pairs:
            return
        folded = copy.deepcopy(self.net)
        names = {m: n for n, m in self.net.named_modules()}
        for parent, first, second in pairs:
            place = folded.get_submodule(names[parent])
            fused = fuse_conv_bn_eval(getattr(place, first), getattr(place, second))
            setattr(place, first, fused)
            setattr(place, second, nn.Identity())
        size = 64
        images = torch.randint(
            0, 256, (2, size, size, self._channels()),
            dtype=torch.uint8, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        dtype, self.dtype = self.dtype, torch.float32
        plain = self._outputs(images)
        was, self.net = self.net, folded
        same = (self._outputs(images) - plain).norm() <= _ALIKE * plain.norm()
        self.net, self.dtype = (folded if same else was), dtype

    def _channels(self) -> int:
        first = next(m for m in self.net.backbone.modules() if isinstance(m, nn.Conv2d))
        return first.in_channels


def _over_places(output: Tensor) -> Tensor:
    """Maps (N, C, H, W) or tokens (N, T, C) → (N, C)."""
    if output.dim() == 4:
        return output.mean(dim=(2, 3), dtype=torch.float32)
    return output.mean(dim=1, dtype=torch.float32) if output.dim() == 3 else output


def _neighbours(parent: nn.Module) -> list[tuple[str, str]]:
    """Names of children that are a convolution and the batch norm after it."""
    children = list(parent.named_children())
    return [
        (first, second)
        for (first, a), (second, b) in pairwise(children)
        if isinstance(a, nn.Conv2d)
        and isinstance(b, nn.BatchNorm2d)
        and a.out_channels == b.num_features
        and b.track_running_stats
    ]


class Tail(nn.Module):
    """The rest of a network, of which it shares the parameters: what a `Prefix` gives → logits
    float32 (N, classes)."""

    def __init__(self, net: Network, modules: Sequence[str]) -> None:
        super().__init__()
        self.backbone = _without(net.backbone, modules)

    def forward(self, features: Tensor) -> Any:
        return in_float32(self.backbone(features))


def can_be_cut(net: Network, modules: Sequence[str], size: int, channels: int) -> bool:
    """Whether the two parts together give what the whole network gives."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        0, 256, (2, size, size, channels), dtype=torch.uint8, generator=generator
    )
    try:
        tail = Tail(net, modules)
        with evaluating(net), evaluating(tail), torch.no_grad():
            whole = tree_leaves(net(images))
            cut = tree_leaves(tail(Prefix(net, modules, torch.float32)(images)))
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, StopIteration):
        return False
    return len(whole) == len(cut) and all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-2, atol=1e-3)
        for a, b in zip(whole, cut, strict=True)
    )


def digest_of(net: nn.Module, modules: Sequence[str]) -> str:
    """Hash of the input stage and of the frozen weights and averages."""
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in net.state_dict().items():
        short = name.removeprefix("backbone.")
        if short == name or any(short.startswith(f"{m}.") for m in modules):
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return found.hexdigest()


def _without(net: nn.Module, modules: Sequence[str]) -> nn.Module:
    """The same network with other modules in place of these, which give back what they get; all
    else is shared."""
    whole = _shallow(net)
    copied: dict[str, nn.Module] = {"": whole}
    for name in modules:
        path = name.split(".")
        for depth in range(1, len(path)):
            place = ".".join(path[:depth])
            if place not in copied:
                copied[place] = _shallow(net.get_submodule(place))
                _replace(whole, place, copied[place])
        _replace(whole, name, nn.Identity())
    return whole


def _shallow(net: nn.Module) -> nn.Module:
    found = copy.copy(net)
    found._modules = OrderedDict(net._modules)
    return found


def _replace(net: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    net.get_submodule(parent)._modules[last] = part
