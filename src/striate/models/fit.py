"""Does a network fit the images? Tried with two of noise, before the first step."""

from __future__ import annotations

import copy
import traceback
import warnings
from pathlib import Path

import torch
from torch import nn

from striate.core.errors import ModelError, counted

_TRIED = 2
"""Images that tell whether a network fits; batch norm needs two of a map of one value."""


def check_fits(
    net: nn.Module,
    name: str,
    image_size: int,
    channels: int,
    batch_size: int,
    expected: tuple[int, ...] | None,
) -> None:
    """Run a copy of `net` on noise in training mode: two images, or one if that is the whole batch.

    A network whose weights are on the meta device is tried on shapes alone. Raises ModelError that
    names the layer where the map collapses, where batch norm sees one value, or where the shapes do
    not match; and if the output has not the `expected` shape, of which the first side is the batch.
    """
    shadow = copy.deepcopy(net).train()
    trail = trail_of(shadow)
    count = min(batch_size, _TRIED)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = shadow(noise(net, count, channels, image_size))
    except NotImplementedError:
        return  # an operation without a shape rule: the first real step will tell
    except (RuntimeError, ValueError, IndexError, AssertionError, TypeError) as error:
        size = f"{image_size}×{image_size}"
        raise explained(str(error), name, trail, size, batch_size) from None
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    wanted = None if expected is None else (count, *expected[1:])
    if wanted is not None and shape != wanted:
        raise ModelError(f"{name} gives {shape} for {counted(count, 'image')}; expected {wanted}")


def bytes_per_image(net: nn.Module, channels: int, image_size: int) -> int:
    """What a training step keeps of each image for its backward pass, in float32, found on two
    images of noise and a third; 0 where the network does not take them."""
    shadow = copy.deepcopy(net).train()
    with torch.random.fork_rng(devices=[]):
        two, three = (
            _kept_bytes(shadow, noise(net, n, channels, image_size)) for n in (_TRIED, _TRIED + 1)
        )
    return three - two


def noise(net: nn.Module, count: int, channels: int, side: int) -> torch.Tensor:
    """Images (N, C, S, S) where the network is. Shapes alone (the meta device) would do, but torch
    needs two seconds for its first operation on them, and more than two images' for a network."""
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    images = torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0))
    return images.to(device)


def _kept_bytes(net: nn.Module, images: torch.Tensor) -> int:
    """Bytes of all tensors that autograd saves in a forward pass, each storage once."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        alive.append(storage)  # its address must not be used again
        return tensor

    alive: list[object] = []
    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            net(images)
    except Exception:  # check_fits has named what can be named
        return 0
    return sum(kept.values())


def trail_of(net: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """A list that grows as `net` runs: each layer and the shape that arrives there."""
    trail: list[tuple[str, tuple[int, ...]]] = []
    for layer, module in net.named_modules():
        if not list(module.children()):
            kind = type(module).__name__
            module.register_forward_pre_hook(_noting(trail, f"{layer} ({kind})" if layer else kind))
    return trail


def _noting(trail: list[tuple[str, tuple[int, ...]]], layer: str):  # type: ignore[no-untyped-def]
    def hook(_: nn.Module, inputs: tuple[object, ...]) -> None:
        if inputs and isinstance(inputs[0], torch.Tensor):
            trail.append((layer, tuple(inputs[0].shape)))

    return hook


def place_of(error: Exception) -> str:
    """An error in words, with the line of the user's file that raised it, if it was one."""
    text = str(error).partition("\n")[0] or type(error).__name__
    ours = ("torch", "striate", "torchvision", "timm", "numpy")
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if not any(f"/{name}/" in f.filename for name in ours) and Path(f.filename).is_file()
    ]
    kind = "" if type(error) in (RuntimeError, ValueError) else f"{type(error).__name__}: "
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{kind}{text}{where}"


def explained(
    reason: str, name: str, trail: list[tuple[str, tuple[int, ...]]], size: str, batch: int
) -> ModelError:
    """torch's `reason` as an error that names the layer; size: of the images, `32×32`."""
    layer, shape = trail[-1] if trail else ("its first layer", ())
    if "more than 1 value per channel" in reason:
        return ModelError(
            f"{name} with batches of {batch}: layer {layer} normalises a map of shape "
            f"{shape}, one value per channel",
            "Use a batch size of 2 or more, larger images, or a network without batch norm.",
        )
    if any(text in reason for text in ("too small", "greater than actual input", "non-positive")):
        sides = "×".join(str(side) for side in shape[2:])
        return ModelError(
            f"{name} is too deep for {size} images: the map collapses at layer {layer}, "
            f"whose input is {sides}",
            "Use larger images (--data.image-size) or a shallower network (--model fastnet).",
        )
    first = reason.partition("\n")[0]
    return ModelError(f"{name} does not take {size} images: layer {layer}: {first}")


def parameter_count(net: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def weight_layers(net: nn.Module) -> int:
    """How many layers have weights: convolutions and fully connected ones."""
    return sum(p.dim() > 1 for p in net.parameters())


def has_norm(net: nn.Module) -> bool:
    """Whether any layer normalises its activations; such networks take higher rates."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
    return any(isinstance(module, kinds) for module in net.modules())
