"""Maps of several strides at one width, each with what the coarser ones have seen (a feature
pyramid; Lin et al. 2017), and towers that read them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, DEPTH = 64, 2
"""Channels of the pyramid, layers of a tower."""


class Pyramid(nn.Module):
    """Maps of rising stride, with these channels → maps of one width; `further` of them follow,
    each with twice the stride of the one before. `finest`: give only this number of them."""

    def __init__(
        self,
        channels: Sequence[int],
        further: int = 1,
        width: int = WIDTH,
        finest: int | None = None,
    ) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(pointwise(wide, width) for wide in channels)
        self.smooth = nn.ModuleList(three_by_three(width) for _ in channels[:finest])
        self.further = nn.ModuleList(three_by_three(width, stride=2) for _ in range(further))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        found = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for fine, coarse in pairwise(reversed(range(len(found)))):
            larger = F.interpolate(found[fine], size=found[coarse].shape[2:])
            found[coarse] = found[coarse] + larger
        found = [smooth(x) for smooth, x in zip(self.smooth, found, strict=False)]
        for step in self.further:
            found.append(step(found[-1]))
        return found


class Tower(nn.Module):
    """The same layers on the maps of every level: maps (N, width, H, W) → (N, outputs, H, W).

    Convolutions are shared and norms are not: levels have statistics of their own, which averages
    over all of them would fit badly.
    """

    def __init__(self, outputs: int, levels: int, width: int = WIDTH, depth: int = DEPTH) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Shared(width, levels) for _ in range(depth))
        self.last = nn.Conv2d(width, outputs, 1)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, level: int) -> Tensor:
        for layer in self.layers:
            x = layer(x, level)
        found: Tensor = self.last(x)
        return found


class _Shared(nn.Module):
    """A 3×3 convolution, a norm for each level, ReLU."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.weights = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(levels))

    def forward(self, x: Tensor, level: int) -> Tensor:
        return F.relu(self.norms[level](self.weights(x)))


def pointwise(inputs: int, outputs: int) -> nn.Module:
    """A convolution across channels only, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def three_by_three(wide: int, stride: int = 1) -> nn.Module:
    """A 3×3 convolution of as many channels, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(wide, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)
    )


def in_rows(maps: Sequence[Tensor]) -> Tensor:
    """Maps (N, K, H, W) of several levels → (N, P, K), row by row, one level after the other."""
    return torch.cat([x.flatten(2) for x in maps], dim=2).transpose(1, 2)
