"""A region of the maps as a small map of one size, so that regions share features (Fast R-CNN)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pool_regions(
    maps: Tensor, boxes: Tensor, images: Tensor, stride: float, size: int = 7, samples: int = 2
) -> Tensor:
    """Features of regions: maps (N, C, H, W), boxes (R, 4) in pixels of the image, images (R,) →
    (R, C, size, size).

    Each of size × size parts of a box is the mean of samples × samples values, taken between the
    cells' centres by bilinear interpolation (RoIAlign; He et al. 2017). Sampling is `grid_sample`,
    so there are gradients, and bfloat16 maps are taken in float32.
    """
    height, width = maps.shape[2:]
    line = (torch.arange(size * samples, device=maps.device) + 0.5) / (size * samples)
    boxes = boxes.float() / stride
    x = boxes[:, :1] + line * (boxes[:, 2:3] - boxes[:, :1])
    y = boxes[:, 1:2] + line * (boxes[:, 3:] - boxes[:, 1:2])
    grid = torch.stack(
        [(2 * x / width - 1)[:, None, :].expand(-1, len(line), -1),
         (2 * y / height - 1)[:, :, None].expand(-1, -1, len(line))], dim=3,
    )  # fmt: skip
    found = maps.new_zeros((len(boxes), maps.shape[1], size, size), dtype=torch.float32)
    for number in torch.unique(images).tolist():
        own = torch.nonzero(images == number)[:, 0]
        # one image's regions one below the other: its maps are read once, not copied for each
        flat = grid[own].flatten(0, 1)[None]
        taken = F.grid_sample(
            maps[number : number + 1].float(), flat, padding_mode="border", align_corners=False
        )
        taken = taken[0].view(maps.shape[1], len(own), len(line), len(line)).transpose(0, 1)
        found[own] = F.avg_pool2d(taken, samples)
    return found
