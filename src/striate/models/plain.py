"""torch's layers under the names of one-line specs, and the network of such a spec."""

from __future__ import annotations

import sys

from torch import Tensor, nn

from striate.models import spec
from striate.textbook.arrays import pair

Conv2d, Linear, Flatten, Dropout = nn.Conv2d, nn.Linear, nn.Flatten, nn.Dropout
MaxPool2d, AvgPool2d = nn.MaxPool2d, nn.AvgPool2d
ReLU, LeakyReLU, ELU, Sigmoid, Tanh = nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Sigmoid, nn.Tanh


class GlobalAvgPool(nn.Module):
    """The mean of each map: (N, C, H, W) → (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of (N, C) or (N, C, H, W)."""

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() not in (2, 4):
            raise ValueError(f"expected (N, C) or (N, C, H, W), got {tuple(x.shape)}")


def network(
    text: str, num_classes: int, channels: int = 3, image_size: int | tuple[int, int] = 32
) -> nn.Module:
    """The network of a one-line spec. Raises ModelError where a layer does not fit."""
    shape = (channels, *pair(image_size))
    return nn.Sequential(*spec.build(text, shape, sys.modules[__name__], classes=num_classes))
