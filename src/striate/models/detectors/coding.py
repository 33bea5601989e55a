"""Places on the maps, and boxes as numbers that a network can predict (E3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_GROWTH = math.log(1000 / 16)
"""A box becomes at most so many times larger than its anchor, as a logarithm: exp stays finite."""


def cells(size: int, strides: Sequence[int]) -> list[int]:
    """Cells on a side of the maps of an image (size, size), one number a stride."""
    return [-(-size // stride) for stride in strides]


def points(size: int, strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The centre of each cell (P, 2) as (x, y), and its stride (P,): the maps one after the other,
    row by row."""
    places, steps = [], []
    for stride, count in zip(strides, cells(size, strides), strict=True):
        line = (torch.arange(count) + 0.5) * stride
        y, x = torch.meshgrid(line, line, indexing="ij")
        places.append(torch.stack([x.flatten(), y.flatten()], dim=1))
        steps.append(torch.full((count * count,), float(stride)))
    return torch.cat(places), torch.cat(steps)


def points_on(maps: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The same for square maps that are there, on their device."""
    places, steps = [], []
    for x, stride in zip(maps, strides, strict=True):
        own, step = points(x.shape[-1] * stride, [stride])
        places.append(own)
        steps.append(step)
    device = maps[0].device
    return torch.cat(places).to(device), torch.cat(steps).to(device)


def from_distances(points: Tensor, strides: Tensor, distances: Tensor) -> Tensor:
    """(…, P, 4) distances from a point to the left, upper, right and lower side, in strides → boxes
    (FCOS; Tian et al. 2019)."""
    apart = distances * strides[:, None]
    return torch.cat([points - apart[..., :2], points + apart[..., 2:]], dim=-1)


def to_distances(points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """The other way: boxes (P, 4) → distances (P, 4) in strides, negative where the point is
    outside."""
    return torch.cat([points - boxes[:, :2], boxes[:, 2:] - points], dim=1) / strides[:, None]


def anchors(size: int, stride: int, shapes: Tensor) -> Tensor:
    """Boxes of these (width, height) (K, 2) around the centre of each cell: (cells² · K, 4), the
    shapes of a cell together."""
    centres, _ = points(size, [stride])
    half = shapes / 2
    return torch.cat([centres[:, None] - half[None], centres[:, None] + half[None]], dim=2).flatten(
        0, 1
    )


def to_offsets(boxes: Tensor, anchors: Tensor) -> Tensor:
    """(N, 4) boxes beside their anchors → ((x − xₐ)/wₐ, (y − yₐ)/hₐ, ln w/wₐ, ln h/hₐ) of centres
    and sides (R-CNN; Girshick et al. 2014)."""
    centre, side = _centre_and_side(boxes)
    own, wide = _centre_and_side(anchors)
    return torch.cat([(centre - own) / wide, (side / wide).log()], dim=1)


def from_offsets(offsets: Tensor, anchors: Tensor) -> Tensor:
    """The other way, with growth limited."""
    own, wide = _centre_and_side(anchors)
    centre = own + offsets[..., :2] * wide
    half = wide * offsets[..., 2:].clamp(max=MOST_GROWTH).exp() / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _centre_and_side(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]


def areas(boxes: Tensor) -> Tensor:
    """(…, 4) → (…,)."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def overlaps(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of each of (…, M, 4) with each of (…, N, 4): (…, M, N)."""
    return _shared(one[..., :, None, :], other[..., None, :, :])[0]


def generalised(one: Tensor, other: Tensor) -> Tensor:
    """GIoU of pairs (…, 4): IoU − (hull − union) / hull, from −1 to 1 (Rezatofighi et al. 2019)."""
    iou, union = _shared(one, other)
    upper = torch.minimum(one[..., :2], other[..., :2])
    lower = torch.maximum(one[..., 2:], other[..., 2:])
    hull = (lower - upper).clamp(min=0).prod(dim=-1)
    return iou - (hull - union) / hull.clamp(min=1e-9)


def _shared(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """(IoU, area of the union) of boxes that broadcast."""
    upper = torch.maximum(one[..., :2], other[..., :2])
    lower = torch.minimum(one[..., 2:], other[..., 2:])
    common = (lower - upper).clamp(min=0).prod(dim=-1)
    union = areas(one) + areas(other) - common
    return common / union.clamp(min=1e-9), union
