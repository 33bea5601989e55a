"""Does a network fit the images? Tried on noise where they are small, else on shapes alone."""

from __future__ import annotations

import contextlib
import copy
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from striate.core.errors import ModelError

_SMALL, _TRIED = 64, 2
"""Side up to which two images of noise are quicker than torch's first operation on shapes alone
(the meta device), which imports its compiler: two seconds. Above it they cost time and memory."""


def check_fits(
    net: nn.Module,
    name: str,
    image_size: int,
    channels: int,
    batch_size: int,
    expected: tuple[int, ...] | None,
) -> None:
    """Run a copy of `net` in training mode: on two small images of noise, and if that fails, as
    always with large ones, on the shape of the whole batch.

    Raises ModelError that names the layer where the map collapses, where batch norm sees one value,
    or where the shapes do not match; and if the output has not the `expected` shape.
    """
    if image_size <= _SMALL and batch_size >= _TRIED and expected is not None:
        shadow, wanted = copy.deepcopy(net).train(), (_TRIED, *expected[1:])
        with (
            contextlib.suppress(Exception),  # perhaps only because two images are not a batch
            torch.no_grad(), unmoved(net), warnings.catch_warnings(),
        ):  # fmt: skip
            warnings.simplefilter("ignore")
            if shadow(noise(net, _TRIED, channels, image_size)).shape == wanted:
                return
    shadow = copy.deepcopy(net).to("meta").train()
    trail = trail_of(shadow)
    images = torch.empty(batch_size, channels, image_size, image_size, device="meta")
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = shadow(images)
    except NotImplementedError:
        return  # an operation without a shape rule: the first real step will tell
    except (RuntimeError, ValueError, IndexError, AssertionError, TypeError) as error:
        size = f"{image_size}×{image_size}"
        raise explained(str(error), name, trail, size, batch_size) from None
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if expected is not None and shape != expected:
        raise ModelError(f"{name} gives {shape} for {batch_size} images; expected {expected}")


def bytes_per_image(net: nn.Module, channels: int, image_size: int) -> int:
    """What a training step keeps of each image for its backward pass, in float32, found on noise or
    on shapes alone; 0 where the network takes neither."""
    counts = (_TRIED, 2 * _TRIED)
    kept = []
    if image_size <= _SMALL:
        shadow = copy.deepcopy(net).train()
        with unmoved(net):
            kept = [_kept_bytes(shadow, noise(net, n, channels, image_size)) for n in counts]
    if not all(kept) or not kept:
        shadow, shape = copy.deepcopy(net).to("meta").train(), (channels, image_size, image_size)
        kept = [_kept_bytes(shadow, torch.empty(n, *shape, device="meta")) for n in counts]
    return (kept[1] - kept[0]) // _TRIED if all(kept) else 0


def noise(net: nn.Module, count: int, channels: int, side: int) -> torch.Tensor:
    """Images (N, C, S, S) where the network is, the same each time."""
    images = torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0))
    return images.to(_device_of(net))


@contextlib.contextmanager
def unmoved(net: nn.Module) -> Iterator[None]:
    """Within it a network may draw random numbers: torch's generators are as before afterwards."""
    device = _device_of(net)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _device_of(net: nn.Module) -> torch.device:
    return next((p.device for p in net.parameters()), torch.device("cpu"))


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
