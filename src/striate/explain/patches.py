"""What excites a unit: its strongest patches in the data, and their way back to pixels (M5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from striate.explain.backwards import Deconvolution, Guided
from striate.models.hooks import evaluating, maps_of

WAYS_BACK = {"deconvolution": Deconvolution, "guided": Guided}


@dataclass(frozen=True)
class TopPatches:
    """For each of C units its `count` strongest images, one place in each: values (C, count),
    positions of the images among all (C, count), and places (row, column) in the map
    (C, count, 2). Fewer images than `count` give fewer columns."""

    values: Tensor
    images: Tensor
    places: Tensor


def top_patches(
    net: nn.Module, batches: Iterable[Tensor], layer: nn.Module, count: int = 9
) -> TopPatches:
    """The strongest places of all units of a layer over batches of images (N, H, W, C)."""
    best: TopPatches | None = None
    seen = 0
    for images in batches:
        with torch.inference_mode():
            maps = maps_of(net, images, layer).float().cpu()
        values, where = maps.flatten(2).max(dim=2)  # (N, C): one place an image
        ids = torch.arange(seen, seen + len(images))[:, None].expand_as(where)
        places = torch.stack([where // maps.shape[3], where % maps.shape[3]], dim=2)
        new = TopPatches(values.T, ids.T, places.transpose(0, 1))
        best = new if best is None else _joined(best, new)
        best = _strongest(best, count)
        seen += len(images)
    if best is None:
        raise ValueError("there are no images")
    return best


def projections(
    net: nn.Module, images: Tensor, layer: nn.Module, units: Tensor, places: Tensor, way: str
) -> Tensor:
    """From one unit at one place of each image back to its pixels: (N, H, W, C).

    units: (N,), places: (N, 2). way: of WAYS_BACK. The signal starts as 1, so the scale is that of
    a gradient; Zeiler and Fergus start with the unit's own value.
    """
    with WAYS_BACK[way](), torch.enable_grad():
        x = images.detach().float().requires_grad_()
        maps = maps_of(net, x, layer)
        own = maps[torch.arange(len(x)), units, places[:, 0], places[:, 1]]
        with evaluating(net):
            (found,) = torch.autograd.grad(own.sum(), x)
    return found


def window(
    place: tuple[int, int], size: tuple[int, int], stride: tuple[int, int],
    padding: tuple[int, int], sides: tuple[int, int],
) -> tuple[slice, slice]:  # fmt: skip
    """The pixels that a unit at a place sees, moved inside an image of these sides (L13).

    size, stride, padding: its receptive field, as in `striate layers`.
    """
    found = []
    for at, wide, step, pad, side in zip(place, size, stride, padding, sides, strict=True):
        start = min(max(at * step - pad, 0), max(side - wide, 0))
        found.append(slice(start, min(start + wide, side)))
    return found[0], found[1]


def _joined(a: TopPatches, b: TopPatches) -> TopPatches:
    return TopPatches(
        torch.cat([a.values, b.values], dim=1),
        torch.cat([a.images, b.images], dim=1),
        torch.cat([a.places, b.places], dim=1),
    )


def _strongest(found: TopPatches, count: int) -> TopPatches:
    """The earlier image first where values are equal, so that the order of batches is all."""
    order = found.values.argsort(dim=1, descending=True, stable=True)[:, :count]
    return TopPatches(
        found.values.gather(1, order),
        found.images.gather(1, order),
        found.places.gather(1, order[:, :, None].expand(-1, -1, 2)),
    )
